"""Methods that read or change the inside of a model, against their authors' arithmetic.

First the functions, on numbers worked out from the formulas with `math`; then the methods on a tiny model, against a
plain forward of the host over the same tokens from which the formula is computed again.
"""

import math

import pytest
import torch

from halluguard.decoding.engine import steering
from halluguard.decoding.methods import deco, dola, only, opera, pai, sid, vista, vti
from halluguard.errors import InputError, SettingsError, UnsupportedModelError

L = [2.0, 1.0, 0.5, -1.0]
TEXTS = [[5, 6, 7, 8, 9, 10, 11], [12, 13, 14]]
OFF = -math.inf


def softmax(values):
    weights = [math.exp(v) for v in values]
    return [w / sum(weights) for w in weights]


def close(actual, expected):
    return actual.tolist() == pytest.approx(expected, abs=1e-6)


# --- DoLa ---------------------------------------------------------------------------------------------------------


def test_dola_divergence_of_code_and_paper():
    p, q = softmax(L), softmax([0.0, 1.0, 0.0, 0.0])
    m = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    paper = sum(a * math.log(a / c) + b * math.log(b / c) for a, b, c in zip(p, q, m, strict=True)) / 2
    # F.kl_div(log p, M) is KL(M || p): the arguments of the paper the other way round
    code = sum(c * math.log(c / a) + c * math.log(c / b) for a, b, c in zip(p, q, m, strict=True)) / 2
    rows = torch.tensor(L), torch.tensor([0.0, 1.0, 0.0, 0.0])
    assert dola.divergence(*rows, "paper").item() == pytest.approx(paper, abs=1e-6)
    assert dola.divergence(*rows, "code").item() == pytest.approx(code, abs=1e-6)


def test_dola_takes_the_layer_that_differs_most_for_each_sequence():
    near, far = [1.9, 1.0, 0.5, -1.0], [-3.0, 0.0, 4.0, 0.0]
    mature = torch.tensor([L, L])
    premature = torch.tensor([[near, far], [far, near]])  # the far one is layer 1 for the first, layer 0 for the second
    found = dola.contrast_layers(mature, premature)
    expected = [math.log(a) - math.log(b) for a, b in zip(softmax(L), softmax(far), strict=True)]
    assert close(found[0], expected)
    assert close(found[1], expected)


# --- DeCo ---------------------------------------------------------------------------------------------------------


def test_deco_candidates_are_cut_at_the_token_that_reaches_top_p():
    probabilities = [0.5, 0.3, 0.15, 0.05]
    logits = torch.tensor([math.log(p) for p in probabilities])
    assert deco.candidate_tokens(logits, 0.9, 20).tolist() == [True, True, True, False]
    assert deco.candidate_tokens(logits, 0.79, 20).tolist() == [True, True, False, False]
    assert deco.candidate_tokens(logits, 0.9, 1).tolist() == [True, False, False, False]


def test_deco_adds_the_surest_layer_weighted_by_its_sureness():
    early = torch.tensor([[0.0, 1.0, 0.0, 5.0], [0.0, 0.0, 1.5, 0.0]])
    keep = torch.tensor([True, True, True, False])
    # layer 0 is surest of token 3, which is no candidate; among candidates layer 1 is, of token 2
    sure = [max(softmax(row)[:3]) for row in early.tolist()]
    assert sure[1] > sure[0]
    expected = [a + 0.6 * sure[1] * b for a, b in zip(L, [0.0, 0.0, 1.5, 0.0], strict=True)]
    assert close(deco.corrected(torch.tensor(L), early, keep, 0.6), expected)


# --- PAI, SID, ONLY, OPERA: attention -----------------------------------------------------------------------------


def test_pai_raises_scores_by_a_share_of_their_size():
    # w <- w + 0.5 |w|: -2 becomes -1, 2 becomes 3
    assert close(pai.attended(torch.tensor([-2.0, 0.0, 2.0]), 0.5), [-1.0, 0.0, 3.0])


def test_pai_guidance():
    blind = [1.0, 1.5, 0.0, 0.5]
    c, u = ([math.log(p) for p in softmax(row)] for row in (L, blind))
    found = pai.guided(torch.tensor(L), torch.tensor(blind), 1.1)
    assert close(found, [1.1 * (a - b) + b for a, b in zip(c, u, strict=True)])


def test_sid_keeps_the_least_attended_image_tokens():
    heads = torch.tensor([[[[0.1, 0.2, 0.3, 0.05, 0.35]], [[0.1, 0.4, 0.1, 0.05, 0.35]]]])  # means .1 .3 .2 .05 .35
    image = torch.tensor([[False, True, True, True, True]])
    assert sid.least_attended(heads, image, 0.5).tolist() == [[[False, False, True, True, False]]]
    assert sid.least_attended(heads, image, 0.25).tolist() == [[[False, False, False, True, False]]]
    assert sid.least_attended(heads, image, 1.0).tolist() == [[[False, True, True, True, True]]]


