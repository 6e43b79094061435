"""Laws of every builder: balance, truth, the same rows from the same seed, and words that give nothing away."""

import re
from collections import Counter
from difflib import SequenceMatcher
from importlib import util
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halluguard import Box, InputError, SettingsError
from halluguard.records import Answer, Claim, Edit, Verdict
from halluguard.tuning import (
    Sampled,
    attribute_swaps,
    balance_lengths,
    conditional_images,
    erased_preferences,
    false_premises,
    hallucinated_captions,
    knowledge_swaps,
    negative_images,
    negative_instructions,
    negative_preferences,
    on_policy_pairs,
    retention_rows,
    swapped_preferences,
)
from halluguard.tuning.annotations import Annotated, names_in
from halluguard.tuning.edge_balance import balanced
from halluguard.tuning.images import Erased
from halluguard.tuning.question_templates import ANSWERS, QUESTIONS, answer
from halluguard.tuning.rows import PreferenceRow
from halluguard.tuning.shortcuts import polarity, shortcut_report
from halluguard.tuning.swaps import knowledge

_spec = util.spec_from_file_location("worlds", Path(__file__).with_name("worlds.py"))
_worlds = util.module_from_spec(_spec)
_spec.loader.exec_module(_worlds)
world, NAMES = _worlds.world, _worlds.NAMES

BUILDERS = {
    builder.__name__: builder
    for builder in (
        negative_instructions,
        negative_preferences,
        false_premises,
        attribute_swaps,
        knowledge_swaps,
        hallucinated_captions,
        negative_images,
        erased_preferences,
        swapped_preferences,
        retention_rows,
    )
}
every = pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
ITEMS = world()
FACTUAL = world(names=("dog", "bird", "horse", "car", "boat", "chair"))  # of which facts are true and false


def items_for(build):
    return FACTUAL if build is knowledge_swaps else ITEMS


def surplus(rows):
    """Rows in which a name is there minus rows in which it is not, where that differs from 0."""
    count = Counter()
    for row in rows:
        count.update(row.truth.present)
        count.subtract(row.truth.absent)
    return {name: number for name, number in count.items() if number}


@every
def test_the_seed_decides(build):
    items = items_for(build)
    assert list(build(items, seed=1)) == list(build(items, seed=1)) != list(build(items, seed=2))


@every
def test_rows_are_there_and_carry_their_origin(build):
    rows = list(build(items_for(build), seed=0))
    assert len(rows) > 40
    assert {(row.source, row.license) for row in rows} == {("test", "CC0")}
    assert all(row.kind and row.seed for row in rows)


@pytest.mark.parametrize(
    "build", [negative_preferences, false_premises, erased_preferences, swapped_preferences, hallucinated_captions]
)
def test_every_name_is_as_often_there_as_not(build):
    assert surplus(build(ITEMS, seed=0)) == {}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sets(st.sampled_from(NAMES), min_size=1), min_size=1, max_size=40), st.integers(0, 99))
def test_balance_holds_for_any_annotations(sets, seed):
    """Numbers of yes and no are equal per image and per name at once."""
    items = [Annotated(i, "x.jpg", tuple(Box(n, 1.0) for n in sorted(s))) for i, s in enumerate(sets)]
    rows = list(negative_preferences(items, seed=seed))
    assert surplus(rows) == {}
    per_image = Counter()
    for row in rows:
        yes = bool(row.truth.present)
        per_image[row.image_id] += 1 if yes else -1
        (name,) = row.truth.present + row.truth.absent
        assert (name in items[row.image_id].names) == yes
    assert not any(per_image.values())


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(7, 9) | st.integers(0, 6)), max_size=60), st.integers(0, 9))
def test_kept_pairs_are_balanced_and_none_can_be_added_back(pairs, seed):
    kept = balanced(pairs, seed)
    count = Counter(a for a, _ in (pairs[i] for i in kept))
    count.subtract(b for _, b in (pairs[i] for i in kept))
    assert not any(count.values())
    assert kept == sorted(set(kept))
    removed = [pairs[i] for i in range(len(pairs)) if i not in set(kept)]
    ends = Counter(a for a, _ in removed)
    ends.subtract(b for _, b in removed)
    assert not removed or any(ends.values()), "a balanced set of pairs was thrown away"


