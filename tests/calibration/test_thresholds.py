"""Thresholds that keep a promise, confidences that mean what they say, and the file between them."""

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halluguard import sandbox
from halluguard.auditing.thresholds import read_thresholds
from halluguard.calibration import Calibration, Curve, Labelled, Scored, fit, read_rows, score_rows
from halluguard.calibration.fitting import curve, measure, thresholds
from halluguard.correction import correct
from halluguard.correction.verification import Thresholds
from halluguard.detectors.precomputed import KnownObjects
from halluguard.errors import ExpertError, InputError, SettingsError
from halluguard.records import NEVER, Box


def draw(n, seed, labels=("dog", "cat")):
    """Scores that overlap: Beta(4, 2) where the thing is there, Beta(2, 5) where it is not."""
    rng = random.Random(seed)
    rows = []
    for i in range(n):
        present = rng.random() < 0.5
        score = rng.betavariate(4, 2) if present else rng.betavariate(2, 5)
        rows.append(Scored(str(i), labels[i % len(labels)], present, score))
    return rows


@pytest.mark.parametrize("alpha", [0.02, 0.05, 0.2])
def test_the_promise_is_kept_on_rows_that_were_not_seen(alpha):
    """Averaged over draws: at most alpha of the true claims contradicted, alpha of the false ones supported."""
    wrong = {"true_contradicted": 0.0, "false_supported": 0.0}
    for seed in range(40):
        high, low = thresholds(draw(300, seed), alpha, alpha)
        found = measure(draw(500, 1000 + seed), Calibration("x", high, low, curve=Curve((0, 1), (0, 1))))
        for key in wrong:
            wrong[key] += found[key] / 40
    assert all(share <= alpha + 0.012 for share in wrong.values()), wrong
    assert all(share > alpha / 4 for share in wrong.values()), "the thresholds give away more than they must"


@given(
    st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=60),
    st.floats(0.01, 0.5),
    st.floats(0.01, 0.5),
)
@settings(max_examples=100, deadline=None)
def test_thresholds_are_in_order_and_keep_the_promise_on_their_own_rows(rows, alpha, beta):
    scored = [Scored("i", "x", present, score) for present, score in rows]
    high, low = thresholds(scored, alpha, beta)
    assert 0 <= low <= high <= NEVER
    assert low <= 1
    there = [r.score for r in scored if r.present]
    absent = [r.score for r in scored if not r.present]
    assert sum(s < low for s in there) <= alpha * (len(there) + 1)
    assert sum(s >= high for s in absent) <= beta * (len(absent) + 1)


def test_too_few_rows_promise_nothing_and_decide_nothing():
    assert thresholds([Scored("1", "x", True, 0.9), Scored("2", "x", False, 0.1)], 0.05, 0.05) == (NEVER, 0.0)


def test_a_detector_that_always_scores_1_supports_no_false_claim():
    """Scores that tell nothing: with a threshold of at most 1 every false claim would be supported."""
    for rows in (3, 30, 300):
        scored = [Scored(str(i), "x", i % 2 == 0, 1.0) for i in range(rows)]
        high, low = thresholds(scored, 0.05, 0.05)
        assert high > 1.0 >= low
        assert measure(scored, Calibration("x", high, low))["false_supported"] == 0.0
        limits = Thresholds(high, low)
        answer = correct("There is a dog.", "1", Always(1.0), thresholds=limits, second_look=False)
        assert [v.decision for v in answer.verdicts] == ["unsure"]


class Always:
    name, needs_image = "always", False

    def __init__(self, score):
        self.score = score

    def covers(self, phrase):
        return True

    def detect(self, images, phrases):
        return [[Box(phrase, self.score, phrase=i) for i, phrase in enumerate(row)] for row in phrases]


def test_a_gap_gives_one_threshold_in_its_middle():
    rows = [Scored("i", "x", p, 0.8 if p else 0.2) for p in (True, False) for _ in range(50)]
    high, low = thresholds(rows, 0.05, 0.05)
    assert high == low == pytest.approx(0.5)


@pytest.mark.parametrize("method", ["isotonic", "platt"])
def test_confidences_mean_what_they_say(method):
    found = fit(draw(4000, 1), detector="x", method=method)
    assert found.report[""]["ece"] < 0.04 < found.report[""]["ece_raw"]
    values = [found.probability("dog", s / 20) for s in range(21)]
    assert values == sorted(values)
    assert all(0 <= v <= 1 for v in values)


def test_platt_s_curve_is_scikit_learn_s():
    from sklearn.linear_model import LogisticRegression

    rows = draw(500, 2)
    fitted = curve(rows, "platt")
    model = LogisticRegression(C=1e6).fit([[r.score] for r in rows], [r.present for r in rows])
    for s in (0.1, 0.5, 0.9):
        assert fitted(s) == pytest.approx(model.predict_proba([[s]])[0, 1], abs=0.01)


