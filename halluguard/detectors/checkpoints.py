"""Load a detector by its name alone: its architecture says whether it takes phrases or has labels of its own."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers.modeling_utils import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES
from transformers.processing_utils import ProcessorMixin

from halluguard import checkpoints
from halluguard.records import Detector

Device = str | torch.device | None
"""Device of a model; None for the first GPU, else the CPU."""


def load_detector(name: str | Path, *, device: Device = None, revision: str | None = None) -> Detector:
    """Load a `ZeroShotDetector` or `ClosedSetDetector` from a hub name or folder.

    Raises:
        UnsupportedModelError: the model is neither.
        MissingExtraError: its architecture needs a package that is not installed.
        OSError: no such model, or no network to fetch it.
    """
    from halluguard.detectors.closed_set import ClosedSetDetector  # both load through this module
    from halluguard.detectors.zero_shot import ZeroShotDetector

    kind = checkpoints.load_config(name, revision=revision).model_type
    detector = ClosedSetDetector if kind in MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES else ZeroShotDetector
    return detector.from_pretrained(name, device=device, revision=revision)


def load_checkpoint(
    name: str | Path,
    loader: checkpoints.ModelLoader,
    processor_loader: checkpoints.ProcessorLoader,
    *,
    device: Device = None,
    dtype: torch.dtype | str | None = None,
    revision: str | None = None,
    expected: str,
    advice: str,
) -> tuple[PreTrainedModel, ProcessorMixin, str]:
    """Load (model, processor, signature), the model on its device.

    Args:
        name: hub name or folder.
        loader, processor_loader: Auto classes of transformers.
        device: device of the model.
        dtype: type of the weights; default float32.
        revision: commit, branch or tag of a hub model.
        expected, advice: kind of model, and what to do about another kind; for the error.

    Raises:
        UnsupportedModelError: the model is of another kind.
        MissingExtraError: its architecture needs a package that is not installed.
    """
    model = checkpoints.load_model(
        *(loader, name), expected=expected, advice=advice, dtype=dtype or torch.float32, revision=revision
    )
    processor = checkpoints.load_processor(processor_loader, name, revision=revision)
    checkpoints.place(model, checkpoints.default_device(device))
    return model, processor, signature(name, revision or getattr(model.config, "_commit_hash", None))


def signature(name: str | Path, revision: str | None = None) -> str:
    """Name of an expert made from a checkpoint: the folder's own name, or the hub name and its revision."""
    return f"{Path(name).name if Path(name).exists() else name}{f'@{revision}' if revision else ''}"


def model_kind(model: PreTrainedModel) -> str:
    """The `model_type` of a model, or its class name where it has none."""
    return getattr(getattr(model, "config", None), "model_type", type(model).__name__)


def model_signature(model: PreTrainedModel) -> str:
    """Name of an expert made from a loaded model."""
    return f"{model_kind(model)}:{getattr(model, 'name_or_path', '') or 'unnamed'}"
