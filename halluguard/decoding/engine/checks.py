"""Refuse what a view cannot run exactly, before anything is generated where that can be known."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, GenerationMixin, PreTrainedModel
from transformers.utils import ModelOutput

from halluguard.decoding.engine.compatibility import cache_name
from halluguard.errors import HalluguardError, InputError, SettingsError, UnsupportedModelError


def opened(model: Any) -> PreTrainedModel:
    """The model inside a PEFT wrapper. Its adapter layers are in the model and stay active.

    Raises:
        UnsupportedModelError: the adapter works outside the model (prompt tuning and the like).
    """
    inner = getattr(model, "get_base_model", None)
    if inner is None or not hasattr(model, "peft_config"):
        return model
    for name, config in model.peft_config.items():
        if getattr(config, "is_prompt_learning", False):
            raise UnsupportedModelError(
                f"a PEFT adapter inside the model (such as LoRA) is expected, got prompt learning in {name!r}, which "
                "acts outside it; merge or unload the adapter first"
            )
    return inner()


def check_model(model: nn.Module, overrides: Collection[str]) -> None:
    """Raise UnsupportedModelError unless transformers' own `generate` drives `model`.

    `overrides` names the attributes of a view's class. One of that name on the instance would hide the view's.
    """
    name = type(model).__name__
    if not isinstance(model, GenerationMixin):
        raise UnsupportedModelError(
            f"a transformers model that writes its answer token by token is expected, got {name}, which has no "
            "`generate` of transformers; load another with AutoModelForImageTextToText"
        )
    if not _reaches_transformers(type(model).generate):
        raise UnsupportedModelError(
            f"{name} has a generate of its own that calls its language model past any view, so the method would have "
            "no effect; use a model that generates with the standard method, or correct its answers afterwards"
        )
    replaced = [attribute for attribute in overrides if attribute in model.__dict__]
    if replaced:
        raise UnsupportedModelError(
            f"{name} has had {replaced} replaced on the instance (an accelerator or a wrapper does this), which hides "
            "the view; pass the unwrapped model"
        )


def _reaches_transformers(generate: Callable[..., object]) -> bool:
    """Whether a `generate` is that of transformers, or ends in it (Janus). A call that bypasses it folds no forward."""
    if generate is GenerationMixin.generate:
        return True
    try:
        return "super().generate(" in inspect.getsource(generate)
    except OSError:  # a class without a source file
        return False


def check_call(model: PreTrainedModel, kwargs: Mapping[str, object]) -> None:
    """Raise for arguments of `generate` that cover only the original branch."""
    cache = cache_name(kwargs)
    if cache is not None:
        raise InputError(
            f"{cache} should be left out, got a cache, which covers only the original branch; pass the whole prompt, "
            "and the view makes its own cache"
        )
    if kwargs.get("inputs_embeds") is not None:
        raise InputError(
            "input_ids are expected, got inputs_embeds, from which no other branch can be made; pass input_ids"
        )
    ids = kwargs.get("input_ids")
    image_only = ids is None and model.config.is_encoder_decoder and model.main_input_name in kwargs
    if not image_only and (ids is None or getattr(ids, "ndim", 0) != 2):
        raise InputError(f"input_ids of shape (B, L) are expected, got {getattr(ids, 'shape', ids)}; pass the prompt")
    config = kwargs.get("generation_config")
    for option, why in (
        ("prefill_chunk_size", "branches of unequal length cannot be cut into equal chunks"),
        ("token_healing", "it rewrites the prompt of the original branch only"),
    ):
        if kwargs.get(option) or getattr(config, option, None):
            raise SettingsError(f"{option} should be off in a view, got {kwargs.get(option)}: {why}; leave it out")


@contextmanager
def explaining(model: PreTrainedModel) -> Iterator[None]:
    """Raise the errors of transformers or torch in this block in their `explained` form."""
    try:
        yield
    except Exception as error:
        refusal = explained(error, model)
        if refusal is None:
            raise
        raise refusal from error


def explained(error: Exception, model: PreTrainedModel, in_view: bool = True) -> HalluguardError | None:
    """Our error for an error of transformers or torch; None for errors of the caller's own code.

    Args:
        error: what was raised.
        model: the model that generated.
        in_view: whether a view of it did; False for plain generation.
    """
    if isinstance(error, HalluguardError | torch.OutOfMemoryError | MemoryError):
        return None
    origin = traceback.extract_tb(error.__traceback__)[-1].filename.replace("\\", "/")
    if not any(f"/{package}/" in origin for package in ("transformers", "torch")):
        return None
    message = str(error).strip()
    short = f"{type(error).__name__}: {message.splitlines()[0] if message else 'no message'}"
    if isinstance(error, ValueError) and "/transformers/generation/" in origin:
        return SettingsError(
            f"{type(model).__name__} cannot generate with these settings: {short}; change or drop them"
        )
    if not in_view:
        return UnsupportedModelError(
            f"{type(model).__name__} failed in its own code, in plain generation ({short}); if model.generate fails "
            "with the same images and prompt too, ask one prompt about one image at a time, or change the processor's "
            "settings to those of the model"
        )
    return UnsupportedModelError(
        f"{type(model).__name__} failed in its own code under a view ({short}); if model.generate fails with the same "
        "arguments, change those; if not, the family does not run with negative branches in this mode: use greedy "
        "search, or the model without a method"
    )


def check_one_image(name: str, inputs: Mapping[str, Tensor], times: int) -> None:
    """Raise for several images per prompt in a family that keeps images apart from the ids (Kosmos 2.5).

    It repeats the images of a prompt one by one, so that sequences see each other's.
    """
    prompts = len(inputs["input_ids"])
    images = max((len(v) for k, v in inputs.items() if k != "input_ids" and hasattr(v, "shape")), default=prompts)
    if images > prompts:
        raise UnsupportedModelError(
            f"{name} mixes up the images of a prompt that has several when the prompt is repeated {times} times, in "
            "plain decoding too; use one beam and one returned sequence, or one image per prompt"
        )


def check_static(name: str, encoder_outputs: ModelOutput, config: GenerationConfig) -> None:
    """Raise if a static cache has another size than the decoder reads: the decoder would read empty places."""
    pooled = encoder_outputs.get("pooler_output")
    if pooled is None or pooled.ndim != 3 or "static" not in (getattr(config, "cache_implementation", None) or ""):
        return
    states = encoder_outputs["last_hidden_state"].shape[1]
    if pooled.shape[1] != states:
        raise SettingsError(
            f"a dynamic cache is expected, got {config.cache_implementation!r}: {name} makes it for {states} encoder "
            f"states and its decoder reads {pooled.shape[1]}, which changes plain answers too; leave it out"
        )


def check_positions(model: PreTrainedModel, mask: Tensor | None, branches: int, prepared: Mapping[str, object]) -> None:
    """Raise if the branches are padded differently and the family counts absolute positions over the padding.

    `mask` (R * B, L) is that of the stacked branches, `prepared` the inputs that the family made of them.
    """
    if mask is None or model.config.is_encoder_decoder or prepared.get("position_ids") is not None:
        return
    kinds = {type(module).__name__ for module in model.modules()}
    if not any("PositionalEmbedding" in kind and "Vision" not in kind for kind in kinds):
        return  # rotary positions are relative: padding does not change them
    lengths = mask.flatten(1).sum(-1).reshape(branches, -1)
    if bool((lengths != lengths[0]).any()):
        raise UnsupportedModelError(
            f"{type(model).__name__} counts positions by itself, over the padding of a shorter branch too, so that "
            "branch would not equal its prompt alone; use a branch with as many tokens, such as another image (VCD)"
        )


def model_inputs(kwargs: Mapping[str, object]) -> dict[str, object]:
    """The keyword arguments of `generate` that go to the model, without the settings."""
    settings = {*vars(GenerationConfig()), *inspect.signature(GenerationMixin.generate).parameters}
    settings |= {"tokenizer", "assistant_tokenizer", "logits_to_keep", "return_dict", "synced_gpus", "use_cache"}
    return {name: value for name, value in kwargs.items() if name not in settings and value is not None}


def pad_token(model: PreTrainedModel) -> int:
    """A token id for masked places: the model's own, else 0."""
    text = model.config.get_text_config()
    for owner in (model.generation_config, model.config, text):
        pad = getattr(owner, "pad_token_id", None)
        if isinstance(pad, int) and 0 <= pad < text.vocab_size:
            return pad
    return 0
