"""Tiny random detectors of every family, built on the spot with transformers' own classes."""

import numpy as np
import pytest
from PIL import Image

WORDS = (
    "dog cat traffic light street person bus red vehicle st bernard animal man book potted plant fire hydrant ##s ( )"
).split()


def bert_vocabulary():
    """A vocabulary with the separators where the models look for them."""
    words = [f"[unused{i}]" for i in range(1100)]
    for token, index in {
        "[PAD]": 0,
        "[UNK]": 100,
        "[CLS]": 101,
        "[SEP]": 102,
        "[MASK]": 103,
        ".": 1012,
        "?": 1029,
    }.items():
        words[index] = token
    words[1030 : 1030 + len(WORDS)] = WORDS
    return words


@pytest.fixture(scope="session")
def bert_tokenizer(tmp_path_factory):
    from transformers import BertTokenizer

    path = tmp_path_factory.mktemp("bert") / "vocab.txt"
    path.write_text("\n".join(bert_vocabulary()) + "\n", encoding="utf-8")
    return BertTokenizer(vocab=str(path), model_max_length=512)


def text_settings(vocabulary=1100):
    return {
        "model_type": "bert",
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 37,
        "max_position_embeddings": 512,
    }


SWIN = {
    "model_type": "swin",
    "image_size": 32,
    "patch_size": 4,
    "embed_dim": 16,
    "depths": [1, 1, 1, 1],
    "num_heads": [1, 1, 2, 2],
    "window_size": 4,
    "out_features": ["stage2", "stage3", "stage4"],
}


def tiny_grounding(kind="grounding-dino", layers=2, **settings):
    import torch
    from transformers import AutoConfig, AutoModelForZeroShotObjectDetection

    torch.manual_seed(0)
    config = AutoConfig.for_model(
        kind,
        text_config=text_settings(),
        backbone_config=SWIN,
        d_model=32,
        encoder_layers=layers,
        encoder_ffn_dim=64,
        encoder_attention_heads=4,
        decoder_layers=layers,
        decoder_ffn_dim=64,
        decoder_attention_heads=4,
        num_queries=20,
        use_timm_backbone=False,
        use_pretrained_backbone=False,
    )
    model = AutoModelForZeroShotObjectDetection.from_config(config, **settings).eval()
    # Random weights say almost the same everywhere; louder ones make differences visible.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(2.0)
    return model


@pytest.fixture(scope="session")
def grounding_processor(bert_tokenizer):
    from transformers import GroundingDinoImageProcessorPil, GroundingDinoProcessor

    images = GroundingDinoImageProcessorPil(size={"shortest_edge": 96, "longest_edge": 192})
    return GroundingDinoProcessor(image_processor=images, tokenizer=bert_tokenizer)


def picture(width, height, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


def tiny_owlv2():
    """OWLv2 with the sandbox's word-level tokenizer."""
    import torch
    from transformers import Owlv2Config, Owlv2ForObjectDetection, Owlv2ImageProcessorPil, Owlv2Processor

    from halluguard.sandbox.models import build_detector_processor

    torch.manual_seed(0)
    tokenizer = build_detector_processor().tokenizer
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 37,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 16,
        "eos_token_id": tokenizer.eos_token_id,
    }
    vision = {
        "hidden_size": 32,
        "intermediate_size": 37,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 64,
        "patch_size": 16,
    }
    model = Owlv2ForObjectDetection(Owlv2Config(text_config=text, vision_config=vision, projection_dim=32)).eval()
    images = Owlv2ImageProcessorPil(size={"height": 64, "width": 64})
    return model, Owlv2Processor(image_processor=images, tokenizer=tokenizer)


