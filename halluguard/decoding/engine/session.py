"""One call of a view's `generate`, from its prompts to the choice of each token.

`prepare` makes the negative branches once, `stack` puts the branches of one forward together, `fold` combines their
logits, and `AllowedTokensProcessor` applies the method's mask. `view.py` calls them from transformers' `generate`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedModel, generation
from transformers.utils import ModelOutput

from halluguard.decoding.base import DecodingMethod, LogitsCombiner, Step, combine, on_cpu
from halluguard.decoding.engine.batch import (
    TOKEN_TYPES,
    Branch,
    ImageData,
    ModelInputs,
    original_only,
    stacked,
    without_last,
)
from halluguard.decoding.engine.compatibility import CACHES, without_cache
from halluguard.decoding.engine.image_order import in_prompt_order
from halluguard.decoding.engine.layout import Layout
from halluguard.decoding.engine.shared_copy import shared_copy_of
from halluguard.decoding.engine.short_branches import ShortBranches, empty_copy, short_ones
from halluguard.decoding.negative_inputs import Call, ExplicitInputs, NegativeInputs, crossed, image_token_ids
from halluguard.errors import InputError, UnsupportedModelError

NegativeInputsArgument = Mapping[str, Tensor | None] | Sequence[Mapping[str, Tensor | None]]
"""Model inputs of the caller's own: one mapping, or one per negative branch."""

Fold = tuple[Tensor, Tensor, Tensor | None]
"""Logits of the original branch, combined scores and mask of allowed tokens: (B, V), or (B, S, V) for S tokens."""

_TRUNCATING = tuple(
    getattr(generation, f"{name}LogitsWarper")
    for name in ("TopK", "TopP", "TopH", "MinP", "Typical", "Epsilon", "Eta")
    if hasattr(generation, f"{name}LogitsWarper")
)


