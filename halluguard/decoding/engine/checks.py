"""What a view cannot run exactly, said before anything is generated."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from halluguard.errors import HalluguardError, InputError, SettingsError, UnsupportedModelError

if TYPE_CHECKING:
    from torch import Tensor

# Set on an instance, these would hide the view's own: the model would then run plain.
_HOOKED = (
    "generate",
    "prepare_inputs_for_generation",
    "_expand_inputs_for_generation",
    "_prepare_cache_for_generation",
    "_update_model_kwargs_for_generation",
    "_reorder_cache",
    "_get_logits_processor",
)


def opened(model: Any) -> Any:
    """The model inside a PEFT wrapper: its adapter layers sit in the model and stay active.

    Raises:
        UnsupportedModelError: the wrapper works outside the model (prompt tuning and kin).
    """
    inner = getattr(model, "get_base_model", None)
    if inner is None or not hasattr(model, "peft_config"):
        return model
    for name, config in model.peft_config.items():
        if getattr(config, "is_prompt_learning", False):
            raise UnsupportedModelError(
                f"a PEFT adapter inside the model (LoRA and kin) is expected, got prompt learning in {name!r}, which "
                "acts outside it; merge or unload the adapter first"
            )
    return inner()


def check_model(model: Any) -> None:
    """Raise UnsupportedModelError unless the host's own `generate` drives `model`."""
    from transformers import GenerationMixin

    name = type(model).__name__
    if not isinstance(model, GenerationMixin):
        raise UnsupportedModelError(
            f"a transformers model that writes its answer token by token is expected, got {name}, which has no "
            "`generate` of transformers; load another with AutoModelForImageTextToText"
        )
    if type(model).generate is not GenerationMixin.generate:
        raise UnsupportedModelError(
            f"{name} has a generate of its own that calls its language model past any view, so the method would have "
            "no effect; use a model that generates with the standard method, or correct its answers afterwards"
        )
    hidden = [attribute for attribute in _HOOKED if attribute in model.__dict__]
    if hidden:
        raise UnsupportedModelError(
            f"{name} has had {hidden} replaced on the instance (an accelerator or a wrapper does this), which hides "
            "the view; pass the unwrapped model"
        )


def check_call(model: Any, kwargs: Mapping[str, Any]) -> None:
    """Raise for arguments of `generate` that hold only the original rows."""
    if kwargs.get("past_key_values") is not None:
        raise InputError(
            "past_key_values should be left out, got a cache: it was made for the original rows alone; "
            "pass the whole prompt and the view makes its own"
        )
    if kwargs.get("inputs_embeds") is not None:
        raise InputError("input_ids are expected, got inputs_embeds: other rows cannot be made from them; pass ids")
    ids = kwargs.get("input_ids")
    if ids is None and model.config.is_encoder_decoder and model.main_input_name in kwargs:
        pass  # the picture is all its input
    elif ids is None or getattr(ids, "ndim", 0) != 2:
        raise InputError(f"input_ids of shape (B, L) are expected, got {getattr(ids, 'shape', ids)}; pass the prompt")
    config = kwargs.get("generation_config")
    for option, why in (
        ("prefill_chunk_size", "rows of unlike length cannot be cut into chunks alike"),
        ("token_healing", "it rewrites the prompt of the original row only"),
    ):
        if kwargs.get(option) or getattr(config, option, None):
            raise SettingsError(f"{option} should be off in a view, got {kwargs.get(option)}: {why}; leave it out")


def explained(error: Exception, model: Any) -> HalluguardError | None:
    """What to raise for an error that came out of transformers or torch; None for errors of the caller's own code."""
    import traceback

    import torch

    if isinstance(error, HalluguardError | torch.OutOfMemoryError | MemoryError):
        return None
    where = traceback.extract_tb(error.__traceback__)[-1].filename.replace("\\", "/")
    if not any(f"/{package}/" in where for package in ("transformers", "torch")):
        return None
    said = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"
    if isinstance(error, ValueError) and "/transformers/generation/" in where:
        return SettingsError(f"{type(model).__name__} cannot generate with these settings: {said}; change or drop them")
    return UnsupportedModelError(
        f"{type(model).__name__} failed in its own code under a view ({said}); if model.generate fails with the same "
        "arguments, change those; if not, the family does not run with further rows in this mode: use greedy search, "
        "or the model without a method"
    )


