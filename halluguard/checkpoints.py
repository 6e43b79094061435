"""Load models, processors and adapters from the hub or a folder, always by the same safety rules:

    remote code is never run, and the user is never asked to allow it
    weights are read from safetensors only
    a configuration that does not fit the size of its weights is refused before a model is built
    weights that are missing, unknown or of another shape are refused by name, never replaced by random ones
    a folder is loaded alone: settings that refer to another checkpoint, a host or code are refused

This is the only module that calls `from_pretrained` of transformers or peft.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict, Unpack

import torch
from huggingface_hub import constants as hub_constants
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    dynamic_module_utils,
)
from transformers.configuration_utils import PreTrainedConfig
from transformers.modeling_utils import PreTrainedModel
from transformers.models.auto.auto_factory import _BaseAutoModelClass
from transformers.processing_utils import ProcessorMixin
from transformers.utils import logging as transformers_logging
from transformers.utils.quantization_config import QuantizationConfigMixin

from halluguard import chat_templates, hub
from halluguard.arguments import refuse_unknown
from halluguard.checkpoint_references import check_adapter, check_references
from halluguard.checkpoint_sizes import check_config, check_parameters, tensor_shapes
from halluguard.errors import (
    InputError,
    MissingExtraError,
    SettingsError,
    UnsupportedModelError,
    first_line,
    require,
)

_log = logging.getLogger(__name__)
chat_templates.install()


class SourceOptions(TypedDict, total=False):
    """Source of a checkpoint; the names are those of transformers."""

    revision: str | None
    local_files_only: bool
    cache_dir: str | Path | None
    token: str | bool | None


class ModelOptions(SourceOptions, total=False):
    """Options for loading a model; the names are those of transformers."""

    dtype: torch.dtype | str | None
    device_map: str | dict[str, int | str | torch.device] | None
    max_memory: dict[int | str, int | str] | None
    attn_implementation: str | None
    quantization_config: QuantizationConfigMixin | dict[str, Any] | None


ModelLoader = type[_BaseAutoModelClass]
"""One of transformers' classes `AutoModelFor...`."""

ProcessorLoader = type[AutoProcessor] | type[AutoImageProcessor] | type[AutoTokenizer]


HARMLESS = re.compile(r"(position_ids|inv_freq|relative_position_index|num_batches_tracked|total_ops|total_params)$")
"""Buffers that older releases wrote into checkpoints and today's architectures compute."""

_WRONG_SETTINGS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    StrictDataclassError,
    TypeError,
    ValueError,
)
"""Errors of transformers and PyTorch about settings of a wrong type or range, or an unknown architecture."""


def load_pretrained(loader: ModelLoader | ProcessorLoader | type[AutoConfig], name: str | Path, **options: Any) -> Any:
    """`loader.from_pretrained(name)` without remote code; options that are None are not passed on.

    Prefer the typed functions below, which also explain what went wrong.

    Raises:
        InputError: no such folder or hub model, or a damaged file.
    """
    _check_name(name)
    chosen = {key: value for key, value in options.items() if value is not None}
    _log.info("%s.from_pretrained(%r)", loader.__name__, str(name))
    check_references(name, model=loader not in (AutoProcessor, AutoImageProcessor, AutoTokenizer), **_source(options))
    try:
        with _confined(name):
            return loader.from_pretrained(str(name), **chosen, trust_remote_code=False)
    except (OSError, SafetensorError, UnicodeDecodeError, RecursionError) as error:
        if not Path(name).exists() and (reason := hub.why_unreachable()):
            raise InputError(_not_at_hand(str(name), reason, options.get("cache_dir"))) from error
        raise InputError(
            f"no checkpoint could be read at {str(name)!r} ({first_line(error)}); check the name, the files of the "
            "folder (config.json, model.safetensors, ...), and the network if it is a name of the hub"
        ) from error
    except Exception as error:
        if hub.is_network_error(error):
            reason = hub.why_unreachable() or first_line(error)
            raise InputError(_not_at_hand(str(name), reason, options.get("cache_dir"))) from error
        if not isinstance(error, ValueError) or "custom code" not in str(error):
            raise
        raise UnsupportedModelError(
            f"the checkpoint {str(name)!r} asks for Python code of its own, which is never run; use a model whose "
            "architecture transformers has itself"
        ) from error


@contextmanager
def no_bars_in_captured_output() -> Iterator[None]:
    """Switch the progress bars of transformers off where standard error is not a terminal."""
    quiet = transformers_logging.is_progress_bar_enabled() and not sys.stderr.isatty()
    if quiet:
        transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if quiet:
            transformers_logging.enable_progress_bar()


