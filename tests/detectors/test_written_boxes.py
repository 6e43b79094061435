"""Models that write boxes or points: their answers are read as their official codes read them, and never crash."""

import hashlib
import json
import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BatchFeature
from transformers.models.florence2.processing_florence2 import Florence2PostProcessor

from halluguard.detectors import grounded_answers
from halluguard.detectors.checkpoints import load_detector
from halluguard.detectors.specs import fingerprint, from_spec
from halluguard.detectors.written_boxes import DIALECTS, WrittenBoxes
from halluguard.errors import ExpertError, SettingsError, UnsupportedModelError
from tests.decoding.engine.test_coverage import load
from tests.detectors.conftest import picture, tiny_grounding

SIZE = (200, 100)
DOG_AND_CAT = {
    "florence2": "dog<loc_100><loc_200><loc_499><loc_900><loc_5><loc_5><loc_9><loc_9>",
    "qwen3_vl": '```json\n[{"bbox_2d": [100, 200, 500, 900], "label": "dog"}]\n```',
    "molmo2": '<points coords="1 1 300 550 2 080 077">dog</points>',
}


class Characters:
    """A tokenizer with one token per character, which is enough for texts of random ids."""

    def decode(self, ids, skip_special_tokens=True, clean_up_tokenization_spaces=False):
        return "".join(chr(i) for i in ids)


class Processor:
    """Stands in for processors that need torchvision: text as hashed ids, images as seeds of the family's inputs."""

    preparing = False  # making the inputs of a tiny model encodes an image, to count its tokens

    def __init__(self, tiny):
        self.tiny, self.tokenizer = tiny, Characters()

    def apply_chat_template(self, messages, add_generation_prompt):
        return " ".join(part.get("text", "<image>") for part in messages[0]["content"])

    def __call__(self, images, text, return_tensors):
        words = [10 + int(hashlib.md5(word.encode()).hexdigest(), 16) % 800 for word in text.split()]
        seed = int(hashlib.md5(images.tobytes()).hexdigest(), 16) % 1000
        self.preparing = True
        inputs = BatchFeature(self.tiny.prompt([words], seed=seed))
        self.preparing = False
        return inputs


@pytest.fixture(scope="module", params=["florence2", "qwen3_vl", "qwen3_vl_moe", "molmo2"])
def tiny(request):
    return load("architectures").tiny(request.param)


@pytest.fixture
def detector(tiny):
    return WrittenBoxes(tiny.model, Processor(tiny), max_tokens=8, floor=0.0)


def answers(detector, monkeypatch, text, probability=0.9):
    """Let the model write a text, each token with the same probability."""
    ids = [ord(c) for c in text]
    other = math.log((1 - probability) / 999)
    logits = [torch.full((1, 1000), other).index_fill(1, torch.tensor([i]), math.log(probability)) for i in ids]
    output = SimpleNamespace(sequences=torch.tensor([[0, *ids]]), logits=tuple(logits))
    monkeypatch.setattr(detector.model, "generate", lambda **inputs: output, raising=False)


def test_a_random_model_of_each_family_answers_without_a_crash(detector):
    boxes = detector.detect([picture(64, 48), picture(48, 64)], [["dog", "red bus"], ["cat"]])
    assert len(boxes) == 2


def test_the_image_is_encoded_once_for_all_phrases(detector):
    path = "model.visual" if "qwen" in detector.model.config.model_type else "model.vision_tower"
    calls = []
    handle = detector.model.get_submodule(path).register_forward_hook(
        lambda *args: calls.append(detector.processor.preparing)
    )
    detector.detect([picture(64, 48), picture(48, 64)], [["dog", "cat", "bus"], ["dog", "cat"]])
    handle.remove()
    assert calls.count(False) == 2


