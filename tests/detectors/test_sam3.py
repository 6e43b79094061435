"""SAM 3: the presence head weighs every box, as in transformers' own post-processing; its checkpoints are recognised."""

import ast
import inspect
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from halluguard.checkpoints import load_model
from halluguard.detectors.checkpoints import load_detector
from halluguard.detectors.sam3 import CLASSES, AutoSam3
from halluguard.detectors.zero_shot import ZeroShotDetector
from halluguard.errors import MissingExtraError
from tests.detectors.conftest import picture, tiny_sam3

NAMES = ["dog", "cat", "potted plant"]


def own_post_processing():
    """`post_process_object_detection` of transformers, from its source: the module itself imports torchvision."""
    path = Path(transformers.__file__).parent / "models" / "sam3" / "image_processing_sam3.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    wanted = [functions["_scale_boxes"], functions["post_process_object_detection"]]
    for function in wanted:
        function.decorator_list = []
    module = ast.Module(wanted, type_ignores=[])
    names = {"torch": torch}
    exec(compile(module, str(path), "exec", flags=annotations_flag()), names)
    return names["post_process_object_detection"]


def annotations_flag():
    import __future__

    return __future__.annotations.compiler_flag


@pytest.fixture(scope="module", params=["sam3", "sam3_lite_text"])
def kind(request):
    return request.param


def test_boxes_and_scores_are_those_of_transformers(kind):
    model, processor = tiny_sam3(kind)
    detector = ZeroShotDetector(model, processor, floor=0.0, nms=1.0)
    image = picture(160, 120)
    (boxes,) = detector.detect([image], [NAMES])
    post_process = own_post_processing()
    for phrase, name in enumerate(NAMES):
        text = processor.tokenizer([name], padding="max_length", max_length=32, return_tensors="pt")
        pixels = processor.image_processor(images=[image], return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            output = model(pixel_values=pixels, input_ids=text["input_ids"], attention_mask=text["attention_mask"])
        (expected,) = post_process(None, output, threshold=0.0, target_sizes=[(image.height, image.width)])
        own = sorted((s, *b) for s, b in zip(expected["scores"].tolist(), expected["boxes"].tolist(), strict=True))
        size = np.array([1, *image.size, *image.size])
        got = sorted((box.score, *box.xyxy) for box in boxes if box.phrase == phrase)
        # Boxes are cut at the image's edge.
        limits = [1, *image.size, *image.size]
        own = [tuple(np.clip(row, 0, limits)) for row in own if clipped_area(row, image.size) > 0]
        assert np.allclose(np.array(got) / size, np.array(own) / size, atol=1e-5)


def clipped_area(row, size):
    x1, y1, x2, y2 = np.clip(row[1:], 0, [*size, *size])
    return max(0, x2 - x1) * max(0, y2 - y1)


def test_no_score_is_above_the_presence_of_the_phrase(kind):
    model, processor = tiny_sam3(kind)
    with torch.no_grad():
        model.detr_decoder.presence_head.layer3.bias.fill_(-9.0)
    detector = ZeroShotDetector(model, processor, floor=0.0)
    (boxes,) = detector.detect([picture(64, 64)], [["dog"]])
    assert max(box.score for box in boxes) < 0.05


def test_masks_are_not_computed(kind):
    model, processor = tiny_sam3(kind)
    calls = []
    model.mask_decoder.register_forward_hook(lambda *args: calls.append(1))
    ZeroShotDetector(model, processor).detect([picture(64, 64)], [NAMES])
    assert calls == []


def test_a_phrase_longer_than_its_32_tokens_is_not_covered(kind):
    detector = ZeroShotDetector(*tiny_sam3(kind))
    assert detector.covers(" ".join(["dog"] * 20))
    assert not detector.covers(" ".join(["dog"] * 40))


def test_the_detector_in_a_checkpoint_of_video_is_taken_out(tmp_path):
    """A checkpoint as published: the detector's weights begin with `detector_model.`, and a tracker lies beside it."""
    model, _ = tiny_sam3("sam3")
    model.save_pretrained(tmp_path)
    weights = {f"detector_model.{name}": tensor for name, tensor in load_file(tmp_path / "model.safetensors").items()}
    weights["tracker_model.some.weight"] = torch.zeros(2, 2)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    config = {"model_type": "sam3_video", "detector_config": model.config.to_dict()}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    loaded = load_model(AutoSam3, tmp_path, expected="a detector", advice="")
    assert loaded.config.model_type == "sam3"
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_every_class_of_the_table_is_transformers_own():
    for name in CLASSES.values():
        assert inspect.isclass(getattr(transformers, name))


def test_a_saved_model_is_recognised_and_says_what_its_processor_needs(tmp_path, kind):
    model, processor = tiny_sam3(kind)
    model.save_pretrained(tmp_path)
    processor.tokenizer.save_pretrained(tmp_path)
    settings = {"processor_class": "Sam3Processor", "image_processor": {"image_processor_type": "Sam3ImageProcessor"}}
    (tmp_path / "processor_config.json").write_text(json.dumps(settings), encoding="utf-8")
    try:
        import torchvision  # noqa: F401
    except ImportError:
        with pytest.raises(MissingExtraError, match="torchvision"):
            load_detector(tmp_path, device="cpu")
    else:
        assert isinstance(load_detector(tmp_path, device="cpu"), ZeroShotDetector)
