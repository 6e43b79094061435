"""Experts with a fixed list of labels: one alias table over COCO's names, tiny random models of several families."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForObjectDetection

from halluguard.detectors.closed_set import ClosedSetDetector
from halluguard.detectors.labels import Labels, label_name
from halluguard.errors import ExpertError, UnsupportedModelError
from halluguard.vocabulary import COCO, plural
from tests.detectors.conftest import picture

VOC = {
    "aeroplane": "airplane",
    "motorbike": "motorcycle",
    "sofa": "couch",
    "tvmonitor": "tv",
    "diningtable": "dining table",
    "pottedplant": "potted plant",
}


@pytest.mark.parametrize("name", COCO)
def test_each_category_is_one_name_however_it_is_written(name):
    ways = [name, name.title(), name.replace(" ", ""), name.replace(" ", "_"), name.replace(" ", "-"), plural(name)]
    assert {label_name(way) for way in ways} == {name}
    assert len({label_name(other) for other in COCO}) == 80
    assert Labels([name.replace(" ", "")]).covers(name)


@pytest.mark.parametrize(("label", "name"), VOC.items())
def test_names_of_the_voc_era_are_coco_s(label, name):
    assert label_name(label) == name
    assert Labels([label]).covers(name)
    assert Labels([name]).covers(label)


def test_a_label_covers_what_it_means_and_no_more():
    labels = Labels(["person", "bus", "N/A", ""])
    assert labels.names == {"person", "bus"}
    assert [labels.covers(w) for w in ("person", "people", "human", "man", "vehicle", "n/a", "dog")] == [
        True, True, True, False, False, False, False,
    ]  # fmt: skip
    assert labels.answers("bus", "vehicle")


def tiny(kind):
    torch.manual_seed(0)
    resnet = {"model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 12, 16, 20], "depths": [1, 1, 1, 1]}
    detr = {
        "backbone_config": {**resnet, "out_features": ["stage4"]}, "d_model": 32, "encoder_layers": 1,
        "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "encoder_attention_heads": 4,
        "decoder_attention_heads": 4, "num_queries": 12, "use_timm_backbone": False, "use_pretrained_backbone": False,
    }  # fmt: skip
    rt = {
        "backbone_config": {
            "model_type": "rt_detr_resnet", "embedding_size": 8, "hidden_sizes": [8, 12, 16, 20],
            "depths": [1, 1, 1, 1], "layer_type": "basic", "out_features": ["stage2", "stage3", "stage4"],
        },
        "encoder_hidden_dim": 32, "encoder_in_channels": [12, 16, 20], "feat_strides": [8, 16, 32],
        "encoder_ffn_dim": 32, "encoder_attention_heads": 2, "d_model": 32, "num_queries": 20, "decoder_layers": 2,
        "decoder_in_channels": [32, 32, 32], "decoder_ffn_dim": 32, "decoder_attention_heads": 2, "num_denoising": 0,
        "decoder_n_points": 4, "anchor_image_size": None,
    }  # fmt: skip
    hgnet = {
        "model_type": "hgnet_v2", "stage_in_channels": [16, 16, 32, 32], "stage_mid_channels": [8, 8, 16, 16],
        "stage_out_channels": [16, 32, 32, 32], "stage_num_blocks": [1, 1, 1, 1],
        "stage_downsample": [False, True, True, True], "stage_light_block": [False, False, True, True],
        "stage_kernel_size": [3, 3, 5, 5], "stage_numb_of_layers": [1, 1, 1, 1], "stem_channels": [3, 8, 16],
        "hidden_sizes": [16, 32, 32, 32], "depths": [1, 1, 1, 1], "embedding_size": 16,
        "out_features": ["stage2", "stage3", "stage4"],
    }  # fmt: skip
    settings = {
        "d_fine": {**rt, "backbone_config": hgnet, "encoder_in_channels": [32, 32, 32]},
        "dab-detr": {**detr, "hidden_size": 32, "decoder_layers": 2},
        "detr": detr,
        "conditional_detr": detr,
        "deformable_detr": {**detr, "backbone_config": {**resnet, "out_features": ["stage2", "stage3", "stage4"]},
                            "num_feature_levels": 3, "decoder_layers": 2},
        "rt_detr": rt,
        "rt_detr_v2": rt,
        "yolos": {
            "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 37,
            "image_size": [64, 64], "patch_size": 16, "num_detection_tokens": 12,
        },
    }[kind]  # fmt: skip
    config = AutoConfig.for_model(kind, **settings)
    config.id2label = {0: "person", 1: "motorbike", 2: "tvmonitor", 3: "dog"}
    return AutoModelForObjectDetection.from_config(config).eval()


def processor(kind):
    import transformers

    name = {
        "detr": "DetrImageProcessorPil", "conditional_detr": "ConditionalDetrImageProcessorPil",
        "deformable_detr": "DeformableDetrImageProcessorPil", "rt_detr": "RTDetrImageProcessorPil",
        "rt_detr_v2": "RTDetrImageProcessorPil", "d_fine": "RTDetrImageProcessorPil",
        "dab-detr": "ConditionalDetrImageProcessorPil", "yolos": "YolosImageProcessorPil",
    }[kind]  # fmt: skip
    return getattr(transformers, name)(size={"height": 64, "width": 64})


KINDS = ("detr", "conditional_detr", "deformable_detr", "dab-detr", "rt_detr", "rt_detr_v2", "d_fine", "yolos")


@pytest.fixture(scope="module", params=KINDS)
def detector(request):
    return ClosedSetDetector(tiny(request.param), processor(request.param), floor=0.0, nms=1.0)


PHRASES = ["person", "motorcycle", "tv", "dogs"]


def test_every_family_answers_in_pixels_of_the_picture(detector):
    images = [picture(100, 60, 1), picture(60, 100, 2), picture(100, 60, 3)]
    found = detector.detect(images, [PHRASES] * 3)
    assert any(found)
    for image, boxes in zip(images, found, strict=True):
        for box in boxes:
            x1, y1, x2, y2 = box.xyxy
            assert 0 <= x1 < x2 <= image.width
            assert 0 <= y1 < y2 <= image.height
            assert box.label == PHRASES[box.phrase]


def test_neither_order_nor_neighbours_nor_other_phrases_matter(detector):
    images = [picture(100, 60, 1), picture(60, 100, 2), picture(100, 60, 3)]
    together = detector.detect(images, [PHRASES] * 3)
    shuffled = detector.detect(images[::-1], [PHRASES] * 3)[::-1]
    for a, b, image in zip(together, shuffled, images, strict=True):
        (alone,) = detector.detect([image], [["dogs"]])
        for other in (a, b):
            same = [box for box in other if box.phrase == 3]
            assert len(same) == len(alone)
            # Random queries may score the same to the last digits, so that their order is open.
            for box in alone:
                gaps = [
                    max(abs(x - y) for x, y in zip(box.xyxy, one.xyxy, strict=True)) + 1e3 * abs(box.score - one.score)
                    for one in same
                ]
                assert min(gaps) < 0.05


def test_a_model_that_answers_nan_is_an_error(detector, monkeypatch):
    forward = detector.model.forward

    def broken(*args, **kwargs):
        output = forward(*args, **kwargs)
        output.pred_boxes[0, 0] = float("nan")
        return output

    monkeypatch.setattr(detector.model, "forward", broken)
    with pytest.raises(ExpertError, match="finite"):
        detector.detect([picture(64, 64)], [["dog"]])


def test_what_no_label_means_is_not_covered_and_asking_is_an_error(detector):
    assert not detector.covers("unicorn")
    with pytest.raises(ExpertError, match="no label"):
        detector.detect([picture(64, 64)], [["unicorn"]])


def test_labels_without_names_are_refused():
    model = tiny("yolos")
    model.config.id2label = {0: "LABEL_0", 1: "LABEL_1"}
    with pytest.raises(UnsupportedModelError, match="id2label"):
        ClosedSetDetector(model, processor("yolos"))
    with pytest.raises(UnsupportedModelError, match="ZeroShotDetector"):
        ClosedSetDetector(torch.nn.Linear(1, 1), processor("yolos"))


def test_a_saved_model_loads(tmp_path):
    tiny("yolos").save_pretrained(tmp_path)
    processor("yolos").save_pretrained(tmp_path)
    loaded = ClosedSetDetector.from_pretrained(tmp_path, device="cpu", floor=0.0)
    assert loaded.covers("television")
    assert loaded.detect([picture(64, 64)], [["tv"]])


def test_a_name_alone_gives_the_right_kind_of_expert(tmp_path):
    from halluguard import sandbox
    from halluguard.detectors.checkpoints import load_detector
    from halluguard.detectors.zero_shot import ZeroShotDetector

    tiny("yolos").save_pretrained(tmp_path)
    processor("yolos").save_pretrained(tmp_path)
    assert isinstance(load_detector(tmp_path, device="cpu"), ClosedSetDetector)
    assert isinstance(load_detector(sandbox.DETECTOR, device="cpu"), ZeroShotDetector)
    with pytest.raises(UnsupportedModelError):
        load_detector(sandbox.MLLM, device="cpu")
