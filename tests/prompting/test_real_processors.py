"""Guard with the families' own processors: the answers of a reference that shares no code with it, or one sentence.

The whole table: `benchmarks/guard_coverage.py`.
"""

import importlib.util
import sys
from pathlib import Path

import pytest


def load(name):
    full = f"benchmarks_{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, Path(__file__).parents[2] / "benchmarks" / f"{name}.py")
        sys.modules[full] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[full])
    return sys.modules[full]


guards = load("guard_coverage")
# One of each kind: images in one list; nested images, the image's frame in the template; cross-attention; patches with
# positions in three axes; sizes beside the pixels; options of the processor's class; a querying transformer; prompts
# padded on the right; the prompt for the decoder; the image in front of the ids; the image beside the decoder.
NAMES = ["llava", "gemma3", "mllama", "qwen2_5_vl", "mistral3", "aya_vision", "instructblip", "florence2"]
NAMES += ["vision-encoder-decoder", "git", "blip", "pix2struct"]
REST = sorted(set(guards.coverage.families.FAMILIES) - set(NAMES))


def row_of(name):
    row = guards.covered(name)
    if set(row.values()) <= {cell for cell in row.values() if cell.startswith("not run")}:
        pytest.skip(f"{name}: {row['one image']}")
    return row


def guard_of(name):
    tiny = guards.architectures.tiny(name)
    try:
        return guards.Guard(tiny.model, guards.processors.processor(tiny))
    except guards.processors.NotBuilt as error:
        pytest.skip(str(error))


def check(name):
    row = row_of(name)
    faults = {column: cell for column, cell in row.items() if cell.startswith("FAULT")}
    assert not faults, f"{name}: every use must equal the reference or be refused in a sentence"
    return row


@pytest.mark.parametrize("name", NAMES)
def test_guard_gives_the_answers_of_the_family_s_own_code(name):
    row = check(name)
    assert {row[column] for column in ("one image", "batch", "chunks", "margin")} == {"exact"}, row


@pytest.mark.slow
@pytest.mark.parametrize("name", REST)
def test_every_other_family_gives_the_answers_of_its_own_code(name):
    check(name)


def test_a_processor_that_asks_questions_of_its_own_is_refused_by_name():
    row = row_of("shieldgemma2")
    assert all("it asks questions of its own" in cell for cell in row.values()), row


def test_a_model_that_writes_no_tokens_is_refused_by_name():
    row = row_of("pi0")
    assert all("without a `generate`" in cell for cell in row.values()), row


def test_several_images_where_the_prompt_has_places_for_one_are_refused():
    guard = guard_of("blip-2")
    images = [guards.picture(seed) for seed in (1, 2, 3)]
    with pytest.raises(guards.HalluguardError, match="expected one image in each prompt"):
        guard.drafts([images[:2], images[2]], guards.QUESTIONS[:2], **guards.NEW)
    assert len(guard.drafts(images[:2], guards.QUESTIONS[:2], **guards.NEW)) == 2


@pytest.mark.parametrize("name", ["idefics", "llava", "gemma3", "mllama"])
def test_unequal_numbers_of_images_in_a_batch_give_the_answers_of_each_prompt_alone(name):
    guard = guard_of(name)
    one, other, third = (guards.picture(seed) for seed in (1, 2, 3))
    prompts = [[one, other], third]
    each = [guard.drafts([p], [q], **guards.NEW)[0] for p, q in zip(prompts, guards.QUESTIONS, strict=False)]
    assert guard.drafts(prompts, guards.QUESTIONS[:2], **guards.NEW) == each
