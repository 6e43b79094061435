"""Steer hidden states: add a direction to the output of a layer's MLP and keep its length.

    h <- |h| normalised( h / |h| + strength d / |d| )

Shared by VTI and VISTA, with the location of MLPs and of the image encoder, and with the directions that prompts give.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers import PreTrainedModel

from halluguard.decoding.engine.layers import READS_LOGITS, decoder_layers
from halluguard.decoding.engine.shared_copy import shared_copy_of
from halluguard.errors import UnsupportedModelError

_MLPS = ("mlp", "feed_forward", "feedforward", "ffn", "block_sparse_moe", "moe")
_TOWERS = ("vision_tower", "vision_model", "visual", "vision_encoder", "image_encoder")


def steered(hidden: Tensor, direction: Tensor, strength: Tensor | float) -> Tensor:
    """Turn hidden states (..., H) towards a direction. Computed in fp32; type and length of `hidden` are kept.

    `direction` broadcasts to the hidden states, `strength` to (..., 1)."""
    x = hidden.float()
    turned = normalize(normalize(x, dim=-1) + strength * normalize(direction.float(), dim=-1), dim=-1)
    return (turned * x.norm(dim=-1, keepdim=True)).to(hidden.dtype)


def steer(layers: Sequence[nn.Module], change: Callable[[Tensor, int], Tensor]) -> None:
    """Apply `change(hidden, layer)` to the output of each layer's MLP. For modules of a shared copy only.

    The hooks are never removed; they vanish with the copy.
    """
    for number, layer in enumerate(layers):

        def hook(module: nn.Module, args: object, output: Tensor | tuple, number: int = number) -> Tensor | tuple:
            if isinstance(output, tuple):  # a mixture of experts returns its router's logits too
                return (change(output[0], number), *output[1:])
            return change(output, number)

        mlp_of(layer).register_forward_hook(hook)


def mlp_of(layer: nn.Module) -> nn.Module:
    """The MLP of a layer."""
    for name in _MLPS:
        mlp = getattr(layer, name, None)
        if mlp is not None:
            return mlp
    raise UnsupportedModelError(
        f"a layer with an MLP named one of {_MLPS} is expected, got {type(layer).__name__}; {READS_LOGITS}"
    )


def vision_tower(model: PreTrainedModel) -> tuple[nn.Module, list[nn.Module]]:
    """The image encoder and its layers."""
    for name, module in model.named_modules():
        if name.rpartition(".")[2] not in _TOWERS:
            continue
        for inner in module.modules():
            if isinstance(inner, nn.ModuleList) and len(inner) and any(hasattr(inner[0], mlp) for mlp in _MLPS):
                return module, list(inner)
    raise UnsupportedModelError(
        f"an image encoder named one of {_TOWERS} is expected, {type(model).__name__} has none; steer the text alone"
    )


def last_residuals(model: PreTrainedModel, inputs: Mapping[str, object]) -> Tensor:
    """(layers, B, H) fp32: output of each decoder layer at the last token of each prompt (left-padded).

    The model's own `generate` reads the prompt, on a shared copy: masks and positions are the family's own.
    """
    probe = shared_copy_of(model)
    outputs: list[Tensor] = []
    for layer in decoder_layers(probe):
        layer.register_forward_hook(
            lambda module, args, output: outputs.append(
                (output[0] if isinstance(output, tuple) else output)[:, -1].float()
            )
        )
    with torch.inference_mode():
        probe.generate(**inputs, max_new_tokens=1, num_beams=1, do_sample=False)
    width = model.config.get_text_config().hidden_size
    if any(hidden.ndim != 2 or hidden.shape[-1] != width for hidden in outputs):
        raise UnsupportedModelError(
            f"layers that return one state of width {width} per token are expected, and those of "
            f"{type(model).__name__} return several streams; {READS_LOGITS}"
        )
    return torch.stack(outputs).clone()


def principal(differences: Tensor) -> Tensor:
    """(..., D): mean plus first principal component of n examples (..., n, D), as in VTI and VISTA.

    The component is a unit vector, turned so that the example that lies farthest along it lies on its positive side.
    One example has no component: the result is the example.
    """
    mean = differences.mean(-2)
    if differences.shape[-2] < 2:
        return mean
    u, _, v = torch.linalg.svd(differences - mean[..., None, :], full_matrices=False)
    first = u[..., :, 0]
    sign = first.gather(-1, first.abs().argmax(-1, keepdim=True)).sign()
    return mean + sign * v[..., 0, :]
