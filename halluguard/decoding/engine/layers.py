"""Where a model keeps what methods look inside for: its decoder's layers, the norm after them, and the head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedModel

from halluguard.errors import SettingsError, UnsupportedModelError

if TYPE_CHECKING:
    from torch import Tensor, nn

_NORMS = ("norm", "final_layernorm", "final_layer_norm", "ln_f", "norm_f", "ln_out", "layer_norm", "final_norm")
_LAST_NORMS = (*_NORMS, "embedding_norm")  # lfm2's, after its layers


def decoder(model: Any) -> nn.Module:
    """The text decoder: the module that holds the layers (and, in most families, the norm after them)."""
    found = model.get_decoder() if hasattr(model, "get_decoder") else None
    for name, module in () if found is None else found.named_modules():
        if _layers_of(module) is not None and not any(part in name for part in ("vision", "visual", "image")):
            return module
    raise UnsupportedModelError(
        f"a text decoder with a list of layers is expected, and {type(model).__name__} shows none by get_decoder(); "
        "use a method that reads logits only, such as VCD"
    )


def decoder_layers(model: Any) -> list[nn.Module]:
    """The decoder's layers, first to last. A hook on layer i sees (rows * batch, S, H) hidden states."""
    layers = _layers_of(decoder(model))
    assert layers is not None
    return list(layers)


def depth(model: Any) -> int:
    """How many layers the decoder has."""
    return len(decoder_layers(model))


def at_depth(layer: int, layers: int, of: int = 32) -> int:
    """A layer a paper names in a model of `of` layers (LLaVA-1.5-7B has 32), at the same share of another depth.

    >>> [at_depth(layer, 40) for layer in (2, 20, 28)]
    [2, 25, 35]
    """
    return round(layer * layers / of)


def final_norm(model: Any) -> nn.Module:
    """The norm between the last layer and the head."""
    inner = decoder(model)
    for name in _LAST_NORMS:
        norm = getattr(inner, name, None)
        if norm is not None:
            return norm
    raise UnsupportedModelError(
        f"a norm after the layers is expected, and {type(inner).__name__} has none named {_LAST_NORMS}; use a method "
        "that does not read earlier layers through the head"
    )


def head(model: Any) -> nn.Module:
    """The matrix from hidden states to logits."""
    from torch import nn

    found = model.get_output_embeddings()
    if not isinstance(found, nn.Linear) and not (found is not None and hasattr(found, "weight")):
        raise UnsupportedModelError(
            f"a linear head is expected, and {type(model).__name__} has {type(found).__name__}; use a method that "
            "reads the model's own logits only"
        )
    return found


def embeddings(model: Any) -> nn.Module:
    """The table of the tokens' embeddings."""
    try:
        return model.get_input_embeddings()
    except NotImplementedError:
        raise UnsupportedModelError(
            f"a table of embeddings is expected, and {type(model).__name__} shows none; use a method that reads logits "
            "only, such as VCD"
        ) from None


def early_logits(model: Any, hidden: Tensor, normed: bool = True) -> Tensor:
    """Logits (..., V), fp32, of an earlier layer's hidden states (..., H): final norm (unless left out), then head.

    Families that scale or cap their logits after the head do so here too, by their config.
    """
    logits = head(model)(final_norm(model)(hidden) if normed else hidden).float()
    text = model.config.get_text_config()
    scale = getattr(text, "logit_scale", None)
    if isinstance(scale, int | float) and scale != 0:
        logits = logits * scale
    scaling = getattr(text, "logits_scaling", None)
    if isinstance(scaling, int | float) and scaling != 0:
        logits = logits / scaling
    cap = getattr(text, "final_logit_softcapping", None)
    return logits if not cap else cap * (logits / cap).tanh()


def _layers_of(module: nn.Module) -> Any:
    from torch import nn

    for name in ("layers", "h", "blocks", "block"):
        layers = getattr(module, name, None)
        if isinstance(layers, nn.ModuleList) and len(layers):
            return layers
    return None


def check_layer_range(layers: Sequence[int] | None) -> tuple[int, int] | None:
    """The first and the last layer of a setting, both from 1, or None for a method's own.

    Raises:
        SettingsError: not two layers in order.
    """
    if layers is None:
        return None
    if len(layers) != 2 or not 1 <= layers[0] <= layers[1]:
        raise SettingsError(f"layers must be the first and the last, from 1, got {tuple(layers)}; or None")
    return layers[0], layers[1]


def layer_range(model: PreTrainedModel, layers: Sequence[int] | None, first: int, last: int) -> range:
    """The layers of a setting; for None, `first` to `last` of a 32-layer model at the same share of this one's depth.

    The last layer itself is never among them.

    Raises:
        SettingsError: a layer that this model does not have.
    """
    layer_count = depth(model)
    if layers is not None and layers[1] >= layer_count:
        raise SettingsError(f"layers must be in 1..{layer_count - 1} for this model, got {tuple(layers)}; or None")
    start, end = layers or (at_depth(first, layer_count), at_depth(last, layer_count))
    end = max(1, min(end, layer_count - 1))
    return range(max(1, min(start, end)), end + 1)
