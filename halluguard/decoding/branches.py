"""The folded view: the host's own `generate`, with every forward running several rows and returning one.

    rows     original | negative 1 | ...             (R * B sequences, one batch, one cache)
    forward  ->  logits (R * B, S, V)  ->  the method's formula  ->  logits (B, S, V)

`view = method.on(model, processor)` takes what `model.generate` takes. For each call a twin of the model
(`twin.py`) is made whose class is a subclass of the model's own: it puts the rows together where the host prepares
the inputs of a forward, and folds the logits where the host calls the model. Greedy search, sampling, beams,
several returns, processors, prefix functions, stop strings, streaming, static caches, prompt lookup and
left-padded batches are the host's, unchanged. The caller's model is never written to.

Nothing runs plain in silence: a family that bypasses the view is refused by name, and a call in which no forward
was folded ends in an error.

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

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from halluguard.decoding import refusals
from halluguard.decoding.attention import check_used, eager
from halluguard.decoding.layout import Layout
from halluguard.decoding.negatives import Call, Given, Negative, image_token_ids
from halluguard.decoding.rows import (
    IMAGE_MASKS,
    Row,
    count_of,
    first_rows,
    pictures_of,
    pictures_of_row,
    stacked,
)
from halluguard.decoding.twin import twin_of
from halluguard.errors import InputError, SettingsError, UnsupportedModelError

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
    What it may have besides (`needs`, `attach`, `loop`, `keeps_sampling_support`) is in the head of this file.
    """

    @property
    def neutral(self) -> bool: ...

    @property
    def negatives(self) -> tuple[Negative, ...]: ...

    def fold(self, rows: list[Tensor], step: Step) -> tuple[Tensor, Tensor | None]: ...


def folded_view(method: Method, model: Any, processor: Any = None) -> Any:
    """A view of `model` that generates with `method`.

    Args:
        method: see `Method`.
        model: a transformers model with an image-text-to-text head; a PEFT wrapper is opened.
        processor: its processor; needed by rows that change pictures or text.

    Returns:
        An instance of a subclass of `type(model)`, sharing its weights, with the `generate` of `FoldedView`.

    Raises:
        UnsupportedModelError: the family cannot be run through a view; the message names the cause.
    """
    model = refusals.opened(model)
    refusals.check_model(model)
    cls: Any = type(model)
    view = twin_of(model, _view_class(cls))
    view.__dict__["_binding"] = _Binding(method, model, processor)
    view.__dict__["_run"] = None
    return view


@dataclass(frozen=True)
class _Binding:
    method: Method
    model: Any
    processor: Any


@dataclass
class _Run:
    """What one call of `generate` keeps."""

    method: Method
    folding: Any  # what folds in this call: the method, or what its `attach` returned
    makers: tuple[Negative, ...]
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
    folded: tuple[Step, Tensor, Tensor, Tensor | None] | None = None

    @property
    def rows(self) -> int:
        return 1 + len(self.makers)

    def column(self, ids: Tensor) -> tuple[Tensor, Tensor, Tensor | None] | None:
        """Plain row, scores and mask of the last fold at the token that follows `ids`, each (B, V)."""
        if self.folded is None:
            return None
        step, plain, scores, keep = self.folded
        at = ids.shape[1] - self.prompt - int(step.index[0])
        if not 0 <= at < len(step.index) or len(ids) != len(plain):
            return None
        return plain[:, at], scores[:, at], None if keep is None else keep[:, at]


