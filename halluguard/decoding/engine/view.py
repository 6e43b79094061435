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

How a method is written: `base.py`. What one call keeps and does with its rows: `run.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from halluguard.decoding.base import DecodingMethod, Step
from halluguard.decoding.engine import checks
from halluguard.decoding.engine.attention import check_used, eager
from halluguard.decoding.engine.batch import PLACES, Row, count_of, pictures_of, pictures_of_row
from halluguard.decoding.engine.layout import Layout
from halluguard.decoding.engine.session import Run, makers_of
from halluguard.decoding.engine.shared_copy import twin_of
from halluguard.decoding.negative_inputs import Call, image_token_ids
from halluguard.errors import UnsupportedModelError

if TYPE_CHECKING:
    from torch import Tensor


def folded_view(method: DecodingMethod, model: Any, processor: Any = None) -> Any:
    """A view of `model` that generates with `method`.

    Args:
        method: see `base.DecodingMethod`.
        model: a transformers model with an image-text-to-text head; a PEFT wrapper is opened.
        processor: its processor; needed by rows that change pictures or text.

    Returns:
        An instance of a subclass of `type(model)`, sharing its weights, with the `generate` of `FoldedView`.

    Raises:
        UnsupportedModelError: the family cannot be run through a view; the message names the cause.
    """
    model = checks.opened(model)
    checks.check_model(model)
    cls: Any = type(model)
    view = twin_of(model, _view_class(cls))
    view.__dict__["_binding"] = _Binding(method, model, processor)
    view.__dict__["_run"] = None
    return view


@dataclass(frozen=True)
class _Binding:
    method: DecodingMethod
    model: Any
    processor: Any


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
                not named stays as in the original row; None leaves an input out (pixel_values, of a text-only prompt).
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
        run: Run | None = self.__dict__["_run"]
        if run is None:
            raise UnsupportedModelError(
                "a view only generates, got a direct forward call; call the model itself, or view.generate(...)"
            )
        kwargs |= {f"output_{name}": True for name in self.__dict__["_binding"].method.needs}
        output = super().__call__(*args, **kwargs)  # type: ignore[misc]
        check_used(self)
        return run.fold(output)

    @property
    def layout(self) -> Layout:
        """Which sequences of the forward under way are which row, and where their pictures are; for hooks."""
        run: Run | None = self.__dict__["_run"]
        if run is None or run.layout is None:
            raise UnsupportedModelError("a layout exists while a view generates, asked for outside; read it in hooks")
        return run.layout

    def step_at(self, hidden: Tensor) -> Step:
        """Where the positions of a hidden state (rows, S, H) of the forward under way stand; for hooks.

        Positions inside the prompt, whose predictions are not part of the answer, count as the first.
        """
        import torch

        run: Run = self.__dict__["_run"]
        last = run.seen - run.prompt
        index = torch.arange(last - hidden.shape[1] + 1, last + 1, device=hidden.device).clamp(min=0)
        return Step(index, run.beams)

    @property
    def call(self) -> Call:
        """The call under way, as the user made it, with `attention_mask` filled in; for `bind`."""
        import torch

        run: Run = self.__dict__["_run"]
        ids, mask = run.call.inputs.get("input_ids"), run.call.inputs.get("attention_mask")
        if ids is None:
            return run.call  # the picture is all of the prompt
        return replace(
            run.call, inputs={**run.call.inputs, "attention_mask": torch.ones_like(ids) if mask is None else mask}
        )

    def get_compiled_call(self, compile_config: Any) -> Any:
        """Compile the rows' forward; the folding stays outside."""
        import torch

        run: Run = self.__dict__["_run"]
        config = compile_config or self._default_compile_config()  # type: ignore[attr-defined]
        compiled = torch.compile(super().__call__, **config.to_dict())  # type: ignore[misc]
        return lambda **kwargs: run.fold(compiled(**kwargs))

    def _expand_inputs_for_generation(self, expand_size: int = 1, **kwargs: Any) -> Any:
        run: Run = self.__dict__["_run"]
        run.beams = expand_size
        run.prepare(kwargs)
        encoded = pictures_of(kwargs.get("mm_encoder_outputs"))
        ids, expanded = super()._expand_inputs_for_generation(expand_size=expand_size, **kwargs)  # type: ignore[misc]
        if expand_size > 1 and any(kwargs.get(name) is not None for name in PLACES):
            checks.check_one_picture(type(self).__name__, run.call.inputs, expand_size)
        if expand_size > 1 and encoded:
            per_prompt = count_of(kwargs["input_ids"], image_token_ids(run.call.model))
            again = pictures_of(expanded.get("mm_encoder_outputs"))
            checks.check_order(type(self).__name__, encoded, again, per_prompt, expand_size)
        return ids, expanded

    def _prepare_cache_for_generation(
        self, generation_config: Any, model_kwargs: Any, generation_mode: Any, batch_size: int, max_cache_length: int
    ) -> Any:
        run: Run = self.__dict__["_run"]
        room = max_cache_length + run.length - run.prompt
        own = model_kwargs.get("encoder_outputs")
        if own is not None:  # a static cache is made for so many states
            checks.check_static(type(self).__name__, own, generation_config)
            outputs = [own, *(row.kwargs["encoder_outputs"] for row in run.negatives)]
            model_kwargs["encoder_outputs"] = max(outputs, key=lambda output: output[0].shape[1])
        made = super()._prepare_cache_for_generation(  # type: ignore[misc]
            generation_config, model_kwargs, generation_mode, batch_size * run.rows, room
        )
        if own is not None:
            model_kwargs["encoder_outputs"] = own
        return made

    def _update_model_kwargs_for_generation(self, outputs: Any, model_kwargs: Any, *args: Any, **kwargs: Any) -> Any:
        run: Run = self.__dict__["_run"]
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

        run: Run = self.__dict__["_run"]
        index = torch.cat([beam_idx + r * len(beam_idx) for r in range(run.rows)])
        own = getattr(super(), "_reorder_cache", None)
        if own is not None:
            return own(past_key_values, index)
        past_key_values.reorder_cache(index)
        return past_key_values

    def _get_logits_processor(self, generation_config: Any, **kwargs: Any) -> Any:
        from transformers import LogitsProcessorList

        from halluguard.decoding.engine.logits import WithSupport

        run: Run = self.__dict__["_run"]
        callers = list(kwargs.get("logits_processor") or ())
        run.processors = super()._get_logits_processor(generation_config, **kwargs)  # type: ignore[misc]
        on_plain = run.method.keeps_sampling_support
        beams = generation_config.num_beams > 1
        return LogitsProcessorList([WithSupport(run.processors, run.column, callers, on_plain, beams)])

    def _sample(self, *args: Any, **kwargs: Any) -> Any:
        return self._searched(super()._sample, *args, **kwargs)  # type: ignore[misc]

    def _beam_search(self, *args: Any, **kwargs: Any) -> Any:
        return self._searched(super()._beam_search, *args, **kwargs)  # type: ignore[misc]

    def _searched(self, own: Any, *args: Any, **kwargs: Any) -> Any:
        return self.__dict__["_run"].folding.search(own, *args, **kwargs)

    def _get_candidate_generator(self, *args: Any, **kwargs: Any) -> Any:
        # A draft model answers alone: it gets the host's processors, not the method's support.
        kwargs["logits_processor"] = self.__dict__["_run"].processors
        return super()._get_candidate_generator(*args, **kwargs)  # type: ignore[misc]


def _generate(view: Any, images: Any, negative_inputs: Any, kwargs: dict[str, Any], masked: bool = True) -> Any:
    binding: _Binding = view.__dict__["_binding"]
    if binding.method.is_identity:
        return type(binding.model).generate(twin_of(binding.model), **kwargs)
    checks.check_call(binding.model, kwargs)
    twin = twin_of(binding.model, type(view))
    call = Call(binding.model, binding.processor, checks.model_inputs(kwargs), images, checks.pad_token(binding.model))
    run = Run(
        binding.method,
        binding.method,
        makers_of(binding.method.negative_branches, negative_inputs),
        call,
        masked=masked,
    )
    twin.__dict__.update(_binding=binding, _run=run)
    _skip_cross_attention(twin, run)
    if "attentions" in binding.method.needs:
        eager(twin)
    run.folding = binding.method.bind(twin)
    if binding.method.custom_generate is not None:
        kwargs["custom_generate"] = binding.method.custom_generate
    try:
        output = type(binding.model).generate(twin, **kwargs)
    except Exception as error:
        refusal = checks.explained(error, binding.model)
        if refusal is None:
            raise
        raise refusal from error
    if run.forwards == 0:
        raise UnsupportedModelError(
            f"{type(binding.model).__name__}.generate should have called the model through the view, and did "
            f"not once: {type(binding.method).__name__} had no effect; use the model without a view"
        )
    return _without_cache(output)


def _skip_cross_attention(twin: Any, run: Run) -> None:
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


@functools.cache
def _view_class(cls: Any) -> Any:
    """The subclass of a model class that folds. It keeps the class's name, which the host looks at in places."""

    @functools.wraps(cls.prepare_inputs_for_generation)
    def prepare_inputs_for_generation(self: Any, input_ids: Tensor, *args: Any, **kwargs: Any) -> Any:
        run: Run = self.__dict__["_run"]
        ids, kwargs = run.stack(input_ids, kwargs)
        prepared = cls.prepare_inputs_for_generation(self, ids, *args, **kwargs)
        if run.forwards == 0:
            checks.check_positions(self, kwargs.get("attention_mask"), run.rows, prepared)
        return prepared

    body = {"prepare_inputs_for_generation": prepare_inputs_for_generation, "__module__": cls.__module__}
    return type(cls.__name__, (FoldedView, cls), body)


def _without_cache(output: Any) -> Any:
    if isinstance(output, Mapping) and "past_key_values" in output:
        return type(output)(**{name: value for name, value in output.items() if name != "past_key_values"})
    return output