@dataclass
class Session:
    """State of one call.

    Args:
        method: the method of the view.
        combiner: the method, or the object that its `bind` returned.
        makers: makers of the negative branches.
        call: the call as the user made it.
        apply_mask: whether tokens that the method does not allow are masked.
        answered: number of tokens at the end of the prompts that are already part of the answer.
    """

    method: DecodingMethod
    combiner: LogitsCombiner
    makers: tuple[NegativeInputs, ...]
    call: Call
    apply_mask: bool = True
    answered: int = 0
    negatives: list[Branch] = field(default_factory=list)
    own: list[Branch] = field(default_factory=list)  # the negative prompts at their own length
    short: ShortBranches | None = None  # to read after the forward under way
    whole_mask: Tensor | None = None  # (R * B, L) mask of all branches in the forward under way
    prompt: int = 0  # tokens of the original prompt
    padded_prompt: int = 0  # tokens of the longest prompt, to which all branches are padded
    beams: int = 1
    length: int = 0  # tokens of the original sequences in the current forward
    forwards: int = 0
    processors: LogitsProcessorList = field(default_factory=LogitsProcessorList)  # those of transformers and the caller
    layout: Layout | None = None  # of the current forward
    without_image: Tensor | None = None  # (R * B,) sequences that cross-attention shows no image
    images: ImageData = field(default_factory=ImageData)
    last_fold: tuple[int, Fold] | None = None  # index of its first token, and (B, S, V) tensors

    @property
    def branches(self) -> int:
        """R, the number of branches."""
        return 1 + len(self.makers)

    @cached_property
    def placeholders(self) -> list[int]:
        """Ids of image tokens; none if the decoder is shown its image by cross-attention."""
        return [] if crossed(self.call) else image_token_ids(self.call.model)

    def fold_after(self, ids: Tensor) -> Fold | None:
        """The last fold at the token that follows `ids`, each tensor (B, V)."""
        if self.last_fold is None:
            return None
        first, (original, scores, allowed) = self.last_fold
        at = ids.shape[1] - self.prompt - first
        if not 0 <= at < original.shape[1] or len(ids) != len(original):
            return None
        return original[:, at], scores[:, at], None if allowed is None else allowed[:, at]

    def prepare(self, inputs: ModelInputs) -> None:
        """Make the negative branches and pad all branches to one length.

        `inputs` are those of the original branch, before they are repeated for beams.
        """
        ids, encodes = inputs["input_ids"], self.call.model.config.is_encoder_decoder
        user_inputs = dict(self.call.inputs)
        prompts = user_inputs if encodes else inputs  # ids of an encoder-decoder are the decoder's here
        prompt, mask = prompts.get("input_ids"), prompts.get("attention_mask")
        if prompt is not None:
            mask = torch.ones_like(prompt) if mask is None else mask
            user_inputs |= {"input_ids": prompt, "attention_mask": mask}
            if self.answered and not encodes:
                user_inputs = without_last(user_inputs, self.answered)
        call, start = replace(self.call, inputs=user_inputs), int(ids[0, 0]) if encodes else None
        negatives = [prepared_branch(call, maker(call), self.beams, start) for maker in self.makers]
        negatives = [replace(b, inputs=self.with_images_in_order(b.ids, b.inputs)) for b in negatives]
        self.prompt = ids.shape[1] - self.answered
        if self.answered:
            negatives = [self._answering(branch, inputs) for branch in negatives]
        self.padded_prompt = max([self.prompt, *(branch.ids.shape[1] for branch in negatives)])
        self.own = negatives
        self.negatives = [branch.padded(self.padded_prompt, call.pad_id) for branch in negatives]
        for branch in self.negatives:
            if branch.ids.shape[0] != ids.shape[0] * self.beams:
                raise InputError(
                    f"a negative branch should have one prompt for each of the {ids.shape[0]} originals, got "
                    f"{branch.ids.shape[0] // self.beams}; give one each"
                )

    def with_images_in_order(self, ids: Tensor, inputs: ModelInputs) -> ModelInputs:
        """The inputs of prompts (B * beams, L) that were repeated for beams, with their images in that order."""
        encoded = inputs.get("mm_encoder_outputs")
        if not encoded or self.beams == 1:
            return inputs
        placeholders = torch.tensor(image_token_ids(self.call.model), device=ids.device)
        tokens = torch.isin(ids[:: self.beams], placeholders).sum(-1).tolist()
        return {**inputs, "mm_encoder_outputs": in_prompt_order(encoded, tokens, self.beams)}

    def _answering(self, branch: Branch, inputs: ModelInputs) -> Branch:
        """A negative branch beside prompts whose last `answered` tokens are part of the answer.

        Its ids stay its own prompt, after which `stack` puts the answer. Inputs per token that transformers does not
        extend by itself get those of the answer here.
        """
        if branch.encoded:
            return replace(branch, ids=branch.ids[:, : self.prompt])  # they begin the answer in this branch too
        whole = self.prompt + self.answered
        ends = {name: inputs.get(name) for name in (*TOKEN_TYPES, "inputs_embeds")}
        more = {
            name: torch.cat([branch.inputs[name], end[:, -self.answered :].repeat_interleave(self.beams, 0)], 1)
            for name, end in ends.items()
            if end is not None and end.shape[1] == whole and branch.inputs.get(name) is not None
        }
        return replace(branch, inputs={**branch.inputs, **more})

    def stack(self, ids: Tensor, inputs: ModelInputs) -> tuple[Tensor, ModelInputs]:
        """Stack the branches of one forward, given the whole sequences and other inputs of the original branch.

        Transformers then cuts off the tokens that the cache holds.
        """
        settings: ModelInputs = {
            name: inputs.pop(name) for name in ("next_sequence_length", "is_first_iteration", *CACHES) if name in inputs
        }
        self.length = ids.shape[1]
        padding = self.padded_prompt - self.prompt
        if settings.get("is_first_iteration") is False:  # the prompt's vectors have been read
            inputs.pop("inputs_embeds", None)
            for branch in self.negatives:
                branch.inputs.pop("inputs_embeds", None)
        original = Branch(ids, inputs).followed_by(ids[:, :0])  # prompt lookup leaves token types behind
        branches = [original.padded(ids.shape[1] + padding, self.call.pad_id)]
        branches += [branch.followed_by(ids[:, self.prompt :]) for branch in self.negatives]
        self.short = self._read_apart(ids, inputs, settings)
        batch = torch.cat([branch.ids for branch in branches])
        masks = [branch.inputs.get("attention_mask") for branch in branches]
        plain = branches[0].encoded or all(mask is None for mask in masks)
        self.whole_mask = None if plain else torch.cat([branch.mask() for branch in branches])
        apart = {} if self.short is None else self.short.branches
        together = [branch for i, branch in enumerate(branches) if i not in apart]
        ids_together, batch_inputs = stacked(together, self.images)
        read = settings.get("next_sequence_length") or batch.shape[1]
        image_mask = batch_inputs.get("cross_attention_mask")
        if image_mask is not None:
            self.without_image = ~image_mask.flatten(1).any(-1)
            self.without_image[: len(ids)] = False  # the original branch runs as in plain generation
        self.layout = Layout.of_forward(
            self.layout, batch, self.branches, prompt=self.padded_prompt, read=read, placeholders=self.placeholders
        )
        if settings.get("next_sequence_length") == ids.shape[1]:
            settings["next_sequence_length"] = None
        return ids_together, {**batch_inputs, **settings}

    def _read_apart(self, ids: Tensor, inputs: ModelInputs, settings: ModelInputs) -> ShortBranches | None:
        """The branches that this forward leaves out, to be read after it at their own length; None for none."""
        wants_states = any(inputs.get(name) for name in ("output_attentions", "output_hidden_states"))
        if (
            not self.method.reads_branches_apart
            or wants_states
            or crossed(self.call)
            or self.call.model.config.is_encoder_decoder
        ):
            return None
        branches = short_ones(self.own, self.padded_prompt)
        cache = empty_copy(settings) if branches else None
        if cache is None:
            return None
        followed = {i: branch.followed_by(ids[:, self.prompt :]) for i, branch in branches.items()}
        longest = ids.shape[1] + self.padded_prompt - self.prompt
        return ShortBranches(followed, cache, self.call.pad_id, longest)

    def fold(self, output: ModelOutput) -> ModelOutput:
        """Combine the logits of R branches into one, in fp32. Other outputs keep the original branch."""
        logits = output["logits"]
        batch, left = divmod(logits.shape[0], self.branches)
        if left:
            raise UnsupportedModelError(
                f"{self.branches} branches per prompt were read, and {logits.shape[0]} rows of logits returned; "
                "use a model of another family"
            )
        # A prefill without logits_to_keep returns the prompt's logits too. Only those of the answer are combined.
        last = self.length - self.prompt
        logits = logits[:, -(last + 1) :]
        first = last - logits.shape[1] + 1
        step = Step(
            torch.arange(first, last + 1, device=logits.device),
            self.beams,
            layout=self.layout,
            **self._needed(output, logits.shape[1]),
        )
        branches = [part.float() for part in logits.split(batch)]
        scores, allowed = combine(self.combiner, branches, step)
        allowed = allowed if self.apply_mask else None
        self.last_fold = first, (branches[0], scores, allowed)
        self.forwards += 1
        for name in ("attentions", "hidden_states", "cross_attentions", "decoder_attentions", "decoder_hidden_states"):
            if output.get(name) is not None:
                output[name] = original_only(output[name], batch, self.branches)
        output["logits"] = scores if allowed is None else scores.where(allowed, -torch.inf)
        return output

    def _needed(self, output: ModelOutput, length: int) -> dict[str, tuple[Tensor, ...]]:
        """The outputs that the method needs, at the last `length` positions."""
        needed = {}
        for name in self.method.needs:
            value = output.get(name)
            if not value:
                raise UnsupportedModelError(
                    f"{type(self.method).__name__} reads {name}, {type(self.call.model).__name__} returns none; "
                    "use a method that reads logits only, such as VCD"
                )
            if name == "hidden_states" and ({h.ndim for h in value} != {3} or len({h.shape for h in value}) > 1):
                raise UnsupportedModelError(
                    f"{type(self.method).__name__} reads one state per token from every layer, and those of "
                    f"{type(self.call.model).__name__} keep several streams; use a method that reads logits only, such "
                    "as VCD"
                )
            needed[name] = tuple(h[:, -length:] for h in value) if name == "hidden_states" else tuple(value)
        return needed