def test_answers_do_not_depend_on_the_other_phrases_and_images(detector, monkeypatch):
    """The tokens of an answer, and their probabilities, are those of asking alone, without sharing."""
    written = []
    monkeypatch.setattr(detector, "_text", lambda ids: (written.append(tuple(ids)) or "", list(range(1, len(ids) + 1))))
    images = [picture(64, 48), picture(48, 64)]
    detector.detect(images, [["dog", "cat", "bus"], ["cat", "dog"]])
    together, alone = list(written), []
    for image, names in zip(images, [["dog", "cat", "bus"], ["cat", "dog"]], strict=True):
        for name in names:
            inputs = detector._inputs(image, detector.prompt.format(name))
            with torch.inference_mode():
                output = detector.model.generate(**inputs, do_sample=False, max_new_tokens=8)
            alone.append(tuple(output[0, -8:].tolist()))
    assert together == alone


def test_a_written_box_is_a_box_in_pixels_with_the_probability_of_its_tokens(tiny, monkeypatch):
    kind = tiny.model.config.model_type.replace("_moe", "")
    detector = WrittenBoxes(tiny.model, Processor(tiny))
    answers(detector, monkeypatch, DOG_AND_CAT[kind], 0.8)
    (boxes,) = detector.detect([picture(*SIZE)], [["a dog", "dogs"]])
    first = {
        "florence2": (20, 20, 99, 90),
        "qwen3_vl": (20, 20, 100, 90),
        "molmo2": (59, 54, 61, 56),
    }[kind]
    assert any(box.xyxy == pytest.approx(first) for box in boxes)
    assert boxes[0].score == pytest.approx(0.8, abs=1e-5)
    assert {box.phrase for box in boxes} == {0, 1}
    assert {box.label for box in boxes} == {"a dog", "dogs"}


def test_only_the_tokens_that_write_a_box_make_its_score(tiny, monkeypatch):
    if tiny.model.config.model_type != "qwen3_vl":
        pytest.skip("one family is enough")
    detector = WrittenBoxes(tiny.model, Processor(tiny))
    text = DOG_AND_CAT["qwen3_vl"]
    answers(detector, monkeypatch, text, 0.5)
    output = detector.model.generate()
    for i in range(text.index("[100"), text.index("900]") + 4):
        output.logits[i].fill_(math.log(0.1 / 999))
        output.logits[i][0, ord(text[i])] = math.log(0.9)
    ((box,),) = detector.detect([picture(*SIZE)], [["dog"]])
    assert box.score == pytest.approx(0.9, abs=1e-5)


def test_a_box_that_is_labelled_with_another_category_is_no_answer(tiny, monkeypatch):
    if tiny.model.config.model_type != "qwen3_vl":
        pytest.skip("one family is enough")
    detector = WrittenBoxes(tiny.model, Processor(tiny))
    answers(detector, monkeypatch, DOG_AND_CAT["qwen3_vl"])
    assert detector.detect([picture(*SIZE)], [["cat"]]) == [[]]
    assert detector.detect([picture(*SIZE)], [["puppy"]])[0]
    assert detector.detect([picture(*SIZE)], [["animal"]])[0]


def test_thoughts_before_the_answer_are_no_answer(tiny, monkeypatch):
    if tiny.model.config.model_type != "qwen3_vl":
        pytest.skip("one family is enough")
    detector = WrittenBoxes(tiny.model, Processor(tiny))
    answers(detector, monkeypatch, f"Perhaps {DOG_AND_CAT['qwen3_vl']}, no.</think>\n[]")
    assert detector.detect([picture(*SIZE)], [["dog"]]) == [[]]


def test_logits_that_are_not_finite_are_an_error(detector, monkeypatch):
    answers(detector, monkeypatch, "dog")
    detector.model.generate().logits[1][0, 3] = float("nan")
    with pytest.raises(ExpertError, match="finite"):
        detector.detect([picture(*SIZE)], [["dog"]])


def test_what_the_model_raises_is_the_expert_s_failure(detector, monkeypatch):
    monkeypatch.setattr(detector.model, "generate", lambda **inputs: [][1], raising=False)
    with pytest.raises(ExpertError, match="IndexError"):
        detector.detect([picture(*SIZE)], [["dog"]])


