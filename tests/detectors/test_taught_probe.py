"""The free two-branch prior, and the probe that a detector's verdicts teach."""

import pytest
import torch
from safetensors.torch import save_file

from halluguard import Guard, sandbox
from halluguard.detectors.precomputed import KnownObjects
from halluguard.detectors.self_check import ModelReader, two_branch_scores
from halluguard.detectors.specs import from_spec
from halluguard.detectors.taught_probe import ProbeWeights, TaughtProbe, features_of, verdicts
from halluguard.errors import InputError, SettingsError


@pytest.fixture(scope="module")
def loaded():
    return sandbox.load_mllm()


class Truth:
    """A teacher that knows the scenes."""

    name, needs_image, thresholds = "truth", True, (0.6, 0.4)

    def __init__(self, scenes):
        self.names = {id(scene.image): scene.names for scene in scenes}
        self.known = KnownObjects({}, name="truth")

    def covers(self, phrase):
        return self.known.covers(phrase)

    def detect(self, images, phrases):
        objects = KnownObjects({id(image): self.names[id(image)] for image in images})
        return objects.detect([id(image) for image in images], phrases)


@pytest.fixture(scope="module")
def taught(loaded):
    scenes = list(sandbox.fresh_scenes(40, 70_000_000))
    names = [[*scene.names, *(name for name in ("dog", "pizza", "bus") if name not in scene.names)] for scene in scenes]
    return scenes, TaughtProbe.teach(*loaded, [s.image for s in scenes], names, Truth(scenes))


def test_a_probe_tells_what_is_there_on_other_images(loaded, taught):
    scenes = list(sandbox.fresh_scenes(20, 71_000_000))
    boxes = taught[1].detect(
        [s.image for s in scenes], [[s.names[0], "zebra" if "zebra" not in s.names else "kite"] for s in scenes]
    )
    there, absent = ([row[i].score for row in boxes] for i in range(2))
    assert sum(a > b for a, b in zip(there, absent, strict=True)) >= 17
    assert taught[1].name.startswith("probe:")
    assert not taught[1].covers("7")


def test_a_probe_survives_a_file_and_the_command_line_loads_it(loaded, taught, tmp_path):
    scenes, probe = taught
    probe.learnt.save(tmp_path / "probe.safetensors")
    again = from_spec(f"probe:{tmp_path / 'probe.safetensors'},sandbox")
    asked = [scenes[0].image], [["dog", "a bus"]]
    mine, theirs = ([box.score for box in one.detect(*asked)[0]] for one in (probe, again))
    assert mine == pytest.approx(theirs, abs=1e-4)
    assert again.learnt.teacher == "truth"
    with pytest.raises(SettingsError, match="probe:FILE,MODEL"):
        from_spec("probe:only.safetensors")


def test_a_model_is_asked_by_its_name_on_the_command_line():
    expert = from_spec("ask:sandbox")
    scene = sandbox.scenes(1)[0]
    (boxes,) = expert.detect([scene.image], [[scene.names[0]]])
    assert boxes[0].score > 0.5


def test_a_probe_checks_the_answers_of_a_guard(loaded, taught):
    guard = Guard(*loaded, detector=taught[1])
    answer = guard(taught[0][0].image, "Describe the image.")
    assert {verdict.expert for verdict in answer.verdicts if verdict.expert} <= {taught[1].name}
    assert answer.verdicts


def test_files_of_another_kind_are_refused(loaded, tmp_path):
    save_file({"weights": torch.ones(3)}, str(tmp_path / "other.safetensors"))
    with pytest.raises(InputError, match="a taught probe is expected"):
        ProbeWeights.load(tmp_path / "other.safetensors")
    vector = torch.ones(3)
    with pytest.raises(InputError, match="another model"):
        TaughtProbe(*loaded, ProbeWeights(vector, vector, vector, 0.0))


def test_too_few_verdicts_are_refused(loaded):
    scenes = sandbox.scenes(2)
    with pytest.raises(InputError, match="give more images"):
        TaughtProbe.teach(*loaded, [s.image for s in scenes], [list(s.names) for s in scenes], Truth(scenes))


def test_only_sure_verdicts_teach():
    class Unsure(Truth):
        def detect(self, images, phrases):
            from halluguard import Box

            scores = {"dog": 0.9, "cat": 0.5, "bus": 0.1}
            return [[Box(name, scores[name], phrase=i) for i, name in enumerate(names)] for names in phrases]

    assert verdicts([0], [["dog", "cat", "bus", "dog"]], Unsure([])) == [(0, "dog", True), (0, "bus", False)]


def test_the_regression_is_that_of_the_textbook():
    """At the minimum, the gradient of the penalised likelihood is zero."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(200, 4, generator=draw)
    y = (x[:, 0] - x[:, 1] + torch.randn(200, generator=draw)) > 0
    learnt = ProbeWeights.fit(x, y, penalty=0.1)
    standard = (x - x.mean(0)) / x.std(0)
    slope = standard.T @ (learnt.score(x) - y.float()) / 200 + 0.1 * learnt.weights
    assert torch.allclose(slope, torch.zeros(4), atol=1e-5)
    assert learnt.weights[0] > 0 > learnt.weights[1]


def test_the_prior_is_what_the_image_adds_to_the_odds(loaded):
    model, processor = loaded
    scene = sandbox.scenes(1)[0]
    caption = f"The image depicts a {scene.names[0]}."
    start = caption.index(scene.names[0])
    (score,) = two_branch_scores(model, processor, scene.image, "Describe the image.", caption, [start])
    reader, odds = ModelReader(model, processor), []
    for image in (scene.image, None):
        reading = reader.read(image, "Describe the image.", " " + caption[: start - 1])
        token = processor.tokenizer(" " + scene.names[0], add_special_tokens=False)["input_ids"][0]
        odds.append(torch.logit(reading.logits[-1].softmax(-1)[token].double()))
    assert score == pytest.approx(float(odds[0] - odds[1]), abs=1e-3)


def test_features_without_an_image_come_from_a_prompt_without_it(loaded):
    reader = ModelReader(*loaded)
    scene = sandbox.scenes(1)[0]
    question = "Is there a dog in the image?"
    seen, blind = (reader.read(image, question).states[-1] for image in (scene.image, None))
    found = features_of(reader, scene.image, "a dog", "Is there {a} {name} in the image?")
    assert torch.allclose(found, seen - blind, atol=1e-5)
