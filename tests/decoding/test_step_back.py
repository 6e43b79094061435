"""Stepping back while writing: plain where nothing is contradicted, recomputation from scratch after a return, bounds."""

import copy
from functools import partial

import pytest
import torch

from halluguard import Guard, sandbox
from halluguard.correction.sentence_judge import SentenceJudge
from halluguard.decoding import METHODS, Imagination, get_method
from halluguard.decoding.step_back import JudgedWord, ModelCalls, StepBack, continued
from halluguard.detectors.precomputed import KnownObjects
from halluguard.errors import SettingsError, UnsupportedModelError

PROMPT = "Describe the image."
MODES = {
    "greedy": {},
    "sampling": {"do_sample": True, "temperature": 1.5},
    "beams": {"num_beams": 3},
    "returns": {"do_sample": True, "num_return_sequences": 2},
    "static": {"cache_implementation": "static"},
}
TEXTS = [[5, 6, 7, 8, 9, 10, 11], [12, 13, 14]]


class Everywhere:
    name, needs_image = "everywhere", True

    def covers(self, phrase):
        return True

    def detect(self, images, phrases):
        from halluguard import Box

        return [[Box(word, 0.9, phrase=i) for i, word in enumerate(words)] for words in phrases]


class Nowhere(Everywhere):
    name = "nowhere"

    def __init__(self):
        self.asked = []

    def detect(self, images, phrases):
        self.asked += [(id(image), word) for image, words in zip(images, phrases, strict=True) for word in words]
        return [[] for _ in images]


@pytest.fixture(scope="module")
def loaded():
    return sandbox.load_mllm()


@pytest.fixture(scope="module")
def scenes():
    return sandbox.scenes(2)


def guard_with(loaded, detector, step_back):
    return Guard(*loaded, detector=detector, step_back=step_back)


@pytest.mark.parametrize("mode", MODES)
def test_an_expert_that_supports_everything_gives_plain(loaded, scenes, mode):
    images = [scene.image for scene in scenes]
    plain, stepping = (guard_with(loaded, Everywhere(), setting) for setting in (False, True))
    for method in (None, Imagination(-0.5)) if mode == "greedy" else (None,):
        answers = [
            [
                answer.draft
                for answer in guard.batch(images, PROMPT, decoding=method, seed=3, max_new_tokens=24, **MODES[mode])
            ]
            for guard in (plain, stepping)
        ]
        assert answers[0] == answers[1]


@pytest.mark.parametrize("mode", ["greedy", "sampling", "beams"])
def test_an_expert_that_contradicts_everything_ends_within_the_bound_with_the_first_draft(loaded, scenes, mode):
    images, settings = [scene.image for scene in scenes], StepBack(retries=2, returns=5)
    plain, stepping = (guard_with(loaded, Nowhere(), setting) for setting in (False, settings))
    drafts = [answer.draft for answer in plain.batch(images, PROMPT, seed=3, max_new_tokens=20, **MODES[mode])]
    answers = stepping.batch(images, PROMPT, seed=3, max_new_tokens=20, **MODES[mode])
    for draft, answer in zip(drafts, answers, strict=True):
        counts = answer.settings["step back"]
        assert counts["returns"] <= settings.returns
        assert counts["tokens taken back"] <= (settings.returns + 5) * 64
        if mode == "greedy":
            assert answer.draft == draft


def test_a_name_is_asked_once_per_image(loaded, scenes):
    detector = Nowhere()
    judge = SentenceJudge(detector, [[scenes[0].image]], [PROMPT])
    for _ in range(2):
        judge(0, "There is a dog and a cat.", 0)
    assert len(detector.asked) == len(set(detector.asked)) > 0


class Words:
    """A judge that contradicts words by name; it notes what it was shown."""

    def __init__(self, *wrong):
        self.wrong, self.shown = wrong, []

    def __call__(self, prompt, text, start):
        self.shown.append((prompt, text))
        words = [(text.find(word, start), word) for word in self.wrong]
        return sorted(
            (JudgedWord(at, at + len(word), "contradicted") for at, word in words if at >= 0), key=lambda w: w.start
        )


def written(loaded, images, settings, judge, method=None, release=None, **generate):
    model, processor = loaded
    guard = Guard(model, processor)

    def call_of(prompts, retried):
        chosen = [images[prompt] for prompt in prompts]
        inputs = {**guard.inputs(chosen, [PROMPT] * len(chosen)), **generate}
        if method is None:
            return model, inputs
        return method.on(model, processor), {**inputs, "images": chosen}

    with torch.inference_mode():
        return ModelCalls(model, processor.tokenizer, call_of).write(len(images), settings, judge, release)


@pytest.fixture(scope="module")
def first_noun(loaded, scenes):
    """The first answer's first object."""
    text = Guard(*loaded).drafts([scenes[0].image], [PROMPT])[0]
    return next(name for name in scenes[0].names if name in text)


@pytest.mark.parametrize("method", [None, Imagination(-0.5), get_method("VCD")], ids=["plain", "Imagination", "VCD"])
def test_after_a_return_each_token_is_that_of_a_recomputation_from_scratch(loaded, scenes, first_noun, method):
    model, processor = loaded
    image = scenes[0].image
    (answer,) = written(loaded, [image], StepBack(), Words(first_noun), method)
    assert answer.returns >= 1
    inputs = Guard(model, processor).inputs([image], [PROMPT])
    runs = model if method is None else method.on(model, processor)
    extra = {} if method is None else {"images": [image]}
    differing = 0
    for i, token in enumerate(answer.tokens):
        longer = continued(model, inputs, answer.tokens[:i])
        more = extra | ({} if method is None or not i else {"answered": i})
        with torch.inference_mode():
            ids = runs.generate(**longer, **more, max_new_tokens=1, do_sample=False)
        differing += int(ids[0, -1]) != token
    assert differing <= answer.returns  # only the places where a token was barred


