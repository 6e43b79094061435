"""Locate a model's decoder, its layers, the norm after them, the LM head and the token embeddings."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from transformers import PreTrainedModel

from halluguard.errors import SettingsError, UnsupportedModelError

READS_LOGITS = "use a method that reads logits only, such as VCD"
"""Advice where a method cannot read the inside of a model."""

_LAST_NORMS = (
    *("norm", "final_layernorm", "final_layer_norm", "ln_f", "norm_f", "ln_out", "layer_norm", "final_norm"),
    "embedding_norm",  # lfm2's, after its layers
)


def decoder(model: PreTrainedModel) -> nn.Module:
    """The text decoder: the module that holds the layers (and, in most families, the norm after them)."""
    root = model.get_decoder() if hasattr(model, "get_decoder") else None
    for name, module in () if root is None else root.named_modules():
        if _layers_of(module) is not None and not any(part in name for part in ("vision", "visual", "image")):
            return module
    raise UnsupportedModelError(
        f"a text decoder with a list of layers is expected, and {type(model).__name__} has none; {READS_LOGITS}"
    )


def _layers_of(module: nn.Module) -> nn.ModuleList | None:
    for name in ("layers", "h", "blocks", "block"):
        layers = getattr(module, name, None)
        if isinstance(layers, nn.ModuleList) and len(layers):
            return layers
    return None


def decoder_layers(model: PreTrainedModel) -> list[nn.Module]:
    """The decoder's layers, first to last. A hook on a layer sees hidden states (branches * batch, S, H)."""
    layers = _layers_of(decoder(model))
    assert layers is not None
    return list(layers)


def depth(model: PreTrainedModel) -> int:
    """Number of decoder layers."""
    return len(decoder_layers(model))


def at_depth(layer: int, layers: int) -> int:
    """Scale a layer number from LLaVA-1.5-7B, which has 32 layers, to a model of `layers` layers.

    >>> [at_depth(layer, 40) for layer in (2, 20, 28)]
    [2, 25, 35]
    """
    return round(layer * layers / 32)


def final_norm(model: PreTrainedModel) -> nn.Module:
    """The norm between the last layer and the head."""
    inner = decoder(model)
    for name in _LAST_NORMS:
        norm = getattr(inner, name, None)
        if norm is not None:
            return norm
    raise UnsupportedModelError(
        f"a norm after the layers is expected, and {type(inner).__name__} has none of {_LAST_NORMS}; {READS_LOGITS}"
    )


def head(model: PreTrainedModel) -> nn.Module:
    """The LM head: the matrix from hidden states to logits."""
    matrix = model.get_output_embeddings()
    if matrix is None or not hasattr(matrix, "weight"):
        raise UnsupportedModelError(
            f"a linear head is expected, and {type(model).__name__} has {type(matrix).__name__}; {READS_LOGITS}"
        )
    return matrix


def embeddings(model: PreTrainedModel) -> nn.Module:
    """The table of token embeddings."""
    try:
        return model.get_input_embeddings()
    except NotImplementedError:
        raise UnsupportedModelError(
            f"a table of embeddings is expected, and {type(model).__name__} has none; {READS_LOGITS}"
        ) from None


def early_logits(model: PreTrainedModel, hidden: Tensor, normed: bool = True) -> Tensor:
    """Logits (..., V) in fp32 that the head makes of the hidden states (..., H) of an earlier layer.

    With `normed`, the final norm is applied first. Logits are scaled and capped as the family's config says.
    """
    logits = head(model)(final_norm(model)(hidden) if normed else hidden).float()
    text = model.config.get_text_config()
    scale, divisor, cap = (
        getattr(text, name, None) for name in ("logit_scale", "logits_scaling", "final_logit_softcapping")
    )
    if isinstance(scale, int | float) and scale != 0:
        logits = logits * scale
    if isinstance(divisor, int | float) and divisor != 0:
        logits = logits / divisor
    return logits if not cap else cap * (logits / cap).tanh()


def check_layer_range(layers: Sequence[int] | None) -> tuple[int, int] | None:
    """Check a setting `layers`: the first and the last layer, counted from 1; None for the method's default.

    Raises:
        SettingsError: not two layers in ascending order.
    """
    if layers is None:
        return None
    if len(layers) != 2 or not 1 <= layers[0] <= layers[1]:
        raise SettingsError(
            f"layers must be the first and the last layer, counted from 1, got {tuple(layers)}; None takes the default"
        )
    return layers[0], layers[1]


def layer_range(model: PreTrainedModel, layers: Sequence[int] | None, first: int, last: int) -> range:
    """The layers of a setting; for None, `first` to `last` of a 32-layer model, scaled to the depth of this one.

    The last layer itself is never among them.

    Raises:
        SettingsError: a layer that this model does not have.
    """
    layer_count = depth(model)
    if layers is not None and layers[1] >= layer_count:
        raise SettingsError(
            f"layers must be in 1..{layer_count - 1} for this model, got {tuple(layers)}; None takes the default"
        )
    start, end = layers or (at_depth(first, layer_count), at_depth(last, layer_count))
    end = max(1, min(end, layer_count - 1))
    return range(max(1, min(start, end)), end + 1)