@contextmanager
def _confined(name: str | Path) -> Iterator[None]:
    """Keep transformers from asking whether to run remote code, and from using the network in vain.

    A folder needs no network; without a hub, the cache is all there is. These settings hold for the whole process, so
    only one load runs at a time.
    """
    with hub.SETTINGS:
        needs_no_network = Path(name).exists() or bool(hub.why_unreachable())
        time_out, offline = dynamic_module_utils.TIME_OUT_REMOTE_CODE, hub_constants.HF_HUB_OFFLINE
        dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0
        hub_constants.HF_HUB_OFFLINE = offline or needs_no_network
        try:
            with hub.no_retries_in_vain(), no_bars_in_captured_output():
                yield
        finally:
            dynamic_module_utils.TIME_OUT_REMOTE_CODE, hub_constants.HF_HUB_OFFLINE = time_out, offline


def _check_name(name: str | Path) -> None:
    """Refuse a missing path or a misspelt name of a local checkpoint, before the hub is asked for it.

    A name without a slash probably means a local folder: names of the hub start with their owner.

    Raises:
        InputError: no such folder; the message names one with a similar name.
    """
    text, path = os.fspath(name), Path(name)
    if not text.strip():
        raise InputError("expected a folder or the name of a hub model, got an empty name; give one")
    if path.exists():
        return
    if re.fullmatch(r"[\w-]+", text) and not isinstance(name, Path):
        folders = [config.parent.name for config in Path().glob("*/config.json")]
        if meant := difflib.get_close_matches(text, ["sandbox", *folders], n=1, cutoff=0.75):
            raise InputError(
                f"expected a folder or the name of a hub model, got {text!r}; did you mean {meant[0]!r}? "
                "Write a model of the hub with its owner, as in owner/name"
            )
    if re.fullmatch(r"[\w.-]+(/[\w.-]+)?", text) and not isinstance(name, Path) and text[0] != ".":
        return
    beside = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, beside, n=1)
    raise InputError(
        f"expected a folder or the name of a hub model, got {text!r}, which does not exist"
        + (f"; did you mean {str(path.with_name(close[0]))!r}?" if close else "; check the path")
    )


def _not_at_hand(name: str, reason: str, cache_dir: str | Path | None) -> str:
    """The error message for a name that is no folder and not whole in the hub's cache, while there is no hub."""
    similar = hub.similar_names(name, cache_dir)
    meant = f"did you mean {' or '.join(map(repr, similar))}? Otherwise " if similar and name not in similar else ""
    return (
        f"{name!r} is no folder here and is not complete in the cache of the hub, and the hub cannot be reached "
        f"({reason}); {meant}check the name and the network, or copy the model to a folder and name that"
    )


def load_config(name: str | Path, **source: Unpack[SourceOptions]) -> PreTrainedConfig:
    """The configuration of a checkpoint.

    Raises:
        UnsupportedModelError: transformers does not know its architecture, or it does not fit its weights.
        InputError: no such checkpoint.
    """
    _check_name(name)
    _check_sizes(name, _source(source))
    try:
        return load_pretrained(AutoConfig, name, **source)
    except _WRONG_SETTINGS as error:
        if isinstance(error, InputError | UnsupportedModelError):
            raise
        raise UnsupportedModelError(
            f"expected a checkpoint of transformers at {str(name)!r}, got {first_line(error)}; name another model"
        ) from error


def _check_options(options: Mapping[str, Any]) -> None:
    """Refuse options that are not those of `ModelOptions`."""
    refuse_unknown("load_model", options, ModelOptions.__annotations__)


def _source(options: Mapping[str, Any]) -> SourceOptions:
    """The options that name the source of a checkpoint."""
    source: Any = {key: options[key] for key in SourceOptions.__annotations__ if options.get(key) is not None}
    return source


def _check_sizes(name: str | Path, source: SourceOptions) -> None:
    check_config(name, tensor_shapes(name, **source), **source)


def _check_parameters(loader: ModelLoader, config: PreTrainedConfig, name: str | Path, options: ModelOptions) -> None:
    """Build the model on the device "meta", without memory, and compare its size with that of its weights."""
    with torch.device("meta"), torch.random.fork_rng(devices=[]), _confined(name):
        model = loader.from_config(config, trust_remote_code=False)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    quantized = options.get("quantization_config") is not None or hasattr(config, "quantization_config")
    check_parameters(name, parameters, tensor_shapes(name, **_source(options)), quantized)


