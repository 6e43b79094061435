"""Conversations through Guard on the sandbox: laws of chat, examples, thinking, clips and streams."""

import copy
import dataclasses

import pytest
import torch

from halluguard import Guard, InputError, SettingsError, sandbox
from halluguard.decoding import VCD, Imagination
from halluguard.prompting.drafting import Draft, Drafter, in_batches
from halluguard.records import Answer


@pytest.fixture(scope="module")
def guard():
    return Guard.from_pretrained(sandbox.MLLM, detector=sandbox.DETECTOR, device="cpu")


@pytest.fixture(scope="module")
def scenes():
    return [scene.image for scene in sandbox.fresh_scenes(3)]


def turn(*parts):
    content = [{"type": "text", "text": p} if isinstance(p, str) else {"type": "image", "image": p} for p in parts]
    return {"role": "user", "content": content}


@pytest.mark.parametrize("settings", [{}, {"imagination": -0.5}, {"decoding": VCD()}, {"do_sample": True, "seed": 2}])
def test_a_chat_of_one_turn_equals_a_question(guard, scenes, settings):
    chat = guard.chat([turn(scenes[0], "Describe the image.")], **settings)
    call = guard(scenes[0], "Describe the image.", **settings)
    assert (chat.draft, chat.text, chat.verdicts) == (call.draft, call.text, call.verdicts)
    assert guard(messages=[turn(scenes[0], "Describe the image.")], **settings).text == call.text


def test_a_conversation_reaches_the_model_whole(guard, scenes):
    messages = [
        turn(scenes[0], "Describe the image."),
        {"role": "assistant", "content": "A horse."},
        turn(scenes[1], "Is there a dog in the image?"),
    ]
    answer = guard.chat(messages, max_new_tokens=4)
    image = f"USER: {'<image>' * 49}"
    prompt = f"{image}\nDescribe the image. ASSISTANT: A horse. </s>{image}\nIs there a dog in the image? ASSISTANT:"
    inputs = guard.processor(text=[prompt.replace("<image>" * 49, "<image>")], images=scenes[:2], return_tensors="pt")
    plain = guard.model.generate(**inputs, max_new_tokens=4)[0, inputs["input_ids"].shape[1] :]
    assert answer.draft == guard.processor.decode(plain, skip_special_tokens=True).strip()
    assert answer.question == "Is there a dog in the image?"


def test_several_images_are_checked_together(guard, scenes, monkeypatch):
    """A claim that one of the images shows is true of the conversation; the verdict says which image."""
    names = [scene.names for scene in sandbox.fresh_scenes(3)]
    only_second = next(name for name in names[1] if name not in names[0])
    draft = f"There is a {only_second}."
    monkeypatch.setattr(Drafter, "drafts", lambda *_: [[Draft(draft)]])
    answer = guard.chat([turn(scenes[0], scenes[1], "Describe the image.")])
    (verdict,) = answer.verdicts
    assert (verdict.decision, answer.text) == ("supported", draft)
    assert verdict.reason.endswith("(in image 2)")
    assert answer.image.tobytes() == scenes[1].tobytes()
    assert guard.chat([turn(scenes[0], "Describe the image.")]).text != draft, "the first image alone does not show it"


def test_the_frames_of_a_clip_are_checked_with_their_times(guard, scenes, monkeypatch):
    names = [scene.names for scene in sandbox.fresh_scenes(3)]
    only_second = next(name for name in names[1] if name not in names[0])
    monkeypatch.setattr(Drafter, "drafts", lambda *_: [[Draft(f"There is a {only_second}.")]])
    clip = {"type": "video", "video": [scenes[0], scenes[1], scenes[0]], "times": [0, 67.5, 90]}
    answer = guard.chat([{"role": "user", "content": [clip, {"type": "text", "text": "Describe the video."}]}])
    assert answer.verdicts[0].reason.endswith("(at 1:07)")


def test_a_reader_reads_every_image_and_its_lines_keep_their_place(scenes):
    from halluguard.prompting.evidence_images import ImageSet, SetDetector, SetReader
    from halluguard.records import Box

    class Reader:
        name, needs_image = "reader", True

        def read(self, images):
            return [[Box(f"line {i}", 0.9)] for i, _ in enumerate(images)]

    detector = SetDetector(Nothing())
    (lines,) = SetReader(Reader(), detector).read([ImageSet(tuple(scenes), (None,) * 3)])
    assert [line.label for line in lines] == ["line 0", "line 1", "line 2"]
    assert [detector.shown[id(line)] for line in lines] == [0, 1, 2]


