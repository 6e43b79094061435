"""A detector by its name alone, and what loading a checkpoint has in common.

The architecture says whether a detector takes phrases or has labels of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from halluguard.detectors.geometry import first_line
from halluguard.errors import MissingExtraError, UnsupportedModelError
from halluguard.records import Detector


def load_detector(name: str | Path, *, device: Any = None, revision: str | None = None) -> Detector:
    """A model of the hub or a folder as an expert: `ZeroShotDetector` or `ClosedSetDetector`.

    Raises:
        UnsupportedModelError: it is neither.
        MissingExtraError: its architecture needs a package that is not installed.
        OSError: there is no such model, or the network is not there to fetch it.
    """
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES

    from halluguard.detectors.closed_set import ClosedSetDetector
    from halluguard.detectors.zero_shot import ZeroShotDetector

    try:
        kind = AutoConfig.from_pretrained(name, revision=revision).model_type
    except ValueError as error:
        raise UnsupportedModelError(
            f"expected a detector at {str(name)!r}: {first_line(error)}; name an object detection model"
        ) from error
    chosen = ClosedSetDetector if kind in MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES else ZeroShotDetector
    return chosen.from_pretrained(name, device=device, revision=revision)


def load_checkpoint(
    name: str | Path,
    model_class: Any,
    processor_class: Any,
    *,
    device: Any = None,
    dtype: Any = None,
    revision: str | None = None,
    missing: str,
    expected: str,
    instead: str,
) -> tuple[Any, Any, str]:
    """Model, processor and signature of a model of the hub or a folder: safetensors weights only, no remote code.

    Args:
        model_class, processor_class: of transformers' Auto classes.
        device: where it runs; default the first GPU, else the CPU.
        dtype: default float32.
        missing: end of the message where a package is missing.
        expected, instead: what kind of model, and what to use for others.

    Raises:
        UnsupportedModelError: it is another kind of model.
        MissingExtraError: its architecture needs a package that is not installed.
    """
    import torch

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        model = model_class.from_pretrained(name, revision=revision, dtype=dtype or torch.float32, use_safetensors=True)
        processor = processor_class.from_pretrained(name, revision=revision)
    except ImportError as error:
        raise MissingExtraError(
            f"the detector {str(name)!r} needs a package that is not installed: {first_line(error)}{missing}"
        ) from error
    except ValueError as error:
        raise UnsupportedModelError(f"expected {expected} at {str(name)!r}: {first_line(error)}; {instead}") from error
    return model.to(device), processor, signed(name, revision or getattr(model.config, "_commit_hash", None))


def signed(name: str | Path, revision: str | None = None) -> str:
    """How an expert made from a checkpoint signs its verdicts: a folder by its own name, a hub model by all of its."""
    return f"{Path(name).name if Path(name).exists() else name}{f'@{revision}' if revision else ''}"
