"""Load a detector by its name alone: its architecture says whether it takes phrases or has labels of its own."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
from transformers.modeling_utils import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES
from transformers.processing_utils import ProcessorMixin

from halluguard import checkpoints
from halluguard.errors import MissingExtraError
from halluguard.records import Detector

Device = str | torch.device | None
"""Device of a model; None for the first GPU, else the CPU."""


NEEDS_TORCHVISION = ("sam3", "sam3_lite_text", "sam3_video", "qwen3_vl", "qwen3_vl_moe", "molmo2")
"""Architectures whose processors need torchvision; without it, the error of transformers is misleading."""


def load_detector(name: str | Path, *, device: Device = None, revision: str | None = None, **options: Any) -> Detector:
    """Load a detector from a hub name or folder; the architecture says which class it is.

    Object detection models with labels of their own become a `ClosedSetDetector`; Florence-2 and multimodal language
    models that write boxes or points a `WrittenBoxes`; all others a `ZeroShotDetector`.

    Args:
        name: hub name or folder.
        device: device of the model.
        revision: commit, branch or tag of a hub model.
        options: further arguments of the class and its `from_pretrained`, such as `dtype`.

    Raises:
        SettingsError: the class does not take an option.
        UnsupportedModelError: the model is none of these.
        MissingExtraError: its architecture needs a package that is not installed.
        OSError: no such model, or no network to fetch it.
    """
    from halluguard.detectors.closed_set import ClosedSetDetector  # all load through this module
    from halluguard.detectors.written_boxes import DIALECTS, WrittenBoxes
    from halluguard.detectors.zero_shot import ZeroShotDetector

    kind = checkpoints.load_config(name, revision=revision).model_type
    detector: type[ClosedSetDetector | WrittenBoxes | ZeroShotDetector] = ZeroShotDetector
    if kind in MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES:
        detector = ClosedSetDetector
    elif kind in DIALECTS:
        detector = WrittenBoxes
    if kind in NEEDS_TORCHVISION and importlib.util.find_spec("torchvision") is None:
        raise MissingExtraError(
            f"the image processor of {kind} needs torchvision, which is not installed; install the release that fits "
            "your torch: pip install torchvision"
        )
    return detector.from_pretrained(name, device=device, revision=revision, **options)


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