class Nothing:
    name, needs_image = "nothing", True

    def covers(self, phrase):
        return True

    def detect(self, images, phrases):
        return [[] for _ in images]


def test_frames_never_add_up_to_a_count(guard, scenes, monkeypatch):
    name = next(sandbox.fresh_scenes(1)).names[0]
    monkeypatch.setattr(Drafter, "drafts", lambda *_: [[Draft(f"There are three {name}s.")]])
    one = guard.chat([turn(scenes[0], "Describe the image.")])
    clip = {"type": "video", "video": [scenes[0]] * 3}
    three = guard.chat([{"role": "user", "content": [clip, {"type": "text", "text": "Describe the video."}]}])
    assert [v.decision for v in three.verdicts] == [v.decision for v in one.verdicts]


def test_no_examples_and_a_strength_of_zero_change_nothing(guard, scenes):
    plain = guard(scenes[0], "Is there a dog in the image?")
    assert guard(scenes[0], "Is there a dog in the image?", examples=[]).draft == plain.draft
    examples = [(scenes[1], "Describe the image.", "The image shows a beach with a boat.")]
    taught = guard(scenes[0], "Describe the image.", examples=examples)
    for image_free in ("all", "asked"):
        zero = guard(scenes[0], "Describe the image.", examples=examples, imagination=0.0, image_free=image_free)
        assert zero.draft == taught.draft


@pytest.mark.parametrize("image_free", ["all", "asked"])
def test_a_branch_loses_the_images_that_are_named(guard, scenes, image_free):
    """First scores, against both branches computed from prompts of their own."""
    examples = [(scenes[1], "Describe the image.", "The image shows a beach with a boat.")]
    seen = []

    class Watched(Imagination):
        def combine_logits(self, branches, step):
            seen.append(branches)
            return super().combine_logits(branches, step)

    guard(
        scenes[0],
        "Describe the image.",
        examples=examples,
        decoding=Watched(-1.0),
        image_free=image_free,
        max_new_tokens=1,
    )
    image = f"{'<image>'}\n"
    tail = "Describe the image. ASSISTANT: The image shows a beach with a boat. </s>USER: "
    asked = "Describe the image. ASSISTANT:"
    if image_free == "asked":
        prompt, images = f"USER: {image}{tail}{asked}", [scenes[1]]
    else:
        prompt, images = f"USER: \n{tail}\n{asked}", None
    inputs = guard.processor(text=[prompt], images=images, return_tensors="pt")
    with torch.no_grad():
        alone = guard.model(**inputs).logits[:, -1]
    assert torch.allclose(seen[0][1][:, -1], alone, atol=1e-4)


def test_a_text_alone_is_answered_plainly(guard):
    answer = guard.chat([turn("How many are there?")], imagination=-1.0, max_new_tokens=4)
    assert answer.draft == guard.chat([turn("How many are there?")], max_new_tokens=4).draft
    assert answer.settings["decoding"] == "plain"
    assert answer.verdicts == ()


def test_thinking_is_kept_apart_and_audited_on_request(guard, scenes, monkeypatch):
    name = next(sandbox.fresh_scenes(1)).names[0]
    monkeypatch.setattr(Drafter, "drafts", lambda *_: [[Draft(f"There is a {name}.", "There is a unicorn dog.")]])
    answer = guard(scenes[0])
    assert (answer.draft, answer.thinking, answer.thoughts) == (f"There is a {name}.", "There is a unicorn dog.", None)
    audited = guard(scenes[0], audit_thinking=True)
    assert audited.thoughts.draft == answer.thinking
    assert audited.thoughts.claims
    assert Answer.from_json(audited.to_json()).thoughts.claims == audited.thoughts.claims
    assert "thinking" not in dataclasses.replace(answer, thinking="").to_dict()


def test_a_model_that_thinks_is_read_in_two_parts(guard):
    from halluguard.prompting.drafting import decoded

    processor = copy.deepcopy(guard.processor)
    processor.tokenizer.add_special_tokens({"extra_special_tokens": ["<think>", "</think>"]})
    ids = processor.tokenizer("<think> a dog </think> a cat </s>", return_tensors="pt")["input_ids"][0]
    assert decoded(processor, ids) == Draft("a cat", "a dog")


def test_a_stream_joins_to_the_answer(guard, scenes):
    for settings in ({}, {"imagination": -0.5}):
        stream, pieces = guard.stream(scenes[0], "Describe the image.", **settings), []
        while True:
            try:
                pieces.append(next(stream))
            except StopIteration as stop:
                answer = stop.value
                break
        assert len(pieces) >= 2
        assert "".join(pieces) == answer.text == guard(scenes[0], "Describe the image.", **settings).text


