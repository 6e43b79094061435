"""Probes of what enters the decoder for the image: number of features against placeholders, overflow in the tower."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from halluguard.decoding.negative_inputs import image_token_ids
from halluguard.doctor.report import Finding
from halluguard.doctor.subject import QUESTIONS, Inputs, Subject, has_image, noise, plain, quiet

_TOWERS = ("vision_tower", "vision_model", "visual", "vision_encoder", "image_encoder", "vision_embed_tokens")
HALF_LIMIT = 6e4
"""Values of a half-precision tower above this are about to overflow (65,504 is the largest)."""


def encoder_of(subject: Subject) -> Callable[..., Any] | None:
    """`get_image_features` of the model, or None."""
    return next(iter(_encoders(subject)), None)


def _encoders(subject: Subject) -> list[Callable[..., Any]]:
    """`get_image_features` of the model and of its base model, where they have it."""
    parts = (subject.model, getattr(subject.model, "model", None))
    methods = [getattr(part, "get_image_features", None) for part in parts]
    return [method for method in methods if method is not None]


def features(subject: Subject, inputs: Inputs) -> list[Tensor] | None:
    """The features of the image as the decoder gets them, in parts; None where the family has no such stage."""
    encode = encoder_of(subject)
    if encode is None:
        return None
    # the outer method may pass everything on to the base model's, which alone names its arguments
    named = {name for each in _encoders(subject) for name in inspect.signature(each).parameters}
    arguments = {name: value for name, value in inputs.items() if name in named}
    with torch.inference_mode(), quiet():
        output = encode(**arguments, return_dict=True)
    pooled = getattr(output, "pooler_output", output)
    if pooled is None:  # features for several layers of the decoder
        deep = getattr(output, "deepstack_features", None)
        pooled = deep[0][1] if deep else output[0]
    parts = [pooled] if torch.is_tensor(pooled) else list(pooled)
    return parts if parts and all(torch.is_tensor(part) for part in parts) else None


def count(subject: Subject) -> Finding:
    """Fault 10: the prompt has more or fewer placeholders than the image has features."""
    marks = set(image_token_ids(subject.model))
    inputs = subject.inputs([[noise(1)]], [QUESTIONS[0]])
    if subject.found & {2, 15}:
        return Finding(10, "skipped", f"fault {min(subject.found & {2, 15})} explains the number")
    if not marks or not has_image(inputs) or "input_ids" not in inputs:
        return Finding(10, "skipped", "this family has no placeholders")
    own = subject.reference([[noise(1)]], [QUESTIONS[0]])
    places, expected = (
        sum(int(token) in marks for token in one["input_ids"].flatten().tolist()) for one in (inputs, own)
    )
    if not places:
        return Finding(10, "skipped", "this family has no placeholders in the prompt")
    try:
        parts = features(subject, inputs)
    except Exception:  # an encoder that needs more than the image
        parts = None
    if parts is None:
        if not _same_shapes(inputs, own):
            return Finding(10, "skipped", "the image could not be encoded alone, and its size is not the checkpoint's")
        reason = f"{places} placeholders, and {expected} by the checkpoint's processor for an image of that size"
        return Finding(10, "ok" if places == expected else "fault", reason, places, expected)
    rows = sum(part.numel() // part.shape[-1] for part in parts)
    # Families that keep one placeholder for a whole image, or drop features, agree with their own processor.
    wrong = places != rows and places != expected
    return Finding(10, "fault" if wrong else "ok", f"{places} placeholders for {rows} image features", places, rows)


def _same_shapes(inputs: Inputs, own: Inputs) -> bool:
    """Whether the pixel values of two preparations have the same shapes."""
    shapes = [
        {name: value.shape for name, value in one.items() if torch.is_tensor(value) and value.is_floating_point()}
        for one in (inputs, own)
    ]
    return shapes[0] == shapes[1]


def overflow(subject: Subject) -> Finding:
    """Fault 11: values of the vision tower that are not finite, close to the limit of half, or far from float32's."""
    if 2 in subject.found:
        return Finding(11, "skipped", "no image reaches the model")
    towers = _towers(subject.model)
    if not towers:
        return Finding(11, "skipped", "no module of the model is named as a vision tower")
    largest = 0.0
    with _watch(towers) as seen:
        for card in (plain(0), plain(255), noise(5)):
            try:
                subject.fresh_logits(subject.inputs([[card]], [QUESTIONS[0]]))
            except Exception as error:
                if not seen:
                    return Finding(11, "skipped", f"the model could not run ({type(error).__name__})")
    if not seen:
        return Finding(11, "skipped", "the vision tower was never called as a module")
    for output in seen:
        if not bool(output.isfinite().all()):
            return Finding(11, "fault", "the vision tower returns values that are not finite", float("inf"))
        largest = max(largest, float(output.abs().max()))
    half = any(output.dtype == torch.float16 for output in seen)
    if half and largest > HALF_LIMIT:
        return Finding(11, "fault", f"the tower's largest value is {largest:.0f} in float16", largest, HALF_LIMIT)
    return Finding(11, "ok", f"the tower's values are finite, the largest {largest:.3g}", largest, HALF_LIMIT)


def _towers(model: nn.Module) -> list[nn.Module]:
    named = [(name, module) for name, module in model.named_modules() if name.rpartition(".")[2] in _TOWERS]
    return [m for name, m in named if not any(name.startswith(f"{other}.") for other, _ in named)]


class _watch:  # noqa: N801, used as a context manager only
    """Collect the tensors that modules return, also in copies that share them."""

    def __init__(self, modules: list[nn.Module]) -> None:
        self.modules, self.seen = modules, list[Tensor]()

    def __enter__(self) -> list[Tensor]:
        self.hooks = [module.register_forward_hook(self._keep) for module in self.modules]
        return self.seen

    def __exit__(self, *error: object) -> None:
        for hook in self.hooks:
            hook.remove()

    def _keep(self, module: nn.Module, args: object, output: Any) -> None:
        values = output if isinstance(output, tuple) else [output]
        if not torch.is_tensor(output) and hasattr(output, "values"):  # a tensor has a method `values` too
            values = output.values()
        self.seen += [v.detach() for v in values if torch.is_tensor(v) and v.is_floating_point()]
