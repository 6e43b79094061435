"""Copy a model without its weights: new module objects, the same parameters.

Everything that a generation writes on its modules (position state, hooks, compiled calls, cache lengths) stays on the
shared copy and is gone with it. The caller's model is untouched afterwards, even after an exception, and two threads
can run different settings on one model. A copy costs only Python objects; no weight is copied.
"""

from __future__ import annotations

import functools
import types
from typing import Any

from torch import nn

# Set by transformers when it compiles `model.__call__`. They would run the original, not the copy.
_COMPILED = ("_compiled_call", "_last_compile_config")


def shared_copy_of(model: nn.Module, cls: type | None = None) -> Any:
    """Copy the tree of modules under `model`; all parameters and buffers are shared.

    Args:
        model: any module; it is read, never written.
        cls: class of the new root, by default the class of `model`. Inner modules keep their classes.

    Returns:
        A module of class `cls`. Methods that were bound to an original module on the instance (as accelerate's hooks
        are) are bound to its copy.
    """
    copies: dict[int, nn.Module] = {}
    root = _copy(model, cls or type(model), copies)
    for module in copies.values():
        for name, value in list(module.__dict__.items()):
            module.__dict__[name] = _rebound(value, copies)
    return root


def _copy(module: nn.Module, cls: type, copies: dict[int, nn.Module]) -> nn.Module:
    if id(module) in copies:
        return copies[id(module)]
    copy: nn.Module = object.__new__(cls)
    copies[id(module)] = copy
    # Dicts hold hooks, parameters and buffers. They are copied shallowly: adding to one adds nothing to the other.
    state = {k: v.copy() if isinstance(v, dict) else v for k, v in module.__dict__.items() if k not in _COMPILED}
    state["_modules"] = {
        name: None if child is None else _copy(child, type(child), copies) for name, child in module._modules.items()
    }
    object.__setattr__(copy, "__dict__", state)
    return copy


def _rebound(value: Any, copies: dict[int, nn.Module]) -> Any:
    """`value`, with every method of an original module replaced by the same method of its copy."""
    if isinstance(value, types.MethodType) and id(value.__self__) in copies:
        return types.MethodType(value.__func__, copies[id(value.__self__)])
    if isinstance(value, functools.partial):
        args = [copies.get(id(a), a) for a in value.args]
        bound = functools.partial(_rebound(value.func, copies), *args, **value.keywords)
        return functools.update_wrapper(bound, value) if hasattr(value, "__wrapped__") else bound
    return copies.get(id(value), value)
