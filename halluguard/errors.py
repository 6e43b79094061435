"""The errors that halluguard raises.

    HalluguardError
    ├── SettingsError (ValueError)          an argument or option is out of range or unknown
    ├── InputError (ValueError)             the caller's data cannot be read in the expected form
    │   ├── ImageError                      an image cannot be read
    │   └── BudgetError                     reading and correcting a text takes too long
    ├── UnsupportedModelError (TypeError)   a model cannot do what was asked of it
    ├── ExpertError (RuntimeError)          a detector or judge failed; never evidence of absence
    │   └── UnlistedImageError              a list of objects or boxes does not have the image
    ├── PromiseError (ValueError)           the labelled images do not support a promise
    ├── OutputError (OSError)               results cannot be written: no permission, or no space
    ├── PreflightError (RuntimeError)       a training that would fail silently was refused
    ├── TrainingError (RuntimeError)        a training stopped at values that are not finite; no adapter was written
    └── MissingExtraError (ImportError)     an optional package is not installed

A message has three parts: what was expected, what came, what to do next.
"""

from __future__ import annotations

import importlib
import re
import shlex
from importlib import metadata
from pathlib import Path
from types import ModuleType

from halluguard.printing import printable

MAX_MESSAGE = 4_000
"""Longest message of an error, in characters."""


class HalluguardError(Exception):
    r"""Base class: catch this to catch everything halluguard raises on purpose.

    Messages quote names and values from files, so they are made safe to print here: one line, no control characters,
    and the middle of a very long one is left out.

    >>> print(InputError("expected a caption, got the key 'na\nme'"))
    expected a caption, got the key 'na\nme'
    """

    def __str__(self) -> str:
        message = super().__str__()
        if len(message) > MAX_MESSAGE:
            message = f"{message[: MAX_MESSAGE - 500]} ... {message[-400:]}"
        return printable(message)


class SettingsError(HalluguardError, ValueError):
    """An argument or option is out of range or unknown."""


class InputError(HalluguardError, ValueError):
    """The caller's data cannot be read in the expected form."""


class ImageError(InputError):
    """An image is missing, unreadable, or outside the limits."""


class BudgetError(InputError):
    """Reading and correcting a text takes longer than its budget of seconds."""


class UnsupportedModelError(HalluguardError, TypeError):
    """The model cannot do what was asked of it, and doing something else silently would be wrong."""


class ExpertError(HalluguardError, RuntimeError):
    """A detector or another expert failed. This is never turned into "the object is absent"."""


class UnlistedImageError(ExpertError):
    """A list of known objects or boxes does not have the image, so nothing is known about it."""


class PromiseError(HalluguardError, ValueError):
    """The labelled images do not support a promise: there are too few of them, or too many errors."""


class OutputError(HalluguardError, OSError):
    """Results cannot be written: no permission, or no space. Files that are already written stay valid."""


class PreflightError(HalluguardError, RuntimeError):
    """A training was refused, because it would have failed without an error message."""


class TrainingError(HalluguardError, RuntimeError):
    """A training stopped, because its loss or weights are no longer finite. No adapter was written."""


class MissingExtraError(HalluguardError, ImportError):
    """An optional package is needed and is not installed."""


def first_line(error: BaseException) -> str:
    """The message of an error on one line; its class name if it has no message.

    >>> first_line(ValueError("no such layer\\nsee above")), first_line(KeyError())
    ('no such layer', 'KeyError')
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def forget_frames(error: BaseException) -> None:
    """Remove the tracebacks of an error that is kept, and of its causes: their frames hold images and tensors alive.

    >>> try:
    ...     int("x")
    ... except ValueError as error:
    ...     kept = error
    ...     forget_frames(kept)
    >>> kept.__traceback__ is None
    True
    """
    cause: BaseException | None = error
    while cause is not None:
        cause.__traceback__ = None
        cause = cause.__context__


def require(module: str, *, feature: str, extra: str | None = None) -> ModuleType:
    """Import the package `module`, or raise an error that names the command which installs it.

    Args:
        module: dotted name of the module.
        feature: feature that needs it, as the subject of the message.
        extra: the extra of this distribution that lists the package; None for a package that is always required.

    Raises:
        MissingExtraError: the module cannot be imported.

    >>> require("json", extra="train", feature="fine-tuning").__name__
    'json'
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{feature} needs the package {module.split('.')[0]!r}, which could not be imported ({error}); "
            f"install it with: pip install {' '.join(map(shlex.quote, _requirements_for(module, extra)))}"
        ) from error


def _requirements_for(module: str, extra: str | None) -> list[str]:
    """The packages to install for a module: all packages of its extra, or its own package in the required version."""
    if extra is not None:
        return requirements_of(extra)
    package = module.partition(".")[0]
    return [line for line in _requirements("") if re.split(r"[^\w.-]", line)[0] == package] or [package]


def requirements_of(extra: str) -> list[str]:
    """Return the packages of an extra, as pip takes them.

    They are named one by one, because that works with a clone, a wheel and an index alike.
    """
    return _requirements(extra) or [f"{Path(__file__).parents[1]}[{extra}]"]


def _requirements(extra: str) -> list[str]:
    """Packages of an extra, or the required ones for ""; empty if halluguard is not installed."""
    try:
        lines = metadata.requires("halluguard-mllm") or []
    except metadata.PackageNotFoundError:
        return []
    parts = [line.replace("'", '"').partition(";") for line in lines]
    condition = f'extra == "{extra}"'
    return [name.strip() for name, _, marker in parts if (condition in marker if extra else "extra" not in marker)]
