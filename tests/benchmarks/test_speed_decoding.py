"""The cost of decoding, on a tiny model: what is compared and counted. Times are for the script, not for a test."""

import importlib.util
import json
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "speed" / "decoding.py"
TOKENS = 6


@pytest.fixture(scope="module")
def script():
    name = "benchmarks_speed_decoding"
    spec = importlib.util.spec_from_file_location(name, SCRIPT)
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(scope="module")
def model(script):
    return script.llava(torch.float32, hidden=64, layers=4, grid=4)


@pytest.fixture(scope="module")
def costs(script, model):
    ticks = count()
    return script.measure(model, script.prompt(model), rounds=2, tokens=TOKENS, now=lambda: float(next(ticks)))


def test_every_way_is_measured_in_every_round(costs):
    assert list(costs)[:3] == ["plain", "two forwards", "Imagination:off"]
    assert {"VCD", "Imagination", "Imagination, controller", "DoLa", "DeCo", "PAI", "ONLY", "VISTA"} <= set(costs)
    assert all(len(cost.first) == len(cost.token) == 2 for cost in costs.values())


def test_a_clock_that_ticks_when_asked_reads_one_tick_a_token(costs):
    ours = {name: cost for name, cost in costs.items() if not name.startswith("MitigV")}
    assert all(cost.token == [1.0, 1.0] for cost in ours.values())


def test_a_row_without_the_picture_needs_no_second_vision_pass(costs):
    passes = {name: cost.vision_passes for name, cost in costs.items()}
    one = ("plain", "Imagination:off", "Imagination", "Imagination, controller", "DoLa", "DeCo", "PAI", "ONLY")
    assert {name: passes[name] for name in one} == dict.fromkeys(one, 1)
    assert passes["VCD"] == passes["two forwards"] == 2


def test_a_second_row_doubles_the_cache_and_one_row_methods_do_not(script, model, costs):
    text = model.config.text_config
    length = script.prompt(model)["input_ids"].shape[1] + TOKENS - 1  # the last token is not read back
    row = 2 * text.num_hidden_layers * text.hidden_size * length * 4
    kept = {name: cost.cache_bytes for name, cost in costs.items()}
    assert {kept[name] for name in ("plain", "Imagination:off", "Imagination, controller", "DoLa", "DeCo", "ONLY")} == {
        row
    }
    assert {kept[name] for name in ("VCD", "two forwards")} == {2 * row}
    # A branch without the image is read in a cache of its own length, which is joined to the other and dropped.
    assert {2 * row < kept[name] < 3 * row for name in ("Imagination", "PAI")} == {True}
    assert costs["plain"].logits_bytes == script.VOCABULARY * 4
    assert costs["VCD"].logits_bytes == 2 * script.VOCABULARY * 4


def test_two_forwards_and_the_folded_view_say_the_same(script, model):
    inputs = script.prompt(model)
    ways = script.ways(model, inputs)
    plain, apart, folded = (ways[name](script.Clock(float), 12) for name in ("plain", "two forwards", "VCD"))
    assert torch.equal(apart, folded), "the baseline must compute what it is the baseline of"
    assert not torch.equal(plain, folded)


def test_the_table_and_the_verdicts(script):
    plain = script.Cost([1.0, 1.0], [1.0, 1.0], 1, 2**20, 2**10)
    dear = script.Cost([2.0, 2.0], [1.2, 1.1], 1, 2**21, 2**11)
    costs = {"plain": plain, "VCD": plain, "Imagination": dear, "Imagination, controller": plain}
    assert "| Imagination | 1150.0 | 1.15 | 1.10 to 1.20 | 2.00 | 1 | 2.0 | 2 |" in script.table(costs)
    dear.token[1] = 1.2
    assert [line.rsplit(" ", 1)[1] for line in script.judged(costs)] == ["met", "MISSED", "met", "met"]


def test_the_command(tmp_path):
    out = tmp_path / "out.json"
    command = [sys.executable, str(SCRIPT), "--small", "--rounds", "1", "--tokens", "4", "--json", str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "dtype: bfloat16, threads: 1, rounds: 1, tokens: 4, seed: 0" in done.stdout
    assert "0 more vision passes" in done.stdout
    assert json.loads(out.read_text())["VCD"]["vision_passes"] == 2