class FoldedView:
    """Methods laid over the model's class. See `folded_view`."""

    def generate(
        self,
        inputs: Tensor | None = None,
        *,
        images: Sequence[Any] | None = None,
        negative_inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        **kwargs: Any,
    ) -> Any:
        """The model's own `generate`, with the method in every forward.

        Args:
            inputs: (B, L) token ids, or pass input_ids.
            images: the pictures (PIL) behind the inputs, in the order of their placeholders; a method that changes
                pictures then changes them before the processor, at any layout the model uses.
            negative_inputs: model inputs of your own for the negative row (one mapping, or one per row); what is
                not named stays as in the original row.
            **kwargs: model inputs and everything `model.generate` takes.

        Returns:
            What `model.generate` returns, for the original rows. `past_key_values` is left out of it: the cache
            holds the negative rows too.

        Raises:
            InputError, SettingsError, UnsupportedModelError: with the cause and what to do.
        """
        if inputs is not None:
            kwargs["input_ids"] = inputs
        return _generate(self, images, negative_inputs, kwargs)

    def first_token_logits(self, inputs: Tensor | None = None, **kwargs: Any) -> Tensor:
        """(B, V) fp32 scores of the first token, after the method's formula and before its support.

        For yes-or-no questions `logits[:, yes] - logits[:, no]` ranks the answers through any method.
        """
        if inputs is not None:
            kwargs["input_ids"] = inputs
        images, negative_inputs = kwargs.pop("images", None), kwargs.pop("negative_inputs", None)
        kwargs |= {"max_new_tokens": 1, "num_beams": 1, "num_return_sequences": 1, "do_sample": False}
        kwargs |= {"return_dict_in_generate": True, "output_logits": True}
        return _generate(self, images, negative_inputs, kwargs, masked=False).logits[0]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        run: _Run | None = self.__dict__["_run"]
        if run is None:
            raise UnsupportedModelError(
                "a view only generates, got a direct forward call; call the model itself, or view.generate(...)"
            )
        kwargs |= {f"output_{name}": True for name in _needs(self.__dict__["_binding"].method)}
        output = super().__call__(*args, **kwargs)  # type: ignore[misc]
        check_used(self)
        return _fold(run, output)

    @property
    def layout(self) -> Layout:
        """Which sequences of the forward under way are which row, and where their pictures are; for hooks."""
        run: _Run | None = self.__dict__["_run"]
        if run is None or run.layout is None:
            raise UnsupportedModelError("a layout exists while a view generates, asked for outside; read it in hooks")
        return run.layout

    def step_at(self, hidden: Tensor) -> Step:
        """Where the positions of a hidden state (rows, S, H) of the forward under way stand; for hooks.

        Positions inside the prompt, whose predictions are not part of the answer, count as the first.
        """
        import torch

        run: _Run = self.__dict__["_run"]
        last = run.seen - run.prompt
        index = torch.arange(last - hidden.shape[1] + 1, last + 1, device=hidden.device).clamp(min=0)
        return Step(index, run.beams)

    @property
    def call(self) -> Call:
        """The call under way, as the user made it, with `attention_mask` filled in; for `attach`."""
        import torch

        run: _Run = self.__dict__["_run"]
        ids, mask = run.call.inputs["input_ids"], run.call.inputs.get("attention_mask")
        return replace(
            run.call, inputs={**run.call.inputs, "attention_mask": torch.ones_like(ids) if mask is None else mask}
        )

    def get_compiled_call(self, compile_config: Any) -> Any:
        """Compile the rows' forward; the folding stays outside."""
        import torch

        run: _Run = self.__dict__["_run"]
        config = compile_config or self._default_compile_config()  # type: ignore[attr-defined]
        compiled = torch.compile(super().__call__, **config.to_dict())  # type: ignore[misc]
        return lambda **kwargs: _fold(run, compiled(**kwargs))

    def _expand_inputs_for_generation(self, expand_size: int = 1, **kwargs: Any) -> Any:
        run: _Run = self.__dict__["_run"]
        run.beams = expand_size
        _prepare_negatives(run, kwargs)
        encoded = pictures_of(kwargs.get("mm_encoder_outputs"))
        ids, expanded = super()._expand_inputs_for_generation(expand_size=expand_size, **kwargs)  # type: ignore[misc]
        if expand_size > 1 and encoded:
            per_prompt = count_of(kwargs["input_ids"], image_token_ids(run.call.model))
            again = pictures_of(expanded.get("mm_encoder_outputs"))
            refusals.check_order(type(self).__name__, encoded, again, per_prompt, expand_size)
        return ids, expanded

    def _prepare_cache_for_generation(
        self, generation_config: Any, model_kwargs: Any, generation_mode: Any, batch_size: int, max_cache_length: int
    ) -> Any:
        run: _Run = self.__dict__["_run"]
        room = max_cache_length + run.length - run.prompt
        return super()._prepare_cache_for_generation(  # type: ignore[misc]
            generation_config, model_kwargs, generation_mode, batch_size * run.rows, room
        )

    def _update_model_kwargs_for_generation(self, outputs: Any, model_kwargs: Any, *args: Any, **kwargs: Any) -> Any:
        run: _Run = self.__dict__["_run"]
        update = super()._update_model_kwargs_for_generation  # type: ignore[misc]
        each = run.layout.batch if run.layout is not None else 0
        for i, row in enumerate(run.negatives):
            seen = pictures_of_row(outputs, slice((i + 1) * each, (i + 2) * each), run.rows * each)
            followed = update(seen, dict(row.kwargs), *args, **kwargs)
            followed.pop("past_key_values", None)
            run.negatives[i] = Row(row.ids, followed)
        return update(pictures_of_row(outputs, slice(each), run.rows * each), model_kwargs, *args, **kwargs)

    def _reorder_cache(self, past_key_values: Any, beam_idx: Tensor) -> Any:
        import torch

        run: _Run = self.__dict__["_run"]
        index = torch.cat([beam_idx + r * len(beam_idx) for r in range(run.rows)])
        own = getattr(super(), "_reorder_cache", None)
        if own is not None:
            return own(past_key_values, index)
        past_key_values.reorder_cache(index)
        return past_key_values

    def _get_logits_processor(self, generation_config: Any, **kwargs: Any) -> Any:
        from transformers import LogitsProcessorList

        from halluguard.decoding.support import WithSupport

        run: _Run = self.__dict__["_run"]
        callers = list(kwargs.get("logits_processor") or ())
        run.processors = super()._get_logits_processor(generation_config, **kwargs)  # type: ignore[misc]
        on_plain = getattr(run.method, "keeps_sampling_support", False)
        beams = generation_config.num_beams > 1
        return LogitsProcessorList([WithSupport(run.processors, run.column, callers, on_plain, beams)])

    def _get_candidate_generator(self, *args: Any, **kwargs: Any) -> Any:
        # A draft model answers alone: it gets the host's processors, not the method's support.
        kwargs["logits_processor"] = self.__dict__["_run"].processors
        return super()._get_candidate_generator(*args, **kwargs)  # type: ignore[misc]


