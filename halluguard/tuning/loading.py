"""Load a model and its processor ready to be trained."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from halluguard.errors import MissingExtraError, UnsupportedModelError
from halluguard.tuning.chat_template import trainable


def load(
    name: str | Path, *, four_bit: bool = False, dtype: str | None = None, local_files_only: bool = False
) -> tuple[Any, Any]:
    """(model, processor) of an image-text-to-text checkpoint, the chat template mended where it must be.

    Args:
        name: hub name or folder. Weights are read from safetensors; remote code is never run.
        four_bit: QLoRA's NF4 with bfloat16 arithmetic; needs bitsandbytes and a GPU. Not run by our tests.
        dtype: "bfloat16", "float32", ...; by default bfloat16 on a GPU, float32 on a CPU.
        local_files_only: never ask the network.

    Raises:
        MissingExtraError: four_bit without bitsandbytes. UnsupportedModelError: the checkpoint is of another task, has
        no chat template, or its processor needs torchvision, which is not installed.
    """
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    settings: dict[str, Any] = {"local_files_only": local_files_only}
    try:
        processor = AutoProcessor.from_pretrained(name, **settings)
    except (ImportError, AttributeError) as error:
        if importlib.util.find_spec("torchvision") is not None:
            raise
        raise UnsupportedModelError(
            f"the processor of {str(name)!r} needs torchvision, which is not installed ({error}); install torchvision, "
            "or train a model of the LLaVA family, whose pictures PIL prepares"
        ) from error
    if getattr(processor, "image_processor", None) is None or getattr(processor, "chat_template", None) is None:
        raise UnsupportedModelError(
            f"expected a processor that takes pictures and has a chat template, got {type(processor).__name__} of "
            f"{str(name)!r}; choose an instruction-tuned image-text-to-text model"
        )
    if four_bit:
        settings["quantization_config"] = _four_bit()
    settings["dtype"] = dtype or ("bfloat16" if torch.cuda.is_available() else "float32")
    try:
        model = AutoModelForImageTextToText.from_pretrained(name, use_safetensors=True, **settings)
    except ValueError as error:
        raise UnsupportedModelError(
            f"expected an image-text-to-text checkpoint, got {str(name)!r} ({str(error).splitlines()[0]})"
        ) from error
    return model, trainable(processor)


def _four_bit() -> Any:
    from transformers import BitsAndBytesConfig

    if importlib.util.find_spec("bitsandbytes") is None:
        raise MissingExtraError("loading in 4 bits needs bitsandbytes; install it with: pip install bitsandbytes")
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype="bfloat16", bnb_4bit_use_double_quant=True
    )
