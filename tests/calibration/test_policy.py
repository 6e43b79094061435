"""Policies are fitted to the output of the whole pipeline, and refused for any other pipeline."""

import json
import random
from dataclasses import replace

import pytest
from PIL import Image
from typer.testing import CliRunner

from halluguard.calibration import Policy, Setting, default_path
from halluguard.calibration.labelled_rows import read_truth
from halluguard.calibration.losses import LossCounter
from halluguard.calibration.outcomes import Drafts, Outcome, agreement
from halluguard.cli import app
from halluguard.detectors import Ensemble
from halluguard.detectors.precomputed import KnownObjects
from halluguard.errors import ExpertError, InputError, PromiseError, SettingsError
from halluguard.metrics.chair import ChairScorer
from halluguard.records import Box, Verdict

N = 90
TRUTH = {f"{i}.jpg": ["dog", "car"] if i % 2 else ["cat"] for i in range(N)}
NAMES = list(TRUTH)
CAPTIONS = ["A dog stands beside a car." if i % 2 else "A cat sleeps near a dog." for i in range(N)]


class Scored:
    """A detector with a score for each image and name; names that it lacks score 0."""

    needs_image = False

    def __init__(self, scores, name="scored", covered=None):
        self.scores, self.name, self.covered = scores, name, covered

    def covers(self, phrase):
        return self.covered is None or phrase in self.covered

    def detect(self, images, phrases):
        return [
            [Box(p, s, phrase=k) for k, p in enumerate(words) if (s := self.scores.get((image, p), 0.0)) > 0]
            for image, words in zip(images, phrases, strict=True)
        ]


def good_detector(seed=1, miss=0.0):
    rng = random.Random(seed)
    scores = {(i, name): rng.uniform(0.5, 1) for i, names in TRUTH.items() for name in names if rng.random() >= miss}
    return Scored(scores)


def fit(**options):
    return Policy.fit(
        options.pop("captions", CAPTIONS),
        options.pop("images", NAMES),
        options.pop("truth", TRUTH),
        options.pop("detector", good_detector()),
        **{"risks": {"chair_s": 0.05}, **options},
    )


# --- losses -----------------------------------------------------------------------------------------------------------


def losses(outcomes, *, plain=("A dog and a cat.", "A cat.", "A bus."), images=("1", "1", "2"), groups=None):
    scorer = ChairScorer({"1": ["dog"], "2": ["bus"]}, "fixed")
    return {k: v.tolist() for k, v in LossCounter(scorer, images, plain, groups)(outcomes).items()}


def test_all_captions_of_an_image_make_one_loss():
    """Image 1: "dog" and "cat" in the first, "cat" in the second; the dog is true, no cat is."""
    out = [Outcome("A dog and a cat.", "A dog and a cat."), Outcome("A cat.", "A cat."), Outcome("A bus.", "A bus.")]
    assert losses(out) == {
        "chair_s": [1, 0],
        "chair_i": [pytest.approx(2 / 3), 0],
        "wrong_additions": [0, 0],
        "lost": [0, 0],
        "withheld": [0, 0],
        "words_lost": [0, 0],
    }
    assert losses(out, groups=["a", "a", "a"])["chair_s"] == [1]


def test_what_is_withheld_is_lost_and_cannot_lie():
    out = [
        Outcome("A dog and a cat.", "A dog."),
        Outcome("A cat.", "A cat.", "kept back"),
        Outcome("A bus.", "x", "no"),
    ]
    found = losses(out)
    assert (found["chair_s"][0], found["lost"], found["withheld"]) == (0, [0, 1], [0, 1])
    assert found["chair_s"][1] != found["chair_s"][1], "nothing of image 2 leaves: there is nothing to be wrong"
    assert found["words_lost"] == [pytest.approx(5 / 7), 1]


def test_an_object_that_was_written_in_is_a_wrong_addition_where_it_is_not_there():
    out = [
        Outcome("A dog and a cat.", "A dog and a cat."),
        Outcome("A cat.", "A cat and a bus."),
        Outcome("A bus.", "A bus."),
    ]
    assert losses(out)["wrong_additions"] == [1, 0]


# --- outcomes ---------------------------------------------------------------------------------------------------------


