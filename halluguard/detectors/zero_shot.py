"""Open-vocabulary detectors: every family of transformers' zero-shot object detection models.

    score(phrase, box) = sigmoid(logit of the phrase at the box's query)

is read from the model's own logits, per phrase; the label strings that processors decode are not used, because they
merge and cut phrases. Boxes are in pixels of the original image. `zero_shot_families.py` has the architectures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from PIL.Image import Image
from torch import Tensor
from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor
from transformers.modeling_utils import PreTrainedModel
from transformers.processing_utils import ProcessorMixin

from halluguard.arguments import parameters, refuse_unknown
from halluguard.checkpoints import load_config
from halluguard.detectors import geometry, sam3
from halluguard.detectors.checkpoints import Device, load_checkpoint, model_kind, model_signature
from halluguard.detectors.failures import expert_errors
from halluguard.detectors.grounding_prompt import Pool
from halluguard.detectors.image_parts import ImageRows, compile_modules, existing, with_forwards
from halluguard.detectors.zero_shot_families import FAMILIES, Batch, Family, Query, ScoresAndBoxes
from halluguard.errors import ExpertError, SettingsError, UnsupportedModelError
from halluguard.images import ImageSource, limit_size, load_image
from halluguard.records import Box
from halluguard.reliability import Rates, Stated, assumed_recall


class ZeroShotDetector:
    """A zero-shot object detection model.

    The boxes of a phrase depend on the image and the phrase alone. OWL-ViT and OWLv2 work like that. In Grounding DINO,
    MM Grounding DINO and OmDet-Turbo the phrases of one prompt change each other's scores, so each phrase gets a row of
    its own in the batch: the price of verdicts that do not depend on the other claims. With `isolate=False` a prompt
    holds as many phrases as fit, in alphabetical order; faster, and approximate. `joint=` asks all phrases together
    first, and alone only those that score near a threshold. What a model computes from the image alone, such as its
    backbone, is computed once per image in any case.

    Args:
        model, processor: from `AutoModelForZeroShotObjectDetection` and `AutoProcessor`.
        name: name in verdicts.
        thresholds: (high, low); default the `halluguard_thresholds` of the model's config, or those of the family.
        prompt: text that stands for a phrase, with `{}` for the phrase; default the family's.
        floor: boxes with a lower score are not returned, in [0, 1].
        nms: of two boxes of one phrase that overlap by more than this (IoU), the weaker is dropped; in [0, 1].
        phrases_per_pass: most phrases in one row.
        rows_per_pass: rows per forward pass; 1 gives results equal to the last bit whatever else is asked.
        isolate: False to let phrases share a prompt, as above.
        joint: None, or the distance in [0, 1] within which a score counts as near to a threshold of `thresholds`: such
            phrases are asked again alone. Families whose phrases are independent need none.
        compile: whether the heavy parts run through `torch.compile`; the first passes take longer. It changes the
            given model.
        pool: "mean" or "max" of a phrase's token scores (Grounding DINO families).
        recall: share of what is there that the model finds, in [0, 1], for all labels or per label; default 1 where
            the config has thresholds fitted to the model, else `reliability.assumed_recall`.
        precision: share of what it finds that is there, in the same form. Default 1.

    Raises:
        UnsupportedModelError: the model is of no known family, or was loaded in a way that mixes phrases.
    """

    needs_image = True
    families: ClassVar[Mapping[str, Family]] = FAMILIES

    def __init__(
        self,
        model: PreTrainedModel,
        processor: ProcessorMixin,
        *,
        name: str | None = None,
        thresholds: tuple[float, float] | None = None,
        prompt: str | None = None,
        floor: float = 0.05,
        nms: float = 0.5,
        phrases_per_pass: int = 64,
        rows_per_pass: int = 16,
        isolate: bool = True,
        joint: float | None = None,
        compile: bool = False,
        pool: Pool = "mean",
        recall: Stated | None = None,
        precision: Stated | None = None,
    ) -> None:
        kind = model_kind(model)
        if kind not in self.families:
            raise UnsupportedModelError(
                f"expected a zero-shot detector of one of the families {', '.join(self.families)}, got {kind!r}; "
                "use ClosedSetDetector for models with a fixed list of labels"
            )
        geometry.check_fractions(floor=floor, nms=nms, joint=joint or 0.0)
        for setting, count in (("phrases_per_pass", phrases_per_pass), ("rows_per_pass", rows_per_pass)):
            if count < 1:
                raise SettingsError(f"{setting} must be at least 1, got {count}; 1 is the slowest and the most exact")
        if pool not in ("mean", "max"):
            raise SettingsError(f"pool must be 'mean' or 'max', got {pool!r}; 'mean' is the official evaluation's")
        self.model: Any = model.eval()  # its outputs are the family's own
        self.processor: Any = processor
        self.family = self.families[kind]
        self.name = name or model_signature(model)
        self.family.check(self.model, processor, self.name)
        own = getattr(model.config, "halluguard_thresholds", None)
        self.thresholds = tuple(thresholds or own or self.family.thresholds)
        fitted = recall is not None or own is not None
        self.recall = Rates.of_value(recall) if fitted else assumed_recall()
        self.precision = Rates.of_value(precision)
        self.prompt = prompt or self.family.prompt
        self.floor, self.nms, self.pool = floor, nms, pool
        self.phrases_per_pass, self.rows_per_pass = phrases_per_pass, rows_per_pass
        self.isolate = isolate and not self.family.independent
        self.joint = joint if self.isolate else None
        if compile:
            compile_modules(self.model, self.family.compiled)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        device: Device = None,
        dtype: torch.dtype | str | None = None,
        revision: str | None = None,
        **options: Any,
    ) -> Self:
        """Load a model of the hub or a folder; arguments as in `load_checkpoint`, options are those of the class.

        Raises:
            SettingsError: neither this function nor the class takes an option.
            UnsupportedModelError: it is no zero-shot detector.
            MissingExtraError: its architecture needs a package that is not installed.
        """
        refuse_unknown(f"{cls.__name__}.from_pretrained", options, parameters(cls.from_pretrained, cls))
        # No attn_implementation: "eager" on Grounding DINO mixes phrases, and "sdpa" at the top is refused.
        kind = load_config(name, revision=revision).model_type
        loader = sam3.AutoSam3 if kind in sam3.CLASSES else AutoModelForZeroShotObjectDetection
        model, processor, signature = load_checkpoint(
            *(name, loader, AutoProcessor),
            device=device,
            dtype=dtype,
            revision=revision,
            expected="a zero-shot detector",
            advice="use ClosedSetDetector for models with a fixed list of labels",
        )
        return cls(model, processor, **{"name": signature, **options})

    def covers(self, phrase: str) -> bool:
        """Whether the model's tokenizer knows all words of the phrase and has room for them."""
        name = self.family.clean(phrase)
        return bool(name) and self.family.fits(self, name)

    def detect(self, images: Sequence[ImageSource], phrases: Sequence[Sequence[str]]) -> list[list[Box]]:
        """Boxes of each image's phrases.

        Images share a forward pass only where the model sees them at one size, so that padding for a neighbour never
        changes a verdict. Equal phrases ("dog", "a dog", "dogs") are searched once.

        Raises:
            ImageError: an image cannot be opened.
            ExpertError: the model failed, its output is not finite, or a phrase is not covered.
        """
        loaded = [load_image(image) for image in images]
        names = [self._names(row) for row in phrases]
        sized = [limit_size(image) for image in loaded]
        padded = [image for image, _ in sized]
        boxes: list[list[Box]] = [[] for _ in images]
        for group in self._groups(padded, names):
            with expert_errors(self.name):
                scored = self._search(padded, {i: list(names[i]) for i in group})
            for (i, name), (scores, corners) in scored.items():
                indices = names[i][name]
                boxes[i] += geometry.records(
                    scores[:, None].expand(-1, len(indices)),
                    corners * sized[i][1],
                    [(j, phrases[i][j]) for j in indices],
                    loaded[i].size,
                    floor=self.floor,
                    nms=self.nms,
                )
        return [sorted(row, key=lambda box: box.phrase or 0) for row in boxes]

    def _names(self, phrases: Sequence[str]) -> dict[str, list[int]]:
        """Name to search -> indices of the phrases that it stands for; in alphabetical order."""
        names: dict[str, list[int]] = {}
        for i, phrase in enumerate(phrases):
            if not self.covers(phrase):
                raise ExpertError(f"{self.name} cannot judge {phrase!r} (unknown or too many words); leave it out")
            names.setdefault(self.family.clean(phrase), []).append(i)
        return dict(sorted(names.items()))

    def _groups(self, images: list[Image], names: list[dict[str, list[int]]]) -> Iterator[list[int]]:
        """Groups of images that share forward passes: the model sees them at one size, and they fit one pass."""
        for alike in geometry.by_frame(images, (i for i, row in enumerate(names) if row), self.processor):
            group: list[int] = []
            rows = 0
            for i in alike:
                needed = len(self.family.chunks(self, list(names[i]), self._alone_first))
                if group and rows + needed > self.rows_per_pass:
                    yield group
                    group, rows = [], 0
                group.append(i)
                rows += needed
            yield group

    def _search(self, images: list[Image], names: dict[int, list[str]]) -> dict[tuple[int, str], ScoresAndBoxes]:
        """(image, name) -> scores (Q,) and boxes (Q, 4) of that name.

        What the model computes from an image alone is computed once, also where phrases are asked together first.
        """
        rows = ImageRows()
        replaced = {
            path: (lambda _, given=given: lambda *a, **k: given) for path, given in self.family.replaced.items()
        }
        once = dict.fromkeys(existing(self.model, self.family.image_parts), rows.once)
        model = with_forwards(self.model, {**replaced, **once})
        pixels = rows.once(lambda indices: self._pixels([images[i] for i in indices.tolist()]))

        def ask(wanted: dict[int, list[str]], alone: bool) -> dict[tuple[int, str], ScoresAndBoxes]:
            queries = [Query(i, chunk) for i, row in wanted.items() for chunk in self.family.chunks(self, row, alone)]
            scored: dict[tuple[int, str], ScoresAndBoxes] = {}
            for start in range(0, len(queries), self.rows_per_pass):
                batch = queries[start : start + self.rows_per_pass]
                rows.images = [query.image for query in batch]
                with torch.inference_mode():
                    inputs = pixels(torch.tensor(rows.images, device="cpu"))
                    results = self.family.forward(self, Batch(model, images, batch, inputs))
                for query, (scores, corners) in zip(batch, results, strict=True):
                    geometry.check_finite(self.name, scores, corners)
                    scored.update({(query.image, p): (scores[:, c], corners) for c, p in enumerate(query.phrases)})
            return scored

        scored = ask(names, self._alone_first)
        if self.joint is None or self._alone_first:
            return scored
        several = {i: row for i, row in names.items() if len(row) > 1}  # one phrase was alone already
        near = {i: [name for name in row if self._near(*scored[i, name])] for i, row in several.items()}
        return {**scored, **ask({i: row for i, row in near.items() if row}, True)}

    @property
    def _alone_first(self) -> bool:
        """Whether every phrase gets a row of its own at once."""
        return self.isolate and self.joint is None

    def _near(self, scores: Tensor, boxes: Tensor) -> bool:
        """Whether a box of a phrase scores so near to a threshold that asking it alone may change the verdict."""
        kept = scores[geometry.suppressed(boxes, scores, self.floor, self.nms)]
        high, low = self.thresholds
        # A name is added to an answer above the middle of `high` and 1 (`correction.verification.omissions`).
        marks = torch.tensor([low, high, (high + 1) / 2], device=kept.device)
        best = kept.max().item() if len(kept) else 0.0
        margin = self.joint or 0.0
        return abs(best - low) <= margin or bool(((kept[:, None] - marks).abs() <= margin).any())

    def _pixels(self, images: list[Image]) -> dict[str, Tensor]:
        """Image inputs, on the model's device and in its dtype."""
        prepared = self.processor.image_processor(images=images, return_tensors="pt")
        inputs: dict[str, Tensor] = {
            key: prepared[key].to(self.model.device) for key in ("pixel_values", "pixel_mask") if key in prepared
        }
        inputs["pixel_values"] = inputs["pixel_values"].to(self.model.dtype)
        return inputs
