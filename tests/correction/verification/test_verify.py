"""Verdicts: the two thresholds, what is never absence, synonyms and wider words, counts, shared passes."""

import pytest

from halluguard.correction import correct
from halluguard.correction.claims.extract import extract
from halluguard.correction.verification import Thresholds, verify, verify_many
from halluguard.detectors.precomputed import KnownObjects
from halluguard.errors import SettingsError
from halluguard.records import Box


def decisions(text, expert, **settings):
    claims = extract(text)
    verdicts = verify(claims, "image", expert, **settings)
    assert [v.claim for v in verdicts] == list(range(len(claims)))
    return {(c.kind, c.name): v.decision for c, v in zip(claims, verdicts, strict=True)}


@pytest.mark.parametrize(
    ("score", "asserted", "denied"),
    [
        (0.9, "supported", "contradicted"),
        (0.5, "supported", "contradicted"),
        (0.4, "unsure", "unsure"),
        (0.3, "unsure", "unsure"),
        (0.29, "contradicted", "supported"),
    ],
)
def test_two_thresholds_and_a_denial_reads_them_from_the_other_end(scripted, score, asserted, denied):
    expert = scripted({"dog": [score]})
    assert decisions("There is a dog.", expert)["existence", "dog"] == asserted
    assert decisions("There is no dog.", expert)["existence", "dog"] == denied


def test_what_the_expert_does_not_cover_is_unverifiable(scripted):
    assert decisions("A unicorn.", scripted({}, blind=["unicorn"]))["existence", "unicorn"] == "unverifiable"


def test_a_failing_expert_is_an_error_and_never_absence(scripted):
    claims = extract("A dog and a cat.")
    for verdict in verify(claims, "broken", scripted({}, fails=["broken"])):
        assert (verdict.decision, verdict.error) == ("unverifiable", True)
        assert "out of order" in verdict.reason


def test_one_broken_image_does_not_take_its_batch_along(scripted):
    claims = [extract("A dog.") for _ in range(5)]
    images = ["a", "b", "broken", "c", "d"]
    verdicts = verify_many(claims, images, scripted({"dog": [0.9]}, fails=["broken"]))
    assert [v[0].error for v in verdicts] == [False, False, True, False, False]
    assert [v[0].decision for v in verdicts if not v[0].error] == ["supported"] * 4


@pytest.mark.parametrize(
    "boxes",
    [
        [Box("dog", 0.9, (0.0, float("nan"), 1.0, 1.0), 0)],
        [Box("dog", 0.9, (0.0, 0.0, 1.0, 1.0), 7)],
        [Box("dog", 0.9, (0.0, 0.0, 1.0, 1.0), None)],
    ],
    ids=["nan", "phrase out of range", "no phrase"],
)
def test_boxes_that_make_no_sense_are_an_expert_error(scripted, boxes):
    expert = scripted({})
    expert.detect = lambda images, phrases: [boxes]
    (verdict,) = verify(extract("A dog."), "image", expert)
    assert verdict.error


def test_captions_of_one_image_share_one_pass(scripted):
    expert = scripted({"dog": [0.9]})
    verify_many([extract("A dog."), extract("A cat."), extract("A dog and a bird.")], ["x", "x", "y"], expert)
    ((images, phrases),) = expert.calls
    assert images == ["x", "y"]
    assert {"dog", "cat"} <= set(phrases[0])


def test_nothing_to_ask_means_no_pass(scripted):
    expert = scripted({})
    verify(extract("The picture has a nice mood."), "image", expert)
    assert not expert.calls


def test_synonyms_and_kinds_support(scripted):
    assert decisions("A sofa.", scripted({"couch": [0.9]}))["existence", "sofa"] == "supported"
    blind = scripted({"bus": [0.9]}, blind=["vehicle"])
    assert decisions("A vehicle.", blind)["existence", "vehicle"] == "supported"


def test_only_a_wider_word_is_found(scripted):
    """A person is there; whether it is a man, an expert that knows both words could not tell."""
    assert decisions("A man.", scripted({"person": [0.9]}))["existence", "man"] == "unsure"
    assert decisions("A man.", scripted({"person": [0.9]}, blind=["man"]))["existence", "man"] == "supported"
    assert decisions("A man.", scripted({}, blind=["man"]))["existence", "man"] == "contradicted"


def test_one_of_the_alternatives_is_enough(scripted):
    found = decisions("A heron or pelican.", scripted({"pelican": [0.9]}))
    assert set(found.values()) == {"supported"}
    assert set(decisions("A heron or pelican.", scripted({})).values()) == {"contradicted"}


@pytest.mark.parametrize("text", ["Is there a dog?", "A statue of a dog.", "A toy dog."])
def test_what_claims_no_presence_is_not_judged(scripted, text):
    assert decisions(text, scripted({}))["existence", "dog"] == "unverifiable"


@pytest.mark.parametrize(
    ("text", "scores", "decision"),
    [
        ("Two dogs are running.", [0.9, 0.9], "supported"),
        ("Three dogs are running.", [0.9, 0.9], "contradicted"),
        ("Three dogs are running.", [0.9, 0.9, 0.4], "unsure"),
        ("At least two dogs.", [0.9] * 5, "supported"),
        ("At most two dogs.", [0.9] * 5, "unsure"),
        ("Several dogs.", [0.9], "contradicted"),
        ("Several dogs.", [0.9] * 3, "supported"),
        ("Two dogs are running.", [], "contradicted"),
    ],
)
def test_counts_are_judged_at_both_thresholds(scripted, text, scores, decision):
    assert decisions(text, scripted({"dog": scores}))["count", "dog"] == decision


def test_thresholds_per_label(scripted):
    expert, own = scripted({"dog": [0.4]}), Thresholds(0.5, 0.3, {"dog": (0.35, 0.1)})
    assert decisions("A dog.", expert, thresholds=own)["existence", "dog"] == "supported"


def test_thresholds_out_of_order_are_refused():
    with pytest.raises(SettingsError, match="low <= high"):
        Thresholds(0.2, 0.5)
    with pytest.raises(SettingsError, match="'dog'"):
        Thresholds(0.5, 0.2, {"dog": (0.1, 0.9)})


@pytest.mark.parametrize("name", ["bridge", "tree", "building", "barn", "flower"])
def test_whether_scenery_can_be_judged_is_the_experts_own_word(scripted, name):
    """A zero-shot detector is asked for a bridge; a list of COCO names leaves it unverifiable, and it stays."""
    text = f"A dog sits near a {name}."
    assert decisions(text, scripted({"dog": [0.9], name: [0.9]}))["existence", name] == "supported"
    assert decisions(text, scripted({"dog": [0.9]}))["existence", name] == "contradicted"
    assert decisions(text, KnownObjects({"image": ["dog"]}))["existence", name] == "unverifiable"
    assert (
        correct(f"A kite flies over a {name}.", "image", KnownObjects({"image": ["dog"]})).text == f"There is a {name}."
    )


@pytest.mark.parametrize("text", ["It is night.", "The city sleeps."])
def test_times_and_regions_are_never_asked(scripted, text):
    expert = scripted({})
    verify(extract(text), "image", expert)
    assert not expert.calls


def test_a_number_of_what_may_be_there_under_another_name_is_not_contradicted():
    """An expert that knows cars but no vehicles found no car: it has not counted the vehicles."""
    answer = correct("There are several vehicles.", "1", KnownObjects({"1": ["person"]}))
    (count,) = [v for v in answer.verdicts if answer.claims[v.claim].kind == "count"]
    assert count.decision == "unsure"
    assert not answer.edits