def makers_of(
    makers: tuple[NegativeInputs, ...], negative_inputs: NegativeInputsArgument | None
) -> tuple[NegativeInputs, ...]:
    """Makers of the negative branches: the method's own, or the caller's inputs in their place."""
    if negative_inputs is None:
        return makers
    mappings = [negative_inputs] if isinstance(negative_inputs, Mapping) else list(negative_inputs)
    if len(mappings) != len(makers):
        raise InputError(
            f"the method has {len(makers)} negative branch(es), got {len(mappings)} negative_inputs; pass one each"
        )
    return tuple(ExplicitInputs(inputs) for inputs in mappings)


def prepared_branch(call: Call, inputs: ModelInputs, beams: int, start: int | None) -> Branch:
    """Prepare a branch by transformers' `generate`, up to its search: masks, positions, encoded images, beams.

    `start` is the first token of the decoder of an encoder-decoder.
    """
    prepared: ModelInputs = {}

    def keep_inputs(model: PreTrainedModel, input_ids: Tensor, **kwargs: object) -> Tensor:
        prepared.update(kwargs, input_ids=input_ids)
        return input_ids

    copy, own = shared_copy_of(call.model), call.model.generation_config
    copy.generation_config = GenerationConfig(
        bos_token_id=own.bos_token_id,
        eos_token_id=own.eos_token_id,
        pad_token_id=call.pad_id,
        decoder_start_token_id=start,
    )
    present = {name: value for name, value in inputs.items() if value is not None}
    settings = {"max_new_tokens": 1, "num_beams": beams, "do_sample": False}
    copy.generate(**present, **settings, custom_generate=keep_inputs)
    for name in ("logits_processor", "stopping_criteria", "generation_config", "synced_gpus"):
        prepared.pop(name, None)
    return Branch(prepared.pop("input_ids"), without_cache(prepared))