def _generate(view: Any, images: Any, negative_inputs: Any, kwargs: dict[str, Any], masked: bool = True) -> Any:
    binding: _Binding = view.__dict__["_binding"]
    if binding.method.neutral:
        return type(binding.model).generate(twin_of(binding.model), **kwargs)
    refusals.check_call(binding.model, kwargs)
    twin = twin_of(binding.model, type(view))
    call = Call(
        binding.model, binding.processor, refusals.model_inputs(kwargs), images, refusals.pad_token(binding.model)
    )
    run = _Run(binding.method, binding.method, _makers(binding.method.negatives, negative_inputs), call, masked=masked)
    twin.__dict__.update(_binding=binding, _run=run)
    _skip_cross_attention(twin, run)
    if "attentions" in _needs(binding.method):
        eager(twin)
    attach = getattr(binding.method, "attach", None)
    if attach is not None:
        run.folding = attach(twin) or binding.method
    if getattr(binding.method, "loop", None) is not None:
        kwargs["custom_generate"] = binding.method.loop  # type: ignore[attr-defined]
    try:
        output = type(binding.model).generate(twin, **kwargs)
    except Exception as error:
        refusal = refusals.explained(error, binding.model)
        if refusal is None:
            raise
        raise refusal from error
    if run.forwards == 0:
        raise UnsupportedModelError(
            f"{type(binding.model).__name__}.generate should have called the model through the view, and did "
            f"not once: {type(binding.method).__name__} had no effect; use the model without a view"
        )
    return _without_cache(output)


