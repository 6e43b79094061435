"""Our own processes load spaCy and Arrow without parts that we do not use; such a part can still be loaded later."""

import subprocess
import sys

import pytest

_LEFT_OUT = """
import sys
from halluguard.lean_imports import leave_out_unused
leave_out_unused()
from halluguard.correction.claims import extract
text = "A red dog sits on a bench near two cars."
before = extract(text)
assert not {"torch", "httpx", "requests"} & set(sys.modules)
from halluguard.lean_imports import import_pyarrow
assert import_pyarrow().array([1]).to_pylist() == [1]
assert "pandas" not in sys.modules
from halluguard.lean_imports import exempt_loaded
exempt_loaded()
import gc
assert gc.get_freeze_count() > 10_000
"""
_USED_LATER = """
import torch
import spacy.cli
assert callable(spacy.cli.info)
assert import_pyarrow().table({"n": [1]}).to_pandas().n.sum() == 1
from halluguard import sandbox
from halluguard.detectors.specs import from_spec
assert torch.nn.Linear(2, 1)(torch.zeros(1, 2)).shape == (1, 1)
from_spec("sandbox").detect([sandbox.scenes(1)[0].image], [["dog"]])
assert extract(text) == before
"""
_KEPT = """
import gc, sys
import halluguard.correction.text as text
from halluguard.lean_imports import exempt_loaded
text.pipeline()
exempt_loaded()
assert gc.get_freeze_count() == 0, "nor is its garbage collection changed"
assert "torch" in sys.modules, "a program that imports halluguard has spaCy as it is"
"""


@pytest.mark.parametrize("code", [_LEFT_OUT + _USED_LATER, _KEPT], ids=["ours", "others"])
def test_what_is_left_out_of_our_own_processes_works_later(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
