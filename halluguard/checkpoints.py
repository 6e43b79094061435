"""Load models, processors and configurations, from the hub or a folder: safetensors only, remote code never run.

The only module that calls `from_pretrained` of transformers or peft, so that no caller can forget either rule.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypedDict, Unpack

import torch
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer
from transformers.configuration_utils import PreTrainedConfig
from transformers.modeling_utils import PreTrainedModel
from transformers.models.auto.auto_factory import _BaseAutoModelClass
from transformers.processing_utils import ProcessorMixin
from transformers.utils.quantization_config import QuantizationConfigMixin

from halluguard.errors import MissingExtraError, UnsupportedModelError, first_line, require


class SourceOptions(TypedDict, total=False):
    """Where a checkpoint is read from; the words are those of transformers."""

    revision: str | None
    local_files_only: bool
    cache_dir: str | Path | None
    token: str | bool | None


class ModelOptions(SourceOptions, total=False):
    """How a model is loaded; the words are those of transformers."""

    dtype: torch.dtype | str | None
    device_map: str | dict[str, int | str | torch.device] | None
    max_memory: dict[int | str, int | str] | None
    attn_implementation: str | None
    quantization_config: QuantizationConfigMixin | dict[str, Any] | None


ModelLoader = type[_BaseAutoModelClass]
"""One of transformers' classes `AutoModelFor...`."""

ProcessorLoader = type[AutoProcessor] | type[AutoImageProcessor] | type[AutoTokenizer]


def load_pretrained(loader: ModelLoader | ProcessorLoader | type[AutoConfig], name: str | Path, **options: Any) -> Any:
    """`loader.from_pretrained(name)` without remote code; options that are None are left to transformers.

    Prefer the typed functions below, which also explain what went wrong.
    """
    chosen = {key: value for key, value in options.items() if value is not None}
    return loader.from_pretrained(str(name), **chosen, trust_remote_code=False)


def load_config(name: str | Path, **source: Unpack[SourceOptions]) -> PreTrainedConfig:
    """The configuration of a checkpoint.

    Raises:
        UnsupportedModelError: transformers does not know its architecture.
    """
    try:
        return load_pretrained(AutoConfig, name, **source)
    except ValueError as error:
        raise UnsupportedModelError(
            f"expected a checkpoint of transformers at {str(name)!r}, got {first_line(error)}; name another model"
        ) from error


def load_model(
    loader: ModelLoader, name: str | Path, *, expected: str, advice: str, **options: Unpack[ModelOptions]
) -> PreTrainedModel:
    """A model in evaluation mode, its weights read from safetensors.

    Args:
        loader: class of transformers for this kind of model, such as `AutoModelForCausalLM`.
        name: hub name or folder.
        expected: kind of model, for the error: "an image-text-to-text checkpoint".
        advice: what to do about another kind, for the error.

    Raises:
        UnsupportedModelError: the checkpoint is of another kind.
        MissingExtraError: its architecture needs a package that is not installed.
        OSError: no such model, or no network to fetch it.
    """
    try:
        return load_pretrained(loader, name, use_safetensors=True, **options).eval()
    except ImportError as error:
        raise MissingExtraError(
            f"{str(name)!r} needs a package that is not installed: {first_line(error)}; install it, or name a model of "
            "another architecture"
        ) from error
    except ValueError as error:
        raise UnsupportedModelError(
            f"expected {expected}, got {str(name)!r}, which transformers cannot load as one ({first_line(error)}); "
            f"{advice}"
        ) from error


def load_processor(loader: ProcessorLoader, name: str | Path, **options: Any) -> ProcessorMixin:
    """A processor, image processor or tokenizer.

    Args:
        loader: `AutoProcessor`, `AutoImageProcessor` or `AutoTokenizer`.
        name: hub name or folder.
        options: those of `SourceOptions`, and the processor's own.

    Raises:
        UnsupportedModelError: the checkpoint has none that transformers knows.
        MissingExtraError: it needs a package that is not installed, such as torchvision.
        OSError: no such checkpoint, or no network to fetch it.
    """
    try:
        return load_pretrained(loader, name, **options)
    except (ImportError, AttributeError) as error:  # without torchvision some processors end in an AttributeError
        raise MissingExtraError(
            f"the processor of {str(name)!r} needs a package that is not installed ({first_line(error)}); install it "
            "(many image processors need torchvision), or choose a model of the LLaVA family, which needs none"
        ) from error
    except ValueError as error:
        raise UnsupportedModelError(
            f"expected a processor of transformers at {str(name)!r}, got none that loads ({first_line(error)}); "
            "name a folder or hub model with processor_config.json or preprocessor_config.json"
        ) from error


def load_mllm(name: str | Path, **options: Unpack[ModelOptions]) -> tuple[PreTrainedModel, ProcessorMixin]:
    """An image-text-to-text model in evaluation mode and its processor.

    Args:
        name: hub name or folder.
        options: `revision`, `dtype`, `device_map`, ... as transformers takes them.

    Raises:
        UnsupportedModelError: the checkpoint is of another task.
        MissingExtraError: its architecture or processor needs a package that is not installed.
        OSError: no such model, or no network to fetch it.
    """
    source = {key: value for key, value in options.items() if key in SourceOptions.__annotations__}
    processor = load_processor(AutoProcessor, name, **source)
    model = load_model(
        *(AutoModelForImageTextToText, name),
        expected="an image-text-to-text checkpoint",
        advice="name a model of the image-text-to-text task",
        **options,
    )
    return model, processor


def load_adapter(model: PreTrainedModel, adapter: str | Path) -> None:
    """Put a PEFT adapter into the model it was trained on.

    Raises:
        MissingExtraError: peft is not installed.
        UnsupportedModelError: the adapter was trained on another model.
    """
    try:
        model.load_adapter(str(adapter))
    except ImportError as error:
        raise MissingExtraError(
            "a fine-tuned adapter needs the package 'peft'; install it with: pip install 'halluguard-mllm[train]'"
        ) from error
    except RuntimeError as error:
        raise UnsupportedModelError(
            f"the adapter {str(adapter)!r} does not fit {type(model).__name__}: {first_line(error)}; "
            "use the base model it was trained on"
        ) from error


def merge_adapter(model: PreTrainedModel, adapter: str | Path) -> PreTrainedModel:
    """The model with a PEFT adapter added into its weights; raises as `load_adapter`."""
    peft = require("peft", extra="train", feature="merging an adapter")
    try:
        return peft.PeftModel.from_pretrained(model, str(adapter)).merge_and_unload(safe_merge=True)
    except (RuntimeError, ValueError) as error:
        raise UnsupportedModelError(
            f"the adapter {str(adapter)!r} does not fit {type(model).__name__}: {first_line(error)}; "
            "use the base model it was trained on"
        ) from error


def default_device(device: str | torch.device | None = None) -> torch.device:
    """The device given, else the first GPU, else the CPU."""
    return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def place(model: PreTrainedModel, device: torch.device) -> None:
    """Move a model to a device."""
    model.to(device)  # type: ignore[arg-type]  # transformers' decorator hides the signature
