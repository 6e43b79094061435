"""Open-vocabulary experts: laws over every family first, then the traps of single ones. Weights are random but owlvit's."""

import io
import struct

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.models.auto.modeling_auto import MODEL_FOR_ZERO_SHOT_OBJECT_DETECTION_MAPPING_NAMES

from halluguard import sandbox
from halluguard.boxes import iou
from halluguard.detectors import geometry, grounding_prompt
from halluguard.detectors.specs import fingerprint, from_spec
from halluguard.detectors.zero_shot import ZeroShotDetector
from halluguard.detectors.zero_shot_families import FAMILIES
from halluguard.errors import ExpertError, ImageError, MissingExtraError, SettingsError, UnsupportedModelError
from tests.detectors.conftest import WORDS, picture, tiny_grounding, tiny_omdet

PHRASES = ["dog", "cat", "book", "potted plant"]


def seen(boxes, phrase=None):
    """Boxes as numbers that may be compared."""
    return [(b.phrase, b.label, *b.xyxy, b.score) for b in boxes if phrase in (None, b.phrase)]


def close(a, b):
    assert [x[:2] for x in a] == [x[:2] for x in b]
    assert np.allclose([x[2:] for x in a], [x[2:] for x in b], atol=1e-3, rtol=0)
    return True


def count_passes(detector, monkeypatch):
    passes = []
    forward = detector.model.forward
    monkeypatch.setattr(detector.model, "forward", lambda *a, **k: passes.append(1) or forward(*a, **k))
    return passes


def test_every_family_of_transformers_is_here():
    assert set(FAMILIES) - {"sam3", "sam3_lite_text"} == set(MODEL_FOR_ZERO_SHOT_OBJECT_DETECTION_MAPPING_NAMES)


def test_changing_a_phrase_never_changes_another(family):
    detector = ZeroShotDetector(*family, floor=0.0)
    image = picture(96, 80)
    (first,) = detector.detect([image], [["dog", "cat"]])
    (second,) = detector.detect([image], [["dog", "potted plant"]])
    (alone,) = detector.detect([image], [["dog"]])
    assert close(seen(first, 0), seen(second, 0))
    assert close(seen(first, 0), seen(alone))


def test_neither_order_nor_neighbours_of_the_pictures_matter(family):
    detector = ZeroShotDetector(*family, floor=0.0, rows_per_pass=3)
    images = [picture(96, 80, 1), picture(80, 96, 2), picture(96, 80, 3), picture(40, 40, 4)]
    asked = [PHRASES[:2], PHRASES[1:], PHRASES, PHRASES[2:3]]
    together = detector.detect(images, asked)
    order = [2, 0, 3, 1]
    shuffled = detector.detect([images[i] for i in order], [asked[i] for i in order])
    for i, image in enumerate(images):
        assert close(seen(together[i]), seen(shuffled[order.index(i)]))
        assert close(seen(together[i]), seen(detector.detect([image], [asked[i]])[0]))


def test_one_row_per_pass_is_exact(family):
    detector = ZeroShotDetector(*family, floor=0.0, rows_per_pass=1, phrases_per_pass=1)
    images = [picture(96, 80, 1), picture(96, 80, 2)]
    both = detector.detect(images, [PHRASES, PHRASES[:1]])
    assert both[1] == detector.detect(images[1:], [PHRASES[:1]])[0]


def test_boxes_lie_in_the_picture_and_point_to_their_phrase(family):
    detector = ZeroShotDetector(*family, floor=0.0)
    for image in (picture(50, 200), picture(200, 50)):
        (boxes,) = detector.detect([image], [PHRASES])
        assert {box.phrase for box in boxes} <= set(range(len(PHRASES)))
        for box in boxes:
            x1, y1, x2, y2 = box.xyxy
            assert 0 <= x1 < x2 <= image.width
            assert 0 <= y1 < y2 <= image.height
            assert box.label == PHRASES[box.phrase]


