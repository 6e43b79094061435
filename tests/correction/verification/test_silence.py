"""The price of absence: what an expert often misses is not called absent, and several experts vote."""

import pytest

from halluguard import correct
from halluguard.correction.verification.voting import Vote, agreed
from halluguard.detectors import Ensemble, KnownBoxes, KnownObjects
from halluguard.errors import SettingsError
from halluguard.records import Box, Verdict
from halluguard.reliability import Rates, joint_recall, read_rates


def decision(text, detector):
    return correct(text, 1, detector).verdicts[0].decision


def test_a_list_that_does_not_name_everything_contradicts_nothing():
    assert decision("A dog.", KnownObjects({1: ["cat"]})) == "contradicted"
    verdict = correct("A dog.", 1, KnownObjects({1: ["cat"]}, exhaustive=False)).verdicts[0]
    assert verdict.decision == "unsure"
    assert "70%" in verdict.reason
    assert decision("A cat.", KnownObjects({1: ["cat"]}, exhaustive=False)) == "supported"


@pytest.mark.parametrize(("recall", "expected"), [(0.79, "unsure"), (0.8, "contradicted"), ({"dog": 0.5}, "unsure")])
def test_recall_per_label_decides_what_silence_means(recall, expected):
    assert decision("A dog.", KnownObjects({1: []}, recall=recall)) == expected
    assert decision("A puppy.", KnownObjects({1: []}, recall=recall)) == expected, "a kind has the recall of its label"


def test_two_silent_experts_say_more_than_one():
    def tags(name, objects):
        return KnownObjects({1: objects}, exhaustive=False, name=name)

    both = Ensemble([tags("detr", []), tags("ram", [])], "any")
    verdict = correct("A dog.", 1, both).verdicts[0]
    assert verdict.decision == "contradicted"
    assert "detr" in verdict.reason
    assert verdict.expert == "detr and ram"
    assert decision("A dog.", Ensemble([tags("detr", ["dog"]), tags("ram", [])], "any")) == "supported"
    witness = KnownObjects({1: []}, recall=0.0)
    assert decision("A dog.", Ensemble([tags("detr", []), witness], "any")) == "unsure", "a witness is never silent"


@pytest.mark.parametrize(
    ("agree", "votes", "expected"),
    [
        ("any", "sc", "supported"),
        ("any", "uc", "unsure"),
        ("any", "cc", "contradicted"),
        ("any", "c-", "contradicted"),
        ("all", "ss", "supported"),
        ("all", "sc", "contradicted"),
        ("all", "su", "unsure"),
        ("all", "s-", "supported"),
        ("votes", "ssc", "supported"),
        ("votes", "scc", "contradicted"),
        ("votes", "sc", "unsure"),
        ("votes", "suc", "unsure"),
        ("votes", "--", "unverifiable"),
    ],
)
def test_how_verdicts_become_one(agree, votes, expected):
    names = {"s": "supported", "u": "unsure", "c": "contradicted", "-": "unverifiable"}
    assert agreed([Vote(Verdict(0, names[v], 0.9, expert=v)) for v in votes], agree).decision == expected


def test_a_detector_with_scores_is_not_taken_at_its_word_on_small_things():
    scored = KnownBoxes({1: [Box("dog", 0.6, (0, 0, 9, 9))]}, labels=["dog", "scissors", "bus"])
    assert decision("A pair of scissors.", scored) == "unsure"
    assert decision("A bus.", scored) == "contradicted"
    truth = KnownBoxes({1: [Box("dog", 1.0, (0, 0, 9, 9))]}, labels=["dog", "scissors"])
    assert decision("A pair of scissors.", truth) == "contradicted"


def test_fewer_than_claimed_is_unsure_where_some_are_missed():
    boxes = {1: [Box("cup", 1.0, (0, 0, 9, 9))]}
    assert correct("Three cups.", 1, KnownBoxes(boxes, recall=0.5)).text == "Three cups."
    assert correct("There are three cups.", 1, KnownBoxes(boxes)).text == "There is one cup."


@pytest.mark.parametrize(
    ("text", "there"),
    [
        ("A laptop sits on top of a desk.", ["laptop"]),
        ("A man is reaching for something in the truck bed.", ["person", "truck"]),
        ("A fire hydrant sits in a bed of flowers.", ["fire hydrant"]),
        ("The laptop has an mp3 player next to it.", ["laptop"]),
        ("Two of the elephants are adults, while the third is a young calf.", ["elephant"]),
        ("There is an elephant with a baby.", ["elephant"]),
        ("A giraffe with its calf.", ["giraffe"]),
        ("A skateboarder rides in a cement bowl.", ["person", "skateboard"]),
        ("Two dogs eat from a food container.", ["dog"]),
        ("A cat sleeps on the seat of a moped.", ["cat", "motorcycle"]),
        ("Tools lie in the bed of a pickup.", ["truck"]),
        ("A garden bed with a record player.", []),
    ],
)
def test_words_that_are_not_the_category_are_left_alone(text, there):
    assert correct(text, 1, KnownObjects({1: there})).text == text


@pytest.mark.parametrize("text", ["A baby in a crib.", "A tennis player.", "A man lies on a bed.", "A bowl of soup."])
def test_the_same_words_are_judged_where_they_are_the_category(text):
    assert "contradicted" in [v.decision for v in correct(text, 1, KnownObjects({1: []})).verdicts]


def test_a_list_that_has_the_word_itself_is_believed():
    assert decision("A desk.", KnownObjects({1: []}, vocabulary=["desk", "dog"])) == "contradicted"
    assert decision("A desk.", KnownObjects({1: []})) == "unsure"


def test_rates_are_shares(tmp_path):
    assert Rates.of_value({"": 0.5, "dog": 1}).of("puppy") == 1.0
    assert round(joint_recall([0.5, 0.5, 0.0]), 3) == 0.75
    for wrong in (1.5, -0.1, "much"):
        with pytest.raises(SettingsError, match="share"):
            Rates.of_value(wrong)
    (tmp_path / "r.json").write_text('{"dog": 0.9, "": 0.5}')
    assert read_rates(str(tmp_path / "r.json")) == {"dog": 0.9, "": 0.5}
    with pytest.raises(SettingsError, match="check the number or the path"):
        read_rates("nowhere.json")
