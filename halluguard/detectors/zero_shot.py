"""Open-vocabulary experts: any family of transformers' zero-shot object detection mapping.

    score(phrase, box) = sigmoid(logit of the phrase at the box's query)

is read from the model's own logits, per phrase; the label strings that processors decode are not used, they merge and
cut phrases. Boxes come back in pixels of the original picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from halluguard.errors import ExpertError, SettingsError, UnsupportedModelError
from halluguard.images import limit_aspect, load_image
from halluguard.records import Box
from halluguard.vocabulary import normal


@dataclass(frozen=True)
class Family:
    """How one architecture is asked and read.

    Args:
        look: (detector, images, phrases) -> per image scores (Q, P) in [0, 1] and boxes (Q, 4), x1 y1 x2 y2 in pixels.
        thresholds: (high, low) to start from; scores of different families are not comparable.
        prompt: how a phrase is put to the model.
    """

    look: Callable[[ZeroShotDetector, list[Any], list[list[str]]], list[tuple[Any, Any]]]
    thresholds: tuple[float, float]
    prompt: str = "{}"


class ZeroShotDetector:
    """A zero-shot object detection model as an expert.

    Args:
        model, processor: from `AutoModelForZeroShotObjectDetection` and `AutoProcessor`.
        name: how the expert signs its verdicts.
        thresholds: (high, low), default the `halluguard_thresholds` of the model's config, or the family's.
        prompt: the text put to the model for a phrase, with `{}` for the phrase; default the family's.
        floor: boxes that score less are not returned, in [0, 1].
        nms: of two boxes of one phrase that overlap by more than this, the weaker is dropped; in [0, 1].
        phrases_per_pass: most phrases put to the model at once.

    Raises:
        UnsupportedModelError: the model is of no known family.
    """

    needs_image = True

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        name: str | None = None,
        thresholds: tuple[float, float] | None = None,
        prompt: str | None = None,
        floor: float = 0.05,
        nms: float = 0.5,
        phrases_per_pass: int = 64,
    ) -> None:
        kind = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
        if kind not in FAMILIES:
            raise UnsupportedModelError(
                f"expected a zero-shot detector of one of the families {', '.join(FAMILIES)}, got {kind!r}; "
                "use ClosedSetDetector for models with a fixed list of labels"
            )
        for what, value in (("floor", floor), ("nms", nms)):
            if not 0.0 <= value <= 1.0:
                raise SettingsError(f"{what} must be in [0, 1], got {value}; the default suits most models")
        self.model, self.processor, self.family = model.eval(), processor, FAMILIES[kind]
        self.name = name or f"{kind}:{getattr(model, 'name_or_path', '') or 'unnamed'}"
        own = getattr(model.config, "halluguard_thresholds", None)
        self.thresholds = tuple(thresholds or own or self.family.thresholds)
        self.prompt = prompt or self.family.prompt
        self.floor, self.nms, self.phrases_per_pass = floor, nms, phrases_per_pass

    @classmethod
    def from_pretrained(
        cls, name: str | Path, *, device: Any = None, dtype: Any = None, revision: str | None = None, **options: Any
    ) -> Self:
        """Load a model of the hub or a folder.

        Args:
            name: hub name or folder. Only safetensors weights are read and no remote code is run.
            device: where it runs; default the first GPU, else the CPU.
            dtype: e.g. `torch.float16`; default float32.
            revision: of the hub repository.
            options: the arguments of the class.
        """
        import torch
        from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            processor = AutoProcessor.from_pretrained(name, revision=revision)
            model = AutoModelForZeroShotObjectDetection.from_pretrained(
                name, revision=revision, dtype=dtype or torch.float32, use_safetensors=True
            )
        except ValueError as error:
            raise UnsupportedModelError(
                f"expected a zero-shot detector at {str(name)!r}: {str(error).splitlines()[0]}; "
                "use ClosedSetDetector for models with a fixed list of labels"
            ) from error
        revision = revision or getattr(model.config, "_commit_hash", None)
        options.setdefault(
            "name", f"{Path(name).name if Path(name).exists() else name}{f'@{revision}' if revision else ''}"
        )
        return cls(model.to(device), processor, **options)

    def covers(self, phrase: str) -> bool:
        """Whether the model's text side knows all the words of the phrase and has room for them."""
        name = normal(phrase)
        if not name:
            return False
        tokenizer = self.processor.tokenizer
        ids = tokenizer(self.prompt.format(name))["input_ids"]
        known = tokenizer.unk_token_id is None or tokenizer.unk_token_id not in ids
        return known and len(ids) <= min(tokenizer.model_max_length, 10_000)

    def detect(self, images: Sequence[Any], phrases: Sequence[Sequence[str]]) -> list[list[Box]]:
        """Boxes of each image's phrases, one pass per picture size and chunk of phrases.

        Pictures of one size share a pass, so that no picture is padded for its neighbours' sake and a verdict never
        depends on them.

        Args:
            images: B pictures: PIL of any mode, arrays, bytes or paths.
            phrases: B lists of phrases.

        Raises:
            ImageError: a picture cannot be opened.
            ExpertError: the model's answer is not finite.
        """
        opened = [load_image(image) for image in images]
        sizes, pictures = [picture.size for picture in opened], [limit_aspect(picture) for picture in opened]
        found: list[list[Box]] = [[] for _ in images]
        groups: dict[tuple[int, int], list[int]] = {}
        for i, picture in enumerate(pictures):
            if phrases[i]:
                groups.setdefault(picture.size, []).append(i)
        for group in groups.values():
            most = max(len(phrases[i]) for i in group)
            for start in range(0, most, self.phrases_per_pass):
                rows = [i for i in group if phrases[i][start:]]
                asked = [[normal(p) for p in phrases[i][start : start + self.phrases_per_pass]] for i in rows]
                for i, (scores, boxes) in zip(rows, self._pass([pictures[i] for i in rows], asked), strict=True):
                    found[i] += self._read(scores, boxes, phrases[i], start, sizes[i])
        return found

    def _pass(self, pictures: list[Any], phrases: list[list[str]]) -> list[tuple[Any, Any]]:
        import torch

        with torch.inference_mode():
            return self.family.look(self, pictures, phrases)

    def _read(self, scores: Any, boxes: Any, phrases: Sequence[str], offset: int, size: tuple[int, int]) -> list[Box]:
        """Scores (Q, P) and boxes (Q, 4) of one picture as records, clipped to the picture."""
        import torch

        if not (torch.isfinite(scores).all() and torch.isfinite(boxes).all()):
            raise ExpertError(
                f"{self.name} must give finite scores and boxes, got NaN or infinity; check dtype and picture"
            )
        limit = torch.tensor([*size, *size], dtype=boxes.dtype)
        boxes = boxes.clamp(min=0).minimum(limit)
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        found = []
        for column in range(scores.shape[1]):
            kept = _suppressed(boxes, scores[:, column] * (area > 0), self.floor, self.nms)
            label = phrases[offset + column]
            found += [
                Box(
                    label=label,
                    score=min(1.0, scores[row, column].item()),
                    xyxy=boxes[row].tolist(),
                    phrase=offset + column,
                )
                for row in kept
            ]
        return found

    def to_device(self, inputs: Any) -> Any:
        """Model inputs on the model's device, pictures in its dtype."""
        inputs = inputs.to(self.model.device)
        inputs["pixel_values"] = inputs["pixel_values"].to(self.model.dtype)
        return inputs


