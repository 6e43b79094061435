"""One row of a folded batch: a prompt as the host's `generate` prepared it, and how rows are put together.

A row is B sequences (B * beams once expanded) of one kind: the original ones, or those a method contrasts with.
The host updates the original row itself; the others follow it by the model's own rules.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from halluguard.errors import InputError, UnsupportedModelError

if TYPE_CHECKING:
    from torch import Tensor

# Model inputs with one value per token. The token axis is the last, or the second where image axes follow it.
TOKEN_TYPES = ("token_type_ids", "mm_token_type_ids", "moe_mm_token_type_ids")
IMAGE_MASKS = ("cross_attention_mask", "image_attention_mask")
PLACES = ("image_embeds_position_mask",)  # which tokens a picture fills, where no token of its own says it
BOXES = ("bbox",)  # where on the page each word stands
PER_TOKEN = ("attention_mask", "position_ids", *TOKEN_TYPES, *PLACES, *BOXES, *IMAGE_MASKS)


@dataclass(frozen=True)
class Row:
    """ids: (B, L) long. kwargs: the model inputs beside them, as `generate` hands them to the model."""

    ids: Tensor
    kwargs: dict[str, Any]

    @property
    def encoded(self) -> bool:
        """Whether the model is an encoder-decoder: ids are then the decoder's, and the mask is the encoder's."""
        return self.kwargs.get("encoder_outputs") is not None

    def mask(self) -> Tensor:
        """(B, L) attention mask; the host drops it when it is all ones."""
        import torch

        mask = self.kwargs.get("attention_mask")
        return torch.ones_like(self.ids) if mask is None else mask

    def padded(self, length: int, pad_id: int) -> Row:
        """The same row with `length` tokens, padded on the left. Padding is masked, so nothing else changes."""
        import torch.nn.functional as F

        more = length - self.ids.shape[1]
        if more == 0:
            return self
        if self.encoded:
            raise InputError(
                "the decoder's prompts of an encoder-decoder must have one length in all rows, got "
                f"{self.ids.shape[1]} and {length} tokens; give decoder_input_ids of the original's length"
            )
        kwargs = dict(self.kwargs, attention_mask=self.mask())
        for name in PER_TOKEN:
            tensor = kwargs.get(name)
            if tensor is not None:
                axes = tensor.ndim - 2 if name in (*IMAGE_MASKS, *BOXES) else 0
                if name in IMAGE_MASKS and tensor.shape[1] == 1 < self.ids.shape[1]:
                    continue  # Idefics keeps that of the last token alone
                kwargs[name] = F.pad(tensor, [0, 0] * axes + [more, 0])
        return Row(F.pad(self.ids, [more, 0], value=pad_id), kwargs)

    def followed_by(self, tokens: Tensor) -> Row:
        """The prompt with `tokens` (B, T) after it; what the host has not yet updated is continued."""
        import torch

        ids = torch.cat([self.ids, tokens], -1)
        if self.encoded:
            return replace(self, ids=ids)
        kwargs = dict(self.kwargs)
        for name in ("attention_mask", *TOKEN_TYPES):
            tensor = kwargs.get(name)
            if tensor is not None and tensor.shape[-1] > ids.shape[1]:  # candidates that were not accepted
                kwargs[name] = tensor[..., : ids.shape[1]]
            elif tensor is not None and tensor.shape[-1] < ids.shape[1]:
                more = tensor[:, -1:].expand(-1, ids.shape[1] - tensor.shape[-1])
                if name != "token_type_ids":  # the host repeats its last value
                    more = torch.full_like(more, name == "attention_mask")
                kwargs[name] = torch.cat([tensor, more], -1)
        positions = kwargs.get("position_ids")
        if positions is not None and positions.shape[-1] < ids.shape[1]:
            more = torch.arange(1, ids.shape[1] - positions.shape[-1] + 1, device=positions.device)
            kwargs["position_ids"] = torch.cat([positions, positions[..., -1:] + more], -1)
        return replace(self, ids=ids, kwargs=kwargs)


Joined = dict[str, tuple[list[Any], Any]]
"""Picture data of all rows by name, each with the rows' own that it was made of."""


