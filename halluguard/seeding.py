"""Give a block of code its own random generator: repeatable in any thread, with the global state untouched."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from halluguard.errors import SettingsError

_LARGEST = 2**63 - 1
_FUNCTIONS = "bernoulli multinomial normal poisson rand randint randn randperm"
_METHODS = "bernoulli bernoulli_ cauchy_ exponential_ geometric_ log_normal_ multinomial normal_ random_ uniform_"
DRAWING = {
    *(getattr(torch, name) for name in _FUNCTIONS.split()),
    *(getattr(torch.Tensor, name) for name in _METHODS.split()),
}
"""Functions of torch that draw random numbers and take a `generator`."""


class Seeded(TorchFunctionMode):
    """Within this block and this thread, torch draws from generators seeded with `seed`, one per device.

    The numbers are the same as after `torch.manual_seed(seed)`, even if other threads draw numbers meanwhile.

    Args:
        seed: seed of the generators, a whole number of at most 63 bits.
        shift: number that is added to it.

    Raises:
        SettingsError: the seed is not such a number.

    >>> with Seeded(5):
    ...     first = torch.rand(2)
    >>> with Seeded(5):
    ...     bool((torch.rand(2) == first).all())
    True
    """

    def __init__(self, seed: int, shift: int = 0) -> None:
        super().__init__()
        try:
            number = operator.index(seed)
        except TypeError:
            number = _LARGEST + 1
        if abs(number) > _LARGEST:
            raise SettingsError(f"expected a whole number of at most 63 bits as seed, got {seed!r}; choose another")
        self.seed = number + shift
        self._generators: dict[torch.device, torch.Generator] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        if func in DRAWING and options.get("generator") is None:
            tensor = next((arg for arg in (*args, *options.values()) if isinstance(arg, torch.Tensor)), None)
            device = tensor.device if tensor is not None else torch.device(options.get("device") or "cpu")
            options["generator"] = self._generator(device)
        return func(*args, **options)

    def _generator(self, device: torch.device) -> torch.Generator:
        if device not in self._generators:
            self._generators[device] = torch.Generator(device).manual_seed(self.seed)
        return self._generators[device]
