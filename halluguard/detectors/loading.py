"""A detector by its name alone: the architecture says whether it takes phrases or has labels of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from halluguard.detectors.geometry import first_line
from halluguard.errors import UnsupportedModelError
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
