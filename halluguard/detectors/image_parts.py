"""Run the image parts of a detection model once per image, however many phrases are asked.

A batch has one row per image and phrase. The image backbone gives every row of an image the same output, so it runs on
one row per image and its output is repeated. The model is left alone: a shallow copy shares all weights, and only the
named modules of that copy run another forward pass.

A model whose `forward` was replaced, as accelerate does for a model on several devices, calls its own modules and not
those of the copy. It gives the same results, without the saving.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map, tree_map_only

from halluguard.errors import UnsupportedModelError

Forward = Callable[..., Any]
"""Forward pass of a module: its outputs are the module's own."""


class ImageRows:
    """The image of each row of the current batch, and what was computed for the images so far.

    Outputs are kept for the lifetime of this object; make one object for each group of images that share passes.
    """

    def __init__(self) -> None:
        self.images: Sequence[int] = ()

    def once(self, module: Forward) -> Forward:
        """The forward pass of a module, computed once per image and repeated for its rows.

        Args:
            module: takes and gives tensors (R, ...) with one row per row of the batch, in any nesting. Behind a batch
                of a single row, tensors may have any shape, such as one row per patch.
        """
        kept: dict[int, Any] = {}  # image -> its row of every output

        def forward(*args: Any, **kwargs: Any) -> Any:
            rows = list(self.images)
            new = [image for image in dict.fromkeys(rows) if image not in kept]
            if new:
                first = [rows.index(image) for image in new]
                output = module(*_rows(args, first, len(rows)), **_rows(kwargs, first, len(rows)))
                for i, image in enumerate(new):
                    kept[image] = _rows(output, slice(i, i + 1) if len(new) > 1 else slice(None))
                if rows == new:
                    return output
            # New containers each time, because models write into those that they get.
            return tree_map(_joined, *[kept[image] for image in rows])

        return forward


def _rows(tree: Any, rows: list[int] | slice, of: int | None = None) -> Any:
    """Some rows of every tensor in a tree; tensors that do not have `of` rows stay whole."""
    return tree_map_only(Tensor, lambda t: t[rows] if of is None or (t.dim() and len(t) == of) else t, tree)


def _joined(*leaves: Any) -> Any:
    return torch.cat(leaves) if len(leaves) > 1 and isinstance(leaves[0], Tensor) else leaves[0]


def with_forwards(model: Any, forwards: Mapping[str, Callable[[Forward], Forward]]) -> Any:
    """A model that shares all weights with `model` and runs other forward passes in some of its modules.

    Args:
        model: the model; it is not changed.
        forwards: path of a module ("model.backbone") -> function from the module to its new forward pass.

    >>> layers = torch.nn.Sequential(torch.nn.Identity())
    >>> doubled = with_forwards(layers, {"0": lambda module: lambda x: 2 * module(x)})
    >>> doubled(torch.ones(1)).item(), layers(torch.ones(1)).item()
    (2.0, 1.0)
    """
    if not forwards:
        return model
    view = _shallow(model)
    copied = {"": view}
    for path, replacement in forwards.items():
        *parents, name = path.split(".")
        parent = view
        for depth, part in enumerate(parents, 1):
            prefix = ".".join(parents[:depth])
            if prefix not in copied:
                copied[prefix] = _shallow(parent._modules[part])
                parent._modules[part] = copied[prefix]
            parent = copied[prefix]
        original = parent._modules[name]
        part_view = _shallow(original)
        part_view.forward = replacement(original)
        # Hooks and a compiled call belong to the original, which the new forward pass calls.
        for hooks in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"):
            setattr(part_view, hooks, OrderedDict())
        part_view._compiled_call_impl = None
        parent._modules[name] = part_view
    return view


def instead(output: Any) -> Callable[[Forward], Forward]:
    """A forward pass for `with_forwards` that returns this output and computes nothing."""
    return lambda module: lambda *args, **kwargs: output


def _shallow(module: Any) -> Any:
    view = copy.copy(module)
    view._modules = dict(module._modules)
    return view


def existing(model: Any, paths: Iterable[str]) -> list[str]:
    """The paths of modules that a model has; `*` stands for every child of a list."""
    names = []
    for path in paths:
        before, star, after = path.partition(".*")
        if not star:
            names += [path] if _module(model, path) is not None else []
            continue
        children = getattr(_module(model, before), "_modules", None) or {}
        names += existing(model, [f"{before}.{name}{after}" for name in children])
    return names


def _module(model: Any, path: str) -> Any:
    for name in path.split("."):
        model = (getattr(model, "_modules", None) or {}).get(name)
    return model


def compile_modules(model: Any, paths: Iterable[str]) -> None:
    """Send modules of a model through `torch.compile`, in place.

    Raises:
        UnsupportedModelError: the model has none of them.
    """
    names = existing(model, paths)
    if not names:
        raise UnsupportedModelError(f"{type(model).__name__} has no part that can be compiled here; leave compile out")
    for path in names:
        _module(model, path).compile()
