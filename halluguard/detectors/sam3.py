"""SAM 3: one phrase per row, whose presence head says whether the phrase is in the image at all.

    score(box) = sigmoid(logit of the box) * sigmoid(presence of the phrase)

is the rule of the official image processor and of transformers' `post_process_object_detection`.

The published checkpoint, facebook/sam3, is one of `sam3_video`: a detector, whose weights begin with `detector_model.`,
and a tracker. transformers' `Sam3Model` takes the detector out of it and leaves the tracker.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from torch import Tensor
from transformers.models.auto.auto_factory import _BaseAutoModelClass, _LazyAutoMapping
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from halluguard.detectors.geometry import in_pixels

if TYPE_CHECKING:  # both are built on this module
    from halluguard.detectors.zero_shot import ZeroShotDetector
    from halluguard.detectors.zero_shot_families import Batch

CLASSES = {"sam3": "Sam3Model", "sam3_lite_text": "Sam3LiteTextModel", "sam3_video": "Sam3Model"}
"""`model_type` of a checkpoint -> class of transformers."""
TOKENS = 32
"""Tokens of a phrase, with both ends, to which transformers' `Sam3Processor` pads."""


class AutoSam3(_BaseAutoModelClass):
    """Auto class that loads the detector of a SAM 3 checkpoint."""

    _model_mapping = _LazyAutoMapping(CONFIG_MAPPING_NAMES, OrderedDict(CLASSES))  # type: ignore[assignment]


def _length(detector: ZeroShotDetector) -> int:
    return int(min(TOKENS, detector.model.config.text_config.max_position_embeddings))


def fits(detector: ZeroShotDetector, phrase: str) -> bool:
    """Whether a phrase has at most `TOKENS` tokens; CLIP's tokenizer knows every word, if only as bytes."""
    ids = detector.processor.tokenizer(detector.prompt.format(phrase))["input_ids"]
    return len(ids) <= _length(detector)


def one_each(detector: ZeroShotDetector, phrases: list[str], alone: bool) -> list[list[str]]:
    """One query per phrase; other families put several phrases into one query."""
    return [[phrase] for phrase in phrases]


def forward(detector: ZeroShotDetector, batch: Batch) -> list[tuple[Tensor, Tensor]]:
    """Scores (Q, 1) and boxes (Q, 4) in pixels of each query."""
    text = detector.processor.tokenizer(
        [detector.prompt.format(query.phrases[0]) for query in batch.queries],
        padding="max_length",
        max_length=_length(detector),
        return_tensors="pt",
    ).to(detector.model.device)
    output = batch.model(
        input_ids=text["input_ids"],
        attention_mask=text["attention_mask"],
        pixel_values=batch.pixels["pixel_values"],
    )
    scores = (output.pred_logits.float().sigmoid() * output.presence_logits.float().sigmoid()).cpu()
    boxes = output.pred_boxes.float().cpu()
    return [
        (scores[row][:, None], in_pixels(boxes[row], batch.images[query.image].size))
        for row, query in enumerate(batch.queries)
    ]
