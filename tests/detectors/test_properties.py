"""Experts on attributes and relations: box geometry, colours, questions; and several experts as one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from halluguard.detectors.colour import ANCHORS, Colours, lab
from halluguard.detectors.ensemble import Ensemble, PropertyEnsemble
from halluguard.detectors.precomputed import KnownObjects
from halluguard.detectors.questions import VisualQuestions
from halluguard.detectors.spatial import RELATIONS, SpatialRelations
from halluguard.errors import ExpertError, SettingsError
from halluguard.records import Box, Question

SPATIAL = SpatialRelations()
CUP, TABLE = (40, 10, 60, 32), (0, 30, 100, 80)


def place(relation, a, b):
    question = Question("relation", "a", relation, Box("a", 0.9, a), "b", Box("b", 0.9, b))
    assert SPATIAL.covers(question)
    return SPATIAL.judge([None], [[question]])[0][0]


@pytest.mark.parametrize(
    ("relation", "a", "b", "holds"),
    [
        ("left of", (0, 0, 10, 10), (50, 0, 60, 10), True),
        ("to the right of", (0, 0, 10, 10), (50, 0, 60, 10), False),
        ("above", (0, 0, 10, 10), (0, 50, 10, 60), True),
        ("under", (0, 0, 10, 10), (0, 50, 10, 60), False),
        ("on", CUP, TABLE, True),
        ("on", TABLE, CUP, False),
        ("on", (200, 10, 220, 32), TABLE, False),
        ("on", (40, -80, 60, -60), TABLE, False),
        ("inside", (10, 40, 20, 50), TABLE, True),
        ("in", (200, 40, 220, 50), TABLE, False),
        ("next to", (0, 0, 10, 10), (12, 0, 22, 10), True),
        ("near", (0, 0, 10, 10), (500, 0, 510, 10), False),
        ("left of", (0, 0, 10, 10), (0, 50, 10, 60), None),
    ],
)
def test_relations_are_read_from_boxes(relation, a, b, holds):
    p = place(relation, a, b)
    assert (p is None) if holds is None else ((p > 0.5) is holds)


boxes = st.tuples(*[st.floats(0, 900, width=32)] * 2, *[st.floats(1, 300, width=32)] * 2).map(
    lambda v: (v[0], v[1], v[0] + v[2], v[1] + v[3])
)


@given(boxes, boxes, st.sampled_from([("left of", "right of"), ("above", "below")]))
def test_opposites_and_exchanged_parties_agree(a, b, pair):
    one, other = pair
    assert place(one, a, b) == pytest.approx(place(other, b, a)) or place(one, a, b) is None
    p, q = place(one, a, b), place(other, a, b)
    assert (p is None and q is None) or p + q == pytest.approx(1)


@given(boxes, boxes, st.sampled_from(sorted(RELATIONS)), st.floats(-50, 50), st.sampled_from([0.5, 2.0, 4.0]))
def test_moving_or_scaling_the_picture_changes_nothing(a, b, relation, shift, scale):
    def moved(box):
        return tuple(v * scale + shift for v in box)

    p, q = place(relation, a, b), place(relation, moved(a), moved(b))
    # At the edge of "could not tell" rounding may decide; elsewhere the answer is the same.
    assert (p is None or q is None) or p == pytest.approx(q, abs=1e-3)


@pytest.mark.parametrize("value", ["behind", "holding", "wearing"])
def test_relations_that_boxes_do_not_show_are_not_covered(value):
    question = Question("relation", "a", value, Box("a", 1, CUP), "b", Box("b", 1, TABLE))
    assert not SPATIAL.covers(question)
    with pytest.raises(ExpertError, match="covers"):
        SPATIAL.judge([None], [[question]])
    assert not SPATIAL.covers(Question("relation", "a", "on", None, "b", Box("b", 1, TABLE)))
    assert not SPATIAL.covers(Question("relation", "a", "on", Box("a", 1), "b", Box("b", 1, TABLE)))


def test_boxes_that_are_not_finite_are_an_error():
    with pytest.raises(ExpertError, match="finite"):
        place("on", (float("nan"), 0, 1, 1), TABLE)


# Colours


def coloured(rgb, background=(90, 140, 90)):
    picture = Image.new("RGB", (100, 80), background)
    ImageDraw.Draw(picture).ellipse((20, 20, 60, 60), fill=rgb)
    return picture


def colour(picture, value, box=(20, 20, 60, 60)):
    question = Question("attribute", "ball", value, Box("ball", 0.9, box))
    return Colours().judge([picture], [[question]])[0][0]


@pytest.mark.parametrize("term", ANCHORS)
def test_each_colour_is_seen_and_far_ones_are_not(term):
    picture = coloured(ANCHORS[term][0])
    assert colour(picture, term) > 0.5
    opposite = {"red": "blue", "blue": "yellow", "black": "white", "white": "black"}.get(term, "black")
    if opposite != term and {term, opposite} != {"gray", "black"}:
        p = colour(picture, opposite)
        assert p is not None
        assert p < 0.2


def test_a_bit_of_the_colour_is_could_not_tell():
    picture = coloured((20, 60, 220))
    ImageDraw.Draw(picture).rectangle((36, 34, 43, 41), fill=(220, 20, 30))
    assert colour(picture, "red") is None
    assert colour(picture, "blue") > 0.5


def test_neighbouring_colours_do_not_contradict():
    assert colour(coloured((235, 120, 20)), "orange") > 0.5
    p = colour(coloured((128, 128, 128)), "silver")
    assert p > 0.5


def test_lab_of_known_colours():
    """Reference values of the CIE formulae under D65."""
    assert np.allclose(
        lab([[255, 255, 255], [0, 0, 0], [255, 0, 0]]), [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.2]], atol=0.05
    )


@pytest.mark.parametrize(("value", "covered"), [("red", True), ("Light-Blue", True), ("grey", True), ("wooden", False)])
def test_only_colours_of_placed_things_are_covered(value, covered):
    assert Colours().covers(Question("attribute", "car", value, Box("car", 1, CUP))) is covered
    assert not Colours().covers(Question("attribute", "car", value))


def test_a_box_outside_the_picture_is_an_error():
    with pytest.raises(ExpertError, match="in the image"):
        colour(coloured((1, 2, 3)), "red", (300, 300, 310, 310))


# Questions


@pytest.fixture(scope="module")
def vqa():
    from halluguard import sandbox

    return VisualQuestions(*sandbox.load_mllm(), attribute="Is there a {name} in the image?")


def test_a_model_is_asked_on_the_crop_and_answers_with_a_probability(vqa):
    """The sandbox model knows one kind of question, on presence; its answers must follow the image."""
    from halluguard import sandbox

    right = total = 0
    for sample in sandbox.scenes(8):
        names = set(sample.names)
        for name in [*sorted(names)[:2], *[c for c in sandbox.CATEGORIES if c not in names][:2]]:
            ((answer,),) = vqa.judge([sample.image], [[Question("attribute", name, "present")]])
            if answer is not None:
                right += (answer > 0.5) == (name in names)
                total += 1
    assert total >= 20
    assert right / total > 0.75


def test_an_answer_depends_on_its_question_alone(vqa):
    from halluguard import sandbox

    image = sandbox.scenes(1)[0].image
    questions = [Question("attribute", name, "present") for name in ("dog", "cat", "car")]
    together = vqa.judge([image], [questions])[0]
    assert together == [vqa.judge([image], [[q]])[0][0] for q in questions]


def test_a_model_that_fails_is_an_error_and_not_a_no(vqa, monkeypatch):
    question = Question("attribute", "dog", "brown", Box("dog", 1, (0, 0, 50, 50)))
    monkeypatch.setattr(vqa.model, "forward", lambda *a, **k: 1 / 0)
    with pytest.raises(ExpertError, match="ZeroDivisionError"):
        vqa.judge([Image.new("RGB", (64, 64))], [[question]])


def test_a_model_that_says_neither_yes_nor_no_could_not_tell(vqa):
    deaf = VisualQuestions(vqa.model, vqa.processor, attribute="describe the image", heard=0.5)
    assert deaf.judge([Image.new("RGB", (64, 64))], [[Question("attribute", "dog", "brown")]]) == [[None]]


# Ensembles


class Fixed:
    """Finds what it is told, or fails."""

    needs_image = False

    def __init__(self, name, answers, error=None):
        self.name, self.answers, self.error = name, answers, error

    def covers(self, phrase):
        return phrase in self.answers

    def detect(self, images, phrases):
        if self.error:
            raise self.error
        return [[Box(p, s, b, i) for i, p in enumerate(row) for s, b in self.answers[p]] for row in phrases]


A = Fixed("a", {"dog": [(0.8, (0, 0, 10, 10))], "cat": []})
B = Fixed("b", {"dog": [(0.4, (1, 0, 11, 10)), (0.6, (50, 50, 60, 60))]})


@pytest.mark.parametrize(
    ("combination", "weights", "expected"),
    [
        ("any", None, [0.8, 0.6]),
        ("all", None, [0.4]),
        ("mean", None, [0.6, 0.3]),
        ("weighted", [3, 1], [0.7, 0.15]),
    ],
)
def test_experts_are_combined_as_stated(combination, weights, expected):
    expert = Ensemble([A, B], combination, weights=weights)
    (found,) = expert.detect([1], [["dog"]])
    assert [box.score for box in found] == pytest.approx(expected)
    assert combination in expert.name


def test_an_expert_that_does_not_cover_a_phrase_has_no_say_in_it():
    expert = Ensemble([B, A], "all")
    (found,) = expert.detect([1], [["cat", "dog"]])
    assert [(box.label, box.phrase, box.score) for box in found] == [("dog", 1, 0.4)]
    assert not expert.covers("bus")
    with pytest.raises(ExpertError, match="covers"):
        expert.detect([1], [["bus"]])


@pytest.mark.parametrize("error", [ExpertError("gone"), RuntimeError("gone")])
def test_a_failing_expert_is_an_error_and_never_absence(error):
    with pytest.raises(ExpertError, match="gone"):
        Ensemble([A, Fixed("c", {"dog": []}, error)], "any").detect([1], [["dog"]])
    with pytest.raises(ExpertError):
        Ensemble([KnownObjects({1: ["dog"]}), A]).detect([2], [["dog"]])


@pytest.mark.parametrize(
    ("experts", "options"),
    [
        ([], {}),
        ([A], {"combination": "vote"}),
        ([A, B], {"combination": "weighted"}),
        ([A, B], {"combination": "weighted", "weights": [1]}),
        ([A, B], {"combination": "mean", "weights": [1, 1]}),
        ([A, B], {"combination": "weighted", "weights": [1, -1]}),
    ],
)
def test_ensembles_that_mean_nothing_are_refused(experts, options):
    with pytest.raises(SettingsError):
        Ensemble(experts, **options)


class Says:
    """A property expert with one answer."""

    needs_image = False

    def __init__(self, name, answer, covered=True):
        self.name, self.answer, self.covered, self.asked = name, answer, covered, 0

    def covers(self, question):
        return self.covered

    def judge(self, images, questions):
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return [[self.answer for _ in row] for row in questions]


@pytest.mark.parametrize(
    ("combination", "answers", "expected"),
    [
        ("first", [None, 0.2, 0.9], 0.2),
        ("any", [0.3, None, 0.9], 0.9),
        ("all", [0.3, None, 0.9], 0.3),
        ("mean", [0.3, None, 0.9], 0.6),
        ("mean", [None, None], None),
    ],
)
def test_property_experts_are_combined_and_may_all_be_unsure(combination, answers, expected):
    experts = [Says(str(i), answer) for i, answer in enumerate(answers)]
    found = PropertyEnsemble(experts, combination).judge([None], [[Question("attribute", "car", "red")]])[0][0]
    assert found is None if expected is None else found == pytest.approx(expected)


def test_the_first_sure_expert_spares_the_others_and_failures_are_errors():
    sure, dear = Says("sure", 0.9), Says("dear", 0.1)
    asked = [[Question("attribute", "car", "red")]]
    assert PropertyEnsemble([Says("no", 0.0, covered=False), sure, dear]).judge([None], asked) == [[0.9]]
    assert dear.asked == 0
    with pytest.raises(ExpertError, match="gone"):
        PropertyEnsemble([Says("x", RuntimeError("gone")), sure]).judge([None], asked)
