"""Completing: laws over random lists and published answers, and each form that an answer can have."""

import gzip
import json
import os
import random
from pathlib import Path

import pytest

from halluguard import correct
from halluguard.correction import correct_many
from halluguard.correction.rewriting.additions import wants_description
from halluguard.detectors import Ensemble, KnownBoxes, KnownObjects
from halluguard.records import Answer, Box, apply_edits
from halluguard.vocabulary import COCO

REFERENCE = Path(os.environ.get("HALLUGUARD_REFERENCE_DATA", "")) / "human" / "modern_answers.jsonl.gz"
PROSE = (
    "A {0} is next to a {1}.",
    "a {0} and a {1}",
    "There is no {0}. A {1} stands here.",
    "Possibly a {0} and a {1}.",
)
FORMS = (
    *PROSE,
    "- {0}\n- {1}\n",
    "1. A {0}.\n2. A {1}.",
    "{0}, {1}",
    "#{0} #{1}",
    '["{0}", "{1}"]',
    '{{"caption": "A {0}."}}',
)


def without_additions(answer):
    return apply_edits(answer.draft, [edit for edit in answer.edits if edit.decision != "addition"])


def check_laws(texts, lists, keys):
    detector = KnownObjects(lists)
    plain = list(correct_many(texts, keys, detector))
    complete = list(correct_many(texts, keys, detector, complete=True))
    again = list(correct_many([answer.text for answer in complete], keys, detector, complete=True))
    for key, before, after, second in zip(keys, plain, complete, again, strict=True):
        assert apply_edits(after.draft, after.edits) == after.text
        assert without_additions(after) == before.text, "without the additions, the corrected text stands"
        added = [edit for edit in after.edits if edit.decision == "addition"]
        known = set(lists[key])
        for edit in added:
            assert edit.evidence, "nothing is added without an expert's word"
            assert {box.label for box in edit.evidence} <= known
        new = [edit for edit in second.edits if edit.decision == "addition"]
        assert not new, f"a second pass adds nothing: {after.text!r}, {new}"
        assert Answer.from_json(after.to_json()) == after
    return complete


def test_the_laws_hold_over_two_hundred_random_lists():
    rng = random.Random(0)
    lists = {i: rng.sample(COCO, rng.randint(0, 6)) for i in range(200)}
    texts = [rng.choice(FORMS).format(*rng.sample([*lists[i], *rng.sample(COCO, 3)], 2)) for i in lists]
    complete = check_laws(texts, lists, list(lists))
    assert sum(any(edit.decision == "addition" for edit in answer.edits) for answer in complete) > 100


