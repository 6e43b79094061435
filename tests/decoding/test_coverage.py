"""Families under the folded view: exact in every mode, or refused by name. The whole table: `benchmarks/coverage.py`."""

import importlib.util
import sys
from pathlib import Path

import pytest


def load(name):
    full = f"benchmarks_{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, Path(__file__).parents[2] / "benchmarks" / f"{name}.py")
        sys.modules[full] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[full])
    return sys.modules[full]


coverage = load("coverage")
# One of each kind: projection, tiles, M-RoPE, deepstack, prefix attention, cross-attention, recurrent, convolution,
# mixture of experts, encoder-decoder.
FAST = [
    "llava_next",
    "qwen2_5_vl",
    "qwen3_vl",
    "gemma3",
    "mllama",
    "qwen3_5",
    "lfm2_vl",
    "ernie4_5_vl_moe",
    "t5gemma2",
]
OWN_GENERATE = ["blip", "blip-2", "instructblip", "instructblipvideo", "janus", "kosmos-2"]


def check(name):
    row = coverage.covered(name)
    faults = {column: cell for column, cell in row.items() if cell.startswith("FAULT")}
    assert not faults, f"{name}: every mode must be exact or refused by name"
    assert "vacuous" not in row.values(), f"{name}: the method must change the answer, or equality proves nothing"
    return row


@pytest.mark.parametrize("name", FAST)
def test_fold_equals_recomputation_in_every_mode(name):
    row = check(name)
    assert row["greedy"] == row["beams"] == row["sampling"] == row["no picture"] == "exact"


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(coverage.architectures.FAMILIES) - set(FAST) - set(OWN_GENERATE)))
def test_every_other_family_is_exact_or_refused(name):
    check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN_GENERATE)
def test_a_generate_of_its_own_is_refused_by_name(name):
    row = coverage.covered(name)
    assert all("has a generate of its own" in cell for cell in row.values())