def _skip_cross_attention(twin: Any, run: _Run) -> None:
    """Let sequences without a picture pass Mllama's cross-attention layers unchanged, as a text-only prompt does.

    Under a mask of zeros alone the layer would still add what it sees of the other pictures' states.
    """
    import torch

    def skipped(module: Any, args: Any, output: Any) -> Any:
        if run.blind is None or not bool(run.blind.any()):
            return output
        hidden = output[0] if isinstance(output, tuple) else output
        hidden = torch.where(run.blind[:, None, None], args[0], hidden)
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    for module in twin.modules():
        if type(module).__name__ == "MllamaCrossAttentionDecoderLayer":
            module.register_forward_hook(skipped)


def _needs(method: Any) -> tuple[str, ...]:
    return tuple(getattr(method, "needs", ()))


@functools.cache
def _view_class(cls: Any) -> Any:
    """The subclass of a model class that folds. It keeps the class's name, which the host looks at in places."""

    @functools.wraps(cls.prepare_inputs_for_generation)
    def prepare_inputs_for_generation(self: Any, input_ids: Tensor, *args: Any, **kwargs: Any) -> Any:
        ids, kwargs = _stack(self.__dict__["_run"], input_ids, kwargs)
        return cls.prepare_inputs_for_generation(self, ids, *args, **kwargs)

    body = {"prepare_inputs_for_generation": prepare_inputs_for_generation, "__module__": cls.__module__}
    return type(cls.__name__, (FoldedView, cls), body)


def _makers(negatives: tuple[Negative, ...], given: Any) -> tuple[Negative, ...]:
    if given is None:
        return negatives
    given = [given] if isinstance(given, Mapping) else list(given)
    if len(given) != len(negatives):
        raise InputError(
            f"the method has {len(negatives)} negative row(s), got {len(given)} negative_inputs; pass one each"
        )
    return tuple(Given(g) for g in given)


def _prepare_negatives(run: _Run, kwargs: dict[str, Any]) -> None:
    """Make the negative rows, prepared and expanded by the host's own rules, and pad all rows to one length."""
    import torch

    ids = kwargs["input_ids"]  # of an encoder-decoder: the decoder's
    prompt = run.call.inputs.get("input_ids") if run.call.model.config.is_encoder_decoder else ids
    inputs = dict(run.call.inputs)
    if prompt is not None:
        given = inputs if run.call.model.config.is_encoder_decoder else kwargs
        mask = given.get("attention_mask")
        inputs |= {"input_ids": prompt, "attention_mask": torch.ones_like(prompt) if mask is None else mask}
    call = replace(run.call, inputs=inputs)
    pad_id = call.pad_id
    start = int(ids[0, 0]) if run.call.model.config.is_encoder_decoder else None
    run.negatives = [_prepared(call, maker(call), run.beams, start) for maker in run.makers]
    run.prompt = ids.shape[1]
    run.length = max([run.prompt, *(row.ids.shape[1] for row in run.negatives)])
    run.negatives = [row.padded(run.length, pad_id) for row in run.negatives]
    for row in run.negatives:
        if row.ids.shape[0] != ids.shape[0] * run.beams:
            raise InputError(
                f"a negative row should have one prompt for each of the {ids.shape[0]} originals, got "
                f"{row.ids.shape[0] // run.beams}; give one each"
            )


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


