"""A twin of a model: new module objects, the same parameters.

Whatever a generation writes on its modules (position state, hooks, compiled calls, cache lengths) lands on the
twin and dies with it, so the caller's model is untouched afterwards, also after an exception, and two threads
can run different settings on one model. A twin costs Python objects only: no weight is copied.
"""

from __future__ import annotations

import functools
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

# Set by transformers when it compiles `model.__call__`: they would run the original, not the twin.
_COMPILED = ("_compiled_call", "_last_compile_config")


def twin_of(model: nn.Module, cls: type | None = None) -> Any:
    """Copy the tree of modules under `model`, sharing every parameter and buffer.

    Args:
        model: any module; it is read, never written.
        cls: class of the new root, by default that of `model`; inner modules keep theirs.

    Returns:
        A module of class `cls`. Instance methods that were bound to an original module (as accelerate's hooks
        are) are bound to its twin.
    """
    made: dict[int, Any] = {}
    root = _copy(model, cls or type(model), made)
    for module in made.values():
        for name, value in list(module.__dict__.items()):
            module.__dict__[name] = _rebound(value, made)
    return root


def _copy(module: nn.Module, cls: type, made: dict[int, Any]) -> Any:
    if id(module) in made:
        return made[id(module)]
    twin: Any = object.__new__(cls)
    made[id(module)] = twin
    # Dicts hold hooks, parameters and buffers: copied shallowly, so that adding to one adds nothing to the other.
    state = {k: v.copy() if isinstance(v, dict) else v for k, v in module.__dict__.items() if k not in _COMPILED}
    state["_modules"] = {
        name: None if child is None else _copy(child, type(child), made) for name, child in module._modules.items()
    }
    object.__setattr__(twin, "__dict__", state)
    return twin


def _rebound(value: Any, made: dict[int, Any]) -> Any:
    """`value` with every method of an original module replaced by the same method of its twin."""
    if isinstance(value, types.MethodType) and id(value.__self__) in made:
        return types.MethodType(value.__func__, made[id(value.__self__)])
    if isinstance(value, functools.partial):
        args = [made.get(id(a), a) for a in value.args]
        bound = functools.partial(_rebound(value.func, made), *args, **value.keywords)
        return functools.update_wrapper(bound, value) if hasattr(value, "__wrapped__") else bound
    return made.get(id(value), value)
