"""Load a model and its processor ready to be trained."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Never

import torch
from transformers import BitsAndBytesConfig, PreTrainedModel, ProcessorMixin

from halluguard.arguments import parameters, refuse_unknown
from halluguard.checkpoints import load_mllm
from halluguard.errors import MissingExtraError, UnsupportedModelError
from halluguard.tuning.chat_template import trainable


def load(
    name: str | Path,
    *,
    four_bit: bool = False,
    dtype: str | None = None,
    local_files_only: bool = False,
    **unknown: Never,
) -> tuple[PreTrainedModel, ProcessorMixin]:
    """(model, processor) of an image-text-to-text checkpoint, the chat template changed where training needs it.

    Args:
        name: hub name or folder. Weights are read from safetensors; remote code is never run.
        four_bit: whether to load for QLoRA: NF4 with bfloat16 arithmetic; needs bitsandbytes and a GPU. Not run by our
            tests.
        dtype: data type of the weights, such as "bfloat16"; by default bfloat16 on a GPU, float32 on a CPU.
        local_files_only: whether to read local files only, never the network.
        unknown: refused, with the argument to write in its place.

    Raises:
        SettingsError: there is no such argument.
        MissingExtraError: four_bit without bitsandbytes, or a processor without the torchvision that it needs.
        UnsupportedModelError: the checkpoint is of another task, or has no chat template.
    """
    refuse_unknown("load", unknown, parameters(load))
    model, processor = load_mllm(
        name,
        dtype=dtype or ("bfloat16" if torch.cuda.is_available() else "float32"),
        quantization_config=_four_bit() if four_bit else None,
        local_files_only=local_files_only,
    )
    if getattr(processor, "image_processor", None) is None or getattr(processor, "chat_template", None) is None:
        raise UnsupportedModelError(
            f"expected a processor that takes images and has a chat template, got {type(processor).__name__} of "
            f"{str(name)!r}; choose an instruction-tuned image-text-to-text model"
        )
    return model, trainable(processor)


def _four_bit() -> BitsAndBytesConfig:
    if importlib.util.find_spec("bitsandbytes") is None:
        raise MissingExtraError("loading in 4 bits needs bitsandbytes; install it with: pip install bitsandbytes")
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype="bfloat16", bnb_4bit_use_double_quant=True
    )
