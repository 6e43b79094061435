"""Locate the output projection of self-attention, whose input holds the outputs of all heads side by side."""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedModel

from halluguard.decoding.engine.layers import READS_LOGITS, decoder_layers
from halluguard.errors import UnsupportedModelError

_ATTENTIONS = ("self_attn", "attention", "attn", "self_attention")
_OUTPUTS = ("o_proj", "out_proj", "dense", "wo", "c_proj")


def output_projections(model: PreTrainedModel) -> list[nn.Module]:
    """The output projection of each decoder layer's self-attention.

    Raises:
        UnsupportedModelError: a layer has none by a known name, or its input is not one vector per head.
    """
    return [_projection(model, layer) for layer in decoder_layers(model)]


def _projection(model: PreTrainedModel, layer: nn.Module) -> nn.Module:
    attention = next((part for name in _ATTENTIONS if (part := getattr(layer, name, None)) is not None), None)
    projection = next((part for name in _OUTPUTS if (part := getattr(attention, name, None)) is not None), None)
    width = getattr(projection, "in_features", None)
    if projection is None or width is None or width % heads_of(model):
        raise UnsupportedModelError(
            f"every layer is expected to mix its heads by one linear projection, named one of {_OUTPUTS}, but those of "
            f"{type(model).__name__} do not; {READS_LOGITS}"
        )
    return projection


def heads_of(model: PreTrainedModel) -> int:
    """Number of query heads of each decoder layer."""
    heads = getattr(model.config.get_text_config(decoder=True), "num_attention_heads", None)
    if not isinstance(heads, int):
        raise UnsupportedModelError(
            f"one number of attention heads for all layers is expected, got {heads}; {READS_LOGITS}"
        )
    return heads