def check_order(
    name: str, before: Sequence[Tensor], after: Sequence[Tensor], counts: Sequence[int], beams: int
) -> None:
    """Raise when a family repeats the pictures of a prompt one by one (A A B B) and not together (A B A B).

    Some families of transformers do, when a prompt has several pictures and several beams or returns: the beams then
    see each other's pictures, in plain decoding too.

    Args:
        before, after: features of each picture, before and after the prompts were repeated. counts: placeholders
        of each prompt. beams: how often prompts were repeated.
    """
    import torch

    rest, expected = list(before), []
    for count in counts:
        own: list[Tensor] = []
        while rest and sum(map(len, own)) < count:
            own.append(rest.pop(0))
        expected += own * beams
    if rest or len(expected) != len(after):
        return  # features are not laid out by picture: the order cannot be told, nor be wrong in this way
    if not all(a is b or torch.equal(a, b) for a, b in zip(expected, after, strict=True)):
        raise UnsupportedModelError(
            f"{name} mixes up the pictures of a prompt that has several when it is repeated {beams} times, in plain "
            "decoding too; use one beam and one return, or one picture a prompt"
        )


def check_one_picture(name: str, inputs: Mapping[str, Any], beams: int) -> None:
    """Raise for several pictures a prompt in a family that keeps its pictures apart from the ids (Kosmos 2.5).

    They are repeated one by one, as `check_order` says of others.
    """
    prompts = len(inputs["input_ids"])
    pictures = max((len(v) for k, v in inputs.items() if k != "input_ids" and hasattr(v, "shape")), default=prompts)
    if pictures > prompts:
        raise UnsupportedModelError(
            f"{name} mixes up the pictures of a prompt that has several when it is repeated {beams} times, in plain "
            "decoding too; use one beam and one return, or one picture a prompt"
        )


def check_static(name: str, encoder_outputs: Mapping[str, Any], config: Any) -> None:
    """Raise where a static cache is made for other states than the decoder reads: what is left of it would be read."""
    pooled = encoder_outputs.get("pooler_output")
    if pooled is None or pooled.ndim != 3 or "static" not in (getattr(config, "cache_implementation", None) or ""):
        return
    made = encoder_outputs["last_hidden_state"].shape[1]
    if pooled.shape[1] != made:
        raise SettingsError(
            f"a dynamic cache is expected, got {config.cache_implementation!r}: {name} makes it for {made} states and "
            f"its decoder reads {pooled.shape[1]}, in plain decoding too, whose answer changes; leave it out"
        )


def check_positions(model: Any, mask: Tensor | None, rows: int, prepared: Mapping[str, Any]) -> None:
    """Raise when rows are padded unlike and the family counts absolute positions by itself, over the padding too.

    Args:
        mask: (R * B, L) of the stacked rows. prepared: the inputs of the forward, as the family made them.
    """
    if mask is None or model.config.is_encoder_decoder or prepared.get("position_ids") is not None:
        return
    kinds = {type(module).__name__ for module in model.modules()}
    if not any("PositionalEmbedding" in kind and "Vision" not in kind for kind in kinds):
        return  # rotated by their distances, tokens stand the same after any padding
    lengths = mask.flatten(1).sum(-1).reshape(rows, -1)
    if bool((lengths != lengths[0]).any()):
        raise UnsupportedModelError(
            f"{type(model).__name__} counts positions by itself and over the padding of a shorter row too, so that row "
            "would not be the prompt alone; use a row with as many tokens, such as another picture (VCD)"
        )


def model_inputs(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `generate`'s keyword arguments that go to the model, without its settings."""
    from transformers import GenerationConfig, GenerationMixin

    settings = {*vars(GenerationConfig()), *inspect.signature(GenerationMixin.generate).parameters}
    settings |= {"tokenizer", "assistant_tokenizer", "logits_to_keep", "return_dict", "synced_gpus", "use_cache"}
    return {name: value for name, value in kwargs.items() if name not in settings and value is not None}


def pad_token(model: Any) -> int:
    """A token for masked places: the model's own, else 0."""
    text = model.config.get_text_config()
    for owner in (model.generation_config, model.config, text):
        pad = getattr(owner, "pad_token_id", None)
        if isinstance(pad, int) and 0 <= pad < text.vocab_size:
            return pad
    return 0
