"""Written words: quotations are held against what a reader finds in their place."""

import pytest

from halluguard import correct
from halluguard.correction.claims.extract import extract
from halluguard.correction.verification.written_words import compare, plain_words
from halluguard.errors import ExpertError
from halluguard.records import Box

SIGN, SHIRT = (0, 0, 100, 40), (200, 100, 260, 160)


class Reader:
    """A reader that knows its lines, and counts its calls."""

    name, needs_image = "reader", True

    def __init__(self, *lines):
        self.lines, self.calls = list(lines), 0

    def read(self, images):
        self.calls += 1
        return [self.lines for _ in images]


class Boxes:
    """A detector of signs and shirts."""

    name, needs_image = "boxes", True

    def __init__(self, *covered):
        self.covered, self.boxes = covered, {"sign": SIGN, "shirt": SHIRT, "jersey": SHIRT}

    def covers(self, phrase):
        return phrase in self.covered

    def detect(self, images, phrases):
        return [
            [Box(name, 0.9, self.boxes[name], i) for i, name in enumerate(row) if name in self.covered]
            for row in phrases
        ]


def line(text, box=(10, 10, 90, 30), score=0.99):
    return Box(text, score, box)


def verdict(text, reader, detector=None):
    answer = correct(text, object(), detector or Boxes(), properties=[reader])
    (found,) = [v for v in answer.verdicts if answer.claims[v.claim].kind == "text"]
    return found, answer


@pytest.mark.parametrize(
    ("text", "words", "bearer"),
    [
        ('A sign that reads "Main Street" hangs there.', "Main Street", "sign"),
        ("A sign that reads STOP stands there.", "STOP", "sign"),
        ("A poster says NO PARKING ANY TIME.", "NO PARKING ANY TIME", "poster"),
        ("He wears the number 23 on his jersey.", "23", "jersey"),
        ("A bus with the number 42 waits.", "42", "bus"),
        ('Text: "SALE"', '"SALE"', None),
    ],
)
def test_what_is_said_to_be_written_is_a_claim_with_its_bearer(text, words, bearer):
    (claim,) = [claim for claim in extract(text) if claim.kind == "text"]
    assert claim.phrase == words
    assert text[claim.start : claim.end] == words
    assert claim.other_name == bearer


@pytest.mark.parametrize(
    "text", ["The number of people is 5.", "A man reads USA TODAY.", "A TV and a DVD player.", "A BIG SIGN"]
)
def test_numbers_that_count_and_capitals_of_other_kinds_are_not_read(text):
    assert not [claim for claim in extract(text) if claim.kind == "text"]


@pytest.mark.parametrize(
    ("claimed", "lines", "decision"),
    [
        ("STOP", ["stop"], "supported"),
        ("Café du Monde", ["CAFE", "DU MONDE"], "supported"),
        ("Los Angeles", ["LOSANGELES"], "supported"),
        ("no parking any time", ["NO PARKING", "ANY TIME", "TOW AWAY ZONE"], "supported"),
        ("EXIT 24", ["EXIT 24"], "supported"),
        ("ROUTE 66", ["R0UTE 66"], "supported"),
        ("STOP", ["MAIN STREET"], "contradicted"),
        ("Fresh Bread Daily", ["Danger High Voltage"], "contradicted"),
        ("GO", ["GOOGLE"], "unsure"),
        ("STOP", ["SHOP"], "unsure"),
        ("EXIT 24", ["EXIT 25"], "unsure"),
        ("Please return all books before Friday", ["Please return all books before Monday"], "unsure"),
        ("STOP", [], "unsure"),
        ("23", ["MAIN STREET"], "unsure"),
    ],
)
def test_similarity_decides_and_near_misses_never_contradict(claimed, lines, decision):
    boxes = [line(text, (10, 10 + 30 * i, 90, 30 + 30 * i)) for i, text in enumerate(lines)]
    assert compare(claimed, boxes).decision == decision


def test_columns_are_read_too():
    lines = [line("OPEN", (0, 0, 50, 20)), line("NOW", (100, 0, 150, 20)), line("DAILY", (0, 30, 50, 50))]
    assert compare("open daily", lines).decision == "supported"


def test_a_line_that_is_hardly_legible_contradicts_nothing():
    assert compare("STOP", [line("MAIN STREET", score=0.6)]).decision == "unsure"


def test_marks_alone_are_no_words():
    assert plain_words("!?") == []
    assert compare("!?", [line("STOP")]).decision == "unverifiable"


def test_the_place_is_that_of_the_bearer():
    reader = Reader(line("NIKE", (205, 110, 250, 130)), line("STOP"))
    assert verdict('A shirt that says "STOP".', reader, Boxes("shirt"))[0].decision == "unsure", "it stands elsewhere"
    assert verdict('A shirt that says "NIKE".', reader, Boxes("shirt"))[0].decision == "supported"
    found, _ = verdict(
        "A man in a jersey with the number 23.", Reader(line("17", (210, 110, 240, 150))), Boxes("jersey")
    )
    assert found.decision == "contradicted"
    assert found.replacement == "17"


def test_a_wrong_quotation_is_put_right_and_the_rest_stays():
    _, answer = verdict('The sign says "Elm Avenue" in black letters.', Reader(line("MAIN STREET")))
    assert answer.text == 'The sign says "MAIN STREET" in black letters.'
    _, answer = verdict("A sign that reads STOP stands there.", Reader(line("MAIN STREET")))
    assert answer.text == 'A sign that reads "MAIN STREET" stands there.'
    again, answer = verdict(answer.text, Reader(line("MAIN STREET")))
    assert again.decision == "supported"
    assert not answer.edits


def test_what_cannot_be_put_right_is_flagged():
    lines = [line("MAIN STREET"), line("ONE WAY", (10, 60, 90, 80))]
    _, answer = verdict('The sign says "Elm Avenue" in black letters.', Reader(*lines))
    assert answer.text == answer.draft
    assert [edit.decision for edit in answer.edits] == ["flagged"]


def test_the_evidence_is_where_the_words_stand():
    found, _ = verdict('A sign that says "stop".', Reader(line("STOP", (1, 2, 30, 40)), line("ELSE", (50, 2, 90, 40))))
    assert [box.xyxy for box in found.evidence] == [(1, 2, 30, 40)]
    assert found.expert == "reader"
    assert found.reason == "reads 'STOP'"


def test_an_image_is_read_once_and_only_where_words_are_quoted():
    reader = Reader(line("STOP"))
    correct('A sign that says "stop" beside one that says "go".', object(), Boxes(), properties=[reader])
    assert reader.calls == 1
    correct("A dog on a couch.", object(), Boxes(), properties=[reader])
    assert reader.calls == 1


def test_a_failing_reader_is_an_error_and_never_absence():
    class Failing(Reader):
        def read(self, images):
            raise ExpertError("no ink")

    found, answer = verdict('A sign that says "stop".', Failing())
    assert found.error
    assert "no ink" in found.reason
    assert answer.text == answer.draft


def test_without_a_reader_quotations_are_unverifiable():
    answer = correct('A sign that says "stop".', object(), Boxes())
    assert [v.decision for v in answer.verdicts if answer.claims[v.claim].kind == "text"] == ["unverifiable"]