def test_only_drops_what_is_above_mean_and_std():
    weights = torch.tensor([0.1, 0.1, 0.1, 0.5, 0.2])
    where = torch.tensor([True, True, True, True, False])
    # over the first four: mean 0.2, std with n - 1: sqrt((3 * 0.01 + 0.09) / 3) = 0.2; 0.5 > 0.4
    assert close(only.trimmed(weights, where), [0.1, 0.1, 0.1, 0.0, 0.2])


def test_only_drops_heads_below_the_mean_ratio_of_entropies():
    text, image = torch.tensor([[[True, True, False, False]]]), torch.tensor([[[False, False, True, True]]])
    even, peaked = [0.25, 0.25, 0.25, 0.25], [0.45, 0.05, 0.25, 0.25]  # mean + std of a pair drops no half
    weights = torch.tensor([[[even], [peaked]]])
    found = only.intervened(weights, image, text)
    kept = only.trimmed(torch.tensor(peaked), torch.tensor([True, True, False, False]))
    assert kept.tolist() == pytest.approx(peaked)  # mean 0.25, std 0.283: nothing lies above
    assert close(found[0, 0, 0], even)
    assert close(found[0, 1, 0], [0.0, 0.0, 0.0, 0.0])


def test_only_adds_where_rows_agree_and_contrasts_where_they_do_not():
    near, far = [2.1, 1.0, 0.5, -1.0], [-1.0, 2.0, 0.0, 0.0]
    assert sum(abs(a - b) for a, b in zip(softmax(L), softmax(near), strict=True)) < 0.2
    found = only.adaptive(torch.tensor([L, L]), torch.tensor([near, far]), 0.2, 3.0, 1.0)
    assert close(found[0], [a + 3 * b for a, b in zip(L, near, strict=True)])
    assert close(found[1], [2 * a - b for a, b in zip(L, far, strict=True)])


def test_opera_penalty_is_the_largest_product_down_a_column():
    # answer of two tokens and a candidate; lower triangle of attention, times 50
    w = [[0.4], [0.1, 0.3], [0.02, 0.1, 0.2]]
    products = torch.zeros(1, 0)
    for row in w:
        products = opera.extended(products, torch.tensor([row]), 50.0)
    columns = [(50 * 0.4) * (50 * 0.1) * (50 * 0.02), (50 * 0.3) * (50 * 0.1), 50 * 0.2]
    assert products[0].exp().tolist() == pytest.approx(columns, rel=1e-6)
    assert opera.penalty(products).item() == pytest.approx(1e-7 * max(columns), rel=1e-6)


# --- VTI, VISTA: steering -----------------------------------------------------------------------------------------


def test_vti_turns_a_hidden_state_and_keeps_its_length():
    # h = (3, 4), d = (0, 2): (0.6, 0.8) + 0.1 * 0.9 * (0, 1) = (0.6, 0.89), at length 5
    length = math.hypot(0.6, 0.89)
    found = steering.steered(torch.tensor([3.0, 4.0]), torch.tensor([0.0, 2.0]), vti.SCALE * 0.9)
    assert close(found, [5 * 0.6 / length, 5 * 0.89 / length])


def test_vista_steers_harder_what_points_away():
    direction = torch.tensor([0.0, 2.0])
    assert close(vista.strength(torch.tensor([3.0, 4.0]), direction, 0.17), [0.17])
    assert close(vista.strength(torch.tensor([3.0, -4.0]), direction, 0.17), [0.17 * 1.8])  # cos(h, -d) = 0.8


def test_vista_mixes_the_mean_of_late_layers():
    early = torch.tensor([[0.0, 1.0, 0.0, 0.0], [2.0, 1.0, 0.0, 0.0]])
    found = vista.augmented(torch.tensor(L), early, 0.3)
    assert close(found, [0.7 * a + 0.3 * b for a, b in zip(L, [1.0, 1.0, 0.0, 0.0], strict=True)])


def test_principal_direction_is_mean_plus_first_component():
    from sklearn.decomposition import PCA

    data = torch.randn(7, 12, generator=torch.Generator().manual_seed(0))
    component = torch.from_numpy(PCA(1).fit(data.double().numpy()).components_[0]).float()
    found = steering.principal(data) - data.mean(0)
    assert found.norm().item() == pytest.approx(1.0, abs=1e-5)
    assert abs(torch.dot(found, component).item()) == pytest.approx(1.0, abs=1e-5)
    along = (data - data.mean(0)) @ found
    assert along[along.abs().argmax()] > 0
    assert torch.equal(steering.principal(data[:1]), data[0])


# --- on a model ---------------------------------------------------------------------------------------------------