def load_model(
    loader: ModelLoader, name: str | Path, *, expected: str, advice: str, **options: Unpack[ModelOptions]
) -> PreTrainedModel:
    """Load a model in evaluation mode, with complete weights from safetensors.

    Args:
        loader: class of transformers for this kind of model, such as `AutoModelForCausalLM`.
        name: hub name or folder.
        expected: kind of model, for the error: "an image-text-to-text checkpoint".
        advice: advice about another kind of checkpoint, for the error.
        options: those of `ModelOptions`.

    Raises:
        SettingsError: an option is none of `ModelOptions`.
        UnsupportedModelError: the checkpoint is of another kind, or its weights are not those of its configuration.
        MissingExtraError: its architecture needs a package that is not installed.
        InputError: no such checkpoint, or a damaged file.
    """
    _check_options(options)
    config = load_config(name, **_source(options))
    try:
        _check_parameters(loader, config, name, options)
        model, info = load_pretrained(
            *(loader, name),
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # mismatched weights are refused below, with their names
            **options,
        )
    except (InputError, UnsupportedModelError):
        raise
    except ImportError as error:
        raise MissingExtraError(
            f"{str(name)!r} needs a package that is not installed: {first_line(error)}; install it, or name a model of "
            "another architecture"
        ) from error
    except _WRONG_SETTINGS as error:
        raise UnsupportedModelError(
            f"expected {expected}, got {str(name)!r}, which transformers cannot load as one ({first_line(error)}); "
            f"{advice}"
        ) from error
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise UnsupportedModelError(
            f"the weights of {str(name)!r} do not fit its configuration ({first_line(error)}); load a whole checkpoint"
        ) from error
    check_weights(
        *(f"the checkpoint {str(name)!r}", info["missing_keys"], info["unexpected_keys"]),
        _names(info["mismatched_keys"]),
        advice="load a whole checkpoint of this architecture",
    )
    return model.eval()


def _names(mismatched: Iterable[str | tuple[Any, ...]]) -> list[str]:
    """Names of weights from transformers' list, in which shapes may stand beside them."""
    return [key if isinstance(key, str) else key[0] for key in mismatched]


def check_weights(
    what: str, missing: Iterable[str], unexpected: Iterable[str], mismatched: Iterable[str], *, advice: str
) -> None:
    """Refuse weights that are missing, unknown or of another shape.

    Args:
        what: name of the loaded object, for the error.
        missing, unexpected, mismatched: names of weights.
        advice: advice for the error.

    Raises:
        UnsupportedModelError: there are such weights; the message names the first three of each kind.
    """
    kinds = {"missing": missing, "not of this architecture": unexpected, "of another shape": mismatched}
    wrong = {kind: sorted(name for name in names if not HARMLESS.search(name)) for kind, names in kinds.items()}
    parts = [
        f"{len(names)} {kind} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for kind, names in wrong.items()
        if names
    ]
    if parts:
        raise UnsupportedModelError(f"{what} has weights that do not fit: {'; '.join(parts)}; {advice}")


def load_processor(loader: ProcessorLoader, name: str | Path, **options: Any) -> ProcessorMixin:
    """Load a processor, image processor or tokenizer.

    Args:
        loader: `AutoProcessor`, `AutoImageProcessor` or `AutoTokenizer`.
        name: hub name or folder.
        options: those of `SourceOptions`, and the processor's own.

    Raises:
        UnsupportedModelError: the checkpoint has no such object that transformers knows.
        MissingExtraError: it needs a package that is not installed, such as torchvision.
        InputError: no such checkpoint, or a damaged file.
    """
    try:
        return load_pretrained(loader, name, **options)
    except (InputError, UnsupportedModelError):
        raise
    except (ImportError, AttributeError) as error:  # without torchvision some processors raise an AttributeError
        raise MissingExtraError(
            f"the processor of {str(name)!r} needs a package that is not installed ({first_line(error)}); install it "
            "(many image processors need torchvision), or choose a model of the LLaVA family, which needs none"
        ) from error
    except _WRONG_SETTINGS as error:
        raise UnsupportedModelError(
            f"expected a processor of transformers at {str(name)!r}, got none that loads ({first_line(error)}); "
            "name a folder or hub model with processor_config.json or preprocessor_config.json"
        ) from error


