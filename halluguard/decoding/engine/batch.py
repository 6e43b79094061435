"""One branch of a folded batch, and how the branches are stacked into the batch of one forward.

A branch is B sequences (B * beams once expanded): the original prompts, or those that a method contrasts them with. Its
inputs are what transformers' `generate` made of the prompts. From step to step transformers updates the inputs of the
original branch; those of the others follow by the family's own rules.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.utils import ModelOutput

from halluguard.errors import InputError, UnsupportedModelError

T = TypeVar("T")

ModelInputs = dict[str, Any]
"""Keyword arguments of a model's forward, by name: mostly tensors."""

# Model inputs with one value per token. The token axis is the last, or the second if image axes follow it.
TOKEN_TYPES = ("token_type_ids", "mm_token_type_ids", "moe_mm_token_type_ids")
IMAGE_MASKS = ("cross_attention_mask", "image_attention_mask")
PLACES = ("image_embeds_position_mask",)  # marks the tokens that an image fills, if no token id does
BOXES = ("bbox",)  # the place of each word on the page
PER_TOKEN = ("attention_mask", "position_ids", *TOKEN_TYPES, *PLACES, *BOXES, *IMAGE_MASKS)


@dataclass(frozen=True)
class Branch:
    """One branch of a batch.

    Args:
        ids: (B, L) long, token ids; for an encoder-decoder, those of the decoder.
        inputs: the other model inputs, as `generate` passes them to the model.
    """

    ids: Tensor
    inputs: ModelInputs

    @property
    def encoded(self) -> bool:
        """Whether an encoder has read the prompt. The ids are then the decoder's and the mask is the encoder's."""
        return self.inputs.get("encoder_outputs") is not None

    def mask(self) -> Tensor:
        """(B, L) attention mask. Transformers leaves it out when it is all ones."""
        mask = self.inputs.get("attention_mask")
        return torch.ones_like(self.ids) if mask is None else mask

    def padded(self, length: int, pad_id: int) -> Branch:
        """The same branch padded on the left to `length` tokens. The padding is masked, so nothing else changes."""
        more = length - self.ids.shape[1]
        if more == 0:
            return self
        if self.encoded:
            raise InputError(
                "the prompts of a decoder after an encoder must be equally long in all branches, got "
                f"{self.ids.shape[1]} and {length} tokens; give decoder_input_ids of the original's length"
            )
        inputs = dict(self.inputs, attention_mask=self.mask())
        for name in PER_TOKEN:
            tensor = inputs.get(name)
            if tensor is not None:
                axes = tensor.ndim - 2 if name in (*IMAGE_MASKS, *BOXES) else 0
                if name in IMAGE_MASKS and tensor.shape[1] == 1 < self.ids.shape[1]:
                    continue  # Idefics keeps that of the last token only
                inputs[name] = F.pad(tensor, [0, 0] * axes + [more, 0])
        if inputs.get("inputs_embeds") is not None:
            inputs["inputs_embeds"] = F.pad(inputs["inputs_embeds"], [0, 0, more, 0])
        return Branch(F.pad(self.ids, [more, 0], value=pad_id), inputs)

    def followed_by(self, tokens: Tensor) -> Branch:
        """The prompt with `tokens` (B, T) after it. Inputs that transformers has not yet updated are extended."""
        ids = torch.cat([self.ids, tokens], -1)
        if self.encoded:
            return replace(self, ids=ids)
        inputs = dict(self.inputs)
        for name in ("attention_mask", *TOKEN_TYPES):
            tensor = inputs.get(name)
            if tensor is not None and tensor.shape[-1] > ids.shape[1]:  # candidates that were not accepted
                inputs[name] = tensor[..., : ids.shape[1]]
            elif tensor is not None and tensor.shape[-1] < ids.shape[1]:
                more = tensor[:, -1:].expand(-1, ids.shape[1] - tensor.shape[-1])
                if name != "token_type_ids":  # transformers repeats its last value
                    more = torch.full_like(more, name == "attention_mask")
                inputs[name] = torch.cat([tensor, more], -1)
        for name in IMAGE_MASKS:
            tensor = inputs.get(name)
            if tensor is not None and 1 < tensor.shape[1] < ids.shape[1]:
                more = tensor[:, -1:].expand(-1, ids.shape[1] - tensor.shape[1], *tensor.shape[2:])
                inputs[name] = torch.cat([tensor, more], 1)
        positions = inputs.get("position_ids")
        if positions is not None and positions.shape[-1] < ids.shape[1]:
            more = torch.arange(1, ids.shape[1] - positions.shape[-1] + 1, device=positions.device)
            inputs["position_ids"] = torch.cat([positions, positions[..., -1:] + more], -1)
        return replace(self, ids=ids, inputs=inputs)


