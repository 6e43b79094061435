"""Base class of the decoding methods, with the plausibility mask that they share.

How to write a method: one file in `methods/` with one frozen dataclass that inherits `DecodingMethod`; `methods/vcd.py`
is the pattern. Nothing else has to be edited: `get_method`, the command line, the laws (`tests/laws`), the benchmarks
and the tables of `docs/papers.md` find the class by its file and read its attributes.

In the hooks that `bind` registers, `view.layout` describes the forward under way:

    layout = view.layout
    hidden[layout.of(0)]                        the original sequences; of(1) is the first negative branch
    layout.image_tokens(scores.shape[-1])       (R * B, keys) True at image tokens
    layout.prefill                              whether this forward reads the prompt
    layout.answering(scores.shape[2])           (queries,) True at tokens that predict the answer
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from PIL.Image import Image
from torch import Tensor
from transformers import PreTrainedModel, ProcessorMixin

from halluguard.decoding.engine.layout import Layout
from halluguard.decoding.negative_inputs import NegativeInputs
from halluguard.errors import SettingsError

if TYPE_CHECKING:  # the view is built on this module
    from halluguard.decoding.engine.view import FoldedView

FORBIDDEN = -1e4
"""Logits below this are a model's own ban of a token (Chameleon writes the type's minimum there)."""

Combined = tuple[Tensor, Tensor | None]
"""Scores (B, S, V), and the mask of tokens that are allowed (B, S, V), or None where all are."""


@dataclass(frozen=True)
class Step:
    """Position of a forward in the answer.

    Args:
        index: (S,) long; index of the answer token that each position predicts, from 0.
        beams: sequences per prompt (beams or returned sequences).
        hidden_states: one (R * B, S, H) tensor per layer, the embeddings first, the last one after the final norm; None
            unless the method `needs` them.
        attentions: one (R * B, heads, queries, keys) tensor per layer; None unless the method `needs` them.
        layout: position of the branches and images in this forward.
    """

    index: Tensor
    beams: int = 1
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    layout: Layout | None = None

    def hidden_layers(self, layers: Iterable[int]) -> Tensor:
        """The hidden states of the given layers (0: the embeddings), as (layers, R * B, S, H)."""
        assert self.hidden_states is not None, "the method does not state that it needs them"
        return torch.stack([self.hidden_states[layer] for layer in layers])

    def per_sequence(self, values: float | Sequence[float], like: Tensor) -> Tensor:
        """A setting as (B, 1, 1): `values` holds one for all prompts or one per prompt, repeated for its beams."""
        tensor = torch.as_tensor(values, dtype=torch.float32, device=like.device).reshape(-1)
        prompts = like.shape[0] // self.beams
        if len(tensor) not in (1, prompts):
            raise SettingsError(
                f"one value or one for each of the {prompts} prompts is expected, got {len(tensor)}; give one each"
            )
        return tensor.expand(prompts).repeat_interleave(self.beams)[:, None, None]


class LogitsCombiner:
    """Formula of a method within one call of `generate`: the method itself, or the state that its `bind` returned."""

    def combine_logits(self, branches: list[Tensor], step: Step) -> Combined:
        """Combine the logits of the branches into scores.

        Args:
            branches: logits (B, S, V) in fp32, the original branch first.
            step: position in the answer.

        Returns:
            Scores (B, S, V), and the mask of allowed tokens, or None to allow all.
        """
        raise SettingsError(
            f"{type(self).__name__} combines logits inside a bound model only, got a direct call; use "
            ".on(model, processor).generate(...)"
        )

    def search(self, own: Callable[..., Any], input_ids: Tensor, **kwargs: Any) -> Any:
        """Run `own`, the greedy, sampling or beam search of transformers; a method may call it several times."""
        return own(input_ids, **kwargs)


@dataclass(frozen=True)
class Preset:
    """Settings of a method under a name.

    Args:
        settings: arguments of the method's class.
        source: paper, file or script that the numbers come from, as printed in docs/papers.md.
    """

    settings: Mapping[str, Any]
    source: str = ""


@dataclass(frozen=True)
class Cost:
    """Cost of a method at its defaults, beside plain generation. `tests/laws/test_costs.py` counts it.

    Args:
        branches: sequences per forward for each prompt; each has keys and values of its own in the cache.
        readings: forwards of the decoder per token of the answer.
        encodings: encodings of the image beyond the one of plain generation.
        requires: inputs and model features that the method needs.
    """

    branches: int = 1
    readings: int = 1
    encodings: int = 0
    requires: str = "nothing"


class DecodingMethod(LogitsCombiner):
    """Base class of the decoding methods: frozen dataclasses whose fields are the settings.

    A subclass defines a preset "off", and either `combine_logits` or a `bind` that returns an object with
    `combine_logits`. All other members have defaults.
    """

    PRESETS: ClassVar[Mapping[str, Preset]] = {}
    """Settings by name. "off" is required: with it the method is exactly plain generation."""
    reference: ClassVar[str] = ""
    """Paper and original code, as printed in docs/papers.md."""
    cost: ClassVar[Cost] = Cost()
    """Cost at the defaults, as printed in docs/papers.md."""
    law_settings: ClassVar[Mapping[str, Any]] = {}
    """Settings for `tests/laws`: they change the answer of a tiny random model, without processor or images."""
    is_baseline: ClassVar[bool] = False
    """Whether the method only serves as a comparison for others."""
    keeps_sampling_support: ClassVar[bool] = False
    """Read top-k, top-p and the like on the original branch, so that they allow the same tokens at every setting."""
    runs_search: ClassVar[bool] = False
    """Whether the method runs the search of transformers several times, so that no one else can go back in it."""
    custom_generate: ClassVar[Callable[..., Any] | None] = None
    """A `custom_generate` callable of transformers, for a method with a search of its own."""

    @property
    def is_identity(self) -> bool:
        """Whether the setting is exactly plain generation, which then runs without the view. Default: preset "off"."""
        off = self.PRESETS.get("off")
        return off is not None and all(vars(self)[name] == value for name, value in off.settings.items())

    @property
    def negative_branches(self) -> tuple[NegativeInputs, ...]:
        """Makers of the inputs of the negative branches; the formula adds or subtracts each. Default: none."""
        return ()

    @property
    def needs(self) -> tuple[str, ...]:
        """Model outputs to read beside the logits: "hidden_states", "attentions". Default: none."""
        return ()

    @property
    def acts_inside(self) -> bool:
        """Whether the method reads or changes the inside of the model, beside the logits of its branches."""
        return type(self).bind is not DecodingMethod.bind

    @property
    def reads_branches_apart(self) -> bool:
        """Whether branches much shorter than the original may be read in a forward of their own, at their own length.

        Default: True, unless the method acts inside the model. Its hooks then expect all branches in one batch.
        """
        return not self.acts_inside and not self.needs

    @classmethod
    def required_settings(cls, model: PreTrainedModel) -> dict[str, Any]:
        """Random values that fit `model`, for the settings without a usable default; for tests and speed benchmarks."""
        return {}

    @classmethod
    def fit(cls, model: PreTrainedModel, processor: ProcessorMixin, images: Sequence[Image]) -> Self:
        """The method at its defaults, fitted to a user's images; most methods have nothing to fit."""
        return cls()

    def bind(self, view: FoldedView) -> LogitsCombiner:
        """Prepare one call of `generate`; called once, before it.

        Hooks on the modules of `view` and edits of its attention (`engine.attention.edit_attention`) die with the call,
        so nothing has to be removed. `view.call` holds the call as the user made it.

        Returns:
            What combines the logits in this call: the method itself, or an object with the state of the call.
        """
        return self

    def on(self, model: PreTrainedModel, processor: ProcessorMixin | None = None) -> FoldedView:
        """A view of `model` that generates with this method; see `engine.view.folded_view`."""
        from halluguard.decoding.engine.view import folded_view  # the view is built on this module

        return folded_view(self, model, processor)


