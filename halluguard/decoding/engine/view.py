"""Generate through a folded view: transformers' own `generate`, with every forward running several branches.

A decoding method contrasts the prompt with other prompts, such as the same question without the image. A folded view of
a model runs all of them at once, and shows transformers only the result:

    branches   original | negative 1 | ...              R * B sequences in one batch, with one cache
    forward    logits (R * B, S, V)  ->  method.combine_logits  ->  logits (B, S, V)

**What it is.** `view = method.on(model, processor)` takes what `model.generate` takes. For each call it makes a shared
copy of the model (`shared_copy.py`) whose class is a subclass of the model's own. The subclass overrides the methods in
which transformers prepares the inputs of a forward, makes the cache, updates the inputs and calls the model. There the
batch grows from B to R * B sequences, and after the forward the logits shrink back to B. The loop of `generate` itself
always sees B sequences.

**The batch.** Branch r is the sequences r * B to (r + 1) * B - 1; inside a branch they have the order of transformers,
prompts times beams. All branches are padded on the left to one length, so the newest token is the last one in all of
them. `layout.py` describes this to the hooks of methods.

**What is exact, and why.** Each branch gets the logits that its prompt would get alone, because transformers prepares
each branch by itself, positions are counted from each branch's own mask, and padding is masked. Greedy search,
sampling, beams, several returned sequences, processors, stop strings, streaming, static caches, prompt lookup and
left-padded batches work as always, because their code is transformers' own. A method that `is_identity` generates
without the view. The caller's model is never written to. What cannot be exact is refused: a family that bypasses the
view raises an error that names the cause, and so does a call in which no forward was folded.

To write a method, see `base.py`. The state of one call is in `session.py`, the reasons in docs/decisions/0005.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from transformers import CompileConfig, GenerationConfig, LogitsProcessorList, PreTrainedModel, ProcessorMixin
from transformers.generation import GenerationMode
from transformers.utils import ModelOutput

from halluguard.decoding.base import DecodingMethod, Step
from halluguard.decoding.engine import checks, delegation
from halluguard.decoding.engine.attention import check_used, pause_edits, use_attention
from halluguard.decoding.engine.batch import PLACES, Branch, ModelInputs, with_features_of, without_last
from halluguard.decoding.engine.compatibility import cache_name, without_cache
from halluguard.decoding.engine.layout import Layout
from halluguard.decoding.engine.session import AllowedTokensProcessor, NegativeInputsArgument, Session, makers_of
from halluguard.decoding.engine.shared_copy import shared_copy_of
from halluguard.decoding.engine.short_branches import ShortBranches
from halluguard.decoding.negative_inputs import Call
from halluguard.errors import UnsupportedModelError


def folded_view(method: DecodingMethod, model: nn.Module, processor: ProcessorMixin | None = None) -> FoldedView:
    """A view of `model` that generates with `method`.

    Args:
        method: a decoding method.
        model: a transformers model with an image-text-to-text head, or a PEFT wrapper of one.
        processor: its processor; needed by negative branches that change images or text.

    Returns:
        An instance of a subclass of `type(model)` that shares its weights and has the `generate` of `FoldedView`.

    Raises:
        UnsupportedModelError: the family cannot be run through a view; the message names the cause.
    """
    model = checks.opened(model)
    inner = delegation.inner_name(model)
    if inner is not None:
        folded_view(method, getattr(model, inner), processor)  # raises for an inner model that has no view
        return DelegatingView(method, model, processor, inner)
    checks.check_model(model, [*vars(FoldedView), "prepare_inputs_for_generation"])
    view = shared_copy_of(model, _view_class(type(model)))  # type: ignore[arg-type]  # mypy doubts that a class hashes
    view.__dict__["_origin"] = method, model, processor
    return view


@dataclass(frozen=True)
class Request:
    """A call of a view's `generate`.

    Args:
        kwargs: arguments of the model's `generate`, inputs included.
        images: the images behind the inputs, if they are known.
        negative_inputs: the user's own model inputs for the negative branches.
        apply_mask: whether the method's mask of allowed tokens is applied.
        checked: whether the arguments have been checked already.
        answered: number of tokens at the end of the prompts that begin the answer.
    """

    kwargs: ModelInputs
    images: Sequence[Image.Image] | None
    negative_inputs: NegativeInputsArgument | None
    apply_mask: bool = True
    checked: bool = False
    answered: int = 0


_TheModelsClass: Any = object  # comes after FoldedView among the bases of a view's class; super() is the model


class FoldedView(_TheModelsClass):
    """The part of a view's class that folds; the other part is the model's class. Made by `folded_view`."""

    _origin: tuple[DecodingMethod, PreTrainedModel, ProcessorMixin | None]
    _session: Session | None = None
    _prepare_plainly: Callable[..., ModelInputs]  # the method of the model's class

    def generate(
        self,
        inputs: Tensor | None = None,
        *,
        images: Sequence[Image.Image] | None = None,
        negative_inputs: NegativeInputsArgument | None = None,
        answered: int = 0,
        **kwargs: Any,
    ) -> Any:
        """The model's own `generate`, with the method in every forward.

        Args:
            inputs: token ids (B, L); the same as the keyword input_ids.
            images: the images behind the inputs, in the order of their placeholders. A method that changes images then
                changes them before the processor, in any layout that the model uses.
            negative_inputs: model inputs of your own for the negative branch (one mapping, or one per branch). What is
                not named stays as in the original branch; None removes an input (pixel_values, for a text-only prompt).
            answered: number of tokens at the end of the prompts that already belong to the answer; the generation
                continues after them as if it had written them itself.
            **kwargs: model inputs and everything that `model.generate` takes.

        Returns:
            What `model.generate` returns, for the original branch. The cache is removed from it, because it holds the
            negative branches too.

        Raises:
            InputError, SettingsError, UnsupportedModelError: with the cause and what to do.
        """
        kwargs |= {} if inputs is None else {"input_ids": inputs}
        return self._generate(Request(kwargs, images, negative_inputs, answered=answered))

    def first_token_logits(self, inputs: Tensor | None = None, **kwargs: Any) -> Tensor:
        """(B, V) combined scores of the first token in fp32, before the mask of allowed tokens.

        Arguments as for `generate`. For yes-or-no questions, `logits[:, yes] - logits[:, no]` ranks the answers.
        """
        kwargs |= {} if inputs is None else {"input_ids": inputs}
        images, negative_inputs = kwargs.pop("images", None), kwargs.pop("negative_inputs", None)
        kwargs |= {"max_new_tokens": 1, "num_beams": 1, "num_return_sequences": 1, "do_sample": False}
        kwargs |= {"return_dict_in_generate": True, "output_logits": True}
        return self._generate(Request(kwargs, images, negative_inputs, apply_mask=False)).logits[0]

    def _generate(self, request: Request) -> Any:
        method, model, processor = self._origin
        kwargs = request.kwargs
        if method.is_identity:
            return shared_copy_of(model).generate(**kwargs)
        if not request.checked:
            checks.check_call(model, kwargs)
        inputs = checks.model_inputs(kwargs)
        if request.answered and not model.config.is_encoder_decoder:
            inputs = without_last(inputs, request.answered)
        call = Call(model, processor, inputs, request.images, checks.pad_token(model))
        makers = makers_of(method.negative_branches, request.negative_inputs)
        session = Session(method, method, makers, call, request.apply_mask, request.answered)
        view = shared_copy_of(model, type(self))
        view.__dict__["_session"] = session
        _skip_cross_attention(view, session)
        if "attentions" in method.needs:
            use_attention(view, "eager")
        session.combiner = method.bind(view)
        if method.custom_generate is not None:
            kwargs["custom_generate"] = method.custom_generate
        with checks.explaining(model):
            output = super(FoldedView, view).generate(**kwargs)
        if session.forwards == 0:
            raise UnsupportedModelError(
                f"{type(model).__name__}.generate should have called the model through the view, and never did: "
                f"{type(method).__name__} had no effect; use the model without a view"
            )
        return type(output)(**without_cache(output)) if isinstance(output, Mapping) else output

    # --- for methods and their hooks -------------------------------------------------------------------------------

    @property
    def session(self) -> Session:
        """State of the current call."""
        if self._session is None:
            raise UnsupportedModelError(
                "a view only generates, got a direct forward call, or a hook that read the view outside generate; call "
                "the model itself, or view.generate(...)"
            )
        return self._session

    @property
    def layout(self) -> Layout:
        """Position of the branches and of the image tokens in the current forward."""
        layout = self.session.layout
        if layout is None:
            raise UnsupportedModelError("a layout exists only during a forward, got none yet; read it in a hook")
        return layout

    @property
    def call(self) -> Call:
        """The current call as the user made it, with `attention_mask` filled in."""
        call = self.session.call
        ids, mask = call.inputs.get("input_ids"), call.inputs.get("attention_mask")
        if ids is None:
            return call  # the image is the whole prompt
        return replace(call, inputs={**call.inputs, "attention_mask": torch.ones_like(ids) if mask is None else mask})

    def step_at(self, hidden: Tensor) -> Step:
        """The step of each position of a hidden state (branches * batch, S, H) in the current forward.

        Positions inside the prompt, whose predictions are not part of the answer, get index 0.
        """
        last = self.session.length - self.session.prompt
        index = torch.arange(last - hidden.shape[1] + 1, last + 1, device=hidden.device).clamp(min=0)
        return Step(index, self.session.beams)

    # --- the methods of transformers that see the whole batch ------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> ModelOutput:
        session = self.session
        kwargs |= {f"output_{name}": True for name in session.method.needs}
        output = super().__call__(*args, **kwargs)
        check_used(self)
        if session.short is not None:
            output["logits"] = self._with_short_branches(session.short, output, kwargs.get("logits_to_keep"))
            session.short = None
        return session.fold(output)

    def _with_short_branches(self, short: ShortBranches, output: ModelOutput, logits_to_keep: int | None) -> Tensor:
        """Logits of all branches, given the forward of those that are not short; the cache is joined as well."""
        pause_edits(self, True)
        own = short.read(self._prepare_plainly, super().__call__, logits_to_keep)
        pause_edits(self, False)
        name = cache_name(output)
        assert name is not None
        return short.joined(output, own, output[name], self.session.branches)

    def get_compiled_call(self, compile_config: CompileConfig | None) -> Callable[..., ModelOutput]:
        """The compiled forward of all branches. Combining their logits is not compiled."""
        config = compile_config or self._default_compile_config()
        compiled = torch.compile(super().__call__, **config.to_dict())
        return lambda **kwargs: self.session.fold(compiled(**kwargs))

    def _expand_inputs_for_generation(self, expand_size: int = 1, **kwargs: Any) -> tuple[Tensor, ModelInputs]:
        session = self.session
        session.beams = expand_size
        session.prepare(kwargs)
        ids, expanded = super()._expand_inputs_for_generation(expand_size=expand_size, **kwargs)
        if expand_size > 1 and any(kwargs.get(name) is not None for name in PLACES):
            checks.check_one_image(type(self).__name__, session.call.inputs, expand_size)
        return ids, session.with_images_in_order(ids, expanded)

    def _prepare_cache_for_generation(
        self, config: GenerationConfig, inputs: ModelInputs, mode: GenerationMode, batch_size: int, length: int
    ) -> bool:
        session, own = self.session, inputs.get("encoder_outputs")
        if own is not None:  # a static cache is as long as these
            checks.check_static(type(self).__name__, own, config)
            outputs = [own, *(branch.inputs["encoder_outputs"] for branch in session.negatives)]
            inputs["encoder_outputs"] = max(outputs, key=lambda output: output[0].shape[1])
        length += session.padded_prompt - session.prompt
        made = super()._prepare_cache_for_generation(config, inputs, mode, batch_size * session.branches, length)
        if own is not None:
            inputs["encoder_outputs"] = own
        return made

    def _update_model_kwargs_for_generation(
        self, outputs: ModelOutput, model_kwargs: ModelInputs, *args: Any, **kwargs: Any
    ) -> ModelInputs:
        session, update = self.session, super()._update_model_kwargs_for_generation
        batch = session.layout.batch if session.layout is not None else 0
        whole = session.branches * batch
        for i, branch in enumerate(session.negatives, start=1):
            output = with_features_of(outputs, slice(i * batch, (i + 1) * batch), whole)
            inputs = update(output, dict(branch.inputs), *args, **kwargs)
            session.negatives[i - 1] = Branch(branch.ids, without_cache(inputs))
        return update(with_features_of(outputs, slice(batch), whole), model_kwargs, *args, **kwargs)

    def _reorder_cache(self, cache: Any, beam_idx: Tensor) -> Any:
        index = torch.cat([beam_idx + branch * len(beam_idx) for branch in range(self.session.branches)])
        own = getattr(super(), "_reorder_cache", None)
        if own is not None:
            return own(cache, index)
        cache.reorder_cache(index)
        return cache

    # --- the methods of transformers that see the combined scores --------------------------------------------------

    def _get_logits_processor(self, generation_config: GenerationConfig, **kwargs: Any) -> LogitsProcessorList:
        session = self.session
        own = list(kwargs.get("logits_processor") or ())
        session.processors = super()._get_logits_processor(generation_config, **kwargs)
        processor = AllowedTokensProcessor(
            session.processors,
            session.fold_after,
            own,
            truncate_original=session.method.keeps_sampling_support,
            log_probs=generation_config.num_beams > 1,
        )
        return LogitsProcessorList([processor])

    def _get_candidate_generator(self, *args: Any, **kwargs: Any) -> Any:
        # A draft model answers alone: it gets the processors without the method's mask.
        kwargs["logits_processor"] = self.session.processors
        return super()._get_candidate_generator(*args, **kwargs)

    def _sample(self, *args: Any, **kwargs: Any) -> Any:
        return self.session.combiner.search(super()._sample, *args, **kwargs)

    def _beam_search(self, *args: Any, **kwargs: Any) -> Any:
        return self.session.combiner.search(super()._beam_search, *args, **kwargs)


class DelegatingView(FoldedView):
    """The view of a family whose own `generate` ends in that of an inner model; see `delegation.py`."""

    def __init__(
        self, method: DecodingMethod, model: PreTrainedModel, processor: ProcessorMixin | None, inner: str
    ) -> None:
        self._origin, self._inner = (method, model, processor), inner

    def _generate(self, request: Request) -> Any:
        method, model, processor = self._origin
        outer, name = shared_copy_of(model), self._inner
        if method.is_identity:
            return outer.generate(**delegation.copied(request.kwargs))
        prompts = delegation.without_answer(model, checks.model_inputs(request.kwargs), request.answered)
        call = Call(model, processor, prompts, request.images, checks.pad_token(model))
        makers = makers_of(method.negative_branches, request.negative_inputs)
        with torch.no_grad(), checks.explaining(model):
            negatives = delegation.negative_inner_inputs(call, makers, name)

        def generate(**inner: Any) -> Any:
            view = folded_view(method, getattr(model, name), processor)
            arguments = {key: value for key, value in inner.items() if value is not None}
            inside = replace(request, kwargs=arguments, images=None, negative_inputs=negatives or None, checked=True)
            return view._generate(inside)

        getattr(outer, name).__dict__["generate"] = generate
        with checks.explaining(model):
            return outer.generate(**delegation.copied(request.kwargs))


@functools.cache
def _view_class(cls: Any) -> type[FoldedView]:
    """The view's class for a model class. It has the same name, which transformers reads in places."""

    @functools.wraps(cls.prepare_inputs_for_generation)  # transformers reads the signature
    def prepare_inputs_for_generation(self: Any, input_ids: Tensor, *args: Any, **kwargs: Any) -> ModelInputs:
        session: Session = self.session
        ids, kwargs = session.stack(input_ids, kwargs)
        prepared = cls.prepare_inputs_for_generation(self, ids, *args, **kwargs)
        if session.forwards == 0:
            checks.check_positions(self, session.whole_mask, session.branches, prepared)
        return prepared

    body = {
        "prepare_inputs_for_generation": prepare_inputs_for_generation,
        "_prepare_plainly": cls.prepare_inputs_for_generation,
        "__module__": cls.__module__,
    }
    return type(cls.__name__, (FoldedView, cls), body)


def _skip_cross_attention(view: nn.Module, session: Session) -> None:
    """Let sequences without an image pass Mllama's cross-attention layers unchanged, as a text-only prompt does.

    A mask of zeros is not enough: under it, the layer would add what it sees of the other sequences' images.
    """

    def skip(module: nn.Module, args: tuple[Tensor, ...], output: Tensor | tuple) -> Tensor | tuple:
        if session.without_image is None or not bool(session.without_image.any()):
            return output
        hidden = output[0] if isinstance(output, tuple) else output
        hidden = torch.where(session.without_image[:, None, None], args[0], hidden)
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    for module in view.modules():
        if type(module).__name__ == "MllamaCrossAttentionDecoderLayer":
            module.register_forward_hook(skip)
