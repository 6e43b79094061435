"""Refuse arguments of loading that a function of ours does not take, with what to write in their place.

People know the arguments of transformers, old names among them. Python's own error would name the argument alone.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Collection, Iterable
from typing import Any

from halluguard.errors import SettingsError

_BITS = ("quantization_config=transformers.BitsAndBytesConfig({name}=...)", "four_bit=True")

SUBSTITUTES: dict[str, tuple[str, ...]] = {
    "torch_dtype": ("dtype=...",),
    "device": ("device_map=...",),
    "device_map": ("device=...",),
    "use_auth_token": ("token=...",),
    "use_flash_attention_2": ('attn_implementation="flash_attention_2"',),
    **dict.fromkeys(("load_in_4bit", "load_in_8bit", "llm_int8_threshold"), _BITS),
    **dict.fromkeys(("bnb_4bit_compute_dtype", "bnb_4bit_quant_type", "bnb_4bit_use_double_quant"), _BITS),
    **dict.fromkeys(
        (
            *("use_fast", "backend", "min_pixels", "max_pixels", "size", "crop_size", "do_resize", "do_pad"),
            *("padding_side", "do_image_splitting", "num_crops", "patch_size", "model_max_length", "chat_template"),
        ),
        ('processor_kwargs={{"{name}": ...}}',),
    ),
}
"""Argument that people pass -> what to write in its place; the first whose argument the function takes is named."""

NEEDLESS: dict[str, str] = {
    "low_cpu_mem_usage": "weights are always loaded without a second copy",
    "use_safetensors": "weights are read from safetensors only",
    "trust_remote_code": "code of a checkpoint is never run",
}
"""Argument that people pass -> why it can be left out."""

OF_THE_CALL = ("max_new_tokens", "do_sample", "temperature", "top_p", "num_beams", "seed", "imagination", "images")
"""Arguments of an answer, which people give where the model is loaded."""


def parameters(*functions: Callable[..., Any]) -> set[str]:
    """Names of the arguments of functions, without those that hold a model or its name.

    >>> def load(name, dtype): ...
    >>> parameters(load)
    {'dtype'}
    """
    return {
        parameter.name
        for function in functions
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    } - {"self", "model", "processor", "tokenizer", "name"}


def refuse_unknown(function: str, unknown: Iterable[str], known: Collection[str]) -> None:
    """Refuse arguments that a function does not take.

    Args:
        function: name of the function, for the error.
        unknown: arguments that it was called with beside its own.
        known: arguments that it takes, or passes on to what takes them.

    Raises:
        SettingsError: it does not take one of the arguments.

    >>> refuse_unknown("load", ["torch_dtype"], ["dtype"])
    Traceback (most recent call last):
    ...
    halluguard.errors.SettingsError: load takes no argument 'torch_dtype'; write dtype=... in its place
    """
    for argument in sorted(set(unknown) - {*known}):
        raise SettingsError(f"{function} takes no argument {argument!r}; {_advice(argument, known)}")


def _advice(argument: str, known: Collection[str]) -> str:
    if argument in NEEDLESS:
        return f"leave it out: {NEEDLESS[argument]}"
    for substitute in SUBSTITUTES.get(argument, ()):
        if substitute.partition("=")[0] in known:
            return f"write {substitute.format(name=argument)} in its place"
    if argument in OF_THE_CALL and "decoding" in known:
        return f"give it to the call: guard(image, prompt, {argument}=...)"
    if close := difflib.get_close_matches(argument, known, n=1):
        return f"did you mean {close[0]!r}?"
    return f"it takes {', '.join(sorted(known))}"
