"""Valid text stays valid: JSON, YAML, tables, HTML, numbered lists, and every byte outside the edited blocks."""

import json
import os
import random
import re
from pathlib import Path

import pytest

from halluguard.correction import correct
from halluguard.correction.claims.extract import extract
from halluguard.correction.rewriting import final_check
from halluguard.correction.text import read_document
from halluguard.detectors.precomputed import KnownObjects
from halluguard.errors import InputError
from halluguard.io import iter_json_lines
from halluguard.records import apply_edits

DATA = Path(os.environ.get("HALLUGUARD_REFERENCE_DATA", "")) / "human" / "modern_answers.jsonl.gz"


def without(text, *absent):
    """The answer corrected by a detector that knows all its objects to be there, but those absent."""
    named = {claim.name for claim in extract(text) if claim.kind == "existence" and claim.polarity == "asserted"}
    known = KnownObjects({0: sorted(named - set(absent))}, vocabulary=named | set(absent))
    return correct(text, 0, known), known


VALID = {
    "JSON": '{"scene": "A dog and a kite are in a park.", "objects": ["dog", "kite"], "n": {"kite": 1, "dog": 2.50}}',
    "fenced JSON": 'Here it is:\n\n```json\n{\n  "objects": [\n    "dog",\n    "kite"\n  ]\n}\n```\nA dog runs.',
    "YAML": "objects:\n  - dog\n  - kite\ncolors:\n  - red",
    "table": "| Object | Place |\n|---|---|\n| Dog | A dog and a kite on grass |\n| Kite | sky |",
    "HTML": "<ul>\n<li>A dog</li>\n<li>A kite</li>\n</ul>",
    "ordered list": "1. A kite is in the air.\n2. A dog runs.\n3. A tree and a kite.\n4. A boat.",
}


@pytest.mark.parametrize("name", VALID)
@pytest.mark.parametrize("absent", [["kite"], ["dog"], ["dog", "kite"]])
def test_valid_structure_stays_valid(name, absent):
    text = VALID[name]
    answer, known = without(text, *absent)
    assert apply_edits(text, answer.edits) == answer.text
    assert final_check.breaks_structure(text, answer.text) == ""
    assert correct(answer.text, 0, known).text == answer.text
    if name == "JSON":
        assert list(json.loads(answer.text)) == ["scene", "objects", "n"]
        assert '"dog": 2.50}}' in answer.text, "numbers stay as they were written"
    if name == "ordered list":
        numbers = re.findall(r"^(\d+)\.", answer.text, re.M)
        assert numbers == [str(n + 1) for n in range(len(numbers))]


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ('{"a": ["dog"]}', '{"a": ["dog"}', "JSON"),
        ("```\nx\n```", "```\nx\n", "fence"),
        ("<p>A dog</p>", "<p>A dog", "tag"),
        ("| a | b |\n| c | d |", "| a | b |\n| c |", "columns"),
        ("a:\n  - b\nc:\n  - d", "a:\n  - b\n  - d", "YAML"),
    ],
)
def test_a_broken_structure_is_seen(before, after, reason):
    assert reason in final_check.breaks_structure(before, after)
    assert final_check.breaks_structure(before, before) == ""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("A dog sits near a bowl.", "A dog sits near."),
        ("A dog and a cat.", "A dog and."),
        ("A mix of dogs and cats.", "A mix of dog."),
        ('He said "a dog" and left.', 'He said "a dog and left.'),
        ("The wall is full of art.", "The wall is full of."),
        ("Elements of the body, particularly the spine.", "Elements of particularly the spine."),
        ("A dog, a cat and a bird.", "A dog,, a bird."),
    ],
)
def test_a_broken_sentence_is_seen(before, after):
    assert final_check.breaks_form(before, after) != ""


def _unread(text):
    root = read_document(text).root
    return [text[slice(*block.outer)] for block in root.children if not block.reads]


@pytest.mark.skipif(not DATA.is_file(), reason="set HALLUGUARD_REFERENCE_DATA to the reference data")
@pytest.mark.parametrize("seed", range(24))
def test_modern_answers_keep_their_structure_and_settle_at_once(seed):
    texts = [row["text"] for _, row in iter_json_lines(DATA)]
    rng = random.Random(seed)
    text = texts[rng.randrange(len(texts))]
    try:
        named = sorted({claim.name for claim in extract(text) if claim.kind == "existence"})
    except InputError:
        named = []
    answer, known = without(text, *rng.sample(named, min(2, len(named)))) if named else (None, None)
    if answer is None:
        return
    assert apply_edits(text, answer.edits) == answer.text
    assert final_check.breaks_structure(text, answer.text) == ""
    for piece in _unread(text):
        assert piece in answer.text
    assert correct(answer.text, 0, known).text == answer.text
