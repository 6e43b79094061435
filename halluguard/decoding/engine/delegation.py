"""Families whose own `generate` encodes the image and ends in the `generate` of an inner language model.

    outer.generate(image, ids, ...)  ->  inner.generate(inputs_embeds | image_embeds | encoder_hidden_states, ...)

BLIP, BLIP-2, InstructBLIP and Kosmos-2 are built so. The family's own code is kept: it runs once per negative branch
with an inner `generate` that only notes its arguments, which are the branch's inputs as the family makes them. Then it
runs for the original, with a folded view of the inner model in place of that model.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from transformers import GenerationMixin, PreTrainedModel

from halluguard.decoding.engine import checks
from halluguard.decoding.engine.batch import PLACES, ModelInputs, without_last
from halluguard.decoding.engine.shared_copy import shared_copy_of
from halluguard.decoding.negative_inputs import Call, NegativeInputs, is_image_input

END_MARKED = ("blip",)
"""Model types whose `generate` leaves out the last token of the prompt, which marks the prompt's end."""

_PLACED = "image_embeds"
"""Features that Kosmos-2 puts where `PLACES` is set; a branch with no such place has none."""


class _Noted(Exception):  # noqa: N818  # no error: it ends the family's code where its inputs are known
    """Raised when the inner `generate` is called."""


def inner_name(model: object) -> str | None:
    """Name of the child whose `generate` the family's own ends in; None for all other families."""
    if not isinstance(model, PreTrainedModel) or not isinstance(model, GenerationMixin):
        return None
    if type(model).generate is GenerationMixin.generate:
        return None
    try:
        source = inspect.getsource(type(model).generate)
    except OSError:  # a class without a source file
        return None
    names = [name for name, child in model.named_children() if isinstance(child, GenerationMixin)]
    called = [name for name in names if f"self.{name}.generate(" in source]
    return called[0] if len(called) == 1 and "super().generate(" not in source else None


def copied(inputs: Mapping[str, Any]) -> ModelInputs:
    """The inputs with tensors of their own: a family may write into them (BLIP does)."""
    return {name: value.clone() if torch.is_tensor(value) else value for name, value in inputs.items()}


def without_answer(model: PreTrainedModel, inputs: ModelInputs, answered: int) -> ModelInputs:
    """Model inputs without the `answered` tokens at the end of the prompts, which begin the answer."""
    if not answered:
        return inputs
    if model.config.is_encoder_decoder:
        return {**inputs, "decoder_input_ids": inputs["decoder_input_ids"][:, :-answered]}
    if model.config.model_type not in END_MARKED:
        return without_last(inputs, answered)
    ends = {name: inputs[name][:, -1:] for name in ("input_ids", "attention_mask") if name in inputs}
    return {**inputs, **{name: torch.cat([inputs[name][:, : -answered - 1], end], 1) for name, end in ends.items()}}


def inner_inputs(model: PreTrainedModel, name: str, inputs: Mapping[str, Any]) -> ModelInputs:
    """The model inputs that the family's `generate` hands to its inner model."""
    noted: ModelInputs = {}

    def note(**kwargs: Any) -> None:
        noted.update(kwargs)
        raise _Noted

    copy: Any = shared_copy_of(model)
    getattr(copy, name).__dict__["generate"] = note
    try:
        copy.generate(**copied(inputs))
    except _Noted:
        return checks.model_inputs(noted)
    raise AssertionError(f"{type(model).__name__}.generate ended without its {name}")


def negative_inner_inputs(call: Call, makers: tuple[NegativeInputs, ...], name: str) -> list[ModelInputs]:
    """The inner model's inputs of each negative branch; all branches have the same input names."""
    whole = dict(call.inputs)
    if "input_ids" in whole and whole.get("attention_mask") is None:
        whole["attention_mask"] = torch.ones_like(whole["input_ids"])
    call = Call(call.model, call.processor, whole, call.images, call.pad_id)
    branches = []
    for maker in makers:
        made = {key: value for key, value in maker(call).items() if value is not None}
        # The family's code always encodes an image; where no placeholder is left, nothing reads it.
        made |= {key: v for key, v in whole.items() if key not in made and is_image_input(key, v)}
        inner = inner_inputs(call.model, name, made)
        if any(place in inner and not bool(inner[place].any()) for place in PLACES):
            inner[_PLACED] = None
        branches.append(inner)
    return branches
