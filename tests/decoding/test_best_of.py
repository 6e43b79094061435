"""The best of several drafts of each sentence: plain where nothing is preferred, bounds, batches, seeds."""

import pytest
import torch

from halluguard import Guard, sandbox
from halluguard.decoding import METHODS, Imagination
from halluguard.decoding.step_back import BestOf, ClaimScore, JudgedWord, ModelCalls, StepBack
from halluguard.decoding.step_back.settings import LONGEST
from halluguard.detectors.precomputed import KnownObjects
from halluguard.errors import SettingsError

PROMPT = "Describe the image."
MODES = {
    "greedy": {},
    "sampling": {"do_sample": True, "temperature": 1.5},
    "returns": {"do_sample": True, "num_return_sequences": 2},
    "static": {"cache_implementation": "static"},
}


@pytest.fixture(scope="module")
def loaded():
    return sandbox.load_mllm()


@pytest.fixture(scope="module")
def scenes():
    return sandbox.scenes(3)


def indifferent(images, text, start):
    return 0.0


def longer(images, text, start):
    return len(text) - start


def texts(guard, scenes, seed=3, **mode):
    mode = {"max_new_tokens": 24, **mode}
    return [answer.draft for answer in guard.batch([scene.image for scene in scenes], PROMPT, seed=seed, **mode)]


@pytest.mark.parametrize(("mode", "imagination"), [*((mode, 0.0) for mode in MODES), ("greedy", -0.5)])
def test_an_indifferent_scorer_gives_the_first_draft(loaded, scenes, mode, imagination):
    method = Imagination(imagination)
    plain = texts(Guard(*loaded, decoding=method), scenes, **MODES[mode])
    guard = Guard(*loaded, decoding=method, best_of=3, scorer=indifferent)
    assert texts(guard, scenes, **MODES[mode]) == plain


@pytest.mark.parametrize("mode", [*MODES, "beams"])
def test_one_draft_is_plain(loaded, scenes, mode):
    settings = {"num_beams": 3} if mode == "beams" else MODES[mode]
    guard = Guard(*loaded, best_of=BestOf(drafts=1), scorer=longer)
    assert texts(guard, scenes, **settings) == texts(Guard(*loaded), scenes, **settings)


def test_the_preferred_draft_is_kept_and_the_rest_follows_it(loaded, scenes):
    """The answer after a replaced sentence is what the model writes after it by itself."""
    image = scenes[0].image
    seen = []

    def second(images, text, start):
        assert images == [image]
        seen.append((text, start))
        return 1.0 if len(seen) == 2 else 0.0  # a further draft of the first sentence

    answer = Guard(*loaded, best_of=4, scorer=second)(image, PROMPT, seed=0)
    chosen = seen[1][0]
    assert answer.draft.startswith(chosen.strip())
    assert not texts(Guard(*loaded), scenes[:1])[0].startswith(chosen.strip())
    assert answer.settings["best of"]["sentences replaced"] == 1
    guard = Guard(*loaded)
    inputs = guard.inputs([image], [PROMPT])
    tokens = guard.processor.tokenizer(answer.draft, add_special_tokens=False, return_tensors="pt")["input_ids"]
    begun = guard.processor.tokenizer(chosen.strip(), add_special_tokens=False, return_tensors="pt")["input_ids"]
    ids = torch.cat([inputs["input_ids"], begun], 1)
    output = guard.model.generate(
        **{**inputs, "input_ids": ids, "attention_mask": torch.ones_like(ids)}, do_sample=False
    )
    assert output[0, inputs["input_ids"].shape[1] :][: tokens.shape[1]].tolist() == tokens[0].tolist()


@pytest.mark.slow
def test_a_detector_prefers_what_it_supports(loaded):
    scenes = list(sandbox.fresh_scenes(12, 60_000_000))
    truth = KnownObjects({scene.image_id: scene.names for scene in scenes}, name="truth")

    class Truth:
        """The truth, asked by image."""

        name, needs_image = "truth", True

        def covers(self, phrase):
            return truth.covers(phrase)

        def detect(self, images, phrases):
            ids = {id(scene.image): scene.image_id for scene in scenes}
            return truth.detect([ids[id(image)] for image in images], phrases)

    def share_of_false_names(captions):
        from halluguard.sandbox import measure

        return measure.chair_of(captions, scenes)["CHAIRi"]

    plain = texts(Guard(*loaded), scenes, max_new_tokens=64)
    best = texts(Guard(*loaded, detector=Truth(), best_of=6), scenes, max_new_tokens=64)
    assert share_of_false_names(best) < share_of_false_names(plain)


