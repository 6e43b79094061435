"""One call of a view's `generate`: its rows, from the prompts to the fold of a forward.

prepare     the further rows are made, as the host prepares a prompt, and padded to one length
stack       the rows of one forward are put together
fold        R * B rows of logits become B by the method's formula
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from halluguard.decoding.base import DecodingMethod, LogitsCombiner, Step, combine
from halluguard.decoding.engine.batch import Joined, Row, first_rows, stacked
from halluguard.decoding.engine.layout import Layout
from halluguard.decoding.engine.shared_copy import twin_of
from halluguard.decoding.negative_inputs import Call, ExplicitInputs, NegativeInputs, crossed, image_token_ids
from halluguard.errors import InputError, UnsupportedModelError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class Run:
    """What one call of `generate` keeps."""

    method: DecodingMethod
    folding: LogitsCombiner  # the method, or what its `bind` returned
    makers: tuple[NegativeInputs, ...]
    call: Call
    negatives: list[Row] = field(default_factory=list)
    prompt: int = 0  # tokens of the original prompt
    length: int = 0  # of the longest prompt: all rows are padded to it
    beams: int = 1
    seen: int = 0  # tokens of the sequences in the forward under way
    forwards: int = 0
    masked: bool = True  # whether the method's support is laid over its scores
    processors: Any = None  # the host's own
    layout: Layout | None = None  # of the forward under way
    blind: Tensor | None = None  # which sequences of the further rows are shown no picture by cross-attention
    joined: Joined = field(default_factory=dict)  # the rows' pictures, from forward to forward
    folded: tuple[Step, Tensor, Tensor, Tensor | None] | None = None

    @property
    def rows(self) -> int:
        return 1 + len(self.makers)

    @cached_property
    def placeholders(self) -> list[int]:
        """Ids that pictures fill; none where the decoder is shown its picture by cross-attention."""
        return [] if crossed(self.call) else image_token_ids(self.call.model)

    def column(self, ids: Tensor) -> tuple[Tensor, Tensor, Tensor | None] | None:
        """Plain row, scores and mask of the last fold at the token that follows `ids`, each (B, V)."""
        if self.folded is None:
            return None
        step, plain, scores, keep = self.folded
        at = ids.shape[1] - self.prompt - int(step.index[0])
        if not 0 <= at < len(step.index) or len(ids) != len(plain):
            return None
        return plain[:, at], scores[:, at], None if keep is None else keep[:, at]

    def prepare(self, kwargs: dict[str, Any]) -> None:
        """Make the negative rows, prepared and expanded by the host's own rules, and pad all rows to one length."""
        import torch

        ids, encodes = kwargs["input_ids"], self.call.model.config.is_encoder_decoder
        inputs = dict(self.call.inputs)
        given = inputs if encodes else kwargs  # ids of an encoder-decoder are here the decoder's
        prompt, mask = given.get("input_ids"), given.get("attention_mask")
        if prompt is not None:
            inputs |= {"input_ids": prompt, "attention_mask": torch.ones_like(prompt) if mask is None else mask}
        call, start = replace(self.call, inputs=inputs), int(ids[0, 0]) if encodes else None
        self.negatives = [_prepared(call, maker(call), self.beams, start) for maker in self.makers]
        self.prompt = ids.shape[1]
        self.length = max([self.prompt, *(row.ids.shape[1] for row in self.negatives)])
        self.negatives = [row.padded(self.length, call.pad_id) for row in self.negatives]
        for row in self.negatives:
            if row.ids.shape[0] != ids.shape[0] * self.beams:
                raise InputError(
                    f"a negative row should have one prompt for each of the {ids.shape[0]} originals, got "
                    f"{row.ids.shape[0] // self.beams}; give one each"
                )

    def stack(self, ids: Tensor, kwargs: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        """The rows of one forward, before the host slices and masks them."""
        control: dict[str, Any] = {
            name: kwargs.pop(name) for name in ("next_sequence_length", "is_first_iteration") if name in kwargs
        }
        cache = kwargs.pop("past_key_values", None)
        self.seen = ids.shape[1]
        more = self.length - self.prompt
        original = Row(ids, kwargs).followed_by(ids[:, :0])  # prompt lookup leaves token types behind
        rows = [original.padded(ids.shape[1] + more, self.call.pad_id)]
        rows += [row.followed_by(ids[:, self.prompt :]) for row in self.negatives]
        batch, stackd = stacked(rows, self.joined)
        fed = control.get("next_sequence_length") or batch.shape[1]
        seen = stackd.get("cross_attention_mask")
        if seen is not None:
            self.blind = ~seen.flatten(1).any(-1)
            self.blind[: len(ids)] = False  # the original rows are the host's
        self.layout = Layout.of_forward(
            self.layout, batch, self.rows, prompt=self.length, fed=fed, placeholders=self.placeholders
        )
        if control.get("next_sequence_length") == ids.shape[1]:
            control["next_sequence_length"] = None
        return batch, {**stackd, **control, "past_key_values": cache}

    def fold(self, output: Any) -> Any:
        """R * B rows of logits into B, in fp32; further outputs keep the original rows."""
        import torch

        logits = output.logits
        batch, left = divmod(logits.shape[0], self.rows)
        if left:
            raise UnsupportedModelError(
                f"{self.rows} rows per prompt were fed, and {logits.shape[0]} rows of logits came back"
            )
        # Prefill without logits_to_keep returns the prompt's logits too: only those of the answer are folded.
        logits = logits[:, -(self.seen - self.prompt + 1) :]
        last = self.seen - self.prompt
        step = Step(torch.arange(last - logits.shape[1] + 1, last + 1, device=logits.device), self.beams)
        rows = [part.float() for part in logits.split(batch)]
        step = replace(step, **self._needed(output, logits.shape[1]))
        scores, keep = combine(self.folding, rows, step)
        keep = keep if self.masked else None
        self.folded = (step, rows[0], scores, keep)
        self.forwards += 1
        for name in ("attentions", "hidden_states", "cross_attentions", "decoder_attentions", "decoder_hidden_states"):
            if output.get(name) is not None:
                output[name] = first_rows(output[name], batch, self.rows)
        output.logits = scores if keep is None else scores.masked_fill(~keep, -torch.inf)
        return output

    def _needed(self, output: Any, length: int) -> dict[str, Any]:
        """What the method asked to see, at the positions that are folded."""
        found: dict[str, Any] = {"layout": self.layout}
        for name in self.method.needs:
            value = output.get(name)
            if not value:
                raise UnsupportedModelError(
                    f"{type(self.method).__name__} reads {name}, and {type(self.call.model).__name__} returns none; "
                    "use a method that reads logits only, such as VCD"
                )
            if name == "hidden_states" and ({h.ndim for h in value} != {3} or len({h.shape for h in value}) > 1):
                raise UnsupportedModelError(
                    f"{type(self.method).__name__} reads one state a token from every layer, and those of "
                    f"{type(self.call.model).__name__} keep several streams; use a method that reads logits only, such "
                    "as VCD"
                )
            found[name] = tuple(h[:, -length:] for h in value) if name == "hidden_states" else tuple(value)
        return found


def makers_of(negatives: tuple[NegativeInputs, ...], given: Any) -> tuple[NegativeInputs, ...]:
    """What makes the further rows: the method's own makers, or inputs `given` by the caller, one mapping a row."""
    if given is None:
        return negatives
    given = [given] if isinstance(given, Mapping) else list(given)
    if len(given) != len(negatives):
        raise InputError(
            f"the method has {len(negatives)} negative row(s), got {len(given)} negative_inputs; pass one each"
        )
    return tuple(ExplicitInputs(g) for g in given)


def _prepared(call: Call, inputs: dict[str, Any], beams: int, start: int | None) -> Row:
    """What the host's `generate` makes of `inputs` before it decodes: masks, positions, encoded pictures, beams."""
    from transformers import GenerationConfig

    taken: dict[str, Any] = {}

    def take(model: Any, input_ids: Tensor, **kwargs: Any) -> Tensor:
        taken.update(kwargs, input_ids=input_ids)
        return input_ids

    twin, own = twin_of(call.model), call.model.generation_config
    twin.generation_config = GenerationConfig(
        bos_token_id=own.bos_token_id,
        eos_token_id=own.eos_token_id,
        pad_token_id=call.pad_id,
        decoder_start_token_id=start,
    )
    given = {name: value for name, value in inputs.items() if value is not None}
    type(call.model).generate(twin, **given, custom_generate=take, max_new_tokens=1, num_beams=beams, do_sample=False)
    for name in ("logits_processor", "stopping_criteria", "generation_config", "past_key_values", "synced_gpus"):
        taken.pop(name, None)
    return Row(taken.pop("input_ids"), taken)