class AllowedTokensProcessor(LogitsProcessor):
    """The logits processors of one call, with the method's mask of allowed tokens.

    The mask is read on the original branch, before any penalty. Penalties, constraints and the caller's processors come
    next, then truncation (top-k, top-p, ...), as in plain generation. Two cases need care:

    - Constraints that leave none of the allowed tokens (`min_new_tokens` when only the end is allowed, a grammar): then
      the original logits decide among the tokens that the constraints leave. Masking first would leave nothing at all.
    - A method that allows the same tokens at every setting (`keeps_sampling_support`): truncation is read on the
      original branch and applied to the combined scores.

    Args:
        processors: all processors of the call, in the order of transformers.
        fold_after: ids -> the fold behind the scores of the next token; None where the method did not make the scores.
        own: the caller's own processors. They may keep state, so they are called once per step.
        truncate_original: whether truncation is read on the original branch.
        log_probs: whether the scores are log-probabilities, as in beam search.
    """

    def __init__(
        self,
        processors: LogitsProcessorList,
        fold_after: Callable[[Tensor], Fold | None],
        own: Collection[LogitsProcessor] = (),
        truncate_original: bool = False,
        log_probs: bool = False,
    ) -> None:
        first = next((i for i, p in enumerate(processors) if isinstance(p, _TRUNCATING)), len(processors))
        self.before = LogitsProcessorList(processors[:first])
        self.after = LogitsProcessorList(processors[first:])
        self.original_before = LogitsProcessorList([p for p in self.before if not any(p is mine for mine in own)])
        self.truncating = LogitsProcessorList([p for p in self.after if isinstance(p, _TRUNCATING)])
        self.rest = LogitsProcessorList([p for p in self.after if not isinstance(p, _TRUNCATING)])
        self.fold_after, self.truncate_original, self.log_probs = fold_after, truncate_original, log_probs

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        fold = self.fold_after(input_ids)
        if fold is None:
            return self.after(input_ids, self.before(input_ids, scores))
        original, combined, allowed = fold
        if self.log_probs:
            original = original.log_softmax(-1)
        if allowed is None:
            scores = self.before(input_ids, scores)
        elif self.before:  # without such processors the scores are masked already
            best = scores.argmax(-1, keepdim=True)
            shift = scores.gather(-1, best) - combined.gather(-1, best)  # log-probabilities of the allowed tokens
            constrained = self.before(input_ids, torch.where(allowed, scores, combined + shift))
            scores = constrained.where(allowed, -torch.inf)
            none_left = scores.amax(-1, keepdim=True) == -torch.inf
            if not on_cpu(scores) or bool(none_left.any()):
                original_left = original.masked_fill(constrained == -torch.inf, -torch.inf)
                scores = torch.where(none_left, original_left, scores)
        if self.truncate_original and len(self.truncating):
            left = self.truncating(input_ids, self.original_before(input_ids, original.clone())) > -torch.inf
            left &= scores > -torch.inf
            left |= ~left.any(-1, keepdim=True)
            return self.rest(input_ids, scores.masked_fill(~left, -torch.inf))
        return self.after(input_ids, scores)
