"""spaCy is read without PyTorch in our own processes, and PyTorch works there afterwards."""

import subprocess
import sys

import pytest

_LEFT_OUT = """
import sys
from halluguard.spacy_import import leave_out_torch
leave_out_torch()
from halluguard.correction.claims import extract
text = "A red dog sits on a bench near two cars."
before = extract(text)
assert "torch" not in sys.modules
"""
_USED_LATER = """
import torch
from halluguard import sandbox
from halluguard.detectors.specs import from_spec
assert torch.nn.Linear(2, 1)(torch.zeros(1, 2)).shape == (1, 1)
from_spec("sandbox").detect([sandbox.scenes(1)[0].image], [["dog"]])
assert extract(text) == before
"""
_KEPT = """
import sys
import halluguard.correction.text as text
text.pipeline()
assert "torch" in sys.modules, "a program that imports halluguard has spaCy as it is"
"""


@pytest.mark.parametrize("code", [_LEFT_OUT + _USED_LATER, _KEPT], ids=["ours", "others"])
def test_torch_is_left_out_of_our_own_processes_and_works_later(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