def scores_of(method, llava, inputs, **settings):
    settings = {"max_new_tokens": 4, "do_sample": False, "output_logits": True, **settings}
    out = method.on(llava.model).generate(**inputs, **settings, return_dict_in_generate=True)
    return out.sequences, torch.stack(out.logits, 1)


def whole(llava, sequences, inputs, **outputs):
    """A plain eager forward over whole sequences, one at a time, unpadded."""
    found = []
    implementation = llava.model.config._attn_implementation
    llava.model.set_attn_implementation("eager")
    try:
        for i, sequence in enumerate(sequences):
            padding = int((inputs["attention_mask"][i] == 0).sum())
            pixels = inputs["pixel_values"][i : i + 1]
            with torch.inference_mode():
                found.append(llava.model(input_ids=sequence[None, padding:], pixel_values=pixels, **outputs))
    finally:
        llava.model.set_attn_implementation(implementation)
    return found


@torch.inference_mode()
def test_dola_on_a_model(llava):
    inputs = llava.prompt(TEXTS)
    method = dola.DoLa(beta=0.0, layers=[0, 1])
    sequences, scores = scores_of(method, llava, inputs)
    for i, out in enumerate(whole(llava, sequences[:, :-1], inputs, output_hidden_states=True)):
        head = llava.model.lm_head
        final = out.logits[0, -4:].log_softmax(-1)
        layers = [head(out.hidden_states[n])[0, -4:] for n in (0, 1)]
        for step in range(4):
            kl = []
            for early in layers:
                p, q = final[step].exp(), early[step].softmax(-1)
                m = (p + q) / 2
                kl.append(float((m * (m / p).log() + m * (m / q).log()).sum()))
            chosen = layers[kl.index(max(kl))][step].log_softmax(-1)
            assert torch.allclose(scores[i, step], final[step] - chosen, atol=1e-4)


@torch.inference_mode()
def test_deco_on_a_model(llava):
    inputs = llava.prompt(TEXTS)
    sequences, scores = scores_of(deco.DeCo(layers=(1, 1)), llava, inputs)
    for i, out in enumerate(whole(llava, sequences[:, :-1], inputs, output_hidden_states=True)):
        early = llava.model.lm_head(llava.model.model.language_model.norm(out.hidden_states[1]))[0, -4:]
        for step in range(4):
            logits = out.logits[0, -4 + step]
            best = logits.softmax(-1).topk(20)
            cut = int((best.values.cumsum(-1) < 0.9).sum()) + 1
            tokens = best.indices[:cut]
            expected = logits + 0.6 * early[step].softmax(-1)[tokens].max() * early[step]
            assert torch.allclose(scores[i, step][tokens], expected[tokens], atol=1e-4)
            assert int((scores[i, step] > OFF).sum()) == min(cut, 20)


def test_pai_without_alpha_is_guidance_and_without_gamma_an_edit_of_the_original_row(llava):
    inputs = llava.prompt(TEXTS)
    plain = llava.model.generate(**inputs, max_new_tokens=4, do_sample=False)
    same = [{"pixel_values": inputs["pixel_values"]}]
    view = pai.PAI(alpha=0.0, gamma=3.0).on(llava.model)
    assert torch.equal(view.generate(**inputs, max_new_tokens=4, do_sample=False, negative_inputs=same), plain)
    _, low = scores_of(pai.PAI(alpha=0.01, gamma=1.0, layers=(0, 2)), llava, inputs, max_new_tokens=1)
    _, high = scores_of(pai.PAI(alpha=4.0, gamma=1.0, layers=(0, 2)), llava, inputs, max_new_tokens=1)
    base = torch.cat([out.logits[:, -1] for out in whole(llava, inputs["input_ids"], inputs)])
    assert (low[:, 0] - base).abs().max() < (high[:, 0] - base).abs().max()


def test_sid_that_keeps_every_token_is_plain_greedy(llava):
    inputs = llava.prompt(TEXTS)
    plain = llava.model.generate(**inputs, max_new_tokens=4, do_sample=False)
    view = sid.SID(alpha=2.0, keep=1.0, layer=1).on(llava.model)
    assert torch.equal(view.generate(**inputs, max_new_tokens=4, do_sample=False), plain)
    view = sid.SID(alpha=8.0, keep=0.1, layer=1, beta=0.0).on(llava.model)
    assert not torch.equal(view.generate(**inputs, max_new_tokens=4, do_sample=False), plain)


