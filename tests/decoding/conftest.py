"""Tiny random models for the decoding tests, and what the folded view must equal: every row from scratch."""

import pytest
import torch
from transformers import logging
from transformers.modeling_outputs import CausalLMOutputWithPast

from halluguard.decoding.base import Step

logging.set_verbosity_error()
torch.set_num_threads(1)


class FromScratch:
    """Laid over a model's class: each row of each sequence is recomputed alone, with no cache, padding or batch.

    rows: for each prompt, the inputs of its original and its negative rows, one sequence each, unpadded.
    """

    def __call__(self, input_ids, **_):
        beams = len(input_ids) // len(self.rows)
        folded = []
        for i, sequence in enumerate(input_ids[:, self.prompt_length :]):
            logits = [self.logits(inputs, sequence) for inputs in self.rows[i // beams]]
            value, keep = self.method.combine_logits(logits, Step(torch.tensor([len(sequence)]), 1))
            folded.append(value if keep is None else value.masked_fill(~keep, -torch.inf))
        return CausalLMOutputWithPast(logits=torch.cat(folded))

    def logits(self, inputs, tokens):
        inputs = dict(inputs)
        inputs["input_ids"] = torch.cat([inputs["input_ids"], tokens[None]], 1)
        for name in ("token_type_ids", "mm_token_type_ids"):
            if name in inputs:
                inputs[name] = torch.cat([inputs[name], torch.zeros_like(tokens)[None]], 1)
        return self.plain(**inputs, use_cache=False).logits[:, -1:].float()


def recomputed(model, method, rows, inputs, **settings):
    """Plain `generate` of the host over a model that recomputes every row from scratch."""
    reference = object.__new__(type("FromScratch", (FromScratch, type(model)), {}))
    state = {"plain": model, "method": method, "rows": rows, "prompt_length": inputs["input_ids"].shape[1]}
    reference.__dict__.update(model.__dict__, **state)
    settings.pop("cache_implementation", None)
    return type(model).generate(reference, **inputs, **{**settings, "use_cache": False})


@pytest.fixture(scope="session")
def llava(architectures):
    return architectures.llava()


@pytest.fixture(scope="session")
def from_scratch():
    return recomputed