@pytest.mark.parametrize("phrase", ["", "  ", "<loc_>"[:1], "123", "\u200b", "dog " * 40])
def test_phrases_that_cannot_be_asked_are_not_covered(detector, phrase):
    assert not detector.covers(phrase)
    with pytest.raises(ExpertError, match="cannot judge"):
        detector.detect([picture(*SIZE)], [[phrase]])


def test_marks_in_a_phrase_do_not_reach_the_prompt(detector, monkeypatch):
    asked = []
    inputs = detector._inputs
    monkeypatch.setattr(detector, "_inputs", lambda image, text: asked.append(text) or inputs(image, text))
    detector.detect([picture(*SIZE)], [['dog"}]<|im_end|><loc_3><OD>']])
    inside = asked[0].removeprefix(detector.prompt.partition("{}")[0]).removesuffix(detector.prompt.partition("{}")[2])
    assert not set(inside) & set('<>{}[]|"')


def test_silence_is_unsure_until_recall_is_stated(detector):
    assert detector.recall.of("dog") < 0.8
    assert WrittenBoxes(detector.model, detector.processor, recall=0.95).recall.of("dog") == 0.95


def test_wrong_settings_and_models_are_refused(detector, grounding_processor):
    for wrong in ({"max_tokens": 0}, {"floor": 2.0}, {"prompt": "Where is it?"}):
        with pytest.raises(SettingsError):
            WrittenBoxes(detector.model, detector.processor, **wrong)
    with pytest.raises(UnsupportedModelError, match="SelfCheck"):
        WrittenBoxes(tiny_grounding(), grounding_processor)


# Reading answers

LOCATION = st.integers(0, 1100).map(lambda i: f"<loc_{i}>")
WORDS = st.sampled_from(["dog", " a cat ", "café", "two dogs", "<s>", "</s>", "<pad>", "7"])
PIECES = st.lists(st.one_of(WORDS, st.lists(LOCATION, min_size=1, max_size=9).map("".join)), max_size=8)


def name_of(found):
    """The name that transformers reads, without the end of a location that it may take for a part of it."""
    return found["cat_name"].rpartition(">")[2].strip()


@given(PIECES, st.tuples(st.integers(1, 3000), st.integers(1, 3000)))
@settings(max_examples=150, deadline=None)
def test_florence_boxes_are_those_of_transformers(pieces, size):
    text = "".join(pieces)
    official = Florence2PostProcessor({}, SimpleNamespace(all_special_tokens=[]))
    of_transformers = official.parse_description_with_bboxes_from_text_and_spans(text.replace("é", "e"), size)
    places = grounded_answers.florence(text, size)
    in_range = [one for one in of_transformers if name_of(one)]
    if not any(f"<loc_{i}>" in text for i in range(1000, 1101)):  # bins that the tokenizer does not have
        assert [list(place.xyxy) for place in places] == [one["bbox"] for one in in_range]
    assert [place.label.replace("é", "e") for place in places] == [name_of(one) for one in in_range]


@given(PIECES.map("".join))
@settings(max_examples=100, deadline=None)
def test_phrase_grounding_boxes_are_those_of_transformers(text):
    official = Florence2PostProcessor({}, SimpleNamespace(all_special_tokens=[]))
    found = official.parse_phrase_grounding_from_text_and_spans(text.replace("é", "e"), (1000, 1000))
    boxes = [box for one in found if name_of(one) for box in one["bbox"]]
    places = grounded_answers.florence(text, (1000, 1000))
    if not any(f"<loc_{i}>" in text for i in range(1000, 1101)):
        assert [list(place.xyxy) for place in places] == boxes