def tiny_omdet():
    """OmDet-Turbo on a Swin backbone of transformers; its own processor class needs torchvision, its parts do not."""
    from types import SimpleNamespace

    import torch
    from transformers import DetrImageProcessorPil, OmDetTurboConfig, OmDetTurboForObjectDetection

    from halluguard.sandbox.models import build_detector_processor

    torch.manual_seed(0)
    tokenizer = build_detector_processor().tokenizer
    text = {
        "model_type": "clip_text_model",
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "projection_dim": 16,
        "intermediate_size": 37,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 77,
        "eos_token_id": tokenizer.eos_token_id,
    }
    config = OmDetTurboConfig(
        text_config=text,
        backbone_config={**SWIN, "image_size": 64, "out_features": ["stage2", "stage3", "stage4"]},
        use_timm_backbone=False,
        apply_layernorm_after_vision_backbone=False,
        text_projection_in_dim=16,
        text_projection_out_dim=16,
        class_embed_dim=16,
        encoder_hidden_dim=32,
        encoder_in_channels=(32, 64, 128),
        vision_features_channels=(32, 32, 32),
        encoder_attention_heads=4,
        encoder_dim_feedforward=32,
        task_encoder_hidden_dim=16,
        decoder_hidden_dim=32,
        decoder_num_heads=4,
        decoder_num_layers=2,
        decoder_dim_feedforward=32,
        num_queries=20,
        image_size=64,
    )
    model = OmDetTurboForObjectDetection(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.0)
    images = DetrImageProcessorPil(size={"height": 64, "width": 64})
    return model, SimpleNamespace(tokenizer=tokenizer, image_processor=images)


def tiny_sam3(kind="sam3", **vision):
    """SAM 3 or its small-text variant; its image processor needs torchvision, so a like one of Pillow stands in."""
    from types import SimpleNamespace

    import torch
    from transformers import AutoConfig, AutoModel, DetrImageProcessorPil

    from halluguard.sandbox.models import build_detector_processor

    torch.manual_seed(0)
    tokenizer = build_detector_processor().tokenizer
    part = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 37}
    backbone = {
        **{"model_type": "sam3_vit_model", **part, "num_hidden_layers": 2, "image_size": 112, "patch_size": 14},
        **{"window_size": 4, "global_attn_indexes": [1], "pretrain_image_size": 56, **vision},
    }
    text = {"vocab_size": len(tokenizer), **part, "num_hidden_layers": 2, "max_position_embeddings": 32}
    text |= {"projection_dim": 32, "eos_token_id": tokenizer.eos_token_id}
    config = AutoConfig.for_model(
        kind,
        vision_config={"model_type": "sam3_vision_model", "backbone_config": backbone, "fpn_hidden_size": 32},
        text_config=text,
        geometry_encoder_config={**part, "num_layers": 1},
        detr_encoder_config={**part, "num_layers": 2},
        detr_decoder_config={**part, "num_layers": 2, "num_queries": 20},
        mask_decoder_config={"hidden_size": 32, "num_attention_heads": 2},
    )
    model = AutoModel.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(2.0)
    half = [0.5, 0.5, 0.5]
    images = DetrImageProcessorPil(size={"height": 112, "width": 112}, image_mean=half, image_std=half)
    return model, SimpleNamespace(tokenizer=tokenizer, image_processor=images)


KINDS = ["owlvit", "owlv2", "grounding-dino", "mm-grounding-dino", "omdet-turbo", "sam3", "sam3_lite_text"]


def tiny_family(kind, grounding_processor):
    """(model, processor) of a family of open-vocabulary detectors."""
    from halluguard import sandbox

    if kind == "owlvit":
        return sandbox.load_detector()
    if kind == "owlv2":
        return tiny_owlv2()
    if kind == "omdet-turbo":
        return tiny_omdet()
    if kind.startswith("sam3"):
        return tiny_sam3(kind)
    return tiny_grounding(kind), grounding_processor


@pytest.fixture(scope="session", params=KINDS)
def family(request, grounding_processor):
    """(model, processor) of each family in turn."""
    return tiny_family(request.param, grounding_processor)
