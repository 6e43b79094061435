"""Each method's arithmetic against numbers worked out by hand from its paper's and its authors' formulas.

The vectors of this file were computed by hand, or with a few calls of `math`, from the formula in the comment. No
expected value comes from the code under test.
"""

import math

import pytest
import torch

from halluguard.decoding.base import Step, plausible
from halluguard.decoding.methods import agla, baselines, contrast, icd, m3id, ritual, vcd, vdd

L = [2.0, 1.0, 0.5, -1.0]  # original row
N = [1.0, 1.5, 0.0, 0.5]  # contrast row
LP = [x - math.log(sum(map(math.exp, L))) for x in L]
NP = [x - math.log(sum(map(math.exp, N))) for x in N]


def tensor(*values):
    return torch.tensor(values).reshape(1, 1, -1)


def folded(method, *rows, index=0):
    scores, keep = method.combine_logits([tensor(*row) for row in rows], Step(torch.tensor([index])))
    masked = scores if keep is None else scores.masked_fill(~keep, -torch.inf)
    return masked[0, 0].tolist()


def close(actual, expected):
    return actual == pytest.approx(expected, abs=1e-6)


OFF = -math.inf
CASES = {
    # vcd_sample.py: (1 + 1) l - 1 l', then -inf where l < log 0.1 + max l = -0.302585
    "VCD paper": (vcd.VCD(), [L, N], [3.0, 0.5, 1.0, OFF]),
    # llava1.5_pope.bash: beta 0.2, cut at 0.390562
    "VCD pope script": (vcd.VCD(beta=0.2), [L, N], [3.0, 0.5, 1.0, OFF]),
    # omitted arguments: 1.5 l - 0.5 l'
    "VCD omitted arguments": (vcd.VCD(alpha=0.5), [L, N], [2.5, 0.75, 0.75, OFF]),
    # icd_sample_llava.py: as VCD
    "ICD code": (icd.ICD(), [L, N], [3.0, 0.5, 1.0, OFF]),
    # the paper: l - 1 l'
    "ICD paper": (icd.ICD(formula="paper"), [L, N], [1.0, -0.5, 0.5, OFF]),
    # LLaVA-Align's vcd_sample.py: 1.5 l - 0.5 (l_unk + l_none) / 2
    "VDD both": (vdd.VDD(), [L, N, [0.0, 0.5, 1.0, 1.5]], [2.75, 1.0, 0.5, OFF]),
    "VDD none": (vdd.VDD(branches="none"), [L, N], [2.5, 0.75, 0.75, OFF]),
    # VCD's formula, the further rows' mean in the place of the noised one
    "Contrast": (contrast.Contrast(), [L, N], [3.0, 0.5, 1.0, OFF]),
    "Contrast of two": (contrast.Contrast(alpha=0.5), [L, N, [0.0, 0.5, 1.0, 1.5]], [2.75, 1.0, 0.5, OFF]),
    # ritual_sample.py: l + 3 l_pos
    "RITUAL code": (ritual.RITUAL(), [L, N], [5.0, 5.5, 0.5, OFF]),
    # AGLA's scripts: l + 2 l_local, then -inf where l < log 0.5 + max l = 1.306853
    "AGLA scripts": (agla.AGLA(), [L, N], [4.0, OFF, OFF, OFF]),
    "AGLA omitted arguments": (agla.AGLA(alpha=1.0), [L, N], [3.0, OFF, OFF, OFF]),
}


@pytest.mark.parametrize("case", CASES)
def test_contrasts_and_ensembles(case):
    method, rows, expected = CASES[case]
    assert close(folded(method, *rows), expected)


def test_m3id_copies_start_with_plain_decoding_under_a_mask():
    method = m3id.M3ID(**m3id.M3ID.PRESETS["copies"].settings)
    assert close(folded(method, L, N, index=0), [2.0, 1.0, 0.5, OFF])


def test_m3id_copies_at_the_fiftieth_token():
    # gamma = exp(-0.02 * 49); s = l + (l - l') (1 - gamma) / gamma
    gamma = math.exp(-0.98)
    weight = (1 - gamma) / gamma
    expected = [2 + weight * 1.0, 1 - weight * 0.5, 0.5 + weight * 0.5, OFF]
    assert close(folded(m3id.M3ID(**m3id.M3ID.PRESETS["copies"].settings), L, N, index=49), expected)


@pytest.mark.parametrize("index", [0, 49])
def test_m3id_of_the_paper_leaves_a_sure_step_alone(index):
    assert max(LP) > math.log(0.3)
    assert close(folded(m3id.M3ID(), L, N, index=index), LP)


def test_m3id_of_the_paper_corrects_an_unsure_step():
    # five tokens, best probability 0.26: s = lc + (e^(0.02 t) - 1) (lc - lu), t = 1 at the first token
    flat, blind = [0.3, 0.2, 0.1, 0.0, -0.1], [0.0, 0.0, 0.0, 0.0, 1.0]
    c = [x - math.log(sum(map(math.exp, flat))) for x in flat]
    u = [x - math.log(sum(map(math.exp, blind))) for x in blind]
    assert max(c) < math.log(0.3)
    weight = math.exp(0.02) - 1
    assert close(folded(m3id.M3ID(), flat, blind), [a + weight * (a - b) for a, b in zip(c, u, strict=True)])


def test_plausibility_is_min_p_on_the_raw_logits():
    from transformers import MinPLogitsWarper

    logits = torch.randn(50, 100, generator=torch.Generator().manual_seed(0)) * 3
    kept = MinPLogitsWarper(0.1)(None, logits) > -torch.inf
    assert torch.equal(plausible(logits, 0.1), kept)


def test_plausibility_only_leaves_the_logits():
    assert close(folded(baselines.PlausibilityOnly(), L), [2.0, 1.0, 0.5, OFF])


def test_greedy_leaves_one_token_however_it_is_sampled():
    assert close(folded(baselines.Greedy(), L), [2.0, OFF, OFF, OFF])


def test_temperature_matched_has_the_methods_entropy_and_the_models_order():
    # AGLA with the same row twice is l * 3: its temperature is 1/3
    scores = folded(baselines.TemperatureMatched(agla.AGLA(beta=0.0)), L, L)
    assert scores == pytest.approx([3 * x for x in L], abs=1e-4)
    # on VCD's support, against entropies computed by hand
    scores = folded(baselines.TemperatureMatched(vcd.VCD()), L, N)
    assert scores[3] == OFF

    def entropy(values):
        weights = [math.exp(v) for v in values]
        return -sum(w / sum(weights) * math.log(w / sum(weights)) for w in weights)

    assert entropy(scores[:3]) == pytest.approx(entropy([3.0, 0.5, 1.0]), abs=1e-4)
    assert scores[0] / scores[1] == pytest.approx(2.0)  # l / T: ratios of logits stay


def test_yes_bias_moves_the_first_token_only():
    bias = baselines.YesBias(bias=1.5, yes=(1,))
    assert close(folded(bias, L, index=0), [2.0, 2.5, 0.5, -1.0])
    assert close(folded(bias, L, index=1), L)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_yes_bias_gives_the_methods_yes_ratio(share):
    generator = torch.Generator().manual_seed(1)
    plain = torch.randn(40, generator=generator).tolist()
    method = [1.0] * round(40 * share) + [-1.0] * round(40 * (1 - share))
    bias = baselines.YesBias.matching(plain, method, yes=[3]).bias
    assert sum(margin + bias > 0 for margin in plain) == round(40 * share)