def without_last(inputs: ModelInputs, tokens: int) -> ModelInputs:
    """Model inputs of prompts (B, L) without their last `tokens` tokens."""
    length = inputs["input_ids"].shape[1]
    cut: ModelInputs = {}
    for name, value in inputs.items():
        per_token = name == "input_ids" or name in PER_TOKEN
        axis = 1 if name in (*IMAGE_MASKS, *BOXES) else -1
        whole = per_token and torch.is_tensor(value) and value.shape[axis] == length
        cut[name] = value.narrow(axis, 0, length - tokens) if whole else value
    return cut


@dataclass
class ImageData:
    """The image data of all branches. It does not change within a call, so it is stacked in the first forward only."""

    stacked: dict[str, tuple[Sequence[object], Any]] = field(default_factory=dict)

    def once(self, name: str, parts: Sequence[object], stack: Callable[[], T]) -> T:
        """`stack()`, or its result in an earlier forward if that had the same `parts`."""
        before, value = self.stacked.get(name, ((), None))
        if len(before) != len(parts) or any(a is not b for a, b in zip(before, parts, strict=True)):
            value = stack()
            self.stacked[name] = (parts, value)
        return value


def stacked(branches: Sequence[Branch], images: ImageData) -> tuple[Tensor, ModelInputs]:
    """One batch of all branches, the original first: ids (R * B, L) and the other model inputs.

    An input that only the original branch has (its image, if the others have none) is kept as it is: families consume
    image features in the order of the placeholders, and those of the original branch come first.
    """
    if branches[0].encoded:
        return _stacked_encoded(branches)
    first = branches[0]
    inputs = dict(first.inputs)
    masks = [branch.inputs.get("attention_mask") for branch in branches]
    inputs["attention_mask"] = None if all(m is None for m in masks) else torch.cat([b.mask() for b in branches])
    for name in {name for branch in branches for name in branch.inputs} - {"attention_mask"}:
        values = [branch.inputs.get(name) for branch in branches]
        present = [value for value in values if value is not None]
        if name == "mm_encoder_outputs":
            inputs[name] = images.once(name, values, partial(_stacked_features, [v or {} for v in values]))
        elif name == "position_ids" and present:
            inputs[name] = _stacked_positions(values, first.ids.shape[0])
        elif present and all(torch.is_tensor(v) and v.ndim for v in present):
            if len(present) < len(branches) and name in PER_TOKEN:
                raise InputError(
                    f"either every branch or none must have {name!r}, and one of them differs; add it to the negative "
                    "inputs, or leave it out of all"
                )
            inputs[name] = images.once(name, values, partial(_concatenated, name, present))
        elif present and isinstance(present[0], list):
            inputs[name] = [item for value in present for item in value]
    return torch.cat([branch.ids for branch in branches]), inputs


def _stacked_encoded(branches: Sequence[Branch]) -> tuple[Tensor, ModelInputs]:
    """Stack the branches of an encoder-decoder: the encoder has read the prompts, the ids are the decoder's."""
    inputs = {**branches[0].inputs, **_stacked_encoder_outputs(branches)}
    for name in {name for branch in branches for name in branch.inputs} - {"encoder_outputs", "attention_mask"}:
        values = [branch.inputs.get(name) for branch in branches]
        tensors = [value for value in values if torch.is_tensor(value) and value.ndim]
        if len(tensors) == len(branches) and len({tensor.shape[1:] for tensor in tensors}) == 1:
            inputs[name] = torch.cat([tensor.to(tensors[0]) for tensor in tensors])
        elif tensors:
            inputs.pop(name, None)  # the encoder has read it
    return torch.cat([branch.ids for branch in branches]), inputs