def load_mllm(
    name: str | Path,
    *,
    processor_kwargs: Mapping[str, Any] | None = None,
    **options: Unpack[ModelOptions],
) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Load an image-text-to-text model in evaluation mode, and its processor.

    Args:
        name: hub name or folder.
        processor_kwargs: further arguments of the processor, such as `max_pixels`.
        options: `revision`, `dtype`, `device_map`, ... as transformers takes them.

    Raises:
        SettingsError: an option is none of `ModelOptions`.
        UnsupportedModelError: the checkpoint is of another task, or its weights are not those of its configuration.
        MissingExtraError: its architecture or processor needs a package that is not installed.
        InputError: no such checkpoint, or a damaged file.
    """
    _check_options(options)
    source = _source(options)
    _check_name(name)
    _check_sizes(name, source)  # a processor reads the configuration too
    processor = load_processor(AutoProcessor, name, **source, **(processor_kwargs or {}))
    model = load_model(
        *(AutoModelForImageTextToText, name),
        expected="an image-text-to-text checkpoint",
        advice="name a model of the image-text-to-text task",
        **options,
    )
    return model, processor


def load_adapter(model: PreTrainedModel, adapter: str | Path, **source: Unpack[SourceOptions]) -> None:
    """Put a PEFT adapter into the model it was trained on.

    Raises:
        MissingExtraError: peft is not installed.
        UnsupportedModelError: the adapter was trained on another model, or lacks weights.
        InputError: no such adapter, or none in safetensors.
    """
    require("peft", feature="a fine-tuned adapter")
    shapes = _adapter_shapes(adapter, source)
    with _adapter_errors(model, adapter), _confined(adapter):
        info = model.load_adapter(str(adapter), use_safetensors=True, adapter_kwargs=dict(_source(source)))
    mismatched = _names(info.mismatched_keys)
    _check_adapter(model, adapter, shapes, info.missing_keys, info.unexpected_keys, mismatched)


def merge_adapter(model: PreTrainedModel, adapter: str | Path) -> PreTrainedModel:
    """Add a PEFT adapter into the weights of a model, and return the model; errors are those of `load_adapter`."""
    peft = require("peft", feature="merging an adapter")
    shapes = _adapter_shapes(adapter, {})
    with _adapter_errors(model, adapter), _confined(adapter):
        wrapped = peft.PeftModel.from_pretrained(model, str(adapter))
    own = {name: tuple(tensor.shape) for name, tensor in peft.get_peft_model_state_dict(wrapped).items()}
    mismatched = [name for name in own.keys() & shapes.keys() if own[name] != shapes[name]]
    _check_adapter(model, adapter, shapes, own.keys() - shapes.keys(), shapes.keys() - own.keys(), mismatched)
    return wrapped.merge_and_unload(safe_merge=True)


def _adapter_shapes(adapter: str | Path, source: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    _check_name(adapter)
    shapes = tensor_shapes(adapter, ("adapter_model.safetensors",), **_source(source))
    if not shapes:
        raise InputError(
            f"expected a PEFT adapter in safetensors (adapter_config.json, adapter_model.safetensors) at "
            f"{str(adapter)!r}, got none; name the folder of a training, or save it with safe_serialization=True"
        )
    check_adapter(adapter, shapes, **_source(source))
    return shapes


@contextmanager
def _adapter_errors(model: PreTrainedModel, adapter: str | Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"the adapter {str(adapter)!r} cannot be read ({first_line(error)}); check its files"
        ) from error
    except (RuntimeError, *_WRONG_SETTINGS) as error:
        raise UnsupportedModelError(
            f"the adapter {str(adapter)!r} does not fit {type(model).__name__}: {first_line(error)}; "
            "use the base model it was trained on"
        ) from error


def _check_adapter(
    model: PreTrainedModel,
    adapter: str | Path,
    shapes: Mapping[str, tuple[int, ...]],
    missing: Iterable[str],
    unexpected: Iterable[str],
    mismatched: Iterable[str],
) -> None:
    check_weights(
        f"the adapter {str(adapter)!r} of {len(shapes)} tensors for {type(model).__name__}",
        missing,
        unexpected,
        mismatched,
        advice="use a whole adapter, and the base model it was trained on",
    )


def default_device(device: str | torch.device | None = None) -> torch.device:
    """The device given, else the first GPU, else the CPU.

    Raises:
        SettingsError: there is no such device here.
    """
    name = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=name)
        return torch.device(name)
    except (RuntimeError, AssertionError) as error:
        raise SettingsError(
            f"expected a device of this machine, such as 'cpu', got {str(name)!r} ({first_line(error)}); name another"
        ) from error


def place(model: PreTrainedModel, device: torch.device) -> None:
    """Move a model to a device."""
    model.to(device)  # type: ignore[arg-type]  # transformers' decorator hides the signature
