"""halluguard: mitigate hallucination in multimodal large language models, before, during and after generation.

`import halluguard` is light: it loads neither torch nor spaCy. Methods, detectors and metrics come from
their folders, for example `from halluguard.decoding import VCD`.
"""

from halluguard._version import __version__
from halluguard.correction import correct, warm_up
from halluguard.errors import (
    ExpertError,
    HalluguardError,
    ImageError,
    InputError,
    MissingExtraError,
    PreflightError,
    SettingsError,
    UnsupportedModelError,
)
from halluguard.guard import Guard
from halluguard.records import Answer, Box, Claim, Detector, Edit, Verdict

__all__ = [
    "Answer",
    "Box",
    "Claim",
    "Detector",
    "Edit",
    "ExpertError",
    "Guard",
    "HalluguardError",
    "ImageError",
    "InputError",
    "MissingExtraError",
    "PreflightError",
    "SettingsError",
    "UnsupportedModelError",
    "Verdict",
    "__version__",
    "correct",
    "warm_up",
]
