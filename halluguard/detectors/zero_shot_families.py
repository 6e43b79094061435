"""Inputs and outputs of each zero-shot architecture: one `Family` per `model_type`.

A family turns queries (an image, a few phrases) into model inputs, and the model's output into scores (Q, P) in [0, 1]
and boxes (Q, 4), x1, y1, x2, y2 in pixels of the given image, per query.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from PIL.Image import Image
from torch import Tensor
from transformers.modeling_utils import PreTrainedModel
from transformers.processing_utils import ProcessorMixin

from halluguard.detectors import grounding_prompt, sam3
from halluguard.detectors.geometry import corners, in_pixels
from halluguard.errors import UnsupportedModelError
from halluguard.vocabulary import normal

if TYPE_CHECKING:  # the detector is built on this module
    from halluguard.detectors.zero_shot import ZeroShotDetector


@dataclass(frozen=True)
class Query:
    """One row of a batch: the index of its image, and the phrases to find there."""

    image: int
    phrases: list[str]


@dataclass(frozen=True)
class Batch:
    """One forward pass.

    Args:
        model: the detector's model, or a copy of it that runs its image parts once per image.
        images: all images; queries name them by index.
        queries: the rows.
        pixels: image inputs, one row per query.
    """

    model: Any
    images: list[Image]
    queries: list[Query]
    pixels: dict[str, Tensor]


ScoresAndBoxes = tuple[Tensor, Tensor]
"""Scores (Q, P) and boxes (Q, 4) of one query."""
Forward = Callable[["ZeroShotDetector", Batch], list[ScoresAndBoxes]]


def _no_check(model: PreTrainedModel, processor: ProcessorMixin, name: str) -> None:
    """Accept every model."""


@dataclass(frozen=True)
class Family:
    """One architecture.

    Args:
        forward: (detector, batch) -> scores and boxes per query.
        thresholds: default (high, low); scores of different families are not comparable.
        fits: whether the text encoder knows a cleaned phrase and has room for it.
        chunks: (detector, cleaned phrases, alone) -> the phrases of each query; one phrase each where `alone`.
        clean: phrase -> the name that is searched.
        prompt: text that stands for a phrase, with `{}` for the phrase.
        independent: whether the phrases of a query do not change each other's scores.
        check: refuses a model that was loaded in a way that gives wrong results.
        image_parts: paths of modules whose output depends on the image alone; `*` stands for all of a list.
        compiled: paths of the modules that `compile=True` compiles; none of them holds an image part.
        replaced: path of a module -> the output to use in its place, for parts that no box needs.
    """

    forward: Forward
    thresholds: tuple[float, float]
    fits: Callable[[ZeroShotDetector, str], bool]
    chunks: Callable[[ZeroShotDetector, list[str], bool], list[list[str]]]
    clean: Callable[[str], str] = normal
    prompt: str = "{}"
    independent: bool = True
    check: Callable[[PreTrainedModel, ProcessorMixin, str], None] = _no_check
    image_parts: tuple[str, ...] = ()
    compiled: tuple[str, ...] = ()
    replaced: Mapping[str, Any] = field(default_factory=dict)


def _equal_parts(detector: ZeroShotDetector, phrases: list[str], alone: bool) -> list[list[str]]:
    most = 1 if alone else detector.phrases_per_pass
    return [phrases[i : i + most] for i in range(0, len(phrases), most)]


# OWL-ViT, OWLv2: one query embedding per phrase


def _owl_fits(detector: ZeroShotDetector, phrase: str) -> bool:
    tokenizer = detector.processor.tokenizer
    ids = tokenizer(detector.prompt.format(phrase))["input_ids"]
    known = tokenizer.unk_token_id is None or tokenizer.unk_token_id not in ids
    return known and len(ids) <= _owl_length(detector)


def _owl_length(detector: ZeroShotDetector) -> int:
    positions = detector.model.config.text_config.max_position_embeddings
    return int(min(detector.processor.tokenizer.model_max_length, positions))


def _owl(detector: ZeroShotDetector, batch: Batch) -> list[ScoresAndBoxes]:
    """Queries are padded with their first phrase. OWLv2 pads the image to a square, to the right and below."""
    most = max(len(query.phrases) for query in batch.queries)
    texts = [p for query in batch.queries for p in [*query.phrases, *query.phrases[:1] * (most - len(query.phrases))]]
    text = detector.processor.tokenizer(
        [detector.prompt.format(phrase) for phrase in texts],
        padding="max_length",
        max_length=_owl_length(detector),
        return_tensors="pt",
    ).to(detector.model.device)
    output = batch.model(input_ids=text["input_ids"], attention_mask=text["attention_mask"], **batch.pixels)
    scores, boxes = output.logits.float().sigmoid().cpu(), corners(output.pred_boxes.float().cpu())
    square = detector.model.config.model_type == "owlv2"
    results = []
    for row, query in enumerate(batch.queries):
        size = batch.images[query.image].size
        frame = (max(size), max(size)) if square else size
        results.append((scores[row, :, : len(query.phrases)], in_pixels(boxes[row], frame)))
    return results


# Grounding DINO, MM Grounding DINO: all phrases of a row in one caption


def _grounding_check(model: PreTrainedModel, processor: ProcessorMixin, name: str) -> None:
    grounding_prompt.check_separators(processor.tokenizer, name)
    attention = model.model.text_backbone.config._attn_implementation
    if attention != "sdpa":
        raise UnsupportedModelError(
            f"{name} must be loaded without attn_implementation, got {attention!r} in its text backbone, which lets "
            "phrases see each other; leave that argument out"
        )


def _grounding_most(detector: ZeroShotDetector) -> int:
    return int(detector.model.config.max_text_len)


def _grounding_length(detector: ZeroShotDetector, phrase: str) -> int | None:
    return grounding_prompt.length(grounding_prompt.clean(detector.prompt.format(phrase)), detector.processor.tokenizer)


def _grounding_fits(detector: ZeroShotDetector, phrase: str) -> bool:
    needed = _grounding_length(detector, phrase)
    return needed is not None and needed <= _grounding_most(detector) - 2


def _grounding_chunks(detector: ZeroShotDetector, phrases: list[str], alone: bool) -> list[list[str]]:
    if alone:
        return [[phrase] for phrase in phrases]
    lengths = {phrase: _grounding_length(detector, phrase) or 0 for phrase in phrases}
    whole = grounding_prompt.chunks(lengths, _grounding_most(detector))
    return [part for chunk in whole for part in _equal_parts(detector, chunk, alone)]


def texts_of(detector: ZeroShotDetector, queries: list[Query]) -> list[list[str]]:
    """The phrases of each query as they stand in its caption."""
    return [[grounding_prompt.clean(detector.prompt.format(phrase)) for phrase in query.phrases] for query in queries]


def _grounding(detector: ZeroShotDetector, batch: Batch) -> list[ScoresAndBoxes]:
    prompts = texts_of(detector, batch.queries)
    text = detector.processor.tokenizer(
        [grounding_prompt.caption(row) for row in prompts],
        padding=True,
        return_token_type_ids=True,
        return_tensors="pt",
    )
    ids = text["input_ids"].tolist()
    output = batch.model(**text.to(detector.model.device), **batch.pixels)
    boxes = corners(output.pred_boxes.float().cpu())
    return [
        (
            grounding_prompt.phrase_scores(output.logits[row], ids[row], prompts[row], detector.pool),
            in_pixels(boxes[row], batch.images[query.image].size),
        )
        for row, query in enumerate(batch.queries)
    ]


# OmDet-Turbo: phrases as classes, and a task text that names them all


def _omdet_fits(detector: ZeroShotDetector, phrase: str) -> bool:
    tokenizer = detector.processor.tokenizer
    ids = tokenizer(detector.prompt.format(phrase))["input_ids"]
    # CLIP's tokenizer falls back to bytes: no word is unknown, only the room is limited.
    return len(ids) <= min(tokenizer.model_max_length, detector.model.config.text_config.max_position_embeddings) - 3


def _omdet_check(model: PreTrainedModel, processor: ProcessorMixin, name: str) -> None:
    if model.dtype != torch.float32:
        raise UnsupportedModelError(
            f"{name} must run in float32, got {str(model.dtype).removeprefix('torch.')}, in which transformers' "
            "OmDet-Turbo mixes types; leave dtype out"
        )


def _omdet(detector: ZeroShotDetector, batch: Batch) -> list[ScoresAndBoxes]:
    tokenizer = detector.processor.tokenizer
    room = min(tokenizer.model_max_length, detector.model.config.text_config.max_position_embeddings)
    settings = {"padding": "max_length", "truncation": True, "max_length": int(room), "return_tensors": "pt"}
    prompts = [[detector.prompt.format(p) for p in query.phrases] for query in batch.queries]
    classes = tokenizer([p for row in prompts for p in row], **settings).to(detector.model.device)
    tasks = tokenizer([f"Detect {', '.join(row)}." for row in prompts], **settings).to(detector.model.device)
    pixels = batch.pixels["pixel_values"]
    output = batch.model(
        pixel_values=pixels,
        classes_input_ids=classes["input_ids"],
        classes_attention_mask=classes["attention_mask"],
        tasks_input_ids=tasks["input_ids"],
        tasks_attention_mask=tasks["attention_mask"],
        classes_structure=torch.tensor([len(row) for row in prompts], device=pixels.device),
    )
    scores = output.decoder_class_logits.float().sigmoid().cpu()
    boxes = corners(output.decoder_coord_logits.float().cpu())
    return [
        (scores[row, :, : len(query.phrases)], in_pixels(boxes[row], batch.images[query.image].size))
        for row, query in enumerate(batch.queries)
    ]


def grounding_family(
    forward: Forward, check: Callable[..., None] = _no_check, *, image_parts: tuple[str, ...] = ()
) -> Family:
    """A family that puts phrases into one caption, as Grounding DINO does."""
    return Family(
        *(forward, (0.35, 0.2), _grounding_fits, _grounding_chunks),
        clean=grounding_prompt.clean,
        independent=False,
        check=check,
        image_parts=image_parts,
        compiled=("model.backbone.conv_encoder.model", "model.decoder.layers.*") if image_parts else (),
    )


_FIRST_FUSION = "model.encoder.layers.0.fusion_layer"
_GROUNDING_PARTS = (
    *("model.backbone", "model.input_proj_vision.*", f"{_FIRST_FUSION}.layer_norm_vision"),
    *(f"{_FIRST_FUSION}.attn.vision_proj", f"{_FIRST_FUSION}.attn.values_vision_proj"),
)
_OMDET_PARTS = (
    *("vision_backbone", "encoder", "decoder.channel_projection_layers.*", "decoder.encoder_vision_features"),
    *("decoder.encoder_bbox_head", "decoder.layers.*.cross_attn.value_proj"),
)
_SAM3 = Family(
    *(sam3.forward, (0.5, 0.3), sam3.fits, sam3.one_each),
    image_parts=("vision_encoder", "detr_encoder.layers.0.layer_norm1", "detr_encoder.layers.0.self_attn"),
    compiled=("vision_encoder.backbone", "detr_decoder"),
    replaced={"mask_decoder": SimpleNamespace(pred_masks=None, semantic_seg=None, attentions=None)},
)


def _owl_family(thresholds: tuple[float, float], body: str) -> Family:
    return Family(
        *(_owl, thresholds, _owl_fits, _equal_parts),
        prompt="a photo of a {}",
        image_parts=(f"{body}.vision_model", "box_head"),
        compiled=(f"{body}.vision_model.encoder",),
    )


FAMILIES = {
    "owlvit": _owl_family((0.2, 0.1), "owlvit"),
    "owlv2": _owl_family((0.25, 0.12), "owlv2"),
    "grounding-dino": grounding_family(_grounding, _grounding_check, image_parts=_GROUNDING_PARTS),
    "mm-grounding-dino": grounding_family(_grounding, _grounding_check, image_parts=_GROUNDING_PARTS),
    "omdet-turbo": Family(
        *(_omdet, (0.3, 0.15), _omdet_fits, _equal_parts),
        independent=False,
        check=_omdet_check,
        image_parts=_OMDET_PARTS,
        compiled=("vision_backbone.vision_backbone",),
    ),
    "sam3": _SAM3,
    "sam3_lite_text": _SAM3,
}
