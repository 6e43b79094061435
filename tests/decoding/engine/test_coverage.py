"""Families under the folded view: exact in every mode, or refused by name. The whole table: `benchmarks/coverage.py`."""

import importlib.util
import sys
from pathlib import Path

import pytest


def load(name):
    full = f"benchmarks_{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, Path(__file__).parents[3] / "benchmarks" / f"{name}.py")
        sys.modules[full] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[full])
    return sys.modules[full]


coverage = load("coverage")
# One of each kind: tiles, M-RoPE, deepstack, prefix attention, convolution, mixture of experts, split images, packed
# pixels. Exact in every mode.
EXACT = ["llava_next", "qwen2_5_vl", "qwen3_vl", "gemma3", "lfm2_vl", "ernie4_5_vl_moe", "idefics3", "mistral3"]
EXACT += ["t5gemma2", "exaone4_5"]  # encoder-decoder; no position ids, but rotated by distance
# Cross-attention, recurrent, an image beside the prompt, an image alone, no image. Each with the uses that it refuses.
NO_IMAGE = {"no image", "text-only"}
PARTLY = {
    "mllama": ({"lookup": "plain: "}),
    "qwen3_5": ({"lookup": "assisted generation is not supported with stateful models"}),
    "kosmos-2.5": (
        {"two images": "mixes up the images of a prompt that has several"}
        | dict.fromkeys(NO_IMAGE, "Kosmos2_5ForConditionalGeneration counts positions by itself")
    ),
    "pp_formulanet": (
        {
            "static": "PPFormulaNetForConditionalGeneration makes it for",
            "two images": "the image is the whole prompt",
        }
        | dict.fromkeys(NO_IMAGE, "PPFormulaNetForConditionalGeneration takes an image alone")
    ),
    "udop": ({"two images": "plain: "}),
    "mistral4": (dict.fromkeys(NO_IMAGE, "at least one image placeholder")),
}
# Families whose own generate calls that of an inner model, which runs through a view. Each with what it refuses.
OWN_GENERATE = {
    "blip-2": set(),
    "instructblip": {"two images"},
    "instructblipvideo": {"two images"},
    "blip": {"static", "two images", *NO_IMAGE},
    "kosmos-2": {"static", "two images", *NO_IMAGE},
}
NO_GENERATE = ["diffusion_gemma", "pi0"]
REST = sorted(set(coverage.families.FAMILIES) - {*EXACT, *PARTLY, *OWN_GENERATE, *NO_GENERATE})


def exact_in(row, columns):
    return {column: row[column] for column in columns if coverage.kind(row[column]) != "exact"} == {}


@pytest.mark.parametrize("name", EXACT)
def test_fold_equals_recomputation_in_every_mode(name):
    row = coverage.covered(name, laws=False)
    assert exact_in(row, row), row


@pytest.mark.parametrize("name", PARTLY)
def test_what_a_family_cannot_do_is_said_and_the_rest_is_exact(name):
    refused, row = PARTLY[name], coverage.covered(name, laws=False)
    assert all(why in row[column] for column, why in refused.items()), row
    assert exact_in(row, set(row) - set(refused)), row


@pytest.mark.slow
@pytest.mark.parametrize("name", REST)
def test_every_other_family_is_exact_or_refused(name):
    row = coverage.covered(name)
    faults = {column: cell for column, cell in row.items() if coverage.kind(cell) == "FAULT"}
    assert not faults, f"{name}: every mode must be exact or refused by name"
    assert "vacuous" not in row.values(), f"{name}: the method must change the answer, or equality proves nothing"
    assert "exact" in map(coverage.kind, row.values()), f"{name}: some mode must run"


# A prompt for the encoder; a token type for answers; an inner model; a prompt with a mark at its end; images by position.
@pytest.mark.parametrize("name", ["t5gemma2", "paligemma", "blip-2", "blip", "qwen2_5_vl"])
def test_an_answer_goes_on_after_a_return_as_recomputation_does(name):
    tiny = coverage.architectures.tiny(name)
    assert coverage.law(coverage.changed_image(tiny, coverage.TEXTS)) == "exact"


