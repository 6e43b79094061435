"""Steering: a direction added to what a layer's MLP writes, keeping its length.

    h <- |h| normalised( h / |h| + strength d / |d| )

What VTI and VISTA share: where MLPs are, how a direction is read from a prompt, and from many.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from halluguard.decoding.engine.layers import decoder_layers
from halluguard.decoding.engine.shared_copy import twin_of
from halluguard.errors import UnsupportedModelError

if TYPE_CHECKING:
    from torch import Tensor, nn

_MLPS = ("mlp", "feed_forward", "feedforward", "ffn", "block_sparse_moe", "moe")
_TOWERS = ("vision_tower", "vision_model", "visual", "vision_encoder", "image_encoder")


def steered(hidden: Tensor, direction: Tensor, strength: Tensor | float) -> Tensor:
    """`hidden` (..., H) turned towards `direction`, in fp32, returned in its own type and at its own length.

    Args:
        direction: broadcastable to hidden. strength: a number, or broadcastable to (..., 1).
    """
    from torch.nn.functional import normalize

    x = hidden.float()
    turned = normalize(normalize(x, dim=-1) + strength * normalize(direction.float(), dim=-1), dim=-1)
    return (turned * x.norm(dim=-1, keepdim=True)).to(hidden.dtype)


def steer(layers: Sequence[nn.Module], change: Callable[[Tensor, int], Tensor]) -> None:
    """Put `change(hidden, layer)` on what each layer's MLP returns. For modules of a twin: nothing removes it."""
    for number, layer in enumerate(layers):

        def hook(module: Any, args: Any, output: Any, number: int = number) -> Any:
            if isinstance(output, tuple):  # mixture of experts: with the router's logits
                return (change(output[0], number), *output[1:])
            return change(output, number)

        mlp_of(layer).register_forward_hook(hook)


def mlp_of(layer: nn.Module) -> nn.Module:
    """The MLP of a layer."""
    for name in _MLPS:
        found = getattr(layer, name, None)
        if found is not None:
            return found
    raise UnsupportedModelError(
        f"a layer with an MLP named one of {_MLPS} is expected, got {type(layer).__name__}; use a method that reads "
        "logits only, such as VCD"
    )


def vision_tower(model: Any) -> tuple[nn.Module, list[nn.Module]]:
    """The picture encoder and its layers."""
    from torch import nn

    for name, module in model.named_modules():
        if name.rpartition(".")[2] not in _TOWERS:
            continue
        for inner in module.modules():
            if isinstance(inner, nn.ModuleList) and len(inner) and any(hasattr(inner[0], mlp) for mlp in _MLPS):
                return module, list(inner)
    raise UnsupportedModelError(
        f"a picture encoder named one of {_TOWERS} is expected, and {type(model).__name__} shows none; steer the text "
        "alone"
    )


def last_residuals(model: Any, inputs: Mapping[str, Any]) -> Tensor:
    """(layers, B, H) fp32: what each decoder layer returns at the last token of each prompt (left-padded).

    The prompt is read by the host's own `generate`, on a twin: masks and positions are its own, and nothing is
    left on the model.
    """
    import torch

    probe = twin_of(model)
    taken: list[Tensor] = []
    for layer in decoder_layers(probe):
        layer.register_forward_hook(lambda module, args, output: taken.append(_hidden(output)[:, -1].float()))
    with torch.inference_mode():
        type(model).generate(probe, **inputs, max_new_tokens=1, num_beams=1, do_sample=False)
    width = model.config.get_text_config().hidden_size
    if any(hidden.ndim != 2 or hidden.shape[-1] != width for hidden in taken):
        raise UnsupportedModelError(
            f"layers that return one state of width {width} a token are expected, and those of {type(model).__name__} "
            "return several streams; use a method that reads logits only, such as VCD"
        )
    return torch.stack(taken).clone()


def principal(differences: Tensor) -> Tensor:
    """(..., D): mean plus first principal component of n examples (..., n, D), as VTI and VISTA have it.

    The component is a unit vector, turned so that the example that lies farthest along it lies on its positive side.
    One example has no component: its mean is itself.
    """
    import torch

    mean = differences.mean(-2)
    if differences.shape[-2] < 2:
        return mean
    u, _, v = torch.linalg.svd(differences - mean[..., None, :], full_matrices=False)
    first = u[..., :, 0]
    sign = first.gather(-1, first.abs().argmax(-1, keepdim=True)).sign()
    return mean + sign * v[..., 0, :]


def _hidden(output: Any) -> Tensor:
    return output[0] if isinstance(output, tuple) else output
