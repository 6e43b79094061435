"""Make model inputs that continue an answer from its first tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from halluguard.decoding.engine.batch import TOKEN_TYPES, Branch, ModelInputs
from halluguard.decoding.engine.delegation import END_MARKED

SUFFIX_TYPED = ("paligemma",)
"""Model types whose answers have the token type 1."""


def continued(model: PreTrainedModel, inputs: Mapping[str, Any], tokens: Sequence[int]) -> ModelInputs:
    """The inputs of one prompt followed by the first tokens of its answer.

    Args:
        model: the model; its type says which masks a token of the answer has.
        inputs: model inputs of one prompt.
        tokens: the first token ids of the answer.

    Returns:
        Model inputs with which `generate` writes what comes after `tokens`.
    """
    if not tokens:
        return dict(inputs)
    if model.config.is_encoder_decoder:
        begin = inputs.get("decoder_input_ids")
        if begin is None:
            start = model.generation_config.decoder_start_token_id
            start = model.generation_config.bos_token_id if start is None else start
            begin = torch.tensor([[start]], device=model.device)
        answer = torch.tensor([list(tokens)], device=begin.device)
        return {**inputs, "decoder_input_ids": torch.cat([begin, answer], 1)}
    others = dict(inputs)
    ids = others.pop("input_ids", None)
    if ids is None:  # the image is the whole prompt
        start = model.generation_config.bos_token_id
        ids = torch.tensor([[start]], device=model.device)
    answer = torch.tensor([list(tokens)], device=ids.device, dtype=ids.dtype)
    longer = Branch(ids, others).followed_by(answer)
    made = {"input_ids": longer.ids, **longer.inputs}
    if model.config.model_type in END_MARKED:
        made["input_ids"] = torch.cat([ids[:, :-1], answer, ids[:, -1:]], 1)
    if model.config.model_type in SUFFIX_TYPED:
        for name in TOKEN_TYPES:
            if name in made:
                made[name] = made[name].clone()
                made[name][:, ids.shape[1] :] = 1
    return made