def test_a_curve_is_straight_between_its_points_and_level_outside():
    line = Curve((0.2, 0.4, 0.4, 0.8), (0.0, 0.5, 0.6, 1.0))
    assert [line(s) for s in (0, 0.2, 0.3, 0.6, 0.8, 1)] == pytest.approx([0, 0, 0.25, 0.8, 1, 1])


def test_labels_with_enough_rows_get_their_own_and_the_file_is_read_by_the_audit(tmp_path):
    rows = draw(600, 3) + draw(20, 4, ("rare",))
    found = fit(rows, detector="x", min_images=50, holdout=0)
    assert set(found.labels) == set(found.curves) == {"cat", "dog"}
    assert found.of("rare") == (found.high, found.low)
    assert found.settings["report_on"] == "the rows of the fit"
    path = tmp_path / "t.json"
    found.save(path)
    assert Calibration.load(path) == found
    limits = read_thresholds(path)
    assert limits.of("dog") == found.of("dog")
    assert limits.of("rare") == (found.high, found.low)


def test_the_report_is_on_images_that_were_held_out():
    found = fit(draw(1000, 5), detector="x")
    assert found.settings["report_on"] == "held-out images"
    assert found.settings["rows"] + found.report[""]["rows"] == 1000
    assert found.report[""]["supported"]["precision"] > 0.8


def test_verdicts_are_counted_as_they_are():
    rows = [Scored("i", "x", p, s) for p, s in [(True, 0.9), (True, 0.1), (False, 0.9), (False, 0.1), (True, 0.5)]]
    found = measure(rows, Calibration("x", 0.8, 0.2, curve=Curve((0, 1), (0, 1))))
    assert found["supported"] == {"precision": 0.5, "recall": 0.3333}
    assert found["contradicted"] == {"precision": 0.5, "recall": 0.5}
    assert (found["unsure"], found["ece"]) == (0.2, found["ece_raw"])


class Flaky:
    """Fails on one image, alone or in a batch."""

    name, needs_image = "flaky", False

    def covers(self, phrase):
        return phrase != "sky"

    def detect(self, images, phrases):
        if "bad" in images:
            raise ExpertError("gone")
        return [[Box(p, 0.5, None, i) for i, p in enumerate(row)] for row in phrases]


def test_failures_and_uncovered_phrases_are_left_out_and_counted():
    rows = [Labelled(i, p, True) for i in ("a", "bad", "b") for p in ("dogs", "sky")]
    scored, left_out = score_rows(rows, Flaky())
    assert [(s.image, s.label, s.score) for s in scored] == [("a", "dog", 0.5), ("b", "dog", 0.5)]
    assert left_out == {"not covered": 3, "ExpertError: gone": 1}


