"""AMBER by hand: what counts as a noun, what as a hallucination, and the figures the official code prints."""

import pytest

from halluguard.errors import InputError, SettingsError
from halluguard.metrics import amber

LEXICON = amber.Lexicon({"dog": ["puppy"], "beach": ["sand", "shore"], "kite": [], "person": ["man"], "boat": []})
ANNOTATIONS = [
    {"id": 1, "type": "generative", "truth": ["dog", "beach"], "hallu": ["kite", "person"]},
    {"id": 2, "type": "generative", "truth": ["boat"], "hallu": ["dog"]},
    {"id": 3, "type": "discriminative-hallucination", "truth": "no"},
    {"id": 4, "type": "discriminative-attribute-state", "truth": "yes"},
    {"id": 5, "type": "discriminative-attribute-number", "truth": "no"},
    {"id": 6, "type": "relation", "truth": "yes"},
]


def captions(responses, similarity=None, **how):
    nouns = str.split  # captions of these tests are lists of base forms
    return amber.generative(
        responses, ANNOTATIONS, LEXICON, similarity=similarity, nouns=nouns, resamples=how.pop("resamples", 0), **how
    )


def test_the_definition_by_hand():
    """Caption 1 names a truth by an associate, a lure, and a word nobody knows; caption 2 only the truth."""
    score = captions({1: "puppy kite quasar", 2: "boat boat"})
    assert score.counts["nouns"] == 4, "words that relation.json lacks are not considered"
    assert score.values == pytest.approx({"CHAIR": 1 / 4, "Cover": 2 / 3, "Hal": 1 / 2, "Cog": 1 / 3})
    assert score.details["per_caption"] == [[1, ["puppy", "kite"], ["kite"]], [2, ["boat", "boat"], []]]


def test_the_official_figures_have_their_thousandth():
    score = captions({1: "puppy kite quasar", 2: "boat boat"})
    assert score.details["official"] == {
        "CHAIR": round(1 / 4.001 * 100, 1),
        "Cover": round(2 / 3.001 * 100, 1),
        "Hal": round(100 - 1 / 2.001 * 100, 1),
        "Cog": round(1 / 3.001 * 100, 1),
    }


def test_safe_words_stay_in_the_denominator():
    lexicon = amber.Lexicon({**LEXICON.associates, "orange": []})
    score = amber.generative({2: "orange"}, ANNOTATIONS, lexicon, similarity=None, nouns=str.split, resamples=0)
    assert (score.counts["nouns"], score.counts["hallucinated"]) == (1, 0)


def test_a_similar_word_is_safe_above_the_threshold_and_not_at_it():
    def at(value):
        return captions({2: "kite"}, similarity=lambda a, b: value if {a, b} == {"kite", "boat"} else 0.0)

    assert at(0.81)["CHAIR"] == 0
    assert at(0.8)["CHAIR"] == 1


def test_no_noun_is_zero_with_a_warning():
    with pytest.warns(UserWarning, match="CHAIR would be 0/0"):
        assert captions({1: "nothing here"})["CHAIR"] == 0


def test_yes_and_no_by_hand():
    """Positive is no; "Yes." is wrong when read exactly, right when read by its first word."""
    said = {3: "No", 4: "Yes.", 5: "Yes", 6: "Yes"}
    exact = amber.discriminative(said, ANNOTATIONS, resamples=0)
    assert exact["acc"] == 2 / 4
    assert (exact["precision"], exact["recall"]) == (1.0, 1 / 2)
    assert exact["f1"] == pytest.approx(2 / 3)
    assert exact.counts["unread"] == 1
    kind = amber.discriminative(said, ANNOTATIONS, reading="first-word", resamples=0)
    assert kind["acc"] == 3 / 4
    assert kind["state.acc"] == 1
    assert kind["number.acc"] == 0
    assert exact.details["official"]["existence"]["precision"] == round(1 / 1.001 * 100, 1)


def test_the_score_joins_both_halves():
    score = amber.amber_score(
        captions({1: "puppy kite", 2: "boat"}), amber.discriminative({3: "No", 5: "No"}, ANNOTATIONS, resamples=0)
    )
    assert score == pytest.approx((100 - 100 / 3 + 100) / 2)


def test_the_signature_names_the_similarity():
    score = captions({1: "dog"}, similarity=lambda a, b: 0.0, similarity_name="en_core_web_lg")
    assert "task:generative|similarity:en_core_web_lg>0.8|n:1" in score.signature


@pytest.mark.parametrize(
    ("responses", "message"),
    [
        ({}, "at least one generative response"),
        ({3: "No"}, "at least one generative response"),
        ({99: "dog"}, "must answer an annotated item"),
        ({"one": "dog"}, "must answer an annotated item"),
        ({1: None}, "must be a string"),
    ],
)
def test_bad_responses_are_told(responses, message):
    with pytest.raises(InputError, match=message):
        captions(responses)


def test_an_object_outside_the_lexicon_is_told():
    with pytest.raises(InputError, match="lacks 'unicorn'"):
        amber.generative(
            {1: "dog"},
            [{"id": 1, "type": "generative", "truth": ["unicorn"]}],
            LEXICON,
            similarity=None,
            nouns=str.split,
        )


def test_an_unknown_reading_is_told():
    with pytest.raises(SettingsError, match="reading must be"):
        amber.discriminative({3: "No"}, ANNOTATIONS, reading="loose")  # type: ignore[arg-type]


@pytest.mark.reference
def test_nouns_are_those_of_the_official_code(nltk_with_data):
    """Plural nouns in base form, verbs left out, and a capitalised word kept as it is."""
    from halluguard.metrics.wordnet import nouns

    assert nouns("Dogs run on the beach with two kites.") == ["Dogs", "beach", "kite"]