@pytest.mark.slow
@pytest.mark.skipif(not REFERENCE.is_file(), reason="needs HALLUGUARD_REFERENCE_DATA with human/modern_answers")
def test_the_laws_hold_over_published_answers():
    rng = random.Random(0)
    with gzip.open(REFERENCE, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    texts = [next(row[key] for key in ("answer", "response", "text", "caption") if key in row) for row in rows]
    lists = {i: rng.sample(COCO, 4) for i in range(len(texts))}
    read = []
    for i, text in enumerate(texts):
        try:
            correct(text, i, KnownObjects(lists))
            read.append(i)
        except ValueError:  # another language
            continue
    check_laws([texts[i] for i in read], lists, read)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A dog sits.", "A dog sits. There is also a cup."),
        ("a dog on a couch", "a dog on a couch, and there is also a cup"),
        ("A dog on a couch", "A dog on a couch. There is also a cup"),
        ("A DOG SITS.", "A DOG SITS. THERE IS ALSO A CUP."),
        ("A dog sits. Would you like more?", "A dog sits. There is also a cup. Would you like more?"),
        ("- dog\n- sofa\n", "- dog\n- sofa\n- cup\n"),
        ("3. A dog\n4. A sofa", "3. A dog\n4. A sofa\n5. A cup"),
        ("1. Dog\n2. Sofa\n\nThat's all I see.", "1. Dog\n2. Sofa\n3. Cup\n\nThat's all I see."),
        ("- dog\n- sofa\n\nThat makes two.", "- dog\n- sofa\n\nThat makes two. There is also a cup."),
        ("* **Dog:** It sits.", "* **Dog:** It sits.\n* **Cup:** There is a cup."),
        ("dog, sofa", "dog, sofa, cup"),
        ("#dog #sofa", "#dog #sofa #cup"),
        ("Dog, Sofa", "Dog, Sofa, Cup"),
        ('["dog", "sofa"]', '["dog", "sofa", "cup"]'),
        ('{"objects": ["dog"], "caption": "A dog."}', '{"objects": ["dog", "cup"], "caption": "A dog."}'),
        ('[{"label": "dog", "color": "red"}]', '[{"label": "dog", "color": "red"}, {"label": "cup"}]'),
        ('{"caption": "A dog sits."}', '{"caption": "A dog sits. There is also a cup."}'),
        ("<think>A cat?</think>\nA dog sits.", "<think>A cat?</think>\nA dog sits. There is also a cup."),
        ("A dog sits beside a mug.", "A dog sits beside a mug."),  # named by another word
        ('A sign says "cup". A dog sits.', 'A sign says "cup". A dog sits.'),
        ("There is no cup. A dog sits.", "There is a cup. A dog sits."),
        ("Possibly a cup is near a dog.", "A cup is near a dog."),
        ("There might be dishes. A dog sits.", "There might be dishes. A dog sits."),  # in a wider word
    ],
)  # fmt: skip
def test_each_form_is_completed_in_its_own_way(text, expected):
    known = KnownObjects({1: ["dog", "couch", "cup"] if "ouch" in text or "ofa" in text.lower() else ["dog", "cup"]})
    assert correct(text, 1, known, complete=True).text == expected


def test_number_and_place_come_from_boxes():
    boxes = [
        Box("cup", 0.9, (100, 150, 120, 170)),
        Box("cup", 0.8, (150, 150, 170, 170)),
        Box("cup", 0.8, (151, 150, 171, 170)),  # the same one
        Box("cup", 0.1, (300, 150, 320, 170)),  # below the threshold
        Box("dining table", 0.9, (0, 100, 640, 400)),
    ]
    answer = correct("A table.", 1, KnownBoxes({1: boxes}), complete=True)
    assert answer.text == "A table. There are also two cups on the table."
    (edit,) = answer.edits
    assert edit.decision == "addition"
    assert edit.start == edit.end
    assert len(edit.evidence) >= 2


def test_a_label_of_which_the_expert_is_seldom_right_is_not_added():
    doubtful = KnownObjects({1: ["dog", "cup", "book"]}, precision={"cup": 0.6, "": 1.0})
    assert correct("A dog.", 1, doubtful, complete=True).text == "A dog. There is also a book."
    second = KnownObjects({1: ["cup"]}, exhaustive=False, precision=0.8)
    both = Ensemble([doubtful, second], "any")
    assert "cup" in correct("A dog.", 1, both, complete=True).text, "two that agree say more than one"


def test_silence_that_speaks_keeps_an_object_out():
    sure = KnownObjects({1: ["dog", "cup"]}, exhaustive=False)
    strict = KnownObjects({1: ["dog"]})
    assert correct("A dog.", 1, Ensemble([sure, strict], "any"), complete=True).text == "A dog."


@pytest.mark.parametrize("question", ["Is there a dog?", "What color is the dog?", "How many dogs are there?"])
def test_an_answer_to_another_question_is_not_completed(question):
    assert not wants_description(question)
    assert correct("Yes.", 1, KnownObjects({1: ["dog", "cup"]}), question, complete=True).text == "Yes."


def test_a_vocabulary_says_what_to_look_for():
    known = KnownObjects({1: ["dog", "cup", "book"]})
    assert correct("A dog.", 1, known, complete=["book"]).text == "A dog. There is also a book."
    assert correct("A dog.", 1, known).text == "A dog."
