"""Messages in both forms are read alike, and what cannot be read is refused in one sentence."""

import base64
import io

import pytest
from PIL import Image

from halluguard.errors import ImageError, InputError
from halluguard.prompting.conversation import asked, read_messages, with_examples

RED, BLUE = Image.new("RGB", (8, 6), "red"), Image.new("RGB", (8, 6), "blue")
TEXT = {"type": "text", "text": "What is it?"}


def data_url(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def user(*content):
    return [{"role": "user", "content": list(content)}]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image", "image": RED},
        {"type": "image_url", "image_url": {"url": data_url(RED)}},
        {"type": "image_url", "image_url": data_url(RED)},
        {"type": "input_image", "image_url": data_url(RED)},
        {"type": "image", "base64": data_url(RED).partition(",")[2]},
        {"type": "image"},
    ],
)
def test_an_image_is_read_in_every_form(part):
    images = [RED] if part == {"type": "image"} else None
    conversation = read_messages(user(part, TEXT), images)
    assert [image.tobytes() for image in conversation.images] == [RED.tobytes()]
    assert conversation.question == "What is it?"


def test_a_path_is_read_in_hugging_face_s_form_alone(tmp_path):
    RED.save(tmp_path / "red.png")
    path = str(tmp_path / "red.png")
    assert read_messages(user({"type": "image", "path": path}, TEXT)).images
    with pytest.raises(InputError, match="data: URL"):
        read_messages(user({"type": "image_url", "image_url": {"url": path}}, TEXT))


def test_roles_and_order_are_kept_and_earlier_thoughts_are_dropped():
    conversation = read_messages(
        [
            {"role": "developer", "content": "Be brief."},
            *user({"type": "image", "image": RED}, TEXT),
            {"role": "assistant", "content": "<think>Red?</think>A red square."},
            {"role": "user", "content": "Why?"},
        ]
    )
    assert [message.role for message in conversation.messages] == ["system", "user", "assistant", "user"]
    assert conversation.messages[2].text == "A red square."
    assert conversation.question == "Why?"


def test_examples_stand_after_the_system_prompt_and_are_no_subject_of_the_answer():
    conversation = read_messages(
        [{"role": "system", "content": "Be brief."}, *user({"type": "image", "image": RED}, TEXT)]
    )
    taught = with_examples(conversation, [(BLUE, "Which colour?", "Blue.")])
    assert [message.role for message in taught.messages] == ["system", "user", "assistant", "user"]
    assert [image.tobytes() for image in taught.images] == [BLUE.tobytes(), RED.tobytes()]
    assert [image.tobytes() for image, _ in taught.subjects] == [RED.tobytes()]
    assert [image.tobytes() for image in taught.without_asked_image().images] == [BLUE.tobytes()]
    assert with_examples(conversation, []) == conversation


def test_a_clip_has_a_time_per_frame():
    conversation = read_messages(user({"type": "video", "video": [RED, BLUE], "fps": 2}, TEXT))
    assert [time for _, time in conversation.subjects] == [0.0, 0.5]
    assert len(conversation.images) == 2


def test_several_images_may_go_with_one_prompt():
    assert len(asked([RED, BLUE], "Which differ?").images) == 2


@pytest.mark.parametrize(
    ("messages", "images", "words"),
    [
        ([], None, "at least one message"),
        (iter([]), None, "at least one message"),
        ("What is it?", None, "a list of messages"),
        ([1], None, "a mapping with a role"),
        ([{"role": "tool", "content": "x"}], None, "'tool'"),
        ([{"content": "x"}], None, "one of the roles"),
        ([{"role": "user"}], None, "as content"),
        (user({"type": "image", "image": RED}), None, "should have a text"),
        ([{"role": "user", "content": " "}], None, "should have a text"),
        ([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}], None, "to be the user's"),
        ([{"role": "user", "content": "Hi"}, {"role": "system", "content": "Ho"}, *user(TEXT)], None, "put it first"),
        (user({"type": "audio"}, TEXT), None, "'audio'"),
        (user({"type": "text"}), None, "'text' without a text"),
        (user({"type": "text", "text": None}, TEXT), None, "'text' without a text"),
        (user({"type": "image"}, TEXT), RED, r"write images=\[image\]"),
        (user({"type": "image"}, TEXT), "a.png", r"write images=\[image\]"),
        (user({"type": "image", "image": RED, "url": "a.png"}, TEXT), None, "an image twice"),
        (user({"type": "image"}, TEXT), None, "none left"),
        (user({"type": "image"}, {"type": "image"}, TEXT), [RED], "none left"),
        (user({"type": "image"}, TEXT), [RED, BLUE], "got 1 more"),
        (user({"type": "image", "image": RED}, TEXT), [BLUE], "got 1 more"),
        (user({"type": "image_url", "image_url": {"url": "https://x.org/a.png"}}, TEXT), None, "never fetched"),
        (user({"type": "image_url", "image_url": {"url": "data:image/png;base64,%%"}}, TEXT), None, "not base64"),
        (user({"type": "video", "video": "clip.mp4"}, TEXT), None, "a list of frames"),
        (user({"type": "video", "video": [RED], "times": [0, 1]}, TEXT), None, "one time per frame"),
        (user({"type": "video", "video": [RED, BLUE], "times": 3}, TEXT), None, "one time per frame"),
        (user({"type": "video", "video": [RED], "times": ["early"]}, TEXT), None, "times in seconds"),
        (user({"type": "video", "video": [RED], "fps": 0}, TEXT), None, "frames per second"),
        ([{"role": "assistant", "content": [{"type": "image", "image": RED}, TEXT]}, *user(TEXT)], None, "text alone"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_sentence(messages, images, words):
    with pytest.raises(InputError, match=words) as caught:
        read_messages(messages, images)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("example", [(RED, "Which?"), (RED, "", "Red."), (RED, "Which?", None), "abc"])
def test_an_example_without_a_part_is_refused(example):
    with pytest.raises(InputError, match="example"):
        with_examples(asked(RED, "Which?"), [example])


def test_an_image_that_is_none_is_an_error_of_the_image():
    with pytest.raises(ImageError):
        read_messages(user({"type": "image", "image": "nowhere.png"}, TEXT))