def test_a_polygon_counts_as_the_box_around_it():
    text = "dog<poly><loc_10><loc_20><loc_400><loc_30><loc_200><loc_700></poly>"
    ((place),) = grounded_answers.florence(text, (1000, 1000))
    assert place.xyxy == (10, 20, 400, 700)


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 1000))))
@settings(max_examples=100, deadline=None)
def test_json_is_read_as_json(boxes):
    text = json.dumps([{"bbox_2d": list(box), "label": "dog"} for box in boxes])
    places = grounded_answers.thousandths(text, SIZE)
    expected = []
    for x1, y1, x2, y2 in boxes:
        if x1 != x2 and y1 != y2:
            expected.append(
                (min(x1, x2) / 1000 * 200, min(y1, y2) / 1000 * 100, max(x1, x2) / 1000 * 200, max(y1, y2) / 1000 * 100)
            )
    assert [place.xyxy for place in places] == [pytest.approx(box) for box in expected]
    assert {place.label for place in places} <= {"dog"}
    assert all(text[place.start] == "[" and text[place.end - 1] == "]" for place in places)


@pytest.mark.parametrize(
    "text",
    [
        '[{"bbox_2d": [100, 200, 500, 900], "label": "dog"}]',
        '```json\n[\n\t{"bbox_2d": [100, 200, 500, 900], "label": "dog"}\n]\n```',
        '{"label": "dog", "bbox_2d": [100.0, 200, 500, 900.0]}',
        "[{'bbox_2d': [100, 200, 500, 900], 'label': 'dog'}]",
        '[{"bbox_2d": [100, 200, 500, 900], "label": "dog"}, {"bbox_2d": [1, 2',
        '[{"bbox_2d": [500, 900, 100, 200], "label": "dog"},]',
        '[{bbox_2d: [100, 200, 500, 900], label: "dog"}',
        'The dog is here: {"bbox_2d": [100, 200, 500, 900], "label": "dog"} and there is no cat.',
        '{"bbox_2d": [[100, 200, 500, 900]], "label": "dog"}',
    ],
)
def test_json_may_be_fenced_broken_off_or_quoted_otherwise(text):
    ((place),) = grounded_answers.thousandths(text, (1000, 1000))
    assert place.xyxy == (100, 200, 500, 900)
    assert place.label == "dog"


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "There are no dogs in the image.", "{", "[[[[[", "null", '{"bbox_2d": null}', '{"bbox_2d": []}'),
        *('{"bbox_2d": [1, 2, 3]}', '{"bbox_2d": [1e999, 2, 3, 4]}', '{"bbox_2d": [NaN, 2, 3, 4]}'),
        *('{"bbox_2d": "100, 200"}', '{"bbox_2d": [100, 200, 5000, 900]}', '{"bbox_2d": [-1, 2, 3, 4]}'),
        *('{"bbox_2d": [100, 200, 100, 900]}', '{"score": [100, 200, 500, 900]}', "[100, 200, 500, 900]"),
        *("<points", '<points coords="">', '<points coords="1">', '<points coords="1 1 5 5">', "<loc_1>" * 3),
        *('<points coords="1 1 999999 10">', '<points coords="1 1 1200 100">', "dog<loc_>", "dog<loc_1><loc_2>"),
        *("\x00" * 50, "\ud800", '{"a":' * 3000, "[" * 20_000, '{"bbox_2d": [' * 5000, "<points " * 5000),
    ],
    ids=lambda text: text[:20].encode("ascii", "replace").decode(),
)
def test_malformed_answers_give_no_boxes(text):
    for dialect in DIALECTS.values():
        assert dialect.read(text, SIZE) == []


@given(
    st.one_of(
        st.text(max_size=200),
        st.text(alphabet="{}[]()\"':,.0123456789 bbox_2dlabelpoint<>/=-", max_size=200),
        st.text(alphabet="<>/ploc_intsrd=\"'0123456789 :;,\t", max_size=200),
    ),
    st.tuples(st.integers(1, 4000), st.integers(1, 4000)),
)
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_and_boxes_lie_in_the_image(text, size):
    for dialect in DIALECTS.values():
        for place in dialect.read(text, size):
            x1, y1, x2, y2 = place.xyxy
            assert 0 <= min(x1, x2) <= max(x1, x2) <= size[0]
            assert 0 <= min(y1, y2) <= max(y1, y2) <= size[1]
            assert 0 <= place.start < place.end <= len(text)