def stacked(rows: list[Row], joined: Joined | None = None) -> tuple[Tensor, dict[str, Any]]:
    """One batch of all rows, the original first: (R * B, L) ids and the model inputs beside them.

    What only the original row carries (its picture, when the others have none) stays as it is: image features are
    consumed in the order of the placeholders, and those of the original rows come first.

    Args:
        joined: written, and read again in the next forward of the same call: pictures are put together once.
    """
    import torch

    def once(name: str, values: list[Any], make: Callable[[], Any]) -> Any:
        parts, made = (joined or {}).get(name, ([], None))
        if len(parts) != len(values) or any(a is not b for a, b in zip(parts, values, strict=True)):
            made = make()
        if joined is not None:
            joined[name] = (values, made)
        return made

    if rows[0].encoded:
        return _stacked_encoded(rows)
    first = rows[0]
    kwargs = dict(first.kwargs)
    masks = [r.kwargs.get("attention_mask") for r in rows]
    kwargs["attention_mask"] = None if all(m is None for m in masks) else torch.cat([r.mask() for r in rows])
    for name in {name for row in rows for name in row.kwargs} - {"attention_mask"}:
        values = [row.kwargs.get(name) for row in rows]
        present = [v for v in values if v is not None]
        if name == "position_ids" and present:
            kwargs[name] = _joined_positions(values, first.ids.shape[0])
        elif name == "mm_encoder_outputs":
            kwargs[name] = once(name, values, partial(_joined_features, [v or {} for v in values]))
        elif present and all(torch.is_tensor(v) and v.ndim for v in present):
            if len(present) < len(rows) and name in PER_TOKEN:
                raise InputError(
                    f"every row must carry {name!r} or none; a negative row lacks it or has it alone: add it there"
                )
            kwargs[name] = once(name, values, partial(_joined, name, present))
        elif present and isinstance(present[0], list):
            kwargs[name] = [item for value in present for item in value]
    return torch.cat([r.ids for r in rows]), kwargs


def _stacked_encoded(rows: list[Row]) -> tuple[Tensor, dict[str, Any]]:
    """Rows of an encoder-decoder: the encoder has read the prompts, and the ids are the decoder's."""
    import torch

    kwargs = {**rows[0].kwargs, **_joined_encoder_outputs(rows)}
    for name in {name for row in rows for name in row.kwargs} - {"encoder_outputs", "attention_mask"}:
        tensors = [row.kwargs[name] for row in rows if torch.is_tensor(row.kwargs.get(name)) and row.kwargs[name].ndim]
        if len(tensors) == len(rows) and len({tensor.shape[1:] for tensor in tensors}) == 1:
            kwargs[name] = torch.cat([tensor.to(tensors[0]) for tensor in tensors])
        elif tensors:
            kwargs.pop(name, None)  # the encoder has read it
    return torch.cat([row.ids for row in rows]), kwargs


def _joined_encoder_outputs(rows: list[Row]) -> dict[str, Any]:
    """What the encoder made of each row, padded on the right and masked there: `encoder_outputs`, `attention_mask`.

    A decoder reads the last hidden state, or the pooled one (PP-FormulaNet). An encoder that adds states for the
    patches of a picture (UDOP) makes the mask of its states itself.
    """
    import torch
    import torch.nn.functional as F

    outputs = [row.kwargs["encoder_outputs"] for row in rows]
    states = [output[0] for output in outputs]
    length = max(state.shape[1] for state in states)
    padded = [F.pad(state, [0, 0, 0, length - state.shape[1]]) for state in states]
    made = {"last_hidden_state": torch.cat(padded)}
    if torch.is_tensor(outputs[0].get("pooler_output")):
        made["pooler_output"] = _joined("the pooled picture", [output["pooler_output"] for output in outputs])
    own = "attention_mask" in outputs[0]
    masks = [(row.kwargs["encoder_outputs"] if own else row.kwargs).get("attention_mask") for row in rows]
    if len({state.shape[1] for state in states}) == 1 and all(mask is None for mask in masks):
        return {"encoder_outputs": type(outputs[0])(**made)}
    whole = []
    for mask, state in zip(masks, states, strict=True):
        mask = torch.ones(state.shape[:2], dtype=torch.long, device=state.device) if mask is None else mask
        if mask.shape != state.shape[:2]:
            raise UnsupportedModelError(
                f"an encoder that keeps one state per token is expected, got {state.shape[1]} states for a mask of "
                f"{mask.shape[1]}; use a method without a further row, or a decoder-only model"
            )
        whole.append(F.pad(mask, [0, length - mask.shape[1]]))
    joined = torch.cat(whole)
    if own:
        made["attention_mask"] = joined
    return {"encoder_outputs": type(outputs[0])(**made), "attention_mask": joined}