def combine(combiner: LogitsCombiner, branches: list[Tensor], step: Step) -> Combined:
    """Run `combiner.combine_logits`; tokens that the model itself bans stay banned.

    A model bans a token by a logit at the minimum of its type; a formula could turn two such values into NaN. So the
    formula gets them as `FORBIDDEN`, and the difference is added to the scores afterwards.
    """
    if on_cpu(branches[0]) and all(bool(branch.amin() >= FORBIDDEN) for branch in branches):
        return combiner.combine_logits(branches, step)
    bounded = [branch.clamp_min(FORBIDDEN) for branch in branches]
    scores, allowed = combiner.combine_logits(bounded, step)
    return scores + (branches[0] - bounded[0]), allowed


def on_cpu(tensor: Tensor) -> bool:
    """Whether a tensor is on the CPU, where its values can be read at once; on a GPU, reading waits for the device."""
    return tensor.device.type == "cpu"


def plausible(logits: Tensor, beta: float) -> Tensor | None:
    """Mask of the plausible tokens of the original branch.

        V(y<t) = { y : p(y | v, x, y<t) >= beta * max_w p(w | v, x, y<t) }

    Adaptive plausibility constraint (Li et al. 2023, "Contrastive decoding", eq. 4; VCD, eq. 6). It is computed
    from the raw logits, before any penalty, temperature or truncation; computed after them, it would be another method.
    It equals transformers' `min_p=beta` on the raw logits.

    Args:
        logits: (..., V), next-token logits of the original branch.
        beta: in [0, 1]; 0 allows every token, 1 only the most probable.

    Returns:
        (..., V) bool, True where the token is allowed; None for beta = 0.

    >>> plausible(torch.tensor([0.0, -2.0, -3.0]), 0.1)
    tensor([ True,  True, False])
    """
    if beta == 0:
        return None
    return logits >= logits.amax(-1, keepdim=True) + math.log(beta)