def test_opera_on_a_model(llava):
    """Every step's scores, from whole forwards over answer and candidate; early rule and penalty."""
    inputs, new = llava.prompt(TEXTS), 13
    method = opera.OPERA(alpha=2.0, candidates=3, sigma=60.0)
    sequences, scores = scores_of(method, llava, inputs, max_new_tokens=new)
    prompt = inputs["input_ids"].shape[1]
    checked = 0
    for step in (0, 3, 10, 12):
        heads = [out.logits[0, -1] for out in whole(llava, sequences[:, : prompt + step], inputs)]
        for rank in range(3):
            candidates = torch.stack([h.topk(3).indices[rank] for h in heads])
            longer = torch.cat([sequences[:, : prompt + step], candidates[:, None]], 1)
            for i, out in enumerate(whole(llava, longer, inputs, output_attentions=True)):
                w = out.attentions[-1][0].amax(0)
                w = w / w.sum(-1, keepdim=True)
                size = step + 1
                if size <= 10:
                    ids = longer[i, int((inputs["attention_mask"][i] == 0).sum()) :]
                    charged = -w[-1][ids == 900].sum()
                else:
                    local = 60 * w[-size:, -size:]
                    charged = 1e-7 * max(local[j:, j].prod() for j in range(size))
                    checked += charged > 1e-4
                expected = heads[i][candidates[i]] - 2.0 * charged
                assert scores[i, step, candidates[i]].item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-4)
    assert checked, "the penalty must be large enough to be seen"


def test_opera_products_follow_the_beams(llava):
    """With beams the best path's scores are those of the same path alone."""
    inputs = llava.prompt(TEXTS[:1])
    method = opera.OPERA(candidates=3, sigma=60.0, alpha=2.0)
    out = method.on(llava.model).generate(
        **inputs, max_new_tokens=13, num_beams=3, output_scores=True, return_dict_in_generate=True
    )
    path, prompt = out.sequences[0], inputs["input_ids"].shape[1]
    forced = {"prefix_allowed_tokens_fn": lambda row, ids: [int(path[len(ids)])]}
    alone = method.on(llava.model).generate(
        **inputs, max_new_tokens=13, do_sample=False, output_logits=True, return_dict_in_generate=True, **forced
    )
    total = sum(alone.logits[t][0].log_softmax(-1)[path[prompt + t]].item() for t in range(13))
    assert out.sequences_scores[0].item() * 13 == pytest.approx(total, abs=1e-3)


def test_vista_directions_are_the_residuals_image_less_text(llava):
    inputs = llava.prompt(TEXTS)
    found = steering.last_residuals(llava.model, inputs)
    for i, out in enumerate(whole(llava, inputs["input_ids"], inputs, output_hidden_states=True)):
        assert torch.allclose(found[0, i], out.hidden_states[1][0, -1], atol=1e-4)


def test_vti_fitted_on_images_steers_and_survives_saving(tmp_path):
    from halluguard import sandbox

    model, processor = sandbox.load_mllm()
    images = [sample.image for sample in sandbox.scenes(3)]
    before = torch.get_rng_state()
    made = vti.Directions.fit(model, processor, images, vision=True, trials=2, max_new_tokens=8)
    assert torch.equal(torch.get_rng_state(), before)
    assert made.text.shape == (3, 192)
    assert made.vision.shape == (4, 50, 192)
    path = tmp_path / "vti.safetensors"
    made.save(path)
    loaded = vti.VTI(path, vision=0.9)
    assert torch.equal(loaded.directions.text, made.text)
    with pytest.raises(InputError, match="cannot read"):
        vti.VTI(tmp_path / "none.safetensors")


# --- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dola.DoLa(layers="middle"), "'low', 'high'"),
        (lambda: deco.DeCo(layers=(5, 2)), "first and the last"),
        (lambda: opera.OPERA(candidates=0), ">= 1"),
        (lambda: opera.OPERA(candidates=1, threshold=None), ">= 2"),
        (lambda: opera.OPERA(threshold=1), "None never returns"),
        (lambda: sid.SID(keep=0.0), "keep must be in"),
        (lambda: vti.VTI(text=math.inf), "finite"),
    ],
)
def test_settings_out_of_range(make, message):
    with pytest.raises(SettingsError, match=message):
        make()


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (dola.DoLa(layers=[9]), "must be in 0..1"),
        (deco.DeCo(layers=(1, 7)), "must be in 1..1"),
        (vti.VTI(), "needs directions"),
        (vti.VTI(vti.Directions(torch.zeros(5, 64))), "directions of 2 layers"),
        (vti.VTI(vti.Directions(torch.zeros(2, 8))), "fit hidden states"),
    ],
)
def test_what_does_not_fit_the_model_is_refused(llava, method, message):
    with pytest.raises((SettingsError, InputError), match=message):
        method.on(llava.model).generate(**llava.prompt(TEXTS), max_new_tokens=1)


def test_opera_refuses_prompt_lookup(llava):
    inputs = llava.prompt(TEXTS[:1])
    with pytest.raises((SettingsError, UnsupportedModelError)):
        opera.OPERA().on(llava.model).generate(**inputs, max_new_tokens=6, prompt_lookup_num_tokens=3, do_sample=False)