def test_a_law_of_step_back_that_does_not_hold_is_a_fault(monkeypatch):
    monkeypatch.setattr(coverage.step_back_laws, "PLACES", ())
    case = coverage.changed_image(coverage.architectures.tiny("llava"), coverage.TEXTS)
    assert coverage.law(case) == "FAULT: nothing was taken back"


def test_beams_see_the_images_of_their_own_prompt_in_a_family_that_mixes_them_up():
    tiny = coverage.architectures.tiny("glm_ocr")
    cell = coverage.verdict(lambda: coverage.changed_image(tiny, coverage.TEXTS, 2), coverage.MODES["beams"])
    assert cell == "exact", cell


@pytest.mark.parametrize("name", ["t5gemma2", "udop", "idefics", "evolla"])
@pytest.mark.parametrize("mode", ["greedy", "beams", "static"])
def test_a_branch_with_more_words_is_exact(name, mode):
    tiny, settings = coverage.architectures.tiny(name), coverage.MODES[mode]
    cell = coverage.verdict(lambda: coverage.other_words(tiny, coverage.TEXTS), settings)
    assert coverage.kind(cell) == "plain error" if (name, mode) == ("evolla", "static") else cell == "exact", cell


@pytest.mark.parametrize("name", NO_GENERATE)
def test_a_model_that_writes_no_tokens_is_refused_by_name(name):
    row = coverage.covered(name)
    assert all("which has no `generate` of transformers" in cell for cell in row.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN_GENERATE)
def test_a_generate_of_its_own_runs_with_a_view_of_its_inner_model(name):
    row = coverage.covered(name)
    for column, cell in row.items():
        kinds = {"refused", "plain error"} if column in OWN_GENERATE[name] else {"exact", "vacuous"}
        assert coverage.kind(cell) in kinds, (column, cell)
    assert "exact" in row.values()


def test_the_table_counts_families_and_numbers_each_sentence_once():
    table = {
        "a": {"greedy": "exact", "text-only": "3e-07"},
        "b": {"greedy": "exact", "text-only": "refused: no | text"},
        "c": {"greedy": "vacuous: weak", "text-only": "refused: no | text"},
        "d": {"greedy": "FAULT: KeyError: x", "text-only": "exact"},
    }
    text = coverage.report.rendered(table, {"e": "not built"}, {"transformers": "5", "torch": "2"})
    assert "| a | exact | 3e-07 |" in text
    assert "| b | exact | refused [1] |" in text
    assert "| c | vacuous [2] | refused [1] |" in text
    assert "| d | FAULT [3] | exact |" in text
    assert "1. no \\| text" in text
    assert "- e: not built" in text
    assert "Of 5 image-text-to-text model types, 1 are exact in every column" in text


def test_the_page_has_a_table_of_guard_with_counts_of_its_own():
    table = {"a": {"greedy": "exact"}}
    guard = {
        "a": {"batch": "exact", "chat": "exact"},
        "b": {"batch": "exact", "chat": "refused: no template"},
        "c": dict.fromkeys(("batch", "chat"), "not run: no processor"),
        "d": {"batch": "FAULT: ['x'] != ['y']", "chat": "exact"},
        "e": dict.fromkeys(("batch", "chat"), "refused: no generate"),
    }
    text = coverage.report.rendered(table, {}, {"transformers": "5", "torch": "2"}, guard=guard)
    assert "| family | batch | chat |" in text
    assert "| b | exact | refused [1] |" in text
    assert "Of 5 model types, 3 run through `Guard`: 1 are exact in every column" in text
    assert "1 have a fault. 1 have no processor that could be built here, and 1 give no answer." in text


def test_a_crash_of_one_family_becomes_its_cells(monkeypatch):
    monkeypatch.setattr(coverage, "covered", lambda name: 1 / 0)
    assert set(coverage.attempted("llava").values()) == {"FAULT: ZeroDivisionError: division by zero"}