def test_settings_are_judged_apart_and_the_detector_is_asked_once(monkeypatch):
    detector = good_detector()
    asked = []
    detect = detector.detect
    monkeypatch.setattr(
        detector, "detect", lambda i, p: asked.extend(zip(i, map(tuple, p), strict=True)) or detect(i, p)
    )
    drafts = Drafts(CAPTIONS[:4], NAMES[:4], detector)
    plain, strict = drafts.at(Setting()), drafts.at(Setting(0.2))
    assert [one.text for one in plain] == CAPTIONS[:4]
    assert strict[0].text == "A cat sleeps."
    assert strict[1].text == CAPTIONS[1]
    drafts.at(Setting(0.3))
    assert len(asked) == len(set(asked))


def test_confirmed_withholds_a_caption_whose_words_the_detector_does_not_confirm():
    """ "orange" is read as the fruit by CHAIR's rules, and as a colour by the claims."""
    detector = Scored({("1", "bus"): 0.9})
    (out,) = Drafts(["An orange bus."], ["1"], detector).at(Setting(0.2, "confirmed"))
    assert "'orange' is not confirmed" in out.withheld
    (out,) = Drafts(["A bus."], ["1"], detector).at(Setting(0.2, "confirmed"))
    assert out.withheld == ""


def test_a_text_of_which_no_sentence_is_left_never_leaves():
    (out,) = Drafts(["A dog."], ["1"], Scored({})).at(Setting(0.2))
    assert out.withheld == "no sentence was left"


def test_second_looks_are_part_of_what_is_calibrated():
    class Near:
        """Sees the dog in crops alone."""

        name, needs_image = "near", True

        def covers(self, phrase):
            return phrase == "dog"

        def detect(self, images, phrases):
            return [
                [Box(p, 0.9, (0, 0, 9, 9), k) for k, p in enumerate(words) if p == "dog" and image.width < 600]
                for image, words in zip(images, phrases, strict=True)
            ]

    image = Image.new("RGB", (640, 480))
    texts = [
        Drafts(["The street is wet. There is a dog."], [image], Near(), second_look=look).at(Setting(0.2))[0].text
        for look in (True, False)
    ]
    assert texts == ["The street is wet. There is a dog.", "The street is wet."]


def test_a_setting_that_completes_adds_what_scores_enough_and_wrong_additions_are_a_loss():
    scores = {("1", "dog"): 0.9, ("1", "cup"): 0.8, ("1", "cat"): 0.5}
    drafts = Drafts(["A dog sits."], ["1"], Scored(scores))
    texts = {score: drafts.at(Setting(0.2, complete=score))[0].text for score in (None, 0.7, 0.4)}
    assert texts[None] == "A dog sits."
    assert "cup" in texts[0.7]
    assert "cat" not in texts[0.7]
    assert "cat" in texts[0.4]
    with pytest.raises(SettingsError, match="complete must be above 0"):
        Setting(complete=0)


def test_the_threshold_of_additions_is_a_coordinate_of_the_path():
    """Cats score .5 everywhere and are in no odd image; what scores .9 is there."""
    scores = {(name, "cup"): 0.9 for name in NAMES} | {(name, "cat"): 0.5 for name in NAMES}
    truth = {name: ["dog", "cup"] for name in NAMES}
    scores |= {(name, "dog"): 0.9 for name in NAMES}
    path = [Setting(0.2, complete=0.4), Setting(0.2, complete=0.7)]
    policy = fit(
        captions=["A dog sits on the grass."] * N,
        truth=truth,
        detector=Scored(scores),
        path=path,
        risks={"wrong_additions": 0.05},
    )
    assert policy.setting == path[1]
    assert "completed from 0.7" in policy.rests_on
    (outcome,) = policy.apply(["A dog sits on the grass."], NAMES[:1], Scored(scores))
    assert "cup" in outcome.text


def test_agreement_is_the_mean_score_of_what_was_judged():
    assert agreement([Verdict(0, "unverifiable")]) is None
    assert agreement([Verdict(0, "supported", 0.8), Verdict(1, "unsure", 0.7)]) == pytest.approx(0.55)


# --- fitting ----------------------------------------------------------------------------------------------------------


def test_the_certified_setting_that_loses_least_is_chosen():
    policy = fit(risks={"chair_s": 0.05, "lost": 0.2})
    assert policy.setting == Setting(0.05)
    assert policy.images == N
    chosen = next(t for t in policy.path if t.setting == policy.setting)
    assert chosen.certified
    assert (chosen.means["chair_s"], chosen.means["lost"]) == (0, 0)
    plain = policy.path[0]
    assert not plain.certified
    assert plain.means["chair_s"] == 0.5


