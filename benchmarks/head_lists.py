"""Rank the attention heads of the sandbox's model for AllPath, by what they add to true and to false object words.

    score of a head = mean over true mentions t of [log p(t | r + o_h) - log p(t | r)]  -  the same over false ones

r is the residual before the head's layer, o_h the head's output, both read by the LM head without the final norm, as in
AllPath's text list. Captions are the model's own, greedy; whether a mention is true is the sandbox's knowledge, which
stands here for the labels that the authors take from COCO. Their second list, by attention inside object masks, is not
made. The authors take 40 heads of 1,024 from each end of this list: 4 %, which of 12 heads is less than one; here one
from each end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from halluguard.decoding.engine.heads import heads_of, output_projections
from halluguard.decoding.engine.layers import decoder_layers, head
from halluguard.decoding.engine.shared_copy import shared_copy_of
from halluguard.guard import Guard
from halluguard.records import DEFAULT_PROMPT
from halluguard.sandbox import Sample
from halluguard.sandbox.world import CATEGORIES

Heads = tuple[tuple[int, int], ...]


def head_list(guard: Guard, samples: Sequence[Sample], each: int = 1) -> dict[str, Heads]:
    """AllPath's settings `good` and `bad`: the `each` best and worst heads."""
    scores = head_scores(guard, samples)
    order = scores.flatten().argsort().tolist()
    heads = [(index // scores.shape[1], index % scores.shape[1]) for index in order]
    return {"bad": tuple(heads[:each]), "good": tuple(heads[-each:])}


@torch.inference_mode()
def head_scores(guard: Guard, samples: Sequence[Sample]) -> Tensor:
    """(layers, heads)."""
    model: Any = guard.model  # its outputs are the family's own
    sums: dict[bool, list[Tensor]] = {True: [], False: []}
    for sample in samples:
        inputs = guard.inputs([sample.image], [DEFAULT_PROMPT])
        length = inputs["input_ids"].shape[1]
        ids = model.generate(**inputs, do_sample=False)
        places = mentions(guard, ids[0, length:].tolist())
        if places:
            added = gains(guard, {**inputs, "input_ids": ids}, [length + place for place, _ in places])
            for (_, name), gain in zip(places, added, strict=True):
                sums[name in sample.names].append(gain)
    return torch.stack(sums[True]).mean(0) - torch.stack(sums[False]).mean(0)


def mentions(guard: Guard, tokens: Sequence[int]) -> list[tuple[int, str]]:
    """(index of its first token, category) of each category that an answer names in the singular."""
    tokenizer: Any = guard.processor.tokenizer
    spellings = {name: tokenizer(name, add_special_tokens=False)["input_ids"] for name in CATEGORIES}
    found, place = [], 0
    while place < len(tokens):
        here = [name for name, ids in spellings.items() if list(tokens[place : place + len(ids)]) == ids]
        if here:
            name = max(here, key=lambda one: len(spellings[one]))
            found.append((place, name))
            place += len(spellings[name])
        else:
            place += 1
    return found


def gains(guard: Guard, inputs: dict[str, Any], places: Sequence[int]) -> list[Tensor]:
    """The share of each head in the log-probability of the token at each place: (layers, heads)."""
    probe: Any = shared_copy_of(guard.model)
    before, outputs = list[Tensor](), list[Tensor]()
    for layer, projection in zip(decoder_layers(probe), output_projections(probe), strict=True):
        layer.register_forward_pre_hook(lambda module, args, kwargs: _note(before, args, kwargs), with_kwargs=True)
        projection.register_forward_pre_hook(lambda module, args: outputs.append(args[0]))
    ids = inputs["input_ids"]
    probe(**{**inputs, "attention_mask": torch.ones_like(ids)})
    at = torch.tensor(places)
    rows = []
    projections: list[Any] = output_projections(probe)
    for residual, own, projection in zip(before, outputs, projections, strict=True):
        parts = own[0, at - 1].unflatten(-1, (heads_of(probe), -1))  # (places, heads, D)
        weights = projection.weight.unflatten(1, (heads_of(probe), -1))  # (H, heads, D)
        added = torch.einsum("phd,whd->phw", parts, weights)
        base = residual[0, at - 1][:, None]
        tokens = ids[0, at][:, None, None]
        with_head, without = (head(probe)(x).log_softmax(-1) for x in (base + added, base))
        rows.append((with_head - without).gather(-1, tokens.expand(-1, heads_of(probe), 1))[..., 0])
    return list(torch.stack(rows, 1))  # (places, layers, heads)


def _note(before: list[Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    before.append(args[0] if args else kwargs["hidden_states"])
