"""How each zero-shot architecture is asked and read: one `Family` per `model_type`.

A family turns rows (a picture, a few phrases) into model inputs and the model's output into per row scores (Q, P) in
[0, 1] and boxes (Q, 4), x1 y1 x2 y2 in pixels of the picture that was given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from halluguard.detectors import grounding_prompt
from halluguard.detectors.geometry import corners, in_pixels
from halluguard.errors import UnsupportedModelError
from halluguard.vocabulary import normal

if TYPE_CHECKING:
    from halluguard.detectors.zero_shot import ZeroShotDetector


@dataclass(frozen=True)
class Ask:
    """One row of a pass: the index of its picture, and the phrases to find there."""

    image: int
    phrases: list[str]


@dataclass(frozen=True)
class Family:
    """How one architecture is asked and read.

    Args:
        look: (detector, pictures, rows) -> per row scores (Q, P) and boxes (Q, 4).
        thresholds: (high, low) to start from; scores of different families are not comparable.
        fits: whether the text side knows a cleaned phrase and has room for it.
        chunks: cleaned phrases -> the phrases of each row.
        clean: what is asked for the sake of a phrase.
        prompt: how a phrase is put to the model.
        independent: whether the phrases of a row leave each other's scores alone.
        check: refuses a model that was loaded in a way that gives wrong results.
    """

    look: Callable[[ZeroShotDetector, list[Any], list[Ask]], list[tuple[Any, Any]]]
    thresholds: tuple[float, float]
    fits: Callable[[ZeroShotDetector, str], bool]
    chunks: Callable[[ZeroShotDetector, list[str]], list[list[str]]]
    clean: Callable[[str], str] = normal
    prompt: str = "{}"
    independent: bool = True
    check: Callable[[Any, Any, str], None] = lambda model, processor, name: None


def _equal_parts(detector: ZeroShotDetector, phrases: list[str]) -> list[list[str]]:
    most = 1 if detector.isolate else detector.phrases_per_pass
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


def _owl(detector: ZeroShotDetector, pictures: list[Any], asks: list[Ask]) -> list[tuple[Any, Any]]:
    """Rows are padded with their first phrase. OWLv2 sees the picture padded to a square, to the right and below."""
    most = max(len(ask.phrases) for ask in asks)
    texts = [p for ask in asks for p in [*ask.phrases, *ask.phrases[:1] * (most - len(ask.phrases))]]
    text = detector.processor.tokenizer(
        [detector.prompt.format(phrase) for phrase in texts],
        padding="max_length",
        max_length=_owl_length(detector),
        return_tensors="pt",
    ).to(detector.model.device)
    output = detector.model(
        input_ids=text["input_ids"], attention_mask=text["attention_mask"], **detector.pixels(pictures, asks)
    )
    scores, boxes = output.logits.float().sigmoid().cpu(), corners(output.pred_boxes.float().cpu())
    square = detector.model.config.model_type == "owlv2"
    found = []
    for row, ask in enumerate(asks):
        size = pictures[ask.image].size
        frame = (max(size), max(size)) if square else size
        found.append((scores[row, :, : len(ask.phrases)], in_pixels(boxes[row], frame)))
    return found


# Grounding DINO, MM Grounding DINO: all phrases of a row in one caption


def _grounding_check(model: Any, processor: Any, name: str) -> None:
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


def _grounding_chunks(detector: ZeroShotDetector, phrases: list[str]) -> list[list[str]]:
    if detector.isolate:
        return [[phrase] for phrase in phrases]
    lengths = {phrase: _grounding_length(detector, phrase) or 0 for phrase in phrases}
    whole = grounding_prompt.chunks(lengths, _grounding_most(detector))
    return [part for chunk in whole for part in _equal_parts(detector, chunk)]


def texts_of(detector: ZeroShotDetector, asks: list[Ask]) -> list[list[str]]:
    """Per row, its phrases as they stand in the caption."""
    return [[grounding_prompt.clean(detector.prompt.format(phrase)) for phrase in ask.phrases] for ask in asks]


def _grounding(detector: ZeroShotDetector, pictures: list[Any], asks: list[Ask]) -> list[tuple[Any, Any]]:
    prompts = texts_of(detector, asks)
    text = detector.processor.tokenizer(
        [grounding_prompt.caption(row) for row in prompts],
        padding=True,
        return_token_type_ids=True,
        return_tensors="pt",
    )
    ids = text["input_ids"].tolist()
    output = detector.model(**text.to(detector.model.device), **detector.pixels(pictures, asks))
    boxes = corners(output.pred_boxes.float().cpu())
    return [
        (
            grounding_prompt.phrase_scores(output.logits[row], ids[row], prompts[row], detector.pool),
            in_pixels(boxes[row], pictures[ask.image].size),
        )
        for row, ask in enumerate(asks)
    ]


# OmDet-Turbo: phrases as classes, and a task that names them all


def _omdet_fits(detector: ZeroShotDetector, phrase: str) -> bool:
    tokenizer = detector.processor.tokenizer
    ids = tokenizer(detector.prompt.format(phrase))["input_ids"]
    # CLIP's tokenizer falls back to bytes, so that no word is unknown; only the room is limited.
    return len(ids) <= min(tokenizer.model_max_length, detector.model.config.text_config.max_position_embeddings) - 3


def _omdet(detector: ZeroShotDetector, pictures: list[Any], asks: list[Ask]) -> list[tuple[Any, Any]]:
    import torch

    tokenizer = detector.processor.tokenizer
    room = min(tokenizer.model_max_length, detector.model.config.text_config.max_position_embeddings)
    settings = {"padding": "max_length", "truncation": True, "max_length": int(room), "return_tensors": "pt"}
    prompts = [[detector.prompt.format(p) for p in ask.phrases] for ask in asks]
    classes = tokenizer([p for row in prompts for p in row], **settings).to(detector.model.device)
    tasks = tokenizer([f"Detect {', '.join(row)}." for row in prompts], **settings).to(detector.model.device)
    pixels = detector.pixels(pictures, asks)["pixel_values"]
    output = detector.model(
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
        (scores[row, :, : len(ask.phrases)], in_pixels(boxes[row], pictures[ask.image].size))
        for row, ask in enumerate(asks)
    ]


PHRASES_IN_A_CAPTION: dict[str, Any] = {
    "fits": _grounding_fits,
    "chunks": _grounding_chunks,
    "clean": grounding_prompt.clean,
    "independent": False,
}
"""What the Grounding DINO families share."""

FAMILIES = {
    "owlvit": Family(_owl, (0.2, 0.1), _owl_fits, _equal_parts, prompt="a photo of a {}"),
    "owlv2": Family(_owl, (0.25, 0.12), _owl_fits, _equal_parts, prompt="a photo of a {}"),
    "grounding-dino": Family(_grounding, (0.35, 0.2), **PHRASES_IN_A_CAPTION, check=_grounding_check),
    "mm-grounding-dino": Family(_grounding, (0.35, 0.2), **PHRASES_IN_A_CAPTION, check=_grounding_check),
    "omdet-turbo": Family(_omdet, (0.3, 0.15), _omdet_fits, _equal_parts, independent=False),
}