def test_yes_and_no_are_worded_alike():
    """A template that goes with one answer would give it away."""
    assert len(ANSWERS) >= 20
    assert len(set(ANSWERS)) == len(ANSWERS)
    assert len(set(QUESTIONS)) == len(QUESTIONS) >= 20
    for template in ANSWERS:
        yes, no = (answer(template, "dog", polarity) for polarity in (True, False))
        assert len(yes.split()) == len(no.split())
        assert yes != no


def test_false_premises_are_denied_and_true_ones_answered():
    rows = list(false_premises(ITEMS, seed=0))
    for row in rows:
        denial = re.search(r"\b(no|not|cannot)\b", row.chosen, re.IGNORECASE)
        assert bool(denial) == bool(row.truth.absent), row
        assert bool(re.search(r"\b(no|not|cannot)\b", row.rejected, re.IGNORECASE)) != bool(denial)
    assert len({row.prompt for row in rows}) > 40


def test_attribute_rows_say_what_is_annotated():
    by_id = {item.image_id: item for item in ITEMS}
    rows = list(attribute_swaps(ITEMS, seed=0))
    assert {row.kind.partition("-")[0] for row in rows} == {"color", "side", "count"} or len(rows) > 100
    for row in rows:
        (name,) = row.truth.present
        if row.kind.startswith("color"):
            ((color,),) = by_id[row.image_id].attributes_of(name)
            assert (color in row.prompt) == (row.kind == "color-positive")
            assert color in row.chosen
            assert color not in row.rejected
    polarities = Counter((row.kind, polarity(row)) for row in rows)
    assert all(polarity == kind.endswith("positive") for kind, polarity in polarities)


def test_several_instances_have_no_color_of_their_own():
    boxes = (Box("dog", 1.0, (0, 0, 9, 9)), Box("dog", 1.0, (50, 0, 60, 9)))
    items = [Annotated(i, "x", boxes, (), (("red",), ("blue",)), size=(100, 100)) for i in range(9)]
    assert all(row.kind.startswith("count") for row in attribute_swaps(items, seed=0))


def test_the_table_of_facts_is_two_sided():
    """A fact that is only ever true would be answered by its words."""
    sides = [
        Counter(f for true, _ in knowledge().values() for f in true),
        Counter(f for _, false in knowledge().values() for f in false),
    ]
    assert sides[0].keys() == sides[1].keys()
    assert all(not set(true) & set(false) for true, false in knowledge().values())


def test_caption_edits_are_bounded_and_true():
    rows = list(hallucinated_captions(ITEMS, seed=0))
    kinds = Counter(row.kind for row in rows)
    assert abs(kinds["caption-replace"] - kinds["caption-insert"]) <= 2
    by_id = {item.image_id: item for item in ITEMS}
    for row in rows:
        a, b = row.chosen.split(), row.rejected.split()
        assert len(a) == len(b)
        changed = [op for op in SequenceMatcher(None, a, b, autojunk=False).get_opcodes() if op[0] != "equal"]
        assert sum(op[2] - op[1] for op in changed) <= 2
        item = by_id[row.image_id]
        assert set(row.truth.present) <= set(item.names)
        assert all(item.lacks(name) for name in row.truth.absent)
        assert names_in(row.chosen) <= set(item.names)
        assert not names_in(row.rejected) <= set(item.names)


def test_real_captions_are_edited_at_articles_and_numerals():
    def item(i, text, *names):
        return Annotated(i, "x", tuple(Box(n, 1.0) for n in names), (text,))

    captions = ["Two dogs sleep.", "A dog sleeps.", "My dog sleeps near some dogs.", "An apple lies on a chair."]
    items = [item(i, text, "dog" if "dog" in text else "apple") for i, text in enumerate(captions * 30)]
    items += [item(1000 + i, "A cat and two cats.", "cat") for i in range(20)]
    found = {row.rejected for row in hallucinated_captions(items, seed=0)}
    assert found == set() or all(not text.startswith(("My", "A cat and")) for text in found)