def _stacked_encoder_outputs(branches: Sequence[Branch]) -> ModelInputs:
    """The `encoder_outputs` of all branches, padded on the right, and the `attention_mask` that masks the padding.

    A decoder reads the last hidden state, or the pooled one (PP-FormulaNet). An encoder that adds states for the
    patches of an image (UDOP) makes the mask of its states itself.
    """
    outputs = [branch.inputs["encoder_outputs"] for branch in branches]
    states = [output[0] for output in outputs]
    length = max(state.shape[1] for state in states)
    stacked_outputs = {"last_hidden_state": torch.cat([F.pad(s, [0, 0, 0, length - s.shape[1]]) for s in states])}
    if torch.is_tensor(outputs[0].get("pooler_output")):
        pooled = [output["pooler_output"] for output in outputs]
        stacked_outputs["pooler_output"] = _concatenated("the pooled image", pooled)
    own_mask = "attention_mask" in outputs[0]
    masks = [
        (branch.inputs["encoder_outputs"] if own_mask else branch.inputs).get("attention_mask") for branch in branches
    ]
    if len({state.shape[1] for state in states}) == 1 and all(mask is None for mask in masks):
        return {"encoder_outputs": type(outputs[0])(**stacked_outputs)}
    whole = []
    for mask, state in zip(masks, states, strict=True):
        mask = torch.ones(state.shape[:2], dtype=torch.long, device=state.device) if mask is None else mask
        if mask.shape != state.shape[:2]:
            raise UnsupportedModelError(
                f"an encoder that keeps one state per token is expected, got {state.shape[1]} states for a mask of "
                f"{mask.shape[1]}; use a method without negative branches, or a decoder-only model"
            )
        whole.append(F.pad(mask, [0, length - mask.shape[1]]))
    attention_mask = torch.cat(whole)
    if own_mask:
        stacked_outputs["attention_mask"] = attention_mask
    return {"encoder_outputs": type(outputs[0])(**stacked_outputs), "attention_mask": attention_mask}


def _concatenated(name: str, tensors: Sequence[Tensor]) -> Tensor:
    if len({t.shape[1:] for t in tensors}) > 1:
        raise UnsupportedModelError(
            f"all branches must have {name!r} of one shape per sample, got {[tuple(t.shape) for t in tensors]}; "
            "give the negative branch an image of the original's size"
        )
    return torch.cat([t.to(tensors[0]) for t in tensors])


def _stacked_positions(values: Sequence[Tensor | None], batch: int) -> Tensor:
    """Stack positions (B, L), or (3 or 4, B, L) for M-RoPE. A batch of one may stand for all sequences."""
    axes = max(v.ndim for v in values if v is not None)
    kinds = max(v.shape[0] for v in values if v is not None and v.ndim == axes)
    whole = []
    for value in values:
        if value is None:
            raise InputError(
                "either every branch or none must have position_ids; leave them out of the negative inputs"
            )
        if value.ndim < axes:
            value = value[None].expand(kinds, -1, -1)
        whole.append(value.expand(*value.shape[:-2], batch, -1))
    return torch.cat(whole, dim=-2)


def _stacked_features(values: Sequence[Mapping[str, ModelOutput]]) -> dict[str, ModelOutput]:
    """Features that were encoded before decoding, per modality, in the order of the branches."""
    features = {}
    for modality in {m for value in values for m in value}:
        present = [value[modality] for value in values if value.get(modality) is not None]
        if not present:
            continue
        output = features[modality] = copy.copy(present[0])
        if output.get("pooler_output") is not None:
            output["pooler_output"] = _chained([p["pooler_output"] for p in present])
        elif output.get("last_hidden_state") is not None:  # llama4 keeps its features there
            output["last_hidden_state"] = _chained([p["last_hidden_state"] for p in present])
        if output.get("deepstack_features") is not None:
            layers = zip(*(p["deepstack_features"] for p in present), strict=True)
            output["deepstack_features"] = [_chained(layer) for layer in layers]
    return features


def _chained(parts: Sequence[Any]) -> Any:
    """Concatenate tensors or lists of tensors; (layer, list) pairs keep their layer."""
    if torch.is_tensor(parts[0]):
        return _concatenated("image features", parts)
    if isinstance(parts[0], tuple) and len(parts[0]) == 2 and isinstance(parts[0][0], int):
        return (parts[0][0], _chained([p[1] for p in parts]))
    return [item for part in parts for item in part]


def with_features_of(output: ModelOutput, sequences: slice, whole: int) -> ModelOutput:
    """A forward's output, its image features cut to some sequences; some families carry them from step to step."""
    features = output.get("image_hidden_states")
    if not torch.is_tensor(features) or features.shape[0] != whole or whole == 0:
        return output
    part = copy.copy(output)
    part["image_hidden_states"] = features[sequences]
    return part


def original_only(value: Any, batch: int, branches: int) -> Any:
    """The original branch of an output that holds all `branches`: a tensor, or tuples of tensors at any depth."""
    if torch.is_tensor(value):
        return value[:batch] if value.shape[0] == batch * branches else value
    if isinstance(value, tuple | list):
        return type(value)(original_only(v, batch, branches) for v in value)
    return value
