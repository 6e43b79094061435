"""Decoding methods: mitigate hallucination while a model generates, one published method per file.

    view = VCD(alpha=1.0).on(model, processor)
    view.generate(**inputs, num_beams=3)          # takes everything that the model's own generate takes

    get_method("VCD:pope script", alpha=0.5)      # the same by name, as in tables and on command lines

Each file of `methods/` holds one method, and `METHODS` names them all. `base.py` says how to write one.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from halluguard.decoding import imagination, methods
from halluguard.decoding.base import DecodingMethod
from halluguard.decoding.imagination import Imagination
from halluguard.decoding.methods.agla import AGLA
from halluguard.decoding.methods.all_path import AllPath
from halluguard.decoding.methods.baselines import Greedy, PlausibilityOnly, TemperatureMatched, YesBias
from halluguard.decoding.methods.contrast import Contrast
from halluguard.decoding.methods.deco import DeCo
from halluguard.decoding.methods.dola import DoLa
from halluguard.decoding.methods.icd import ICD
from halluguard.decoding.methods.m3id import M3ID
from halluguard.decoding.methods.marine import MARINE
from halluguard.decoding.methods.only import ONLY
from halluguard.decoding.methods.opera import OPERA
from halluguard.decoding.methods.pai import PAI
from halluguard.decoding.methods.pti import PTI
from halluguard.decoding.methods.ritual import RITUAL
from halluguard.decoding.methods.sid import SID
from halluguard.decoding.methods.vaf import VAF
from halluguard.decoding.methods.vcd import VCD
from halluguard.decoding.methods.vdd import VDD
from halluguard.decoding.methods.vga import VGA
from halluguard.decoding.methods.vista import VISTA
from halluguard.decoding.methods.visual_entropy import VisualEntropy
from halluguard.decoding.methods.vti import VTI
from halluguard.errors import SettingsError

__all__ = [
    "AGLA",
    "ICD",
    "M3ID",
    "MARINE",
    "METHODS",
    "ONLY",
    "OPERA",
    "PAI",
    "PTI",
    "RITUAL",
    "SID",
    "VAF",
    "VCD",
    "VDD",
    "VGA",
    "VISTA",
    "VTI",
    "AllPath",
    "Contrast",
    "DeCo",
    "DecodingMethod",
    "DoLa",
    "Greedy",
    "Imagination",
    "PlausibilityOnly",
    "TemperatureMatched",
    "VisualEntropy",
    "YesBias",
    "get_method",
]


def _find_methods() -> dict[str, type[DecodingMethod]]:
    modules = [imagination]
    modules += [importlib.import_module(f"{methods.__name__}.{m.name}") for m in pkgutil.iter_modules(methods.__path__)]
    classes = [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, DecodingMethod) and value.__module__ == module.__name__
    ]
    return {cls.__name__: cls for cls in sorted(classes, key=lambda cls: cls.__name__)}


METHODS: dict[str, type[DecodingMethod]] = _find_methods()
"""Every decoding method by the name of its class."""


def get_method(name: str, **settings: Any) -> DecodingMethod:
    """Make a decoding method by name.

    Args:
        name: name of the class, such as "VCD", alone or with a preset, as in "VCD:pope script".
        **settings: arguments of the class; they override those of the preset.

    Raises:
        SettingsError: no such method, preset or argument.

    >>> get_method("VCD:pope script", alpha=0.5)
    VCD(alpha=0.5, beta=0.2, step=500, seed=0, resolution=336)
    """
    method, _, preset = name.partition(":")
    if method not in METHODS:
        raise SettingsError(f"a decoding method is expected, one of {list(METHODS)}, got {method!r}; give one of them")
    cls = METHODS[method]
    if preset and preset not in cls.PRESETS:
        raise SettingsError(f"a preset of {method} is expected, one of {list(cls.PRESETS)}, got {preset!r}; or none")
    arguments = {**(cls.PRESETS[preset].settings if preset else {}), **settings}
    try:
        return cls(**arguments)
    except TypeError as error:
        raise SettingsError(f"{method} cannot be made with {arguments} ({error}); see its docstring") from error