def test_erased_images_and_controls_ask_the_same_question():
    rows = list(erased_preferences(ITEMS, seed=0))
    for erased, control in zip(rows[::2], rows[1::2], strict=True):
        assert (erased.prompt, erased.chosen) == (control.prompt, control.rejected)
        assert isinstance(erased.images[0], Erased)
        area = [sum((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in r.images[0].boxes) for r in (erased, control)]
        assert area[0] == pytest.approx(area[1])


def test_crowds_and_wider_names_are_not_erased():
    """An object without a box stays in the image, so the answer would still be yes."""
    boxes = (Box("dog", 1.0, (0, 0, 9, 9)), Box("cup", 1.0, (50, 50, 60, 60)), Box("puppy", 1.0, (80, 0, 90, 9)))
    crowd = Annotated(0, "x", boxes[:2], uncounted=frozenset({"dog", "cup"}), size=(100, 100))
    assert list(erased_preferences([crowd], seed=0)) == []
    puppies = [Annotated(i, "x", boxes, size=(100, 100)) for i in range(30)]
    assert "dog" not in {name for row in erased_preferences(puppies, seed=0) for name in row.truth.absent}


def test_swapped_images_share_company_and_lack_the_object():
    by_id = {item.image_id: item for item in ITEMS}
    rows = list(swapped_preferences(ITEMS, seed=0, shared_names=1))
    for i in range(0, len(rows), 4):
        four = rows[i : i + 4]
        one, other = (by_id[k] for k in dict.fromkeys(row.image_id for row in four))
        assert set(one.names) & set(other.names)
        for row in four:
            item = by_id[row.image_id]
            assert all(name in item.names for name in row.truth.present)
            assert all(item.lacks(name) for name in row.truth.absent)


def test_conditional_rows_keep_their_text_and_denials_stay_without():
    rows = list(negative_preferences(ITEMS, seed=0))
    made = list(conditional_images(rows, seed=0, items={i.image_id: i for i in ITEMS}))
    assert len(made) == len(rows)
    for before, after in zip(rows, made, strict=True):
        assert (before.chosen, before.rejected, before.images) == (after.chosen, after.rejected, after.images)
        assert bool(after.negative_images) == bool(before.truth.present)


def test_negatives_do_not_depend_on_order_or_company():
    """The same row has the same negative whatever worker draws it, and whenever."""
    rows = [row for row in negative_preferences(ITEMS, seed=0) if row.truth.present]
    forth = list(conditional_images(rows, seed=0))
    back = list(conditional_images(rows[::-1][:20], seed=0))[::-1]
    assert forth[-20:] == back
    first, again = (row.negative_images[0].make().tobytes() for row in (forth[0], forth[0]))
    assert first == again


def test_crops_do_not_show_what_the_answer_names():
    from halluguard.boxes import area, intersection
    from halluguard.tuning.images import Crop

    by_id = {item.image_id: item for item in ITEMS}
    rows = (row for row in negative_preferences(ITEMS, seed=0) if row.truth.present)
    crops = 0
    for row in conditional_images(rows, seed=0, changes=("crop",), items=by_id):
        (negative,) = row.negative_images
        if isinstance(negative, Crop):
            crops += 1
            (box,) = by_id[row.image_id].boxes_of(row.truth.present[0])
            assert intersection(negative.window(100, 100), box) <= 0.3 * area(box)
    assert crops > 100


def test_other_images_lack_what_is_named():
    by_id = {item.image_id: item for item in ITEMS}
    of_image = {id(item.image): item for item in ITEMS}
    rows = [row for row in negative_preferences(ITEMS, seed=0) if row.truth.present]
    others = 0
    for row in conditional_images(rows, seed=0, changes=("other",), items=by_id):
        item = of_image.get(id(row.negative_images[0]))
        if item is not None:
            others += 1
            assert item.lacks(row.truth.present[0])
    assert others > 0.9 * len(rows)


def checked(image, prompt, text):
    """A checker that knows: dogs are there, cats are not."""
    claims, verdicts = [], []
    for match in re.finditer(r"dog|cat", text):
        claims.append(Claim("existence", match[0], match[0], match.start(), match.end()))
        verdicts.append(Verdict(len(claims) - 1, "supported" if match[0] == "dog" else "contradicted"))
    clean = text.replace(" and a cat", "")
    edits = () if clean == text else (Edit(0, len(text), text, clean),)
    return Answer(text, clean, claims=claims, verdicts=verdicts, edits=edits)


def test_own_answers_are_paired_by_contradicted_claims():
    texts = ("A dog.", "A dog and a cat.", "A cat and a cat.", "Nothing at all.")
    rows = list(on_policy_pairs([Sampled(1, "x.jpg", "Describe.", texts)], checked, seed=0))
    assert [(row.chosen, row.rejected) for row in rows] == [
        ("A dog.", "A cat and a cat."),
        ("A dog.", "A dog and a cat."),
    ]
    assert rows[0].truth.present == ("dog",)
    assert rows[0].truth.absent == ("cat",)
    (cleaned,) = on_policy_pairs([Sampled(1, "x.jpg", "Describe.", texts)], checked, seed=0, way="cleaned")
    assert (cleaned.chosen, cleaned.rejected, cleaned.minimal_edit) == ("A dog.", "A dog and a cat.", True)


def test_an_expert_that_fails_is_heard():
    from halluguard import ExpertError

    def broken(image, prompt, text):
        raise ExpertError("no expert")

    with pytest.raises(ExpertError):
        list(on_policy_pairs([Sampled(1, "x", "Describe.", ("a", "b"))], broken, seed=0))


def test_lengths_are_balanced_by_a_cut():
    """Chosen answers are shorter on average; the cut takes the most lopsided pairs first."""
    rows = [PreferenceRow((), "q", "a " * (10 - i % 7), "b " * (10 + i % 3), seed=i) for i in range(70)]
    kept, cut = balance_lengths(rows)

    def gap(some):
        return abs(sum(len(r.chosen.split()) - len(r.rejected.split()) for r in some)) / len(some)

    assert 0 <= cut < 1
    assert 0 < len(kept) < len(rows)
    assert gap(kept) < gap(rows) / 2
    assert balance_lengths([]) == ([], 1.0)


@pytest.mark.parametrize(
    "name", ["negative_preferences", "false_premises", "hallucinated_captions", "erased_preferences"]
)
def test_words_and_lengths_tell_nothing(name):
    build = BUILDERS[name]
    train, test = (list(build(world(300, size=48, seed=s), seed=0)) for s in (1, 2))
    items = {item.image_id: item for s in (1, 2) for item in world(300, size=48, seed=s)}
    report = shortcut_report(train, test, items=items)
    assert report.failures(question=(0.42, 0.58)) == []
    assert (report.present_denied, report.leaked, report.imbalance) == (0, 0, 0)


def test_the_report_catches_a_tell_tale():
    """Rows whose rejected answer is longer, or whose question names its answer, must not pass."""
    rows = [
        PreferenceRow(
            (),
            f"Is there a {'dog' if i % 2 else 'cat'}?",
            "Yes." if i % 2 else "No.",
            f"{'No' if i % 2 else 'Yes'}, and more.",
            image_id=f"i{i}",
        )
        for i in range(80)
    ]
    report = shortcut_report(rows[:40], rows[40:])
    assert report.question_words.value == 1.0
    assert report.answer_length.value == 1.0
    assert len(report.failures()) >= 3
    leaky = [PreferenceRow(("COCO_val2014_000000000001.jpg",), "q", "Yes.", "No.", image_id=1)] * 2
    assert shortcut_report(leaky, leaky).leaked == 4


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: list(negative_instructions(ITEMS, seed=0, per_image=0)), SettingsError, "at least 1"),
        (lambda: list(negative_instructions(ITEMS, seed=0, samplings=("hard",))), SettingsError, "random, popular"),
        (lambda: list(negative_instructions(ITEMS, seed=0, answers=("Fine.",))), SettingsError, "an answer"),
        (
            lambda: list(negative_instructions(ITEMS, seed=0, questions=("Well?",))),
            SettingsError,
            "a question must hold",
        ),
        (lambda: list(negative_instructions(ITEMS, seed=0, questions=("{b}",))), SettingsError, "may hold"),
        (lambda: list(negative_instructions(ITEMS, seed=0, questions="{a}?")), SettingsError, "list of templates"),
        (
            lambda: list(hallucinated_captions([Annotated(0, "x", ())], seed=0)),
            InputError,
            "annotated objects, got none",
        ),
        (lambda: list(conditional_images([], seed=0, changes=("blur",))), SettingsError, "crop, shuffle"),
        (lambda: list(conditional_images([], seed=0, changes=("other",))), SettingsError, "pass items"),
        (lambda: list(swapped_preferences(ITEMS, seed=0, shared_names=0)), SettingsError, "at least 1"),
        (lambda: list(on_policy_pairs([], checked, seed=0, way="best")), SettingsError, "scored"),
        (lambda: list(on_policy_pairs([], checked, seed=0, least_gap=0)), SettingsError, "least_gap"),
        (lambda: Annotated(0, "x", (), attributes=(("red",),)), InputError, "as many as boxes"),
        (lambda: shortcut_report([], []), InputError, "got 0 and 0"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(call, error, words):
    with pytest.raises(error, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)
