"""AllPath: heads that help are doubled, heads that harm are switched off.

    attention output of a layer = sum_h s_h o_h,   s = 2 for good heads, 0 for bad ones, 1 for others; at every position

Qian et al. 2025, NeurIPS, arXiv 2511.17254. Original code: SooLab/AllPath (MIT), `mods/new_modeling_llama.py`, with
lists of heads for LLaVA-1.5-7B and Qwen-VL-Chat. A head in both lists is good. Here the input of each layer's output
projection is scaled per head, which is the same sum.

The authors' lists rank heads with labels and masks and hold for one model and one format of answers (their lists for
yes-or-no and for multiple-choice questions correlate .12 only), so there is no default list: `read_heads` reads theirs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from halluguard.decoding.base import Combined, Cost, DecodingMethod, Preset, Step
from halluguard.decoding.engine.heads import heads_of, output_projections
from halluguard.decoding.engine.view import FoldedView
from halluguard.decoding.setting_checks import check_range
from halluguard.errors import InputError, SettingsError

Heads = Sequence[tuple[int, int]]
"""(layer, head) pairs, both from 0."""

COUNTS = {"chair": (40, 40, 50), "questions": (20, 20, 10)}
"""Worst and best heads of the format list, and best of the image list, as `main.py` takes them."""


def scaled(outputs: Tensor, factors: Tensor) -> Tensor:
    """Heads' outputs (..., heads * D), side by side, times a factor per head (heads,).

    >>> scaled(torch.tensor([1.0, 0.0, 0.0, 3.0]), torch.tensor([2.0, 0.0]))
    tensor([2., 0., 0., 0.])
    """
    return (outputs.unflatten(-1, (len(factors), -1)) * factors[:, None]).flatten(-2)


def read_heads(
    format_list: str | Path, image_list: str | Path, counts: tuple[int, int, int] = COUNTS["chair"]
) -> dict[str, Heads]:
    """The settings `good` and `bad` from two files of the authors: lines `[[layer, head], score]`, worst first.

    Args:
        format_list: scores of heads by their part in the answer's words ("format").
        image_list: scores of heads by their attention to the right part of the image ("image").
        counts: see `COUNTS`.

    Raises:
        InputError: a line is of another form.
    """
    ranked = [_ranked(Path(file)) for file in (format_list, image_list)]
    worst, best, best_image = counts
    good = ranked[0][len(ranked[0]) - best :] + ranked[1][len(ranked[1]) - best_image :]
    return {"bad": tuple(ranked[0][:worst]), "good": tuple(dict.fromkeys(good))}


def _ranked(file: Path) -> list[tuple[int, int]]:
    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        return [(int(layer), int(head)) for (layer, head), _ in rows]
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(
            f"lines of the form [[layer, head], score] are expected in {str(file)!r}, got another form ({error}); "
            "use a file as the authors' code writes it"
        ) from error


@dataclass(frozen=True)
class AllPath(DecodingMethod):
    """Double the outputs of good attention heads and drop those of bad ones, in the prompt and the answer.

    Refused: lists that name a layer or head that the model does not have; attention without one output per head.

    Args:
        good: (layer, head) pairs that are multiplied by `boost`, both numbers from 0.
        bad: (layer, head) pairs that are dropped; those that are also good stay good.
        boost: factor of the good heads, >= 0. Code: 2.
        rescale: whether a layer's factors are scaled to mean 1. Code: False.
        strength: share of the way from factor 1 to those above, in [0, 1]; 0 is plain generation. Code: 1.
    """

    PRESETS: ClassVar = {"off": Preset({"strength": 0.0})}
    reference = "Qian et al., NeurIPS 2025, arXiv 2511.17254. Code: SooLab/AllPath"
    cost = Cost(requires="lists of heads (`good`, `bad`), which the authors publish for two models")

    good: Heads = ()
    bad: Heads = ()
    boost: float = 2.0
    rescale: bool = False
    strength: float = 1.0

    def __post_init__(self) -> None:
        for name in ("good", "bad"):
            heads = tuple((int(layer), int(head)) for layer, head in getattr(self, name))
            object.__setattr__(self, name, heads)
        if self.boost < 0:
            raise SettingsError(f"boost must be >= 0, got {self.boost}; the original doubles good heads")
        check_range("strength", self.strength, 0, 1, advice="use 0 for plain generation")

    @property
    def is_identity(self) -> bool:
        return self.strength == 0 or not (self.good or self.bad)

    @classmethod
    def required_settings(cls, model: PreTrainedModel) -> dict[str, Any]:
        return {"good": ((0, 0),), "bad": ((0, 1),)}

    def bind(self, view: FoldedView) -> AllPath:
        factors = self._factors(view)
        for layer, projection in enumerate(output_projections(view)):
            if bool((factors[layer] != 1).any()):
                projection.register_forward_pre_hook(_scaling(factors[layer]))
        return self

    def _factors(self, view: FoldedView) -> Tensor:
        """(layers, heads)."""
        layers, heads = len(output_projections(view)), heads_of(view)
        factors = torch.ones(layers, heads)
        for listed, factor in ((self.bad, 0.0), (self.good, self.boost)):
            for layer, head in listed:
                if not (0 <= layer < layers and 0 <= head < heads):
                    raise SettingsError(
                        f"heads of a model with {layers} layers of {heads} heads are expected, got {(layer, head)}; "
                        "use a list that was made for this model"
                    )
                factors[layer, head] = factor
        factors = factors / factors.mean(-1, keepdim=True) if self.rescale else factors
        return 1 + self.strength * (factors - 1)

    def combine_logits(self, branches: list[Tensor], step: Step) -> Combined:
        return branches[0], None


def _scaling(factors: Tensor) -> Any:
    def hook(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (scaled(args[0], factors.to(args[0])), *args[1:])

    return hook
