"""What a decoding method is: what it contrasts with, and its formula.

How a method is written (one file, one frozen dataclass; `vcd.py` is the pattern):

    class Mine:
        neutral    property: True when the setting is exactly plain generation
        negatives  property: one maker per further row (`negatives.py`), () for none, several for an average.
                   A "good" view (RITUAL, AGLA) is such a row too; the formula decides its sign
        fold(rows, step) -> (scores, keep)     rows: R tensors (B, S, V) fp32, rows[0] the original
        on(model, processor): return folded_view(self, model, processor)

    optional
        needs = ("hidden_states",)     step.hidden_states: every layer's, (R * B, S, H), embeddings first, the last one
                                       after the final norm; `parts.early_logits` reads them through the head
        needs = ("attentions",)        step.attentions: the last forward's maps, (R * B, heads, queries, keys) a layer;
                                       the call then runs eager attention
        attach(twin)                   called once per `generate`, before it: put hooks on `twin`'s modules
                                       (`parts.decoder_layers(twin)`), edit its attention (`attention.edit_attention`).
                                       The twin dies with the call, so nothing has to be removed. What `attach`
                                       returns, if not None, folds instead: keep the state of a call there
        loop(model, input_ids, ...)    a `custom_generate` callable of the host, for a method with its own search
        search(own, input_ids, **kw)   calls the host's greedy, sampling or beam search `own`; without further rows as
                                       often as it wants. Looked up on what folds (`retrospection.py`)
        keeps_sampling_support = True  truncation is read on the original row (see `support.py`)

In hooks, `twin.layout` says which of the (R * B) sequences are which row, and where the picture is in each:

    layout = twin.layout
    hidden[layout.of(0)]                        the original sequences; of(1) the first negative row's
    layout.picture(scores.shape[-1])            (R * B, keys) True at picture tokens
    layout.prefill                              whether this forward reads the prompt
    layout.answering(scores.shape[2])           (queries,) True at tokens that predict the answer

`twin.call` is the call as the user made it: prompts, pictures, processor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from halluguard.decoding.engine.layout import Layout
from halluguard.decoding.negative_inputs import Negative
from halluguard.errors import SettingsError

if TYPE_CHECKING:
    from torch import Tensor


FORBIDDEN = -1e4
"""Logits below this are a model's own ban of a token (chameleon writes the type's minimum there)."""


@dataclass(frozen=True)
class Step:
    """Where in the answer a forward stands.

    Args:
        index: (S,) long; which token of the answer each position predicts, 0 being the first.
        beams: rows per prompt (beams or returned sequences).
        hidden_states, attentions: what the method `needs`, else None. They hold all rows; `layout` tells them apart.
        layout: of this forward.
    """

    index: Tensor
    beams: int = 1
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    layout: Layout | None = None

    def per_row(self, values: float | Sequence[float], like: Tensor) -> Tensor:
        """One value per prompt, or one for all, as (B, 1, 1), repeated over the beams of a prompt."""
        import torch

        tensor = torch.as_tensor(values, dtype=torch.float32, device=like.device).reshape(-1)
        rows = like.shape[0] // self.beams
        if len(tensor) not in (1, rows):
            raise SettingsError(f"one value or one for each of the {rows} prompts is expected, got {len(tensor)}")
        return tensor.expand(rows).repeat_interleave(self.beams)[:, None, None]


class Method(Protocol):
    """A decoding method: what it contrasts with, and its formula.

    `neutral` is True when the setting is exactly plain generation; the host then runs alone.
    `negatives` makes the further rows. `fold` gets fp32 logits (B, S, V), the original row's first, and returns
    scores (B, S, V) with the mask of tokens that may be chosen (None: all).
    What it may have besides (`needs`, `attach`, `loop`, `search`, `keeps_sampling_support`) is in the head of this
    file.
    """

    @property
    def neutral(self) -> bool: ...

    @property
    def negatives(self) -> tuple[Negative, ...]: ...

    def fold(self, rows: list[Tensor], step: Step) -> tuple[Tensor, Tensor | None]: ...


def needs_of(method: Any) -> tuple[str, ...]:
    """What a method reads beside the logits: "hidden_states", "attentions"."""
    return tuple(getattr(method, "needs", ()))


def folded(method: Any, rows: list[Tensor], step: Step) -> tuple[Tensor, Tensor | None]:
    """`method.fold`, with the tokens a model bans by itself (their logits at the type's minimum) left banned.

    The formula would turn two such values into no number. It sees them at `FORBIDDEN`; what they were below it is
    added to their scores. Without a branch on the values, which a GPU would wait for.
    """
    bounded = [row.clamp_min(FORBIDDEN) for row in rows]
    scores, keep = method.fold(bounded, step)
    return scores + (rows[0] - bounded[0]), keep