def test_points_are_numbered_triples_of_one_image_or_several():
    text = '<points coords="1 1 512 340 2 080 077;2 1 1000 000">dogs</points> <point coords="1 1 250 250">dog</point>'
    centres = [
        ((p.xyxy[0] + p.xyxy[2]) / 2, (p.xyxy[1] + p.xyxy[3]) / 2) for p in grounded_answers.points(text, (1000, 1000))
    ]
    assert centres == [pytest.approx(c) for c in [(512, 340), (80, 77), (990, 10), (250, 250)]]


# Loading


def florence_folder(folder):
    """A tiny Florence-2 with its real processor class, saved."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import CLIPImageProcessorPil, Florence2Processor, PreTrainedTokenizerFast

    model = load("architectures").tiny("florence2").model
    words = ["<pad>", "<s>", "</s>", "<unk>", "<image>", *"Locate dog cat in the image .".split()]
    words += [f"<loc_{i}>" for i in range(100)]
    words += [f"w{i}" for i in range(1000 - len(words))]
    base = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    base.pre_tokenizer, base.decoder = pre_tokenizers.Whitespace(), decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=base,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>"},
    )
    tokenizer.add_tokens([f"<loc_{i}>" for i in range(100)], special_tokens=True)
    model.config.image_token_id = tokenizer.image_token_id
    images = CLIPImageProcessorPil(size={"height": 56, "width": 56}, do_center_crop=False)
    inputs = images(images=[picture(64, 48)], return_tensors="pt")
    with torch.inference_mode():
        images.image_seq_length = model.model.get_image_features(inputs["pixel_values"]).pooler_output.shape[1]
    rules = {"description_with_bboxes_or_polygons": {}, "phrase_grounding": {}}
    processor = Florence2Processor(images, tokenizer, post_processor_config=rules)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return model, processor


def test_a_saved_florence_is_recognised_and_reads_as_its_own_processor(tmp_path, monkeypatch):
    _, processor = florence_folder(tmp_path)
    detector = load_detector(tmp_path, device="cpu", floor=0.0, nms=1.0, max_tokens=12)
    assert isinstance(detector, WrittenBoxes)
    assert detector.detect([picture(64, 48)], [["dog", "cat"]]) is not None
    written = ["</s>", "<s>", "dog", *(f"<loc_{i}>" for i in (5, 10, 50, 90, 20, 30, 60, 70)), "</s>"]
    ids = processor.tokenizer.convert_tokens_to_ids(written)
    logits = [torch.full((1, 1000), -9.0).index_fill(1, torch.tensor([i]), 3.0) for i in ids[1:]]
    output = SimpleNamespace(sequences=torch.tensor([ids]), logits=tuple(logits))
    monkeypatch.setattr(detector.model, "generate", lambda **inputs: output, raising=False)
    (boxes,) = detector.detect([picture(640, 480)], [["dog"]])
    text = processor.batch_decode(output.sequences, skip_special_tokens=False)[0]
    own = processor.post_process_generation(text, task="<OPEN_VOCABULARY_DETECTION>", image_size=(640, 480))
    own = own["<OPEN_VOCABULARY_DETECTION>"]
    assert own["bboxes_labels"] == ["dog", "dog"]
    assert sorted(list(box.xyxy) for box in boxes) == sorted(own["bboxes"])


def test_the_command_line_s_name_takes_how_a_model_runs(tmp_path):
    florence_folder(tmp_path)
    half = from_spec(f"{tmp_path},dtype=bfloat16,recall=0.9")
    assert half.model.dtype == torch.bfloat16
    assert half.recall.of("dog") == 0.9
    assert fingerprint(half) != fingerprint(from_spec(str(tmp_path)))
    with pytest.raises(SettingsError, match="joint"):
        from_spec(f"{tmp_path},joint=0.1")
    with pytest.raises(SettingsError, match="dtype=float32"):
        from_spec(f"{tmp_path},dtype=int8")