def _suppressed(boxes: Any, scores: Any, floor: float, iou: float) -> list[int]:
    """Rows with score >= floor that no better row overlaps by more than `iou`, best first."""
    rows = [i for i in scores.argsort(descending=True, stable=True).tolist() if scores[i] >= floor and scores[i] > 0]
    kept: list[int] = []
    for i in rows[:300]:
        x1, y1, x2, y2 = boxes[i].tolist()
        clear = True
        for j in kept:
            a1, b1, a2, b2 = boxes[j].tolist()
            inter = max(0.0, min(x2, a2) - max(x1, a1)) * max(0.0, min(y2, b2) - max(y1, b1))
            union = (x2 - x1) * (y2 - y1) + (a2 - a1) * (b2 - b1) - inter
            if inter > iou * union:
                clear = False
                break
        if clear:
            kept.append(i)
    return kept


def _corners(boxes: Any) -> Any:
    """(..., 4) centre x, centre y, width, height -> x1 y1 x2 y2."""
    import torch

    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def _owl(detector: ZeroShotDetector, pictures: list[Any], phrases: list[list[str]]) -> list[tuple[Any, Any]]:
    """OWL-ViT and OWLv2: phrases are scored independently. OWLv2 sees the picture padded to a square."""
    import torch

    most = max(map(len, phrases))
    texts = [
        [detector.prompt.format(p) for p in row] + [detector.prompt.format(row[0])] * (most - len(row))
        for row in phrases
    ]
    inputs = detector.processor(text=texts, images=pictures, return_tensors="pt", truncation=True)
    output = detector.model(**detector.to_device(inputs))
    scores = output.logits.float().sigmoid().cpu()
    square = detector.model.config.model_type == "owlv2"
    frames = [(max(p.size),) * 2 if square else p.size for p in pictures]
    scale = torch.tensor([[w, h, w, h] for w, h in frames], dtype=torch.float32)
    boxes = _corners(output.pred_boxes.float().cpu()) * scale[:, None]
    return [(scores[i, :, : len(row)], boxes[i]) for i, row in enumerate(phrases)]


FAMILIES = {
    "owlvit": Family(_owl, (0.2, 0.1), "a photo of a {}"),
    "owlv2": Family(_owl, (0.25, 0.12), "a photo of a {}"),
}
