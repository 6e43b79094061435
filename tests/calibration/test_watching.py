"""Bounds that hold at all times, shifts that are noticed, and samples that are random."""

import csv
import json
import re

import numpy as np
import pytest
from scipy.stats import binomtest
from typer.testing import CliRunner

from halluguard.auditing.source import open_source
from halluguard.auditing.spot_labels import draw, read_labels, write_sheet
from halluguard.calibration.watching import RateBound, ShiftMonitor
from halluguard.cli import app
from halluguard.errors import InputError, SettingsError

# --- the bound --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rate", "population"), [(0.05, None), (0.3, None), (0.05, 150)])
def test_the_bound_is_left_at_any_time_in_at_most_5_percent_of_draws(rate, population):
    """Looked at after every label, up to 120. 120 draws, tested at 1 %."""
    rng = np.random.default_rng(1)
    left = 0
    for _ in range(120):
        if population is None:
            losses, mean = (rng.random(120) < rate).astype(float), rate
        else:
            everything = rng.permutation([1.0] * round(rate * population) + [0.0] * round((1 - rate) * population))
            losses, mean = everything[:120], everything.mean()
        bound = RateBound(0.95, population)
        out = False
        for loss in losses:
            bound.add(loss)
            out = out or not bound.low <= mean <= bound.high
        left += out
    assert binomtest(left, 120, 0.05, alternative="greater").pvalue > 0.01


def test_the_bound_gets_tight_and_knows_all_once_all_are_labelled():
    bound = RateBound(population=200)
    widths = []
    for i in range(200):
        bound.add(float(i % 10 == 0))
        widths.append(bound.high - bound.low)
    assert widths[20] > widths[60] > widths[150]
    assert bound.low <= 0.1 <= bound.high
    assert bound.high - bound.low < 0.02
    with pytest.raises(InputError, match="all 200 images have been labelled"):
        bound.add(0.0)


def test_losses_between_0_and_1_are_bounded_more_tightly_than_coins():
    coin, steady = RateBound(), RateBound()
    for i in range(200):
        coin.add(float(i % 4 == 0))
        steady.add(0.25)
    assert steady.high - steady.low < (coin.high - coin.low) / 2


def test_wrong_input_of_the_bound_is_one_sentence():
    with pytest.raises(InputError, match="a loss must be in"):
        RateBound().add(2)
    for options in ({"confidence": 1}, {"confidence": 0}, {"population": 0}):
        with pytest.raises(SettingsError):
            RateBound(**options)


# --- the monitor ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ties", [False, True])
def test_nothing_is_announced_while_nothing_changes(ties):
    """p-values are uniform, with ties too; an alarm at 100 comes in at most 1 % of 100 runs (tested at 1 %)."""
    rng = np.random.default_rng(2)
    alarms, p_values = 0, []
    for seed in range(100):
        scores = rng.beta(4, 2, 400)
        scores = np.round(scores, 1) if ties else scores
        monitor = ShiftMonitor(scores[:100], seed)
        p_values += [monitor.add(float(score)) for score in scores[100:]]
        alarms += monitor.alarm_at is not None
    assert binomtest(alarms, 100, 0.01, alternative="greater").pvalue > 0.01
    assert np.mean(p_values) == pytest.approx(0.5, abs=0.01)
    assert np.var(p_values) == pytest.approx(1 / 12, abs=0.005)


@pytest.mark.parametrize("shifted", [(2, 4), (12, 2)])
def test_a_shift_to_either_side_is_announced_soon(shifted):
    rng = np.random.default_rng(3)
    monitor = ShiftMonitor(rng.beta(4, 2, 200))
    for score in rng.beta(4, 2, 100):
        monitor.add(float(score))
    assert monitor.alarm_at is None
    for score in rng.beta(*shifted, 200):
        monitor.add(float(score))
    assert 100 < monitor.alarm_at < 220
    assert "no longer look like the calibration's" in monitor.words()


def test_a_score_out_of_range_is_refused():
    with pytest.raises(InputError, match="in \\[0, 1\\]"):
        ShiftMonitor([1.2])


# --- the sample -------------------------------------------------------------------------------------------------------

TRUTH = {f"{i}.jpg": ["dog"] for i in range(120)}