@pytest.mark.parametrize("drafts", [2, 5])
def test_the_tokens_of_other_drafts_are_bounded(loaded, scenes, drafts):
    scored = []

    def counted(images, text, start):
        scored.append(start)
        return len(scored)  # the last draft always wins

    answer = Guard(*loaded, best_of=drafts, scorer=counted)(scenes[0].image, PROMPT, seed=1, max_new_tokens=60)
    sentences = len(set(scored))
    counts = answer.settings["best of"]
    assert counts["tokens of other drafts"] > 0
    assert counts["tokens of other drafts"] <= sentences * (drafts - 1) * LONGEST + counts["sentences replaced"] * 60


def test_a_seed_repeats_an_answer_and_prompts_do_not_change_each_other(loaded, scenes):
    guard = Guard(*loaded, best_of=3, scorer=longer)
    assert texts(guard, scenes, seed=5) == texts(guard, scenes, seed=5)
    assert texts(guard, scenes[:1], seed=5)[0] == texts(guard, scenes, seed=5)[0]


def test_a_stream_gives_finished_sentences(loaded, scenes):
    guard = Guard(*loaded, detector=KnownObjects({}, exhaustive=False), best_of=3, scorer=longer)
    whole = guard(scenes[0].image, PROMPT, seed=2, max_new_tokens=24)
    assert "".join(guard.stream(scenes[0].image, PROMPT, seed=2, max_new_tokens=24)) == whole.text


def test_claims_are_counted_once():
    words = [
        JudgedWord(0, 1, "supported"),
        JudgedWord(2, 3, "supported", repeated=True),
        JudgedWord(4, 5, "contradicted"),
        JudgedWord(6, 7, "unsure"),
    ]
    assert ClaimScore(lambda prompt, text, start: words, penalty=2.0)(0, "", 0) == -1.0


@pytest.mark.parametrize("name", [name for name, cls in METHODS.items() if not cls.is_baseline])
def test_every_method_chooses_among_drafts_or_is_refused(loaded, scenes, name):
    cls = METHODS[name]
    method = cls(**{**cls.required_settings(loaded[0]), **cls.law_settings})
    guard = Guard(*loaded, decoding=method, best_of=2, scorer=longer)
    if cls.runs_search:
        with pytest.raises(SettingsError, match="goes back itself"):
            texts(guard, scenes[:1], max_new_tokens=20)
        return
    answer = guard(scenes[0].image, PROMPT, seed=0, max_new_tokens=20)
    assert answer.draft


def test_settings_that_cannot_work_are_refused(loaded, scenes):
    detector = KnownObjects({})
    with pytest.raises(SettingsError, match="got neither"):
        Guard(*loaded, best_of=3)
    with pytest.raises(SettingsError, match="got both"):
        Guard(*loaded, detector=detector, best_of=3, step_back=StepBack())
    with pytest.raises(SettingsError, match="best_of=4"):
        Guard(*loaded, scorer=longer)
    with pytest.raises(SettingsError, match="a number or a BestOf"):
        Guard(*loaded, detector=detector, best_of="four")
    for wrong in ({"drafts": 0}, {"temperature": 0.0}, {"top_p": 0.0}, {"penalty": -1.0}, {"unit": "word"}):
        with pytest.raises(SettingsError):
            BestOf(**wrong)
    with pytest.raises(SettingsError, match="one beam"):
        texts(Guard(*loaded, best_of=3, scorer=longer), scenes[:1], num_beams=3)


def test_it_runs_without_a_guard(loaded, scenes):
    model, processor = loaded
    inputs = processor(images=[scenes[0].image], text=[f"USER: <image>\n{PROMPT} ASSISTANT:"], return_tensors="pt")
    calls = ModelCalls(model, processor.tokenizer, lambda prompts, retried: (model, dict(inputs)))
    torch.manual_seed(0)
    (written,) = calls.choose(1, BestOf(3), lambda prompt, text, start: float(len(text)))
    assert processor.tokenizer.decode(written.tokens, skip_special_tokens=True).strip()
