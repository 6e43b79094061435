"""Other styles of telling what was found, and proposals of a language model under check."""

import pytest

from halluguard.correction import correct
from halluguard.correction.claims.extract import extract
from halluguard.correction.rewriting.llm_rewriter import violations
from halluguard.correction.rewriting.replacements import without_notes
from halluguard.correction.verification import verify
from halluguard.errors import SettingsError
from halluguard.records import apply_edits


@pytest.fixture
def told(scripted):
    def tell(text, *, question=None, **options):
        expert = scripted({name: [0.9] for name in ("dog", "person", "man", "street")})
        answer = correct(text, "x", expert, question, **options)
        assert apply_edits(text, answer.edits) == answer.text
        return answer

    return tell


def test_hedge_and_annotate(told):
    text = "A man walks a dog and a cat."
    assert told(text, style="hedge").text == "A man walks a dog and possibly a cat."
    noted = told(text, style="annotate").text
    assert noted == "A man [0, 0, 10, 10] walks a dog [0, 0, 10, 10] and a cat [not found]."
    assert without_notes(noted) == text


@pytest.mark.parametrize("style", ["hedge", "annotate", "delete"])
def test_a_second_pass_changes_nothing(told, style):
    once = told("A cat sits. A man walks a dog and a cat.", style=style).text
    assert told(once, style=style).text == once


def test_an_unknown_style_is_refused(told):
    with pytest.raises(SettingsError, match="style must be one of"):
        told("A cat.", style="remove")


DRAFT = "A man walks a dog and a cat down the long street."


@pytest.mark.parametrize(
    ("proposal", "complaint"),
    [
        ("A man walks a dog down the long street.", None),
        ("A man walks a dog down the long street, but no cat.", None),
        ("A man walks a dog and a bird down the long street.", "adds 'bird'"),
        ("A man walks a dog and a cat down the long street.", "still says there is 'cat'"),
        ("A man walks down the long street with his hands.", "leaves out 'dog'"),
        ("A man walks two dogs down the long street.", "adds 'two dogs'"),
        ("A man walks a brown dog down the long street.", "adds 'brown dog'"),
        ("A man, dog.", "times the words"),
        ("As an AI, I see a man who walks a dog down it.", "talks about itself"),
        ("A man walks no dog down the long street.", "'dog'"),
        ("", "empty"),
    ],
)
def test_a_proposal_may_add_nothing_and_lose_nothing(scripted, proposal, complaint):
    claims = extract(DRAFT)
    verdicts = verify(claims, "x", scripted({"dog": [0.9], "man": [0.9], "street": [0.9]}))
    found = violations(DRAFT, claims, verdicts, proposal)
    assert found == [] if complaint is None else any(complaint in why for why in found), found


def test_a_bad_proposal_is_asked_for_again_and_then_the_rules_speak(told):
    heard = []

    def stubborn(messages):
        heard.append(messages)
        return "A man walks a unicorn."

    answer = told(DRAFT, proposer=stubborn)
    assert answer.text == told(DRAFT).text
    assert len(heard) == 3
    assert "unicorn" in heard[1][-1]["content"]
    assert answer.settings["proposer"]["accepted"] is False


def test_a_good_proposal_is_taken_and_one_that_raises_is_survived(told):
    answer = told(DRAFT, proposer=lambda messages: "A man walks a dog down the long street.")
    assert answer.text == "A man walks a dog down the long street."
    assert answer.settings["proposer"]["accepted"] is True

    def broken(messages):
        raise TimeoutError("offline")

    assert told(DRAFT, proposer=broken).text == told(DRAFT).text