def test_rows_of_one_image_are_not_independent():
    """58 images are too few, whether each has one caption or forty."""
    few = [NAMES[i % 58] for i in range(58 * 3)]
    with pytest.raises(PromiseError, match=r"58 images cannot show .* 59 images"):
        fit(captions=["A cat." for _ in few], images=few)
    with pytest.raises(PromiseError, match="45 images"):
        fit(groups=[str(i // 2) for i in range(N)])


def test_a_detector_that_supports_everything_is_refused():
    always = Scored({(i, name): 1.0 for i in NAMES for name in ("dog", "cat", "car")})
    with pytest.raises(PromiseError, match="50 % on 90 images; no number of images"):
        fit(detector=always)


def test_captions_of_which_nothing_is_true_are_refused_with_the_settings_that_release_too_few():
    with pytest.raises(
        PromiseError, match="has 100 % on 90 images, and 16 settings release captions of too few images"
    ):
        fit(captions=["A bus and a zebra."] * N)


def test_a_kind_that_the_detector_never_sees_is_lost_and_not_promised():
    scores = {key: score for key, score in good_detector().scores.items() if key[1] != "cat"}
    policy = fit(detector=Scored(scores), risks={"chair_s": 0.1})
    chosen = next(tested for tested in policy.path if tested.setting == policy.setting)
    assert chosen.means["lost"] == 0.5, "the cat of every other image"
    assert chosen.means["chair_s"] == 0


def test_ensembles_are_calibrated_as_one_detector():
    members = [
        KnownObjects(TRUTH, name="one"),
        KnownObjects({i: [*names, "dog"] for i, names in TRUTH.items()}, name="two"),
    ]
    policy = fit(detector=Ensemble(members, "mean"))
    assert policy.setting.contradict > 0.5
    with pytest.raises(SettingsError, match="does not cover this: it was calibrated with the detector"):
        policy.check(Ensemble(members, "any"))


def test_captions_of_several_imagination_settings_make_one_path():
    low = [caption.replace(" near a dog", "") for caption in CAPTIONS]
    path = [Setting(imagination=0.0), Setting(imagination=-0.5)]
    policy = fit(captions={0.0: CAPTIONS, -0.5: low}, path=path)
    assert policy.setting.imagination == -0.5
    with pytest.raises(
        SettingsError, match=r"at imagination -0\.5, and this is undeclared; declare it with --imagination"
    ):
        policy.check(good_detector())
    policy.check(good_detector(), imagination=-0.5)
    with pytest.raises(SettingsError, match=r"captions were given for 0\.0"):
        fit(captions={0.0: CAPTIONS}, path=path)


def test_images_that_the_detector_fails_on_are_left_out():
    class Fails(Scored):
        def detect(self, images, phrases):
            if set(images) & set(NAMES[:10]):
                raise ExpertError("gone")
            return super().detect(images, phrases)

    assert fit(detector=Fails(good_detector().scores)).images == N - 10
    with pytest.raises(InputError, match="no image could be checked"):
        fit(captions=CAPTIONS[:10] * 6, images=NAMES[:10] * 6, groups=[str(i) for i in range(60)], detector=Fails({}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"captions": [], "images": []}, "needs captions to be fitted on"),
        ({"truth": {"x.jpg": ["dog"]}}, "no caption is of a labelled image: the labels name images such as 'x.jpg'"),
        ({"truth": {}}, "got no labels"),
        ({"truth": dict(list(TRUTH.items())[1:])}, "1 images have captions and no labels, such as '0'"),
        ({"groups": ["a"]}, "one image key"),
        ({"path": [Setting(), Setting()]}, "names a setting twice"),
        ({"risks": {"chair_s": 0}}, "no data can show a limit of 0"),
        ({"risks": {"chair_s": 1}}, "1 promises nothing"),
        ({"confidence": 1}, "between 0 and 1"),
        ({"detector": Scored({}, covered=())}, "can judge none of the 80 kinds"),
    ],
)
def test_what_cannot_be_fitted_is_one_sentence(options, message):
    with pytest.raises((SettingsError, InputError), match=message):
        fit(**options)


def test_the_default_path_follows_from_the_detector_alone():
    path = default_path(good_detector())
    assert path[0] == Setting()
    scores = [s.contradict for s in path if s.filter == "confirmed"]
    assert scores == sorted(scores) == [s.contradict for s in path[1:] if s.filter == "all"]
    odd = Scored({})
    odd.thresholds = (0.01, 0.005)
    assert default_path(odd)[1].contradict == pytest.approx(0.0013, abs=1e-4)


# --- the file, and what it refuses ------------------------------------------------------------------------------------


def test_a_policy_is_saved_and_read_back(tmp_path):
    policy = fit(captioner="model-a")
    policy.save(tmp_path / "p.json")
    assert Policy.load(tmp_path / "p.json") == policy
    assert Policy.load(tmp_path / "p.json").digest == policy.digest
    assert "at most 5 % have one that names an object that is not there" in policy.promise
    assert "90 labelled images" in policy.rests_on
    assert "model-a" in policy.rests_on


@pytest.mark.parametrize(
    "change",
    [
        {"version": 7},
        {"version": None},
        {"version": 1, "signature": {"experts": 1}},
        {"setting": {"contradict": 0.0, "filter": "all", "imagination": None}},
        {"risks": {"chair_s": 0.01}},
        {"confidence": 0.99},
        {"path": []},
        {"more": 1},
        {"images": float("nan")},
        {"captions": float("inf")},
        {"agreements": [float("nan")]},
        {"agreements": [10**400]},
        {"confidence": 10**400},
    ],
)
def test_a_policy_of_another_version_or_edited_is_refused(tmp_path, change):
    file = tmp_path / "p.json"
    fit().save(file)
    file.write_text(json.dumps(json.loads(file.read_text()) | change), encoding="utf-8")
    with pytest.raises(InputError, match="halluguard calibrate --risk"):
        Policy.load(file)


def test_what_the_promise_does_not_cover_is_refused():
    policy = fit(captioner="model-a")
    policy.check(good_detector(), captioner="model-a")
    for options, message in [
        ({"detector": Scored({}, "other"), "captioner": "model-a"}, "the detector scored, and this is other"),
        ({"detector": Scored({}, covered=("dog",)), "captioner": "model-a"}, "another vocabulary .* now 1 of 80"),
        ({"detector": good_detector(), "captioner": "model-b"}, "captions of model-a, and this is model-b"),
        ({"detector": good_detector()}, "declare it with --captioner"),
    ]:
        with pytest.raises(SettingsError, match=message):
            policy.check(options.pop("detector"), **options)
    with pytest.raises(SettingsError, match=r"halluguard 0\.0\.0, and this is"):
        replace(policy, halluguard="0.0.0").check(good_detector(), captioner="model-a")


def test_apply_lets_out_what_the_setting_lets_out():
    policy = fit()
    outcomes = policy.apply(CAPTIONS[:3], NAMES[:3], good_detector())
    assert [one.text for one in outcomes] == ["A cat sleeps.", CAPTIONS[1], "A cat sleeps."]
    assert all(not one.withheld for one in outcomes)


# --- the command line -------------------------------------------------------------------------------------------------


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def files(tmp_path):
    (tmp_path / "truth.json").write_text(json.dumps(TRUTH), encoding="utf-8")
    rows = [{"image": i, "caption": c} for i, c in zip(NAMES, CAPTIONS, strict=True)]
    (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return tmp_path


def test_the_command_line_calibrates_and_the_audit_keeps_the_promise(files):
    truth, captions, policy = files / "truth.json", files / "captions.jsonl", files / "policy.json"
    options = ["--captions", captions, "--detector", f"objects:{truth}", "--out", policy]
    done = run("calibrate", truth, "--risk", "chair_s=0.05", "--risk", "lost=0.1", "--captioner", "m", *options)
    assert done.exit_code == 0, done.output
    assert "…" not in done.output
    assert Policy.load(policy).risks == {"chair_s": 0.05, "lost": 0.1}
    new = [
        {"image": "0.jpg", "caption": "A cat sleeps near a dog."},
        {"image": "0.jpg", "caption": "A dog."},
        {"image": "9"},
    ]
    (files / "new.jsonl").write_text("\n".join(map(json.dumps, new)), encoding="utf-8")
    audit = [
        "audit",
        files / "new.jsonl",
        "--objects",
        truth,
        "--out",
        files / "out",
        "--export",
        files / "clean.jsonl",
    ]
    refused = run(*audit, "--policy", policy)
    assert "declare it with --captioner" in str(refused.exception)
    done = run(*audit, "--policy", policy, "--captioner", "m")
    assert done.exit_code == 0, done.output
    lines = [json.loads(line)["caption"] for line in (files / "clean.jsonl").read_text().splitlines()]
    assert lines == ["A cat sleeps."], "what is withheld or was not checked stays in"
    summary = json.loads((files / "out" / "summary.json").read_text())
    assert summary["promise"]["promise"] == Policy.load(policy).promise
    assert (summary["promise"]["released"], summary["promise"]["withheld"]) == (1, 1)
    assert "at most 5 %" in (files / "out" / "report.html").read_text()


def test_an_audit_takes_its_thresholds_from_one_place(files):
    fit(second_look=False).save(files / "p.json")
    (files / "t.json").write_text('{"high": 0.5, "low": 0.2}', encoding="utf-8")
    audit = ["audit", files / "captions.jsonl", "--objects", files / "truth.json", "--out", files / "out"]
    both = run(*audit, "--policy", files / "p.json", "--thresholds", files / "t.json")
    assert "thresholds of its own" in str(both.exception)


@pytest.mark.parametrize(
    ("labels", "name"),
    [
        ("image,phrase,present\n0.jpg,cat,true\n0.jpg,dog,false\n1.jpg,lamp,true\n", "l.csv"),
        ('{"0.jpg": ["cat"], "1.jpg": ["lamp"]}', "l.json"),
    ],
)
def test_truth_is_read_from_rows_and_from_lists(tmp_path, labels, name):
    (tmp_path / name).write_text(labels, encoding="utf-8")
    assert read_truth(tmp_path / name) == ({"0.jpg": ["cat"], "1.jpg": []}, 1)


def test_labels_that_contradict_themselves_are_refused(tmp_path):
    (tmp_path / "l.csv").write_text("image,phrase,present\n0.jpg,cat,yes\n0.jpg,cat,no\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"'cat' is and is not in '0\.jpg'; keep one"):
        read_truth(tmp_path / "l.csv")


def test_a_file_of_other_images_is_known_by_the_declared_name_of_its_detector(tmp_path):
    first, second = KnownObjects(TRUTH, name="objects:old.json"), KnownObjects(TRUTH, name="objects:new.json")
    fit(detector=first).check(second)
    policy = fit(detector=first, detector_name="swin")
    policy.check(second, detector_name="swin")
    with pytest.raises(
        SettingsError, match="detector swin, and this is objects; declare --detector-name swin if it made"
    ):
        policy.check(second)


def test_a_file_of_thresholds_is_no_policy(tmp_path):
    (tmp_path / "t.json").write_text('{"version": 1, "high": 0.5, "low": 0.2}', encoding="utf-8")
    with pytest.raises(InputError, match="it lacks agreements, path, promise"):
        Policy.load(tmp_path / "t.json")


@pytest.mark.slow
def test_copies_of_an_image_count_once(tmp_path):
    """Ninety names, and one photo: one image."""
    Image.new("RGB", (8, 8), "red").save(tmp_path / "0.jpg")
    for name in NAMES[1:]:
        (tmp_path / name).write_bytes((tmp_path / "0.jpg").read_bytes())
    (tmp_path / "truth.json").write_text(json.dumps({name: ["dog"] for name in NAMES}), encoding="utf-8")
    rows = [{"image": name, "caption": "A dog."} for name in NAMES]
    (tmp_path / "c.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    refused = run(
        *("calibrate", tmp_path / "truth.json", "--captions", tmp_path / "c.jsonl", "--images", tmp_path),
        *("--detector", "sandbox", "--risk", "chair_s=0.05", "--out", tmp_path / "p.json"),
    )
    assert "1 image cannot show" in str(refused.exception)
    assert not (tmp_path / "p.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--risk", "chair_s=0.05"], "name a file of captions"),
        (["--risk", "chair_s=2", "--captions", "c"], "between 0 and 1"),
        (["--risk", "chair_s=0.05", "--captions", "a", "--captions", "b"], "written IMAGINATION=FILE"),
    ],
)
def test_wrong_use_is_one_sentence(files, arguments, message):
    result = run("calibrate", files / "truth.json", "--detector", f"objects:{files / 'truth.json'}", *arguments)
    assert message in str(result.exception)
