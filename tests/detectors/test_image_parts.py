"""Modules that depend on the image alone run once per image, and the results are those of transformers' own pass."""

from copy import deepcopy
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from halluguard.detectors.image_parts import ImageRows, compile_modules, existing, with_forwards
from halluguard.detectors.zero_shot import ZeroShotDetector
from halluguard.detectors.zero_shot_families import FAMILIES, Batch, Query
from halluguard.errors import UnsupportedModelError
from tests.detectors.conftest import picture, tiny_grounding

NAMES = ["book", "cat", "dog", "person", "traffic light"]
BACKBONES = {
    "owlvit": "owlvit.vision_model.encoder",
    "owlv2": "owlv2.vision_model.encoder",
    "grounding-dino": "model.backbone.conv_encoder.model",
    "mm-grounding-dino": "model.backbone.conv_encoder.model",
    "omdet-turbo": "vision_backbone.vision_backbone",
    "sam3": "vision_encoder.backbone",
    "sam3_lite_text": "vision_encoder.backbone",
}


def rows_entered(model, path):
    """Rows that enter a module, one number per call."""
    rows = []

    def note(module, args, kwargs):
        first = next(value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor))
        rows.append(len(first))

    handle = model.get_submodule(path).register_forward_pre_hook(note, with_kwargs=True)
    return rows, handle


@pytest.mark.parametrize("rows_per_pass", [1, 2, 16])
@pytest.mark.parametrize("joint", [None, 1.0])
def test_the_backbone_sees_every_image_once(family, rows_per_pass, joint):
    detector = ZeroShotDetector(*family, rows_per_pass=rows_per_pass, phrases_per_pass=2, joint=joint)
    rows, handle = rows_entered(detector.model, BACKBONES[detector.model.config.model_type])
    detector.detect([picture(96, 80, 1), picture(96, 80, 2), picture(80, 96, 3)], [NAMES, NAMES[:2], NAMES])
    handle.remove()
    assert sum(rows) == 3


def plain(detector, images, names):
    """Scores (Q,) and boxes (Q, 4) of the model itself, one pass per image and name, nothing shared."""
    results = {}
    for i, image in enumerate(images):
        for name in names:
            with torch.inference_mode():
                batch = Batch(detector.model, [image], [Query(0, [name])], detector._pixels([image]))
                ((scores, boxes),) = detector.family.forward(detector, batch)
            results[i, name] = scores[:, 0], boxes
    return results


def test_results_are_those_of_one_plain_pass_per_image_and_phrase(family):
    detector = ZeroShotDetector(*family, rows_per_pass=7, phrases_per_pass=2)
    images = [picture(96, 80, 1), picture(96, 80, 2)]
    shared = detector._search(images, {0: NAMES, 1: NAMES})
    for key, (scores, boxes) in plain(detector, images, NAMES).items():
        assert torch.allclose(shared[key][0], scores, atol=1e-5), key
        assert torch.allclose(shared[key][1] / 96, boxes / 96, atol=1e-5), key


def test_every_image_part_is_in_the_model_and_no_compiled_module_holds_one(family):
    model, _ = family
    own = FAMILIES[model.config.model_type]
    for path in (*own.image_parts, *own.compiled, *own.replaced):
        assert existing(model, [path]), path
    for compiled in existing(model, own.compiled):
        assert not any(part.startswith(f"{compiled}.") for part in existing(model, own.image_parts))


def test_the_model_itself_is_left_alone(family):
    model, _ = family
    before = list(model.state_dict())
    forwards = {name: module.__dict__.get("forward") for name, module in model.named_modules()}
    ZeroShotDetector(*family).detect([picture(64, 64)], [NAMES[:2]])
    assert list(model.state_dict()) == before
    assert {name: module.__dict__.get("forward") for name, module in model.named_modules()} == forwards


def test_hooks_of_a_shared_module_run_once_per_call():
    model = torch.nn.ModuleDict({"part": torch.nn.Linear(2, 2)})
    calls = []
    model["part"].register_forward_hook(lambda *args: calls.append(1))
    rows = ImageRows()
    rows.images = [0, 0, 1]
    view = with_forwards(model, {"part": rows.once})
    x = torch.tensor([[1.0, 2.0], [1.0, 2.0], [3.0, 4.0]])
    assert torch.allclose(view["part"](x), torch.nn.functional.linear(x, model["part"].weight, model["part"].bias))
    assert calls == [1]


