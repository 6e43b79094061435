"""During generation: one published method a file, its equation first.

    view = VCD(alpha=1.0).on(model, processor)
    view.generate(**inputs, num_beams=3)          # everything the model's own generate takes

    named("VCD:pope script", alpha=0.5)           # the same by name, as in tables and on command lines

A method is a class with `.on(model, processor)`, in a file of this folder: it is found here, and in the benchmarks
and the laws, by being there. `PRESETS` of its class are settings by name, those of its paper and of its code where
they differ; "off" is the setting at which it is exactly plain generation. What a class states beside its formula is
written down in `method.Method`.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from halluguard.decoding import methods
from halluguard.errors import SettingsError


def _found() -> dict[str, type]:
    modules = [importlib.import_module("halluguard.decoding.imagination")]
    modules += [
        importlib.import_module(f"{methods.__name__}.{info.name}") for info in pkgutil.iter_modules(methods.__path__)
    ]
    found = {}
    for module in modules:
        for name, value in vars(module).items():
            if isinstance(value, type) and value.__module__ == module.__name__ and hasattr(value, "on"):
                found[name] = value
    return dict(sorted(found.items()))


METHODS: dict[str, type] = _found()
"""Every decoding method by the name of its class."""

globals().update(METHODS)
__all__ = ["METHODS", "named", *METHODS]


def __getattr__(name: str) -> Any:
    raise AttributeError(f"no decoding method {name!r} in halluguard.decoding; there are {list(METHODS)}")


def named(name: str, **settings: Any) -> Any:
    """A method by name.

    Args:
        name: "VCD", or a preset of it as in "VCD:pope script".
        **settings: arguments of its class; they go before those of the preset.

    Raises:
        SettingsError: no such method, preset or argument.

    >>> named("VCD:pope script", alpha=0.5).beta
    0.2
    """
    method, _, preset = name.partition(":")
    if method not in METHODS:
        raise SettingsError(f"a decoding method is expected, one of {list(METHODS)}, got {method!r}")
    cls = METHODS[method]
    presets = getattr(cls, "PRESETS", {})
    if preset and preset not in presets:
        raise SettingsError(f"a preset of {method} is expected, one of {list(presets)}, got {preset!r}; or none")
    given = {**presets.get(preset, {}), **settings}
    try:
        return cls(**given)
    except TypeError as error:
        raise SettingsError(f"{method} cannot be made with {given} ({error}); see its docstring") from error
