"""A type checker sees the public names: it accepts a right script and names each mistake of a wrong one."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

HEAD = """
from collections.abc import Sequence

from PIL import Image

from halluguard import Box, Claim, Guard, correct
from halluguard.correction.verification import Thresholds
from halluguard.decoding import VCD, Imagination
from halluguard.detectors import KnownObjects


class Everywhere:
    name = "everywhere"
    needs_image = True

    def covers(self, phrase: str) -> bool:
        return True

    def detect(self, images: Sequence[Image.Image], phrases: Sequence[Sequence[str]]) -> list[list[Box]]:
        return [[Box(word, 0.9, phrase=i) for i, word in enumerate(words)] for words in phrases]


class NoDetector:
    def detect(self, image: Image.Image) -> list[Box]:
        return []
"""

RIGHT = """
image = Image.new("RGB", (64, 64))
guard = Guard.from_pretrained("folder", detector=Everywhere(), decoding=VCD(alpha=1.0))
answer = guard(image, "Is there a dog?", decoding=Imagination(-0.5), max_new_tokens=20)
names: list[str] = [claim.name for claim in answer.claims]
correct("A dog.", "1.jpg", KnownObjects({"1.jpg": ["cat"]}), thresholds=Thresholds(high=0.5, low=0.1)).save("a.html")
"""

WRONG = [
    ("VCD(alhpa=1.0)", "alhpa"),
    ("Imagination(imagination='high')", "imagination"),
    ("Guard.from_pretrained('folder', detector=NoDetector())", "NoDetector"),
    ("Guard.from_pretrained('folder', detecter='name')", "detecter"),
    ("Guard.from_pretrained('folder', decoding=0.5)", "float"),
    ("correct('A dog.', None, NoDetector())", "NoDetector"),
    ("correct('A dog.', None, Everywhere(), style='remove')", "style"),
    ("correct('A dog.', None, Everywhere(), thresholds=0.5)", "Thresholds"),
    ("correct('A dog.', None, Everywhere(), calibration=VCD())", "calibration"),
    ("correct('A dog.', None, Everywhere(), properties=Everywhere())", "Everywhere"),
    ("Box('dog', 0.9, xyxy=(1, 2, 3))", "tuple"),
    ("Claim(kind='existence', phrase='dog', nmae='dog', start=0, end=3)", "nmae"),
    ("Claim(kind='colour', phrase='dog', name='dog', start=0, end=3)", "kind"),
    ("correct('A dog.', None, Everywhere()).verdict", "verdict"),
]


def test_a_right_script_passes_and_each_mistake_of_a_wrong_one_is_reported(tmp_path):
    pytest.importorskip("mypy", reason="needs mypy: pip install mypy")
    (tmp_path / "right.py").write_text(HEAD + RIGHT, encoding="utf-8")
    (tmp_path / "wrong.py").write_text(HEAD + "".join(f"{code}\n" for code, _ in WRONG), encoding="utf-8")
    scripts = [str(tmp_path / name) for name in ("right.py", "wrong.py")]
    command = [sys.executable, "-m", "mypy", "--ignore-missing-imports", "--follow-imports=silent", *scripts]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900).stdout
    errors = [line for line in output.splitlines() if ": error: " in line]
    assert not [line for line in errors if "right.py" in line]
    for number, (code, word) in enumerate(WRONG, start=HEAD.count("\n") + 1):
        reported = [line for line in errors if f"wrong.py:{number}: " in line]
        assert any(word in line for line in reported), f"{code} is not reported; mypy says {output}"
    assert len({line.split(": error: ")[0] for line in errors}) == len(WRONG), output