def test_outputs_in_any_nesting_are_repeated_and_other_tensors_stay_whole():
    rows = ImageRows()
    entered = []

    def module(x, levels):
        entered.append((len(x), len(levels)))
        return {"maps": [x + 1, (x * 2,)], "name": "kept"}

    once = rows.once(module)
    rows.images = [4, 4, 7]
    x, levels = torch.tensor([[1.0], [1.0], [5.0]]), torch.arange(4)
    output = once(x, levels)
    assert output["maps"][0].tolist() == [[2.0], [2.0], [6.0]]
    assert output["maps"][1][0].tolist() == [[2.0], [2.0], [10.0]]
    assert output["name"] == "kept"
    rows.images = [7, 9]
    assert once(torch.tensor([[5.0], [8.0]]), levels)["maps"][0].tolist() == [[6.0], [9.0]]
    assert entered == [(2, 4), (1, 4)]


def test_asking_together_first_gives_the_verdicts_of_asking_alone_near_a_threshold(grounding_processor):
    """With a margin of 1 every phrase is near a threshold, so every phrase is asked alone."""
    image = picture(96, 80)
    alone = ZeroShotDetector(tiny_grounding(), grounding_processor, floor=0.0)
    joint = ZeroShotDetector(tiny_grounding(), grounding_processor, floor=0.0, joint=1.0)
    a, b = alone.detect([image], [NAMES])[0], joint.detect([image], [NAMES])[0]
    assert [box.phrase for box in a] == [box.phrase for box in b]
    assert np.allclose([box.score for box in a], [box.score for box in b], atol=1e-6)


def test_only_phrases_near_a_threshold_are_asked_again(grounding_processor, monkeypatch):
    model = tiny_grounding()
    together = ZeroShotDetector(model, grounding_processor, isolate=False, floor=0.0)
    best = [
        max(box.score for box in together.detect([picture(96, 80)], [NAMES])[0] if box.phrase == i)
        for i in range(len(NAMES))
    ]
    mark = best[2]
    detector = ZeroShotDetector(model, grounding_processor, joint=1e-4, floor=mark - 1e-3, thresholds=(mark, mark))
    asked = []
    forward = detector.family.forward
    monkeypatch.setattr(
        detector,
        "family",
        SimpleNamespace(**{**vars(detector.family), "forward": lambda d, b: asked.append(b.queries) or forward(d, b)}),
    )
    detector.detect([picture(96, 80)], [NAMES])
    assert [query.phrases for query in asked[0]] == [NAMES]
    assert [NAMES[2]] in [query.phrases for query in asked[1]]
    assert len(asked[1]) < len(NAMES) or all(abs(score - mark) < 2e-3 for score in best)


def test_a_part_that_is_missing_is_said():
    with pytest.raises(UnsupportedModelError, match="no part"):
        compile_modules(torch.nn.Linear(1, 1), ["backbone"])


def test_compile_sends_the_heavy_parts_and_nothing_else(grounding_processor):
    detector = ZeroShotDetector(tiny_grounding(), grounding_processor, compile=True)
    compiled = [name for name, module in detector.model.named_modules() if module._compiled_call_impl is not None]
    assert sorted(compiled) == sorted(existing(detector.model, detector.family.compiled))


def test_half_precision_gives_nearly_the_same_scores(family):
    model, processor = family
    image = picture(64, 64)
    half_model = deepcopy(model).to(torch.bfloat16)
    if model.config.model_type == "omdet-turbo":  # transformers' own pass mixes types
        with pytest.raises(UnsupportedModelError, match="float32"):
            ZeroShotDetector(half_model, processor)
        return
    full = ZeroShotDetector(model, processor, floor=0.0, nms=1.0).detect([image], [["dog"]])[0]
    boxes = ZeroShotDetector(half_model, processor, floor=0.0, nms=1.0).detect([image], [["dog"]])[0]
    assert boxes
    assert max(box.score for box in boxes) == pytest.approx(max(box.score for box in full), abs=0.1)