def test_a_stream_is_corrected_before_it_is_given_out(guard, scenes, monkeypatch):
    name = next(sandbox.fresh_scenes(1)).names[0]
    words = f"There is a {name}. There is a giraffe and an airplane. It is quiet."
    drafts = [Draft(words[:i]) for i in range(1, len(words) + 1)]
    monkeypatch.setattr(Drafter, "stream", lambda *_: (draft for draft in drafts))
    pieces = list(guard.stream(scenes[0], "Describe the image."))
    assert pieces[0] == f"There is a {name}."
    assert "giraffe" not in "".join(pieces)
    assert pieces[-1].strip() == "It is quiet."


def test_a_stream_that_is_closed_stops_the_model(guard, scenes):
    import threading

    before = threading.active_count()
    stream = guard.stream(scenes[0], "Describe the image.", min_new_tokens=70)
    next(stream)
    assert threading.active_count() > before
    stream.close()
    assert threading.active_count() == before
    with pytest.raises(SettingsError, match="beam"):
        list(guard.stream(scenes[0], num_beams=2))


def test_several_answers_are_each_corrected(guard, scenes):
    answers = guard.batch(scenes[:2], num_beams=3, num_return_sequences=2)
    assert len(answers) == 4
    assert all(answer.claims for answer in answers)
    assert [answer.image.tobytes() for answer in answers] == [scene.tobytes() for scene in scenes[:2] for _ in "ab"]
    assert answers[0].draft == guard(scenes[0], num_beams=3).draft
    with pytest.raises(SettingsError, match="batch"):
        guard(scenes[0], num_beams=3, num_return_sequences=2)


def test_batches_may_have_any_length_and_halve_when_memory_ends(guard, scenes):
    whole = [answer.draft for answer in guard.batch(scenes, max_new_tokens=6)]
    assert [answer.draft for answer in guard.batch(scenes, batch_size=2, max_new_tokens=6)] == whole
    sizes = []

    def call(items, start):
        sizes.append(len(items))
        if len(items) > 2:
            raise torch.OutOfMemoryError
        return [start + i for i, _ in enumerate(items)]

    assert in_batches(call, list("abcdefg"), 7) == list(range(7))
    assert sizes == [7, 3, 1, 1, 1, 1, 1, 1, 1]
    with pytest.raises(SettingsError, match="batch_size"):
        guard.batch(scenes, batch_size=0)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda g, image: g(image, return_dict_in_generate=True), SettingsError, "return_dict_in_generate"),
        (lambda g, image: g(), InputError, "got neither"),
        (lambda g, image: g(image, messages=[turn("Hi")]), InputError, "got both"),
        (lambda g, image: g(image, image_free="none"), SettingsError, "image_free"),
    ],
)
def test_bad_calls_are_refused(guard, scenes, call, error, words):
    with pytest.raises(error, match=words):
        call(guard, scenes[0])


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (
            "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}",
            "System",
        ),
        ("USER: {{ messages[-1]['content'][-1]['text'] }}", "leaves out 'Be brief.'"),
    ],
)
def test_a_template_that_takes_no_system_prompt_is_named(guard, scenes, template, words):
    processor = copy.deepcopy(guard.processor)
    processor.chat_template = template
    with pytest.raises(InputError, match=words) as caught:
        Guard(guard.model, processor).chat([{"role": "system", "content": "Be brief."}, turn(scenes[0], "Why?")])
    assert "first question" in str(caught.value)


def test_nothing_of_the_caller_s_is_changed(guard, scenes):
    processor = copy.deepcopy(guard.processor)
    processor.tokenizer.padding_side = "right"
    before = {name: value for name, value in vars(processor.tokenizer).items() if name != "_tokenizer"}
    Guard(guard.model, processor).batch(scenes[:2], ["Describe the image.", "Why?"], max_new_tokens=2)
    assert processor.tokenizer.padding_side == "right"
    assert {name: value for name, value in vars(processor.tokenizer).items() if name != "_tokenizer"} == before


def test_one_start_token_where_template_and_tokenizer_both_write_it(guard, scenes):
    from tokenizers.processors import TemplateProcessing

    processor = copy.deepcopy(guard.processor)
    start = (processor.tokenizer.bos_token, processor.tokenizer.bos_token_id)
    processor.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{start[0]} $A", special_tokens=[start]
    )
    for template in (processor.chat_template, "{{ bos_token }}" + processor.chat_template):
        processor.chat_template = template
        ids = Guard(guard.model, processor).inputs(scenes[:1], ["Why?"])["input_ids"][0].tolist()
        assert ids.count(start[1]) == 1
        assert ids[0] == start[1]