def test_equal_phrases_are_looked_for_once_and_all_answered(family, monkeypatch):
    detector = ZeroShotDetector(*family, floor=0.0)
    passes = count_passes(detector, monkeypatch)
    (boxes,) = detector.detect([picture(64, 64)], [["a dog", "Dogs", "dog"]])
    assert len(passes) == 1
    of = [[(b.xyxy, b.score) for b in boxes if b.phrase == i] for i in range(3)]
    assert of[0]
    assert of[0] == of[1] == of[2]


def test_pictures_of_one_size_share_a_pass(family, monkeypatch):
    detector = ZeroShotDetector(*family)
    passes = count_passes(detector, monkeypatch)
    detector.detect([picture(64, 64, i) for i in range(4)], [PHRASES] * 4)
    assert len(passes) == 1
    detector.detect([picture(64, 64)], [[]])
    assert len(passes) == 1, "nothing was asked, nothing is looked at"


@pytest.mark.parametrize("where", ["logits", "boxes"])
def test_a_model_that_answers_nan_is_an_error_and_not_an_empty_picture(family, where, monkeypatch):
    detector = ZeroShotDetector(*family)
    forward = detector.model.forward

    def broken(*args, **kwargs):
        output = forward(*args, **kwargs)
        names = {
            "logits": ("logits", "decoder_class_logits", "pred_logits"),
            "boxes": ("pred_boxes", "decoder_coord_logits"),
        }[where]
        for name in names:
            if name in output:
                output[name][0, 0] = float("nan")
        return output

    monkeypatch.setattr(detector.model, "forward", broken)
    with pytest.raises(ExpertError, match="finite"):
        detector.detect([picture(64, 64)], [["dog"]])


def test_what_a_model_raises_is_the_expert_s_failure(family, monkeypatch):
    detector = ZeroShotDetector(*family)
    monkeypatch.setattr(detector.model, "forward", lambda *a, **k: [][1])
    with pytest.raises(ExpertError, match="IndexError"):
        detector.detect([picture(64, 64)], [["dog"]])


