"""Property experts, the closer look, calibration, written boxes: what the verdicts make of them."""

import pytest
from PIL import Image

from halluguard.correction.claims.extract import extract
from halluguard.correction.verification import Thresholds, verify
from halluguard.records import Box


class Expert:
    """Property expert from a table: (name, value) -> probability or None."""

    name, needs_image = "expert", False

    def __init__(self, table, fails=False, thresholds=(0.6, 0.3)):
        self.table, self.fails, self.thresholds, self.calls = table, fails, thresholds, 0

    def covers(self, question):
        return question.value != "wooden"

    def judge(self, images, questions):
        self.calls += 1
        if self.fails:
            raise RuntimeError("no GPU")
        return [[self.table.get((q.name, q.value), 0.05) for q in asked] for asked in questions]


def verdict(text, kind, detector, expert=None, **settings):
    claims = extract(text)
    verdicts = verify(claims, "image", detector, properties=expert, **settings)
    (found,) = [v for c, v in zip(claims, verdicts, strict=True) if c.kind == kind]
    return found


@pytest.mark.parametrize(
    ("table", "decision", "instead"),
    [
        ({("car", "red"): 0.9}, "supported", None),
        ({("car", "red"): 0.45}, "unsure", None),
        ({("car", "red"): None}, "unsure", None),
        ({("car", "blue"): 0.9}, "contradicted", "blue"),
        ({("car", "blue"): 0.9, ("car", "green"): 0.8}, "contradicted", None),
        ({}, "contradicted", None),
    ],
)
def test_a_colour_is_judged_and_put_right_only_where_it_is_clear(scripted, table, decision, instead):
    found = verdict("A red car.", "attribute", scripted({"car": [0.9]}), Expert(table))
    assert (found.decision, found.replacement) == (decision, instead)


def test_one_of_several_things_is_enough(scripted):
    table = {("car", "red"): 0.9}
    assert verdict("A red car.", "attribute", scripted({"car": [0.9, 0.8]}), Expert(table)).decision == "supported"


def test_what_no_expert_covers_is_unverifiable(scripted):
    there = scripted({"car": [0.9], "table": [0.9]})
    assert verdict("A red car.", "attribute", there).decision == "unverifiable"
    assert verdict("A wooden table.", "attribute", there, Expert({})).decision == "unverifiable"


def test_a_failing_property_expert_is_an_error_of_its_claims_alone(scripted):
    claims = extract("A red car.")
    verdicts = verify(claims, "image", scripted({"car": [0.9]}), properties=Expert({}, fails=True))
    assert [(v.decision, v.error) for v in verdicts] == [("supported", False), ("unverifiable", True)]
    assert "no GPU" in verdicts[1].reason


def test_a_property_of_nothing_is_contradicted_without_asking(scripted):
    expert = Expert({("car", "red"): 0.9})
    assert verdict("A red car.", "attribute", scripted({}), expert).decision == "contradicted"
    assert expert.calls == 0


class OnlyUpClose:
    """Find a dog in one part of the image only."""

    name, needs_image, thresholds = "near", True, (0.5, 0.3)

    def __init__(self):
        self.calls = 0

    def covers(self, phrase):
        return True

    def detect(self, images, phrases):
        self.calls += 1
        return [
            [Box("dog", 0.8, (0.0, 0.0, 5.0, 5.0), p.index("dog"))] if image.width < 700 and "dog" in p else []
            for image, p in zip(images, phrases, strict=True)
        ]


def test_what_is_seen_on_a_closer_look_is_not_called_absent():
    picture, claims = Image.new("RGB", (800, 600)), extract("A dog and a cat.")
    expert = OnlyUpClose()
    assert [v.decision for v in verify(claims, picture, expert)] == ["unsure", "contradicted"]
    assert expert.calls == 2
    assert [v.decision for v in verify(claims, picture, expert, second_look=False)] == ["contradicted"] * 2
    small = OnlyUpClose()
    verify(extract("A cat."), Image.new("RGB", (300, 200)), small)
    assert small.calls == 1


def test_confidence_says_whether_it_is_calibrated(scripted):
    class Fitted:
        def probability(self, label, score):
            return 0.97 if score > 0.5 else 0.02

    claims, expert = extract("A dog and a cat."), scripted({"dog": [0.9]})
    raw, fitted = verify(claims, "x", expert), verify(claims, "x", expert, calibration=Fitted())
    assert [v.calibrated for v in raw] == [False, False]
    assert [(v.calibrated, v.confidence) for v in fitted] == [(True, 0.97), (True, 0.98)]


def test_thresholds_of_a_label_hold_for_the_words_it_covers():
    assert Thresholds(0.5, 0.3, {"person": (0.9, 0.1)}).of("man") == (0.9, 0.1)


@pytest.mark.parametrize(
    "text",
    [
        "<grounding>An image of<phrase> a dog</phrase><object><patch_index_0000><patch_index_0527></object>.",
        "A dog[0.000,0.000,0.500,0.532] is here.",
        "<ref>a dog</ref><box>(0,0),(500,532)</box>",
        "<ref>a dog</ref><box>[[0, 0, 500, 532]]</box>",
        "a dog<loc_0><loc_0><loc_500><loc_532>",
    ],
    ids=["kosmos-2", "shikra", "qwen-vl", "internvl", "florence-2"],
)
def test_boxes_that_models_write_are_read_as_geometry(text):
    thing, place = (next(c for c in extract(text) if c.kind == kind) for kind in ("existence", "relation"))
    assert text[thing.start : thing.end] == thing.phrase == "dog"
    assert place.relation == "at"
    assert place.written_box == pytest.approx((0, 0, 0.5, 0.53125), abs=0.005)


@pytest.mark.parametrize(
    ("box", "decision"), [("0,0,0.5,1", "supported"), ("0.1,0,0.9,1", "unsure"), ("0.8,0,1,1", "contradicted")]
)
def test_a_written_box_is_held_against_what_was_found(box, decision):
    class Left(OnlyUpClose):
        def detect(self, images, phrases):
            return [[Box("dog", 0.9, (0.0, 0.0, 50.0, 100.0), 0)] for _ in images]

    claims = extract(f"A dog[{box}].")
    assert verify(claims, Image.new("RGB", (100, 100)), Left())[1].decision == decision
