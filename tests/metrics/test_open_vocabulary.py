"""Captions against references: what people named is borne out, what nobody named stands out."""

import json
import re

import pytest

from halluguard.cli import main
from halluguard.errors import InputError, SettingsError
from halluguard.metrics import open_vocabulary, word_relations
from halluguard.metrics.open_vocabulary import score, words
from halluguard.metrics.score import compare

pytestmark = pytest.mark.usefixtures("nltk_with_data")

REFERENCES = [
    "A boy holding a tennis racket on a staircase.",
    "A little boy in a hoodie holds a racquet",
    "Toddler boy sits on the stairs holding a tennis racket.",
]


def highest(caption, references=REFERENCES, detections=()):
    return max(words(caption, references, detections), key=lambda word: word.score)


# --- laws -----------------------------------------------------------------------------------------------------


def test_a_reference_is_borne_out_by_itself():
    limit = open_vocabulary.fitted().threshold
    for reference in REFERENCES:
        assert all(word.score < limit for word in words(reference, REFERENCES))


def test_the_order_of_the_references_does_not_matter():
    caption = "A boy with a pizza sits on red stairs."
    assert words(caption, REFERENCES) == words(caption, REFERENCES[::-1])


def test_the_greatest_similarity_is_that_of_the_pairs_one_by_one():
    words_of_references = frozenset(" ".join(REFERENCES).lower().replace(".", "").split()) | {"animal", "entity", "xq"}
    for word in ("dog", "child", "racket", "stairway", "banana", "person", "thing", "object", "qqq"):
        pairs = [word_relations.similarity(word, other) for other in words_of_references]
        assert word_relations.greatest_similarity(word, words_of_references) == max(pairs)
    assert word_relations.greatest_similarity("dog", frozenset()) == 0


def test_a_detection_bears_a_word_out():
    without = highest("A boy with a pizza.")
    assert without.word == "pizza"
    assert without.score > open_vocabulary.fitted().threshold
    (found,) = [word for word in words("A boy with a pizza.", REFERENCES, ["pizza"]) if word.word == "pizza"]
    assert found.score < without.score


# --- tables ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("true", "false"),
    [
        ("A child with a racket.", "A child with a banana."),  # more general than "boy"
        ("A boy on the stairs.", "A boy on the couch."),
        ("A racquet.", "A dog."),
    ],
)
def test_a_replaced_object_scores_higher(true, false):
    assert highest(false).score > highest(true).score
    assert highest(false).word in re.findall(r"\w+", false)


def test_another_number_and_another_colour_score_higher():
    references = ["Two red apples on a plate.", "A plate with two apples.", "Two apples, red and round."]
    of = {word.word: word.score for word in words("Two red apples and three green apples.", references)}
    assert of["three"] > of["Two"]
    assert of["green"] > of["red"]


# --- errors ---------------------------------------------------------------------------------------------------


def test_an_image_without_references_is_refused():
    with pytest.raises(InputError, match="image 2 has no reference"):
        score([(1, "A boy."), (2, "A dog.")], {1: REFERENCES})
    with pytest.raises(InputError, match="at least one reference"):
        words("A boy.", [])
    with pytest.raises(InputError, match="at least one caption"):
        score([], {1: REFERENCES})
    with pytest.raises(SettingsError, match="between 0 and 1"):
        score([(1, "A boy.")], {1: REFERENCES}, threshold=1)


# --- end to end -----------------------------------------------------------------------------------------------


def test_scores_are_counted_by_image_and_compared():
    plain = score([(1, "A boy with a pizza."), (2, "A dog.")], {1: REFERENCES, 2: ["A dog runs."]}, resamples=50)
    better = score([(1, "A boy with a racket."), (2, "A dog.")], {1: REFERENCES, 2: ["A dog runs."]}, resamples=50)
    assert (plain["captions"], better["captions"]) == (0.5, 0)
    assert plain.details["flagged"][0]["words"] == ["pizza"]
    assert compare(plain, better, resamples=50)["captions"]["difference"] == -0.5


def test_the_command_reads_files_and_writes_the_score(tmp_path, capsys, monkeypatch):
    captions, references = tmp_path / "captions.jsonl", tmp_path / "references.json"
    captions.write_text('{"image_id": 1, "caption": "A boy with a pizza."}\n', encoding="utf-8")
    references.write_text(json.dumps({"1": REFERENCES}), encoding="utf-8")
    arguments = ["eval", "open", "--captions", str(captions), "--references", str(references)]
    monkeypatch.setattr("sys.argv", ["halluguard", *arguments, "--json", str(tmp_path / "score.json")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert "captions      100.0" in capsys.readouterr().out
    references.write_text('{"1": "A boy."}', encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code
    assert "must be a list of texts" in capsys.readouterr().err


@pytest.mark.reference
def test_published_foils_stand_out(reference_data):
    """A hundred captions of nocaps-FOIL, each with its foil: the foil's highest word is the higher one."""
    import gzip

    with gzip.open(reference_data / "human" / "nocaps_foil.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file][:100]
    higher = sum(
        highest(row["foil"], row["references"]).score > highest(row["baseline"], row["references"]).score
        for row in rows
    )
    assert higher >= 80