def test_a_sentence_never_comes_twice(loaded, scenes, first_noun):
    judge = Words(first_noun)
    written(loaded, [scenes[0].image], StepBack(retries=6), judge)
    assert len(judge.shown) == len(set(judge.shown))


def test_prompts_of_a_batch_do_not_influence_each_other(loaded, scenes, first_noun):
    images = [scene.image for scene in scenes]
    together = written(loaded, images, StepBack(), Words(first_noun))
    backwards = written(loaded, images[::-1], StepBack(), Words(first_noun))[::-1]
    alone = [written(loaded, [image], StepBack(), Words(first_noun))[0] for image in images]
    assert [one.tokens for one in together] == [one.tokens for one in alone] == [one.tokens for one in backwards]


def test_what_was_released_never_changes(loaded, scenes, first_noun):
    released = []
    (answer,) = written(loaded, [scenes[0].image], StepBack(), Words(first_noun), release=released.append)
    assert len(released) >= 2
    assert all(answer.tokens[: len(tokens)] == tokens for tokens in released)


def test_no_retries_is_plain(loaded, scenes):
    images = [scene.image for scene in scenes[:2]]
    plain = Guard(*loaded).drafts(images, PROMPT)
    zero = written(loaded, images, StepBack(retries=0), Words("a"))
    assert [loaded[1].tokenizer.decode(one.tokens, skip_special_tokens=True).strip() for one in zero] == plain


def test_the_length_is_that_of_the_call(loaded, scenes, first_noun):
    (answer,) = written(loaded, [scenes[0].image], StepBack(), Words(first_noun), max_new_tokens=17, min_new_tokens=17)
    assert len(answer.tokens) == 17


def test_with_beams_a_contradicted_hypothesis_ends(loaded, scenes, first_noun):
    plain = written(loaded, [scenes[0].image], StepBack(), Words(), num_beams=4)
    (answer,) = written(loaded, [scenes[0].image], StepBack(), Words(first_noun), num_beams=4)
    assert answer.tokens != plain[0].tokens


def test_a_true_detector_leaves_nothing_false(loaded, scenes):
    for scene in scenes:
        key = scene.image
        detector = Everywhere()
        known = KnownObjects({"key": list(scene.names)})
        detector.detect = lambda images, phrases, known=known: known.detect(["key"] * len(images), phrases)
        detector.covers = known.covers
        plain, stepping = (guard_with(loaded, detector, setting)(key, PROMPT) for setting in (False, True))
        wrong = [sum(v.decision == "contradicted" for v in answer.verdicts) for answer in (plain, stepping)]
        assert wrong[1] <= wrong[0]


def test_a_stream_gives_the_sentences_of_the_call(loaded, scenes):
    guard = guard_with(loaded, sandbox_detector(), True)
    image = scenes[1].image
    assert "".join(guard.stream(image, PROMPT)) == guard(image, PROMPT).text


def sandbox_detector():
    from halluguard.detectors.checkpoints import load_detector

    return load_detector(sandbox.DETECTOR)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_goes_on_behind_the_beginning_of_an_answer(architectures, name):
    """`answered` makes what follows equal to an uninterrupted run, or the method is refused."""
    tiny = architectures.llava(layers=3)
    cls = METHODS[name]
    method = cls(**{**cls.required_settings(tiny.model), **cls.law_settings})
    if method.runs_search:
        with pytest.raises(SettingsError, match="goes back itself"):
            ModelCalls(tiny.model, None, lambda prompts, retried: (method.on(tiny.model), {})).write(
                1, StepBack(), Words()
            )
        return
    new = {"do_sample": False, "suppress_tokens": list(range(890, 1000))}
    inputs = tiny.prompt(TEXTS)
    run = partial(method.on(tiny.model).generate, **new)
    whole = run(**inputs, max_new_tokens=7)
    length = inputs["input_ids"].shape[1]
    mask = torch.cat([inputs["attention_mask"], torch.ones(2, 3, dtype=torch.long)], 1)
    rest = {**inputs, "input_ids": whole[:, : length + 3], "attention_mask": mask}
    assert torch.equal(run(**rest, max_new_tokens=4, answered=3), whole)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({"retries": -1}, "retries"), ({"unit": "word"}, "unit"), ({"demand": 2.0}, "demand")],
)
def test_settings_out_of_range_are_refused(arguments, words):
    with pytest.raises(SettingsError, match=words):
        StepBack(**arguments)


def test_without_a_detector_nothing_can_be_contradicted(loaded):
    with pytest.raises(SettingsError, match="needs a detector"):
        Guard(*loaded, step_back=True)


def test_a_model_whose_generate_leaves_processors_out_is_refused(loaded, scenes):
    """Janus is one: stepping back would go back to the same words, and say nothing."""
    model, processor = loaded

    class Deaf(type(model)):
        def generate(self, inputs=None, logits_processor=None, **settings):
            return super().generate(inputs, **settings)

    deaf = copy.copy(model)
    deaf.__class__ = Deaf
    with pytest.raises(UnsupportedModelError, match="leaves it out"):
        guard_with((deaf, processor), Nowhere(), True)(scenes[0].image, PROMPT, max_new_tokens=8)