def _joined(name: str, tensors: list[Tensor]) -> Tensor:
    import torch

    if len({t.shape[1:] for t in tensors}) > 1:
        raise UnsupportedModelError(
            f"all rows must have {name!r} of one shape beside the batch, got {[tuple(t.shape) for t in tensors]}; "
            "give the negative row a picture of the original's size"
        )
    return torch.cat([t.to(tensors[0]) for t in tensors])


def _joined_positions(values: list[Tensor | None], batch: int) -> Tensor:
    """Positions are (B, L), or (3 or 4, B, L) for M-RoPE; a batch of one may stand for all."""
    import torch

    axes = max(v.ndim for v in values if v is not None)
    kinds = max(v.shape[0] for v in values if v is not None and v.ndim == axes)
    whole = []
    for value in values:
        if value is None:
            raise InputError("every row must have position_ids or none; leave position_ids out of the negative row")
        if value.ndim < axes:
            value = value[None].expand(kinds, -1, -1)
        whole.append(value.expand(*value.shape[:-2], batch, -1))
    return torch.cat(whole, dim=-2)


def _joined_features(values: list[dict[str, Any]]) -> dict[str, Any]:
    """Features the host encoded before decoding, per modality, in the order of the rows."""
    out: dict[str, Any] = {}
    for modality in {m for value in values for m in value}:
        present = [value[modality] for value in values if value.get(modality) is not None]
        if not present:
            continue
        joined = out[modality] = copy.copy(present[0])
        if joined.get("pooler_output") is not None:
            joined["pooler_output"] = _chained([p["pooler_output"] for p in present])
        elif joined.get("last_hidden_state") is not None:  # llama4 keeps its features there
            joined["last_hidden_state"] = _chained([p["last_hidden_state"] for p in present])
        if joined.get("deepstack_features") is not None:
            layers = zip(*(p["deepstack_features"] for p in present), strict=True)
            joined["deepstack_features"] = [_chained(list(layer)) for layer in layers]
    return out


def _chained(parts: list[Any]) -> Any:
    """Tensors or lists of tensors one after another; (layer, list) pairs keep their layer."""
    import torch

    if torch.is_tensor(parts[0]):
        return _joined("image features", parts)
    if isinstance(parts[0], tuple) and len(parts[0]) == 2 and isinstance(parts[0][0], int):
        return (parts[0][0], _chained([p[1] for p in parts]))
    return [item for part in parts for item in part]


def pictures_of(encoded: Mapping[str, Any] | None) -> list[Tensor]:
    """The features the host encoded before decoding, one entry a picture; empty when there are none."""
    image = (encoded or {}).get("image") or {}
    pooled = image.get("pooler_output")
    if pooled is None and image.get("deepstack_features"):
        pooled = image["deepstack_features"][0]
        pooled = pooled[1] if isinstance(pooled[0], int) else pooled
    return [] if pooled is None else list(pooled)


def pictures_of_row(output: Any, row: slice, whole: int) -> Any:
    """A forward's output with the picture features of one row; some families carry them from step to step."""
    import torch

    features = output.get("image_hidden_states")
    if not torch.is_tensor(features) or features.shape[0] != whole or whole == 0:
        return output
    part = copy.copy(output)
    part["image_hidden_states"] = features[row]
    return part


def count_of(ids: Tensor, tokens: Sequence[int]) -> list[int]:
    """How many of `tokens` each sequence of (B, L) ids holds."""
    import torch

    return torch.isin(ids, torch.tensor(list(tokens), device=ids.device)).sum(-1).tolist()


def first_rows(value: Any, batch: int, rows: int) -> Any:
    """The original rows of an output that holds `rows` of them: tensors, and tuples of tensors at any depth."""
    import torch

    if torch.is_tensor(value):
        return value[:batch] if value.shape[0] == batch * rows else value
    if isinstance(value, tuple | list):
        return type(value)(first_rows(v, batch, rows) for v in value)
    return value