def odd_pictures():
    ramp = np.tile(np.linspace(0, 65535, 64, dtype=np.uint16), (64, 1))
    yield "16-bit", Image.fromarray(ramp)
    for mode in ("1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "I", "F"):
        yield mode, picture(64, 64).convert("RGB").convert(mode)
    yield "1x1", picture(1, 1)
    yield "wide", picture(500, 1)
    yield "tall", picture(2, 1000)


@pytest.mark.parametrize(("name", "image"), odd_pictures(), ids=lambda value: value if isinstance(value, str) else "")
def test_odd_pictures_are_looked_at(name, image, grounding_processor):
    detector = ZeroShotDetector(tiny_grounding(), grounding_processor, floor=0.0)
    (boxes,) = detector.detect([image], [["dog"]])
    # A strip is padded to be looked at, and random boxes may all lie in the padding.
    assert boxes or name in ("1x1", "wide", "tall")
    assert all(b.xyxy[2] <= image.width and b.xyxy[3] <= image.height for b in boxes)


def test_boxes_are_in_the_pixels_a_viewer_shows():
    """A photo of a phone lies on its side in the file; the boxes must not."""
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(80, 40).save(buffer, "JPEG", exif=exif)
    from halluguard import sandbox

    detector = ZeroShotDetector(*sandbox.load_detector(), floor=0.0)
    (boxes,) = detector.detect([buffer.getvalue()], [["dog"]])
    assert max(b.xyxy[3] for b in boxes) > 40 >= max(b.xyxy[2] for b in boxes)


def test_a_broken_file_is_an_image_error(family):
    with pytest.raises(ImageError):
        ZeroShotDetector(*family).detect([b"GIF89a" + struct.pack("<I", 7)], [["dog"]])


@pytest.mark.parametrize("phrase", ["", "  ", "...", "zyzzogeton", "\u200b"])
def test_phrases_without_known_words_are_not_covered_and_not_absent(phrase, grounding_processor):
    detector = ZeroShotDetector(tiny_grounding(), grounding_processor)
    assert not detector.covers(phrase)
    with pytest.raises(ExpertError, match="cannot judge"):
        detector.detect([picture(64, 64)], [["dog", phrase]])


@pytest.mark.parametrize("phrase", ["st. bernard", "dog?", "[SEP] dog", "a \u202edog", "Fire-hydrants."])
def test_separators_in_a_phrase_do_not_split_it(phrase, grounding_processor):
    detector = ZeroShotDetector(tiny_grounding(), grounding_processor, floor=0.0, isolate=False)
    if not detector.covers(phrase):
        assert phrase == "[SEP] dog"  # "sep" is no word of this vocabulary
        return
    (boxes,) = detector.detect([picture(64, 64)], [["cat", phrase, "bus"]])
    assert {box.phrase for box in boxes} == {0, 1, 2}


# Grounding DINO


@pytest.mark.parametrize("kind", ["grounding-dino", "mm-grounding-dino"])
@pytest.mark.parametrize("pool", ["mean", "max"])
def test_a_phrase_is_scored_over_its_own_tokens(kind, pool, grounding_processor):
    """'light' of 'street light' and 'light' of 'traffic light' are two columns, whatever decoded labels say."""
    model = tiny_grounding(kind)
    detector = ZeroShotDetector(model, grounding_processor, floor=0.0, nms=1.0, isolate=False, pool=pool)
    image = picture(64, 64)
    (boxes,) = detector.detect([image], [["traffic light", "street light", "dog"]])
    inputs = grounding_processor(images=[image], text=[["dog", "street light", "traffic light"]], return_tensors="pt")
    with torch.inference_mode():
        output = model(**inputs)
    probabilities = output.logits[0].sigmoid()
    # [CLS] dog . street light . traffic light . [SEP]
    for phrase, columns in enumerate(([6, 7], [3, 4], [1])):
        of_tokens = probabilities[:, columns]
        expected = (of_tokens.mean(-1) if pool == "mean" else of_tokens.amax(-1)).sort(descending=True).values
        got = [b.score for b in boxes if b.phrase == phrase]
        assert np.allclose(got, expected[: len(got)].tolist(), atol=1e-6)
        assert len(got) >= 15


@pytest.mark.parametrize("kind", ["grounding-dino", "mm-grounding-dino"])
def test_phrases_of_one_caption_do_not_see_each_other_s_words(kind, grounding_processor):
    """Text features of phrase 1 stay when phrase 2 changes; under eager attention they do not."""

    def features(model, text):
        kept = []
        handle = model.model.text_projection.register_forward_hook(lambda m, i, o: kept.append(o))
        with torch.inference_mode():
            model(**grounding_processor(images=[picture(64, 64)], text=[text], return_tensors="pt"))
        handle.remove()
        return kept[0][0, 1]

    model, eager = tiny_grounding(kind), tiny_grounding(kind, attn_implementation="eager")
    ZeroShotDetector(model, grounding_processor)
    assert torch.allclose(features(model, ["dog", "cat"]), features(model, ["dog", "bus"]), atol=1e-6)
    assert not torch.allclose(features(eager, ["dog", "cat"]), features(eager, ["dog", "bus"]), atol=1e-4)
    with pytest.raises(UnsupportedModelError, match="attn_implementation"):
        ZeroShotDetector(eager, grounding_processor)


def test_a_tokenizer_with_other_separators_is_refused(grounding_processor, tmp_path):
    from types import SimpleNamespace

    from transformers import BertTokenizer

    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", *WORDS]), encoding="utf-8")
    processor = SimpleNamespace(tokenizer=BertTokenizer(vocab=str(path)), image_processor=None)
    with pytest.raises(UnsupportedModelError, match="keep phrases apart"):
        ZeroShotDetector(tiny_grounding(), processor)


def test_more_phrases_than_a_caption_holds_are_split_between_phrases(grounding_processor, monkeypatch):
    detector = ZeroShotDetector(tiny_grounding(), grounding_processor, floor=0.0, isolate=False, phrases_per_pass=999)
    phrases = [f"{a} {b} {c}" for a in ("dog", "cat", "bus", "man") for b in WORDS[:7] for c in WORDS[:6]]
    phrases = [p for p in phrases if detector.covers(p)]
    assert sum(4 for _ in phrases) > 256
    passes = count_passes(detector, monkeypatch)
    (boxes,) = detector.detect([picture(64, 64)], [phrases])
    assert {box.phrase for box in boxes} == set(range(len(phrases)))
    assert len(passes) == 1


@given(st.dictionaries(st.text(min_size=1), st.integers(2, 20), max_size=60), st.integers(22, 256))
@settings(max_examples=60, deadline=None)
def test_chunks_keep_every_phrase_and_the_limit(lengths, most):
    found = grounding_prompt.chunks(lengths, most)
    assert [phrase for chunk in found for phrase in chunk] == list(lengths)
    assert all(sum(lengths[p] for p in chunk) + 2 <= most for chunk in found)


@given(st.text())
@settings(max_examples=200, deadline=None)
def test_a_cleaned_phrase_has_no_separator(text):
    cleaned = grounding_prompt.clean(text)
    assert not set(cleaned) & set(".?[]\n\r\x00\u200b\u202e")


def test_a_phrase_longer_than_a_caption_is_not_covered(grounding_processor):
    detector = ZeroShotDetector(tiny_grounding(), grounding_processor)
    assert detector.covers(" ".join(["dog"] * 253))
    assert not detector.covers(" ".join(["dog"] * 254))


def test_a_caption_whose_marks_do_not_match_is_refused():
    with pytest.raises(ExpertError, match="expected 3 phrases"):
        grounding_prompt.spans([101, 1500, 1012, 1501, 1012, 102, 0, 0], ["dog", "cat", "bus"])
    assert grounding_prompt.spans([101, 1500, 1012, 1501, 1502, 1012, 102, 0], ["dog", "a cat"]) == [(1, 2), (3, 5)]


# Loading and settings


def test_omdet_says_which_packages_it_needs(tmp_path):
    model, processor = tiny_omdet()
    model.save_pretrained(tmp_path)
    processor.tokenizer.save_pretrained(tmp_path)
    (tmp_path / "processor_config.json").write_text('{"processor_class": "OmDetTurboProcessor"}', encoding="utf-8")
    with pytest.raises(MissingExtraError, match="torchvision"):
        ZeroShotDetector.from_pretrained(tmp_path, device="cpu")


def test_omdet_loads_where_torchvision_is(tmp_path):
    """The scores are those of transformers' own processor and model."""
    pytest.importorskip("torchvision", reason="needs torchvision: run `make test-groundingdino`")
    from transformers import DetrImageProcessor, OmDetTurboProcessor

    model, parts = tiny_omdet()
    own = OmDetTurboProcessor(
        image_processor=DetrImageProcessor(size={"height": 64, "width": 64}), tokenizer=parts.tokenizer
    )
    model.save_pretrained(tmp_path)
    own.save_pretrained(tmp_path)
    detector = ZeroShotDetector.from_pretrained(tmp_path, device="cpu", floor=0.0, nms=1.0)
    image = picture(90, 70)
    (boxes,) = detector.detect([image], [["dog", "book"]])
    for phrase, word in enumerate(("dog", "book")):
        with torch.inference_mode():
            output = model(**own(images=[image], text=[[word]], return_tensors="pt"))
        expected = output.decoder_class_logits[0, :, 0].sigmoid().sort(descending=True).values
        got = [box.score for box in boxes if box.phrase == phrase]
        assert np.allclose(got, expected[: len(got)].tolist(), atol=1e-5)


def test_a_saved_model_is_the_same_expert(tmp_path, grounding_processor):
    model = tiny_grounding()
    model.save_pretrained(tmp_path)
    grounding_processor.save_pretrained(tmp_path)
    loaded = ZeroShotDetector.from_pretrained(tmp_path, device="cpu", floor=0.0)
    built = ZeroShotDetector(model, grounding_processor, floor=0.0)
    (a,), (b,) = (d.detect([picture(64, 64)], [PHRASES]) for d in (loaded, built))
    assert close(seen(a), seen(b))
    assert loaded.name == tmp_path.name


def test_how_a_model_runs_is_part_of_its_name_in_a_cache(tmp_path, grounding_processor):
    tiny_grounding().save_pretrained(tmp_path)
    grounding_processor.save_pretrained(tmp_path)
    plain = from_spec(str(tmp_path))
    assert fingerprint(plain) == fingerprint(ZeroShotDetector(plain.model, plain.processor, name=plain.name))
    joint = from_spec(f"{tmp_path},joint=0.1,recall=0.9")
    assert joint.joint == 0.1
    half = from_spec(f"{tmp_path},dtype=bfloat16")
    assert len({fingerprint(one) for one in (plain, joint, half)}) == 3


@pytest.mark.parametrize("option", ["joint=2", "joint=near", "dtype=int8", "compile=maybe"])
def test_a_wrong_way_to_run_is_refused(option):
    with pytest.raises(SettingsError):
        from_spec(f"sandbox,{option}")


def test_a_way_to_run_is_for_models_alone(tmp_path):
    (tmp_path / "objects.json").write_text("{}")
    with pytest.raises(SettingsError, match="for models"):
        from_spec(f"objects:{tmp_path / 'objects.json'},dtype=float16")


def test_another_kind_of_model_is_refused(family):
    with pytest.raises(UnsupportedModelError, match="zero-shot"):
        ZeroShotDetector(torch.nn.Linear(1, 1), family[1])


@pytest.mark.parametrize(
    "wrong", [{"floor": -0.1}, {"nms": 1.5}, {"rows_per_pass": 0}, {"phrases_per_pass": 0}, {"pool": "sum"}]
)
def test_settings_out_of_range_are_refused(family, wrong):
    with pytest.raises(SettingsError):
        ZeroShotDetector(*family, **wrong)


# Geometry


@given(
    st.lists(
        st.tuples(st.floats(0, 90), st.floats(0, 90), st.floats(1, 40), st.floats(1, 40), st.floats(0, 1)),
        min_size=1,
        max_size=25,
    ),
    st.floats(0, 1),
    st.floats(0.01, 0.9),
)
@settings(max_examples=30, deadline=None)
def test_suppression_keeps_the_best_and_drops_only_what_overlaps(rows, floor, max_iou):
    boxes = torch.tensor([[x, y, x + w, y + h] for x, y, w, h, _ in rows])
    scores = torch.tensor([s for *_, s in rows])
    kept = geometry.suppressed(boxes, scores, floor, max_iou)
    above = [i for i, score in enumerate(scores.tolist()) if score >= floor and score > 0]
    assert set(kept) <= set(above)
    for i in set(above) - set(kept):
        assert any(iou(boxes[i].tolist(), boxes[j].tolist()) > max_iou for j in kept)
    for i in kept:
        assert all(i == j or iou(boxes[i].tolist(), boxes[j].tolist()) <= max_iou for j in kept)


def test_boxes_of_a_large_image_are_in_its_own_pixels(monkeypatch):
    """Shown at a third of its size, with boxes three times as large."""
    from halluguard import images

    image = sandbox.scenes(1)[0].image
    large = image.resize((image.width * 3, image.height * 3), 0)
    detector = ZeroShotDetector(*sandbox.load_detector())
    names = [sandbox.scenes(1)[0].names[0]]
    (plain,) = detector.detect([image], [names])
    monkeypatch.setattr(images, "MAX_MODEL_PIXELS", image.width * image.height)
    (scaled,) = detector.detect([large], [names])
    assert len(plain) == len(scaled) > 0
    for one, other in zip(plain, scaled, strict=True):
        assert other.xyxy == pytest.approx([3 * side for side in one.xyxy], abs=1)
        assert other.score == pytest.approx(one.score, abs=0.01)