def captions(folder, wrong=0):
    rows = [{"image": name, "caption": "A dog and a cat." if i < wrong else "A dog."} for i, name in enumerate(TRUTH)]
    rows.append({"image": "0.jpg", "caption": "A dog sleeps."})
    (folder / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (folder / "all.json").write_text(json.dumps({i: ["dog", "cat"] for i in TRUTH}), encoding="utf-8")
    return folder / "captions.jsonl"


def fill(sheet, present=lambda name: "yes" if name == "dog" else "no", lines=None):
    rows = list(csv.DictReader(sheet.open(encoding="utf-8")))
    for row in rows[:lines]:
        row["present"] = present(row["object"])
    with sheet.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_every_image_is_drawn_equally_often(tmp_path):
    rows = list(open_source(captions(tmp_path), {}).rows())
    first = [draw(rows, 1, seed)[0][0] for seed in range(600)]
    assert draw(rows, 5, 0)[1] == 120, "two captions of one image are one image"
    assert max(first.count(name) for name in TRUTH) < 20
    assert draw(rows, 10, 3)[0][:5] == draw(rows, 5, 3)[0]


def test_a_sheet_names_every_object_and_is_read_up_to_the_first_gap(tmp_path):
    source = open_source(captions(tmp_path, wrong=120), {})
    assert write_sheet(source, tmp_path / "s.csv", 20, 7) == (20, 120)
    assert read_labels(tmp_path / "s.csv").images == ()
    fill(tmp_path / "s.csv", lines=9)
    labels = read_labels(tmp_path / "s.csv")
    assert labels.images[0].objects == {"dog": True, "cat": False}
    assert len(labels.images) == 4
    assert (labels.drawn, labels.population, labels.seed) == (20, 120, 7)


def audit(tmp_path, *more):
    return run(
        *("audit", tmp_path / "captions.jsonl", "--objects", tmp_path / "all.json", "--out", tmp_path / "out"),
        *("--no-report", "--spot-labels", tmp_path / "s.csv", *more),
    )


def test_a_run_is_stopped_by_its_labels_and_let_through_by_its_labels(tmp_path):
    for wrong, code, said in ((120, 1, "is above 0.2"), (0, 0, "spot labels: 0.0 %")):
        captions(tmp_path, wrong)
        assert (
            run(
                "sample",
                tmp_path / "captions.jsonl",
                "--images-drawn",
                "80",
                "--out",
                tmp_path / "s.csv",
                "--overwrite",
            ).exit_code
            == 0
        )
        fill(tmp_path / "s.csv")
        done = audit(tmp_path, "--max-spot-rate", "0.2", "--force-new")
        assert done.exit_code == code, done.output
        assert said in done.output
        assert (tmp_path / "out" / "summary.json").exists() == (code == 0), "a stopped run checks nothing else"
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["spot_labels"]["n"] == 80


def test_labels_that_show_too_little_fail_the_gate_at_the_end(tmp_path):
    run("sample", captions(tmp_path), "--images-drawn", "10", "--out", tmp_path / "s.csv")
    fill(tmp_path / "s.csv")
    done = audit(tmp_path, "--max-spot-rate", "0.01")
    assert done.exit_code == 1
    assert "is not shown to be at most 0.01" in done.output


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace(",dog,yes", ",dog,maybe", 1), "yes or no"),
        (lambda text: "\n".join(text.splitlines()[:1] + text.splitlines()[3:]), "not one whole sample"),
        (lambda text: text.replace("draw,", "number,"), "must have the columns"),
        (lambda text: text.replace(",120,7,", ",120,8,"), "are not those that halluguard sample draws"),
        (lambda text: text.replace(",yes\n", ",\n").replace(",no\n", ",\n"), "no image of the sheet is labelled"),
        (lambda text: text.replace(",yes\n", ",\n", 1), "draw 1 .* is not; fill it in, or empty the lines after it"),
    ],
)
def test_labels_that_are_no_random_sample_are_refused(tmp_path, change, message):
    run("sample", captions(tmp_path), "--images-drawn", "10", "--seed", "7", "--out", tmp_path / "s.csv")
    fill(tmp_path / "s.csv")
    (tmp_path / "s.csv").write_text(change((tmp_path / "s.csv").read_text()), encoding="utf-8")
    assert re.search(message, str(audit(tmp_path).exception))


def test_a_sheet_with_labels_is_not_overwritten(tmp_path):
    captions(tmp_path)
    arguments = ("sample", tmp_path / "captions.jsonl", "--out", tmp_path / "s.csv")
    assert run(*arguments).exit_code == 0
    assert "perhaps with labels" in str(run(*arguments).exception)
    assert "at least 1 image" in str(run(*arguments[:2], "--out", tmp_path / "t.csv", "--images-drawn", "0").exception)
