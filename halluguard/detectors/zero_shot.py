"""Open-vocabulary experts: every family of transformers' zero-shot object detection mapping.

    score(phrase, box) = sigmoid(logit of the phrase at the box's query)

is read from the model's own logits, per phrase; the label strings that processors decode are not used, they merge and
cut phrases. Boxes come back in pixels of the original picture. How each architecture is asked: `zero_shot_families.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from halluguard.detectors import geometry
from halluguard.detectors.checkpoints import load_checkpoint
from halluguard.detectors.grounding_prompt import Pool
from halluguard.detectors.zero_shot_families import FAMILIES, Ask, Family
from halluguard.errors import ExpertError, HalluguardError, SettingsError, UnsupportedModelError, first_line
from halluguard.images import limit_aspect, load_image
from halluguard.records import Box


class ZeroShotDetector:
    """A zero-shot object detection model as an expert.

    A phrase's result depends on the picture and the phrase alone. OWL-ViT and OWLv2 work like that. In Grounding DINO,
    MM Grounding DINO and OmDet-Turbo the phrases of one prompt change each other's scores, so there each phrase gets a
    row of its own in the batch: one row per phrase, the price of verdicts that do not depend on what else was claimed.
    With `isolate=False` a prompt holds as many phrases as fit, in alphabetical order; faster, and approximate.

    Args:
        model, processor: from `AutoModelForZeroShotObjectDetection` and `AutoProcessor`.
        name: how the expert signs its verdicts.
        thresholds: (high, low), default the `halluguard_thresholds` of the model's config, or the family's.
        prompt: the text put to the model for a phrase, with `{}` for the phrase; default the family's.
        floor: boxes that score less are not returned, in [0, 1].
        nms: of two boxes of one phrase that overlap by more than this, the weaker is dropped; in [0, 1].
        phrases_per_pass: most phrases in one row.
        rows_per_pass: most rows in one pass; 1 gives results equal to the last bit whatever else is asked.
        isolate: see above.
        pool: how a phrase's score comes from its tokens' (Grounding DINO families): "mean" or "max".

    Raises:
        UnsupportedModelError: the model is of no known family, or was loaded in a way that mixes phrases.
    """

    needs_image = True
    families: ClassVar[Mapping[str, Family]] = FAMILIES

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
        rows_per_pass: int = 16,
        isolate: bool = True,
        pool: Pool = "mean",
    ) -> None:
        kind = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
        if kind not in self.families:
            raise UnsupportedModelError(
                f"expected a zero-shot detector of one of the families {', '.join(self.families)}, got {kind!r}; "
                "use ClosedSetDetector for models with a fixed list of labels"
            )
        for what, value in (("floor", floor), ("nms", nms)):
            if not 0.0 <= value <= 1.0:
                raise SettingsError(f"{what} must be in [0, 1], got {value}; the default suits most models")
        for what, count in (("phrases_per_pass", phrases_per_pass), ("rows_per_pass", rows_per_pass)):
            if count < 1:
                raise SettingsError(f"{what} must be at least 1, got {count}; 1 is the slowest and the most exact")
        if pool not in ("mean", "max"):
            raise SettingsError(f"pool must be 'mean' or 'max', got {pool!r}; 'mean' is the official evaluation's")
        self.model, self.processor, self.family = model.eval(), processor, self.families[kind]
        self.name = name or f"{kind}:{getattr(model, 'name_or_path', '') or 'unnamed'}"
        self.family.check(model, processor, self.name)
        own = getattr(model.config, "halluguard_thresholds", None)
        self.thresholds = tuple(thresholds or own or self.family.thresholds)
        self.prompt = prompt or self.family.prompt
        self.floor, self.nms, self.pool = floor, nms, pool
        self.phrases_per_pass, self.rows_per_pass = phrases_per_pass, rows_per_pass
        self.isolate = isolate and not self.family.independent

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

        Raises:
            UnsupportedModelError: it is no zero-shot detector.
            MissingExtraError: its architecture needs a package that is not installed.
        """
        from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

        # No attn_implementation: "eager" on Grounding DINO mixes phrases, and "sdpa" at the top is refused.
        model, processor, signed = load_checkpoint(
            name,
            *(AutoModelForZeroShotObjectDetection, AutoProcessor),
            device=device,
            dtype=dtype,
            revision=revision,
            expected="a zero-shot detector",
            advice="use ClosedSetDetector for models with a fixed list of labels",
        )
        options.setdefault("name", signed)
        return cls(model, processor, **options)

    def covers(self, phrase: str) -> bool:
        """Whether the model's text side knows all the words of the phrase and has room for them."""
        name = self.family.clean(phrase)
        return bool(name) and self.family.fits(self, name)

    def detect(self, images: Sequence[Any], phrases: Sequence[Sequence[str]]) -> list[list[Box]]:
        """Boxes of each image's phrases.

        Pictures of one size share a pass, so that no picture is padded for its neighbours' sake and a verdict never
        depends on them. Equal phrases ("dog", "a dog", "dogs") are looked for once.

        Args:
            images: B pictures: PIL of any mode, arrays, bytes or paths.
            phrases: B lists of phrases.

        Raises:
            ImageError: a picture cannot be opened.
            ExpertError: the model failed, its answer is not finite, or a phrase is not one that it covers.
        """
        opened = [load_image(image) for image in images]
        found: list[list[Box]] = [[] for _ in images]
        names = [self._names(asked) for asked in phrases]
        for pictures, asks in self._passes(opened, names):
            for ask, (scores, boxes) in zip(asks, self._pass(pictures, asks), strict=True):
                i = ask.image
                geometry.check_finite(self.name, scores, boxes)
                columns = [c for c, name in enumerate(ask.phrases) for _ in names[i][name]]
                asked = [(j, phrases[i][j]) for name in ask.phrases for j in names[i][name]]
                found[i] += geometry.records(
                    scores[:, columns], boxes, asked, opened[i].size, floor=self.floor, nms=self.nms
                )
        return [sorted(boxes, key=lambda box: box.phrase or 0) for boxes in found]

    def _names(self, phrases: Sequence[str]) -> dict[str, list[int]]:
        """The names to ask for, in alphabetical order, and the phrases that each stands for."""
        names: dict[str, list[int]] = {}
        for i, phrase in enumerate(phrases):
            if not self.covers(phrase):
                raise ExpertError(f"{self.name} cannot judge {phrase!r} (unknown or too many words); leave it out")
            names.setdefault(self.family.clean(phrase), []).append(i)
        return dict(sorted(names.items()))

    def _passes(self, opened: list[Any], names: list[dict[str, list[int]]]) -> Iterator[tuple[list[Any], list[Ask]]]:
        """Pictures of one size and the rows to ask of them, at most `rows_per_pass` at a time."""
        sizes: dict[tuple[int, int], list[int]] = {}
        padded = [limit_aspect(picture) for picture in opened]
        for i, picture in enumerate(padded):
            sizes.setdefault(picture.size, []).append(i)
        for group in sizes.values():
            asks = [Ask(i, chunk) for i in group if names[i] for chunk in self.family.chunks(self, list(names[i]))]
            for start in range(0, len(asks), self.rows_per_pass):
                yield padded, asks[start : start + self.rows_per_pass]

    def _pass(self, pictures: list[Any], asks: list[Ask]) -> list[tuple[Any, Any]]:
        import torch

        try:
            with torch.inference_mode():
                return self.family.look(self, pictures, asks)
        except (HalluguardError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # the model is foreign code: whatever it raises is the expert's failure
            raise ExpertError(f"{self.name} failed: {type(error).__name__}: {first_line(error)}") from error

    def pixels(self, pictures: list[Any], asks: list[Ask]) -> dict[str, Any]:
        """The image inputs of the rows, on the model's device and in its dtype; each picture is prepared once."""
        order = list(dict.fromkeys(ask.image for ask in asks))
        inputs = self.processor.image_processor(images=[pictures[i] for i in order], return_tensors="pt")
        rows = [order.index(ask.image) for ask in asks]
        found = {
            key: inputs[key][rows].to(self.model.device) for key in ("pixel_values", "pixel_mask") if key in inputs
        }
        found["pixel_values"] = found["pixel_values"].to(self.model.dtype)
        return found