def test_one_look_per_image(monkeypatch):
    expert = KnownObjects({1: ["dog"], 2: []})
    calls = []
    detect = expert.detect
    monkeypatch.setattr(expert, "detect", lambda i, p: calls.append(list(i)) or detect(i, p))
    score_rows([Labelled(i, p, False) for p in ("dog", "cat", "bus") for i in ("1", "2")], expert)
    assert calls == [["1", "2"]]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("r.csv", "image,phrase,present\na.jpg,dog,true\na.jpg,cat,0\n"),
        ("r.tsv", "image\tphrase\tpresent\na.jpg\tdog\tyes\na.jpg\tcat\tno\n"),
        (
            "r.jsonl",
            '{"image": "a.jpg", "phrase": "dog", "present": true}\n{"image": "a.jpg", "phrase": "cat", "present": false}\n',
        ),
        (
            "coco.json",
            json.dumps(
                {
                    "images": [{"id": 1, "file_name": "a.jpg"}],
                    "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}],
                    "annotations": [{"image_id": 1, "category_id": 1}],
                }
            ),
        ),
    ],
)
def test_rows_are_read(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_rows(tmp_path / name) == [Labelled("a.jpg", "dog", True), Labelled("a.jpg", "cat", False)]


@pytest.mark.parametrize("row", ["a.jpg,dog,maybe", ",dog,true", "a.jpg,,true", "a.jpg"])
def test_a_wrong_row_is_named(tmp_path, row):
    (tmp_path / "r.csv").write_text(f"image,phrase,present\na.jpg,cat,true\n{row}\n", encoding="utf-8")
    with pytest.raises(InputError, match="row 2"):
        read_rows(tmp_path / "r.csv")


def test_what_cannot_be_fitted_is_refused(tmp_path):
    with pytest.raises(InputError, match="label more"):
        fit([Scored("a", "dog", True, 0.5)], detector="x", holdout=0)
    with pytest.raises(InputError, match="is and is not"):
        score_rows([Labelled("a", "dog", True), Labelled("a", "dog", False)], Flaky())
    for wrong in ({"alpha": 0}, {"beta": 1}, {"holdout": 1}, {"min_images": 0}, {"method": "magic"}):
        with pytest.raises(SettingsError):
            fit(draw(100, 1), detector="x", **wrong)
    (tmp_path / "t.json").write_text('{"version": 7}', encoding="utf-8")
    with pytest.raises(InputError, match="halluguard calibrate"):
        Calibration.load(tmp_path / "t.json")


def test_the_command_calibrates_the_sandbox_s_expert(tmp_path):
    from typer.testing import CliRunner

    from halluguard.cli import app

    lines = []
    for sample in sandbox.scenes(24):
        sample.image.save(tmp_path / f"{sample.image_id}.png")
        for name in ("person", "cup", "dog", "car", "book", "chair"):
            lines.append({"image": f"{sample.image_id}.png", "phrase": name, "present": name in sample.names})
    rows, out = tmp_path / "rows.jsonl", tmp_path / "t.json"
    rows.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    arguments = [
        rows,
        "--detector",
        "sandbox",
        "--images",
        tmp_path,
        "--out",
        out,
        "--min-images",
        "4",
        "--alpha",
        "0.2",
    ]
    result = CliRunner().invoke(app, ["calibrate", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    assert "held-out images" in result.output
    found = Calibration.load(out)
    assert found.report[""]["rows"] + found.settings["rows"] == len(lines)
    assert found.report[""]["contradicted"]["precision"] > 0.8


# --- what a calibration tells -------------------------------------------------------------------------------------


def without_boxes(share, n=200):
    """Half present: `share` of them without a box, the others at .6 to .9; absent ones below .3."""
    rng = random.Random(8)
    rows = []
    for i in range(n):
        missed = i < share * n
        rows.append(Scored(str(i), "dog", True, 0.0 if missed else rng.uniform(0.6, 0.9)))
        rows.append(Scored(str(i), "cat", False, rng.uniform(0, 0.3)))
    return rows


def told(found):
    from halluguard.cli.calibration_report import notes

    return " ".join(notes(found))


def test_an_alpha_that_can_contradict_nothing_is_named_with_one_that_can():
    found = fit(without_boxes(0.1), detector="x", alpha=0.05, holdout=0)
    assert found.low == 0
    smallest = found.settings["smallest_alpha"]
    assert f"the smallest alpha that can is {smallest:g}" in told(found)
    assert fit(without_boxes(0.1), detector="x", alpha=smallest, holdout=0).low > 0
    assert fit(without_boxes(0.1), detector="x", alpha=smallest - 0.006, holdout=0).low == 0
    assert "10.0 % of the objects that are there have no box" in told(found)


def test_labels_that_the_detector_hardly_sees_are_named():
    rows = without_boxes(0.0) + [Scored(str(i), "ball", True, 0.0 if i % 2 else 0.7) for i in range(40)]
    found = fit(rows, detector="x", holdout=0)
    assert found.settings["nearly_blind"] == {"ball": 0.5}
    assert "ball (50 %)" in told(found)


def test_a_threshold_above_1_is_said():
    rows = [Scored(str(i), "dog", True, 0.8) for i in range(100)] + [
        Scored(str(i), "cat", False, 1.0) for i in range(100)
    ]
    found = fit(rows, detector="x", holdout=0)
    assert found.high == NEVER
    assert "No score can support a claim about: all" in told(found)


def test_negatives_like_the_lies_of_captions_are_harder_and_are_reported_beside_random_ones():
    """A fork is likely where a knife is, and scores high there although it is not; a zebra never does."""
    rows, rng = [], random.Random(4)
    for i in range(300):
        image, both = str(i), i % 3 == 0
        rows.append(Scored(image, "knife", True, rng.uniform(0.6, 1)))
        rows.append(Scored(image, "fork", both, rng.uniform(0.6, 1) if both else rng.uniform(0.2, 0.7)))
        rows += [Scored(image, name, False, rng.uniform(0, 0.1)) for name in ("zebra", "kite", "skis", "bear", "boat")]
    plain = fit(rows, detector="x", holdout=0.5)
    by = plain.report[""]["false_supported_by"]
    assert by["co-occurring"]["share"] > by["random"]["share"] + 0.1
    hard = fit(rows, detector="x", negatives="co-occurring")
    assert hard.high > plain.high
    assert hard.report[""]["false_supported_by"]["co-occurring"]["share"] <= 0.1
    claims = {str(i): ["A knife and a fork."] for i in range(300)}
    assert "claims" in fit(rows, detector="x", claims=claims).report[""]["false_supported_by"]
    assert fit(rows, detector="x", claims=claims, negatives="claims").high > plain.high
    with pytest.raises(SettingsError, match="give the captions too"):
        fit(rows, detector="x", negatives="claims")


def test_a_label_needs_images_and_not_rows():
    rows = [Scored("one", "dog", True, 0.8)] * 200 + [Scored("two", "dog", False, 0.1)] * 200
    assert not fit(rows, detector="x", holdout=0, min_images=2).labels
    groups = [Scored(str(i), "dog", i % 2 == 0, 0.8 - (i % 2) * 0.5, group=str(i % 4)) for i in range(200)]
    assert fit(groups, detector="x", holdout=0).settings["images"] == 4


def test_copies_of_an_image_stay_in_one_half():
    rows = draw(600, 3)
    twice = [
        Scored(f"{copy}-{row.image}", row.label, row.present, row.score, row.image) for row in rows for copy in "ab"
    ]
    found = fit(twice, detector="x")
    assert found.settings["rows"] % 2 == found.report[""]["rows"] % 2 == 0
    assert found.settings["images"] + found.report[""]["images"] == 600


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([Scored(str(i), "dog", True, 0.5) for i in range(50)], "none of an object that is absent"),
        ([Scored(str(i), "dog", False, 0.5) for i in range(50)], "none of an object that is present"),
        ([Scored(str(i), "dog", i % 2 == 0, 0.5) for i in range(50)], "every row has the score 0.5"),
        ([], "got 0 rows"),
    ],
)
def test_rows_that_say_nothing_are_one_sentence(rows, message):
    with pytest.raises(InputError, match=message):
        fit(rows, detector="x", holdout=0)


def command(tmp_path, *more):
    from typer.testing import CliRunner

    from halluguard.cli import app

    arguments = ["calibrate", tmp_path / "rows.csv", "--detector", f"objects:{tmp_path / 'o.json'}", *more]
    return CliRunner().invoke(app, [str(a) for a in [*arguments, "--out", tmp_path / "t.json"]])


def test_the_table_is_whole_when_it_is_piped(tmp_path):
    label = "a very long name of an object that no table of eighty columns can hold"
    objects = {f"{i}": ["dog"] if i % 2 else [] for i in range(60)}
    (tmp_path / "o.json").write_text(json.dumps(objects), encoding="utf-8")
    lines = [f"{i},dog,{bool(i % 2)}" for i in range(60)]
    (tmp_path / "rows.csv").write_text("\n".join(["image,phrase,present", *lines]), encoding="utf-8")
    done = command(tmp_path)
    assert done.exit_code == 0, done.output
    assert "…" not in done.output
    assert "heuristic" in done.output
    from rich.console import Console
    from rich.table import Table

    from halluguard.cli.tables import print_whole

    console = Console(width=40, record=True, file=open("/dev/null", "w", encoding="utf-8"))  # noqa: SIM115
    shown = Table("x", "y")
    shown.add_row(label, label)
    print_whole(console, shown)
    assert console.export_text().count(label) == 2


def test_labels_may_be_piped(tmp_path):
    from typer.testing import CliRunner

    from halluguard.cli import app

    (tmp_path / "o.json").write_text(json.dumps({f"{i}": ["dog"] if i % 2 else [] for i in range(60)}))
    lines = [f"{i},dog,{bool(i % 2)}" for i in range(60)]
    arguments = ["calibrate", "-", "--detector", f"objects:{tmp_path / 'o.json'}", "--out", str(tmp_path / "t.json")]
    done = CliRunner().invoke(app, arguments, input="\n".join(["image,phrase,present", *lines]))
    assert done.exit_code == 0, done.output
    assert "dog" in (tmp_path / "t.json").read_text()
    promise = [*arguments[:4], "--risk", "chair_s=0.9", "--captions", "-", "--out", str(tmp_path / "policy.json")]
    assert "save it as a file" in str(CliRunner().invoke(app, promise, input='{"1": ["dog"]}').exception)


def test_labels_without_images_are_one_sentence(tmp_path):
    (tmp_path / "o.json").write_text('{"other": []}', encoding="utf-8")
    (tmp_path / "rows.csv").write_text("image,phrase,present\n1,dog,true\n2,dog,false\n", encoding="utf-8")
    assert "none of 2 labelled rows could be scored" in str(command(tmp_path).exception)


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -float("inf")])
def test_scores_that_are_not_finite_are_not_calibrated(score):
    rows = [Scored(str(i), "dog", i % 2 == 0, 0.5 + 0.4 * (i % 2 == 0)) for i in range(60)]
    with pytest.raises(InputError, match="scores must be finite"):
        fit([*rows, Scored("x", "dog", True, score)], detector="eyes")
