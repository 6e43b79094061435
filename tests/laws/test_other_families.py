"""The laws that families can break, on families unlike LLaVA: M-RoPE, sliding windows, cross-attention, hybrids.

Each method there is exact (a batch of unlike prompts gives each row's own answer, with and without beams) or refused
by name.
"""

import pytest
import torch

from halluguard.decoding import METHODS, get_method
from halluguard.decoding.engine.layers import depth
from halluguard.decoding.methods.vti import Directions
from halluguard.errors import HalluguardError

FAMILIES = [
    "qwen2_5_vl",
    pytest.param("gemma3", marks=pytest.mark.slow),
    pytest.param("mllama", marks=pytest.mark.slow),
]
FAMILIES += [pytest.param("qwen3_5", marks=pytest.mark.slow)]
TEXTS = [[5, 6, 7, 8, 9, 10, 11], [12, 13, 14]]
NEW = {"max_new_tokens": 4, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
# Packed patches and tiles can only be changed on the picture, which these calls do not pass.
SPATIAL = {"AGLA", "Contrast", "RITUAL", "TemperatureMatched"}
REFUSED = {
    "qwen2_5_vl": SPATIAL,
    "gemma3": {"ONLY"},  # norms on both sides of its blocks
    "mllama": {*SPATIAL, "ONLY", "OPERA", "PAI", "SID"},  # no picture in the sequence
    "qwen3_5": {*SPATIAL, "ONLY", "SID"},  # layers without attention
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
    settings = {
        "ICD": {"instruction": (20, 21, 22)},
        "RITUAL": {"transform": "vertical flip"},
        "YesBias": {"yes": (7,)},
    }
    settings["TemperatureMatched"] = {"method": "AGLA"}
    if name == "VTI":
        width = model.config.get_text_config().hidden_size
        draw = torch.Generator().manual_seed(0)
        settings["VTI"] = {"directions": Directions(torch.randn(depth(model), width, generator=draw)), "text": 4.0}
    return get_method(name, **settings.get(name, {}))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("family", FAMILIES)
def test_exact_or_refused_by_name(build, family, name):
    tiny = build(family)
    view = method_for(name, tiny.model).on(tiny.model)
    if name in REFUSED[family]:
        with pytest.raises(HalluguardError):
            view.generate(**tiny.prompt(TEXTS), **NEW)
        return
    both = view.generate(**tiny.prompt(TEXTS), **NEW)
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
