"""The laws that families can break, on families unlike LLaVA: M-RoPE, sliding windows, cross-attention, hybrids.

Each method there is exact (a batch of unlike prompts gives each row's own answer, with and without beams) or refused
by name.
"""

import pytest
import torch

from halluguard import decoding
from halluguard.decoding import METHODS
from halluguard.errors import HalluguardError

FAMILIES = [
    "qwen2_5_vl",
    pytest.param("gemma3", marks=pytest.mark.slow),
    pytest.param("mllama", marks=pytest.mark.slow),
]
FAMILIES += [pytest.param("qwen3_5", marks=pytest.mark.slow)]
TEXTS = [[5, 6, 7, 8, 9, 10, 11], [12, 13, 14]]
NEW = {"max_new_tokens": 4, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
# Packed patches and tiles can only be changed on the image, which these calls do not pass.
SPATIAL = {"AGLA", "Contrast", "RITUAL", "TemperatureMatched"}
NEED_IMAGE_TOKENS = {"AllPath", "ONLY", "OPERA", "PAI", "PTI", "SID", "VAF", "VGA", "VisualEntropy"}
REFUSED = {
    "qwen2_5_vl": SPATIAL,
    "gemma3": {"ONLY"},  # norms on both sides of its blocks
    "mllama": {*SPATIAL, *NEED_IMAGE_TOKENS},
    "qwen3_5": {*SPATIAL, "AllPath", "ONLY", "SID"},  # layers without attention
}


@pytest.fixture(scope="module")
def build(architectures):
    made = {}

    def tiny(family):
        if family not in made:
            made[family] = architectures.tiny(family)
        return made[family]

    return tiny


def method_for(name, model):
    cls = METHODS[name]
    return cls(**{**cls.required_settings(model), **cls.law_settings})


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("family", FAMILIES)
def test_exact_or_refused_by_name(build, family, name):
    tiny = build(family)
    view = method_for(name, tiny.model).on(tiny.model)
    try:
        both = view.generate(**tiny.prompt(TEXTS), **NEW)
    except HalluguardError:
        assert name in REFUSED[family] or name not in decoding.__all__, (
            "only a method of your own may be refused unseen"
        )
        return
    assert name not in REFUSED[family]
    beams = view.generate(**tiny.prompt(TEXTS), **NEW, num_beams=2)
    for row, text in enumerate(TEXTS):
        alone = view.generate(**tiny.prompt([text], seed=1 + row), **NEW)
        assert torch.equal(alone.sequences[0, -4:], both.sequences[row, -4:])
        for mine, batched in zip(alone.logits, both.logits, strict=True):
            assert torch.equal(mine[0] == -torch.inf, batched[row] == -torch.inf)
            kept = mine[0] > -torch.inf
            assert torch.allclose(mine[0][kept], batched[row][kept], atol=1e-4)
        again = view.generate(**tiny.prompt([text], seed=1 + row), **NEW, num_beams=2)
        assert torch.equal(again.sequences[0, -4:], beams.sequences[row, -4:])
