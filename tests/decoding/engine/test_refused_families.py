"""Methods that look inside a model, on families built in another way: refused by name, and nothing left behind."""

import functools

import pytest

from halluguard.decoding import PAI, get_method
from halluguard.errors import HalluguardError, UnsupportedModelError

REFUSED = [
    ("pp_formulanet", "ICD", "takes an image alone"),
    ("pp_formulanet", "DoLa", "a table of embeddings is expected"),
    ("pp_formulanet", "VISTA", "takes an image alone"),
    ("glm5_next", "DeCo", "keep several streams"),
    ("qwen4_exp", "VISTA", "return several streams"),
    ("nemotron_h_omni", "OPERA", "reads the attention of the last layer"),
    ("git", "DeCo", "a text decoder with a list of layers is expected"),
    ("minicpmv4_6", "VCD", "pixels should come as images, tiles or packed patches"),
    ("unlimited_ocr", "VCD", "of the same image beside them"),
    ("deepseek_vl_hybrid", "AGLA", "of the same image beside them"),
    ("gemma3n", "PAI", "sees a window of 8"),
    ("gemma3n", "SID", "see a window"),
]
SETTINGS = {"ICD": {"instruction": (20, 21)}}


@pytest.fixture(scope="module")
def build(architectures):
    return functools.cache(architectures.tiny)


@pytest.mark.parametrize(("family", "method", "why"), REFUSED)
def test_what_a_family_lacks_is_said(build, family, method, why):
    tiny = build(family)
    view = get_method(method, **SETTINGS.get(method, {})).on(tiny.model)
    with pytest.raises(HalluguardError, match=why):
        view.generate(**tiny.prompt([[5, 6, 7, 8, 9, 10], [12, 13]]), max_new_tokens=4, do_sample=False)


def test_a_decoder_with_a_configuration_of_its_own_keeps_it(build):
    tiny = build("udop")
    before = {name: module.config._attn_implementation for name, module in configured(tiny.model)}
    with pytest.raises(UnsupportedModelError, match="position_bias"):
        PAI().on(tiny.model).generate(**tiny.prompt([[5, 6, 7]]), max_new_tokens=2)
    assert {name: module.config._attn_implementation for name, module in configured(tiny.model)} == before


def configured(model):
    return [(name, module) for name, module in model.named_modules() if "config" in module.__dict__]
