"""A detector by its name alone, and what loading a checkpoint has in common.

The architecture says whether a detector takes phrases or has labels of its own.
"""

from __future__ import annotations

from pathlib import Path

import torch
from transformers.modeling_utils import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES
from transformers.processing_utils import ProcessorMixin

from halluguard import checkpoints
from halluguard.records import Detector


def load_detector(
    name: str | Path, *, device: str | torch.device | None = None, revision: str | None = None
) -> Detector:
    """A model of the hub or a folder as a `ZeroShotDetector` or `ClosedSetDetector`.

    Raises:
        UnsupportedModelError: it is neither.
        MissingExtraError: its architecture needs a package that is not installed.
        OSError: there is no such model, or the network is not there to fetch it.
    """
    from halluguard.detectors.closed_set import ClosedSetDetector
    from halluguard.detectors.zero_shot import ZeroShotDetector

    kind = checkpoints.load_config(name, revision=revision).model_type
    chosen = ClosedSetDetector if kind in MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES else ZeroShotDetector
    return chosen.from_pretrained(name, device=device, revision=revision)


def load_checkpoint(
    name: str | Path,
    loader: checkpoints.ModelLoader,
    processor_loader: checkpoints.ProcessorLoader,
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | str | None = None,
    revision: str | None = None,
    expected: str,
    advice: str,
) -> tuple[PreTrainedModel, ProcessorMixin, str]:
    """Model on its device, processor and signature of a model of the hub or a folder.

    Args:
        loader, processor_loader: Auto classes of transformers.
        device: where the model runs; default the first GPU, else the CPU.
        dtype: of the weights; default float32.
        expected, advice: kind of model and what to do about another kind, for the error.

    Raises:
        UnsupportedModelError: it is another kind of model.
        MissingExtraError: its architecture needs a package that is not installed.
    """
    model = checkpoints.load_model(
        *(loader, name), expected=expected, advice=advice, dtype=dtype or torch.float32, revision=revision
    )
    processor = checkpoints.load_processor(processor_loader, name, revision=revision)
    checkpoints.place(model, checkpoints.default_device(device))
    return model, processor, signed(name, revision or getattr(model.config, "_commit_hash", None))


def signed(name: str | Path, revision: str | None = None) -> str:
    """How an expert made from a checkpoint signs its verdicts: a folder by its own name, a hub model by all of its."""
    return f"{Path(name).name if Path(name).exists() else name}{f'@{revision}' if revision else ''}"
