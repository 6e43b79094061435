"""Tiny random models for the decoding tests, and the reference of the folded view: every branch from scratch."""

import pytest
import torch
from transformers import logging
from transformers.modeling_outputs import CausalLMOutputWithPast

from halluguard.decoding.base import Step

logging.set_verbosity_error()
torch.set_num_threads(1)


class FromScratch:
    """Part of a model's class: each branch of each sequence is recomputed alone, with no cache, padding or batch.

    branches: for each prompt, the inputs of its original and its negative branches, one sequence each, unpadded.
    """

    def __call__(self, input_ids, **_):
        beams = len(input_ids) // len(self.branches)
        folded = []
        for i, sequence in enumerate(input_ids[:, self.prompt_length :]):
            logits = [self.logits(inputs, sequence) for inputs in self.branches[i // beams]]
            value, allowed = self.method.combine_logits(logits, Step(torch.tensor([len(sequence)]), 1))
            folded.append(value if allowed is None else value.masked_fill(~allowed, -torch.inf))
        return CausalLMOutputWithPast(logits=torch.cat(folded))

    def logits(self, inputs, tokens):
        inputs = dict(inputs)
        inputs["input_ids"] = torch.cat([inputs["input_ids"], tokens[None]], 1)
        for name in ("token_type_ids", "mm_token_type_ids"):
            if name in inputs:
                inputs[name] = torch.cat([inputs[name], torch.zeros_like(tokens)[None]], 1)
        return self.plain(**inputs, use_cache=False).logits[:, -1:].float()


def recomputed(model, method, branches, inputs, **settings):
    """Plain `generate` of a model that recomputes every branch from scratch."""
    reference = object.__new__(type("FromScratch", (FromScratch, type(model)), {}))
    state = {"plain": model, "method": method, "branches": branches, "prompt_length": inputs["input_ids"].shape[1]}
    reference.__dict__.update(model.__dict__, **state)
    settings.pop("cache_implementation", None)
    return type(model).generate(reference, **inputs, **{**settings, "use_cache": False})


@pytest.fixture(scope="session")
def llava(architectures):
    return architectures.llava()


@pytest.fixture(scope="session")
def from_scratch():
    return recomputed
