"""Count the passes over the vocabulary that a method makes for each token, so that they do not grow unseen."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from halluguard.decoding import VCD, Imagination, get_method

TEXTS = [[5, 6, 7, 8, 9, 10, 11]]
VIEWS = ("aten.view", "aten.slice", "aten.split", "aten.select", "aten.unsqueeze", "aten.squeeze", "aten._unsafe_view")


class Passes(TorchDispatchMode):
    """Counts operations that write or read one value per token of the vocabulary."""

    def __init__(self, vocabulary):
        super().__init__()
        self.vocabulary, self.count = vocabulary, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        tensors = [t for t in (output, *args) if isinstance(t, torch.Tensor)]
        seen = any(t.ndim and t.shape[-1] == self.vocabulary for t in tensors)
        self.count += seen and not str(func).startswith(VIEWS)
        return output


def passes_per_token(tiny, model, **settings):
    counts = []
    for tokens in (2, 6):
        with Passes(tiny.model.config.get_text_config().vocab_size) as passes:
            model.generate(**tiny.prompt(TEXTS), max_new_tokens=tokens, do_sample=False, eos_token_id=None, **settings)
        counts.append(passes.count)
    return (counts[1] - counts[0]) / 4


@pytest.mark.parametrize(
    ("method", "settings", "most"),
    [
        (VCD(), {}, 9),
        (VCD(), {"min_new_tokens": 2}, 9),
        (VCD(), {"repetition_penalty": 1.1}, 16),
        (get_method("Greedy"), {}, 5),
        (Imagination(), {}, 18),
    ],
)
def test_a_method_adds_few_passes_over_the_vocabulary(llava, method, settings, most):
    plain = passes_per_token(llava, llava.model, **settings)
    added = passes_per_token(llava, method.on(llava.model), **settings) - plain
    assert 0 < added <= most