def _stack(run: _Run, ids: Tensor, kwargs: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
    """The rows of one forward, before the host slices and masks them."""
    control: dict[str, Any] = {
        name: kwargs.pop(name) for name in ("next_sequence_length", "is_first_iteration") if name in kwargs
    }
    cache = kwargs.pop("past_key_values", None)
    run.seen = ids.shape[1]
    more = run.length - run.prompt
    original = Row(ids, kwargs).followed_by(ids[:, :0])  # prompt lookup leaves token types behind
    rows = [original.padded(ids.shape[1] + more, run.call.pad_id)]
    rows += [row.followed_by(ids[:, run.prompt :]) for row in run.negatives]
    batch, stackd = stacked(rows)
    fed = control.get("next_sequence_length") or batch.shape[1]
    seen = stackd.get("cross_attention_mask")
    if seen is not None:
        run.blind = ~seen.flatten(1).any(-1)
        run.blind[: len(ids)] = False  # the original rows are the host's
    crossed = any(run.call.inputs.get(name) is not None for name in IMAGE_MASKS)  # the picture is not in the sequence
    known = [] if crossed else image_token_ids(run.call.model)
    run.layout = Layout.of_forward(run.layout, batch, run.rows, prompt=run.length, fed=fed, placeholders=known)
    if control.get("next_sequence_length") == ids.shape[1]:
        control["next_sequence_length"] = None
    return batch, {**stackd, **control, "past_key_values": cache}


def _fold(run: _Run, output: Any) -> Any:
    """R * B rows of logits into B, in fp32; further outputs keep the original rows."""
    import torch

    logits = output.logits
    batch, left = divmod(logits.shape[0], run.rows)
    if left:
        raise UnsupportedModelError(
            f"{run.rows} rows per prompt were fed, and {logits.shape[0]} rows of logits came back"
        )
    # Prefill without logits_to_keep returns the prompt's logits too: only those of the answer are folded.
    logits = logits[:, -(run.seen - run.prompt + 1) :]
    last = run.seen - run.prompt
    step = Step(torch.arange(last - logits.shape[1] + 1, last + 1, device=logits.device), run.beams)
    rows = [part.float() for part in logits.split(batch)]
    step = replace(step, **_needed(run, output, logits.shape[1]))
    scores, keep = folded(run.folding, rows, step)
    keep = keep if run.masked else None
    run.folded = (step, rows[0], scores, keep)
    run.forwards += 1
    for name in ("attentions", "hidden_states", "cross_attentions", "decoder_attentions", "decoder_hidden_states"):
        if output.get(name) is not None:
            output[name] = first_rows(output[name], batch, run.rows)
    output.logits = scores if keep is None else scores.masked_fill(~keep, -torch.inf)
    return output


def folded(method: Any, rows: list[Tensor], step: Step) -> tuple[Tensor, Tensor | None]:
    """`method.fold`, with the tokens a model bans by itself (their logits at the type's minimum) left as they are.

    The formula would turn two such values into no number.
    """
    import torch

    banned = rows[0] < FORBIDDEN
    scores, keep = method.fold([row.clamp_min(FORBIDDEN) for row in rows], step)
    return torch.where(banned, rows[0], scores), keep


def _needed(run: _Run, output: Any, length: int) -> dict[str, Any]:
    """What the method asked to see, at the positions that are folded."""
    found: dict[str, Any] = {"layout": run.layout}
    for name in _needs(run.method):
        value = output.get(name)
        if not value:
            raise UnsupportedModelError(
                f"{type(run.method).__name__} reads {name}, and {type(run.call.model).__name__} returns none; "
                "use a method that reads logits only, such as VCD"
            )
        found[name] = tuple(h[:, -length:] for h in value) if name == "hidden_states" else tuple(value)
    return found


def _without_cache(output: Any) -> Any:
    if isinstance(output, Mapping) and "past_key_values" in output:
        return type(output)(**{name: value for name, value in output.items() if name != "past_key_values"})
    return output
