"""End to end with known objects: what comes back from `correct`."""

import re
import subprocess
import sys

import pytest

from halluguard.correction import correct, correct_many
from halluguard.detectors.precomputed import KnownObjects
from halluguard.errors import SettingsError
from halluguard.records import Answer, apply_edits

KNOWN = KnownObjects({1: ["dog", "person"], 2: [], 3: ["bench"]})


def test_the_corrected_answer_carries_its_evidence():
    answer = correct("A man with a dog, and a cat on a bench.", 1, KNOWN)
    assert "cat" not in answer.text
    assert "dog" in answer.text
    assert apply_edits(answer.draft, answer.edits) == answer.text
    for edit in answer.edits:
        assert any(answer.verdicts[v].decision == "contradicted" for v in edit.verdicts)
    assert Answer.from_json(answer.to_json()) == Answer.from_dict(answer.to_dict())


def test_a_true_answer_comes_back_as_it_was():
    text = "A man  walks a dog .\r\n"
    answer = correct(text, 1, KNOWN)
    assert (answer.text, answer.edits) == (text, ())


def test_an_image_the_expert_does_not_know_changes_nothing():
    answer = correct("A dog and a cat.", "unknown", KNOWN)
    assert answer.text == answer.draft
    assert all(v.error for v in answer.verdicts)


def test_many_equal_one_by_one():
    texts = ["A dog and a cat.", "A cat.", "A bench and a dog.", ""]
    images = [1, 2, 3, 1]
    many = [a.text for a in correct_many(texts, images, KNOWN, batch_size=3)]
    assert many == [correct(t, i, KNOWN).text for t, i in zip(texts, images, strict=True)]


@pytest.mark.parametrize("heavy", ["torch", "spacy", "transformers"])
def test_the_layer_imports_light(heavy):
    code = f"import sys, halluguard.correction, halluguard.detectors.precomputed; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        ("IDEA-Research/grounding-dino-tiny", "load_detector('IDEA-Research/grounding-dino-tiny')"),
        ({"1.jpg": ["dog"]}, "KnownObjects(...)"),
        (("model", "processor"), "ZeroShotDetector(model, processor)"),
        (None, "it lacks name, needs_image, covers, detect"),
    ],
)
def test_what_is_no_detector_is_refused_with_the_way_to_one(given, advice):
    with pytest.raises(SettingsError, match=re.escape(advice)):
        correct("A dog.", "1.jpg", given)
