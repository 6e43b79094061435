"""An audit judges colours, relations and numbers: from the cache, in every engine, byte for byte."""

import json

import pytest
from PIL import Image, ImageDraw
from pyarrow import parquet

from halluguard.auditing import AuditConfig, audit
from halluguard.auditing.cached_detector import _fitted
from halluguard.auditing.cached_experts import CachedExpert, property_experts
from halluguard.auditing.caption_rows import Row
from halluguard.auditing.image_store import ImageFolder, ImageStore
from halluguard.auditing.pipeline import Checker
from halluguard.auditing.run_folder import read_parts
from halluguard.detectors import KnownObjects
from halluguard.errors import ExpertError
from halluguard.images import load_image
from halluguard.records import Box, Question

CAPTIONS = [
    "A red car is to the left of a blue bus.",
    "A blue car is to the right of a bus.",
    "There are two cars and a wooden bus.",
    "There is no dog.",
]
BOXES = [
    {"image": "a.png", "label": "car", "xyxy": [5, 20, 45, 60]},
    {"image": "a.png", "label": "bus", "xyxy": [60, 10, 115, 70]},
]


@pytest.fixture
def street(tmp_path):
    """A folder with a red car at the left of a blue bus; captions about it, and its boxes."""
    image = Image.new("RGB", (120, 80), "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((5, 20, 44, 59), fill=(220, 20, 30))
    draw.rectangle((60, 10, 114, 69), fill=(20, 60, 220))
    (tmp_path / "images").mkdir()
    image.save(tmp_path / "images" / "a.png")
    rows = [{"image": "a.png", "caption": caption} for caption in CAPTIONS]
    (tmp_path / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "boxes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in BOXES))
    return tmp_path


def config_of(street, out="out", **settings):
    boxes = f"precomputed:{street / 'boxes.jsonl'}"
    return AuditConfig(
        street / "captions.jsonl", street / out, **{"detector": boxes, "images": street / "images", **settings}
    )


def verdicts(street, out="out"):
    """(caption, kind, value) -> (decision, expert)."""
    rows = parquet.read_table(street / out / "claims.parquet").to_pylist()
    return {
        (row["index"], row["kind"], row["attribute"] or row["relation"] or row["count"] or row["name"]): (
            row["decision"],
            row["expert"],
        )
        for row in rows
    }


class OnWood:
    """An expert that knows wood, and counts its calls."""

    name = "wood"
    needs_image = True

    def __init__(self):
        self.calls = []

    def covers(self, question):
        return question.value == "wooden"

    def judge(self, images, questions):
        self.calls += [
            (image.size, question.name) for image, row in zip(images, questions, strict=True) for question in row
        ]
        return [[0.123456789 for _ in row] for row in questions]


def test_colours_relations_and_numbers_are_judged_by_default(street):
    audit(config_of(street))
    judged = verdicts(street)
    assert judged[0, "attribute", "red"] == ("supported", "colours")
    assert judged[0, "relation", "left of"] == ("supported", "spatial-relations")
    assert judged[1, "attribute", "blue"] == ("contradicted", "colours")
    assert judged[1, "relation", "right of"] == ("contradicted", "spatial-relations")
    assert judged[2, "count", 2][0] == "contradicted"
    assert judged[2, "attribute", "wooden"][0] == "unverifiable"
    corrected = [row["corrected"] for row in read_parts(street / "out")]
    assert corrected[1] == "A red car is to the left of a bus."


@pytest.mark.parametrize(
    ("switch", "kind"), [("attributes", "attribute"), ("relations", "relation"), ("counts", "count")]
)
def test_a_kind_that_is_switched_off_is_unverifiable_and_changes_no_text(street, switch, kind):
    audit(config_of(street, **{switch: False}))
    of_kind = [decision for (_, found, _), (decision, _) in verdicts(street).items() if found == kind]
    assert of_kind
    assert set(of_kind) == {"unverifiable"}
    assert verdicts(street)[0, "existence", "car"][0] == "supported"
    manifest = json.loads((street / "out" / "manifest.json").read_text())
    assert manifest["not judged"] == [kind]


def test_without_images_colours_are_unverifiable_and_relations_are_judged(street):
    audit(config_of(street, images=None))
    judged = verdicts(street)
    assert judged[0, "attribute", "red"][0] == "unverifiable"
    assert judged[0, "relation", "left of"][0] == "supported"


def test_an_image_that_is_missing_keeps_its_row_where_the_detector_needs_none(street):
    (street / "images" / "a.png").unlink()
    summary = audit(config_of(street))
    assert summary["skipped"] == {}
    assert verdicts(street)[0, "attribute", "red"][0] == "unverifiable"


def test_two_names_of_one_content_keep_their_own_boxes(street):
    (street / "images" / "b.png").write_bytes((street / "images" / "a.png").read_bytes())
    with (street / "captions.jsonl").open("a") as file:
        file.write(json.dumps({"image": "b.png", "caption": "A red car."}) + "\n")
    with (street / "boxes.jsonl").open("a") as file:
        file.write('{"image": "b.png"}\n')
    audit(config_of(street))
    assert verdicts(street)[4, "existence", "car"][0] == "contradicted"


def test_an_answer_is_kept_in_the_cache_and_the_same_when_it_comes_from_there(street):
    image = ImageStore(ImageFolder(street / "images"))
    (stored,) = image.identify([Row(0, "0", "a.png", "x")])
    question = Question("attribute", "bus", "wooden", Box("bus", 0.9, (60, 10, 115, 70), phrase=3))
    moved = Question("attribute", "bus", "wooden", Box("bus", 0.9, (60, 10, 115, 70), phrase=5))
    first, second = OnWood(), OnWood()
    cache = street / "cache.sqlite"
    one, two = (CachedExpert(expert, cache, image, 8) for expert in (first, second))
    assert one.judge([stored], [[question]]) == two.judge([stored], [[moved]]) == [[0.12346]]
    assert first.calls == [((120, 80), "bus")]
    assert second.calls == [], "the place of a phrase in the detector's call is no part of the question"


def test_each_expert_has_answers_of_its_own_in_the_cache(street):
    image = ImageStore(ImageFolder(street / "images"))
    (stored,) = image.identify([Row(0, "0", "a.png", "x")])
    question = Question("attribute", "bus", "wooden", Box("bus", 0.9, (60, 10, 115, 70)))
    wood, other = OnWood(), OnWood()
    other.name = "other"
    for expert in (wood, other):
        CachedExpert(expert, street / "cache.sqlite", image, 8).judge([stored], [[question]])
    assert wood.calls == other.calls == [((120, 80), "bus")]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_made_on_an_image_as_it_is_stored_are_turned(tmp_path, orientation):
    image = Image.new("RGB", (60, 40), "white")
    ImageDraw.Draw(image).rectangle((5, 3, 20, 12), fill=(220, 20, 30))
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    (stored,) = ImageStore(ImageFolder(tmp_path)).identify([Row(0, "0", "a.png", "x")])
    (box,) = _fitted([Box("car", 1.0, (5, 3, 21, 13))], (60, 40), stored)
    upright = load_image(tmp_path / "a.png")
    if orientation in (2, 3, 4):
        assert box.xyxy == (5, 3, 21, 13), "the size does not tell whether the boxes are turned too"
    else:
        x1, y1, x2, y2 = map(int, box.xyxy)
        assert upright.getpixel((x1, y1)) == upright.getpixel((x2 - 1, y2 - 1)) == (220, 20, 30)
        assert (x2 - x1) * (y2 - y1) == 160


def test_boxes_of_a_resized_copy_are_scaled_and_those_of_another_image_refused(street):
    (stored,) = ImageStore(ImageFolder(street / "images")).identify([Row(0, "0", "a.png", "x")])
    assert _fitted([Box("car", 1.0, (10, 20, 30, 40))], (240, 160), stored)[0].xyxy == (5, 10, 15, 20)
    with pytest.raises(ExpertError, match="240 x 100"):
        _fitted([Box("car", 1.0, (10, 20, 30, 40))], (240, 100), stored)


def test_a_row_whose_boxes_belong_to_another_image_is_skipped_with_the_reason(street):
    rows = [{"image": "a.png", "boxes": [{"label": "car", "xyxy": [5, 20, 45, 60]}], "width": 999, "height": 80}]
    (street / "boxes.jsonl").write_text(json.dumps(rows[0]))
    assert audit(config_of(street))["skipped"]["expert"] >= 1
    assert "999 x 80" in (street / "out" / "skipped.jsonl").read_text()


def failing(street, monkeypatch, error):
    class Failing(OnWood):
        def judge(self, images, questions):
            raise error

    monkeypatch.setattr("halluguard.auditing.run.property_experts", lambda config, detector: (Failing(),))
    return audit(config_of(street))


def test_a_failing_expert_skips_its_rows_and_never_says_no(street, monkeypatch):
    summary = failing(street, monkeypatch, RuntimeError("no wood"))
    assert summary["skipped"] == {"expert": 1}
    skipped = json.loads((street / "out" / "skipped.jsonl").read_text())
    assert skipped["index"] == 2
    assert "no wood" in skipped["reason"]


def test_an_expert_that_fails_again_and_again_ends_the_run(street, monkeypatch):
    with (street / "captions.jsonl").open("a") as file:
        for i in range(12):
            Image.new("RGB", (30, 30 + i)).save(street / "images" / f"{i}.png")
            file.write(json.dumps({"image": f"{i}.png", "caption": "A wooden bus."}) + "\n")
    with (street / "boxes.jsonl").open("a") as file:
        for i in range(12):
            file.write(json.dumps({"image": f"{i}.png", "label": "bus", "xyxy": [1, 1, 20, 20]}) + "\n")
    with pytest.raises(ExpertError, match="10 images in a row"):
        failing(street, monkeypatch, RuntimeError("no wood"))


def test_names_without_boxes_need_no_experts_on_boxes(street):
    assert property_experts(config_of(street), KnownObjects({"a.png": ["car"]})) == ()


def test_the_model_to_ask_judges_what_pixels_and_boxes_do_not_show(street):
    audit(config_of(street, ask="sandbox"))
    decision, expert = verdicts(street)[2, "attribute", "wooden"]
    assert decision != "unverifiable"
    assert expert == "mllm"


def test_a_model_that_is_not_there_is_refused_before_the_work(street):
    with pytest.raises(ExpertError, match="cannot be loaded"):
        audit(config_of(street, ask=str(street / "nothing")))
    assert not (street / "out").exists()


def test_a_run_that_is_continued_gives_the_same_bytes(street):
    audit(config_of(street, "whole", part_rows=1))
    audit(config_of(street, "cut", part_rows=1))
    for name in ("part-000001.jsonl", "part-000002.jsonl"):
        (street / "cut" / "parts" / name).unlink()
    (street / "cut" / "summary.json").unlink()
    audit(config_of(street, "cut", part_rows=1))
    for name in ("parts/part-000000.jsonl", "claims.parquet", "summary.json"):
        assert (street / "cut" / name).read_bytes() == (street / "whole" / name).read_bytes()


@pytest.mark.slow
def test_the_engine_ray_gives_the_bytes_of_the_local_one(street):
    pytest.importorskip("ray")
    audit(config_of(street, "local", ask="sandbox"))
    audit(config_of(street, "ray", ask="sandbox", engine="ray"))
    for name in ("parts/part-000000.jsonl", "claims.parquet", "summary.json"):
        assert (street / "ray" / name).read_bytes() == (street / "local" / name).read_bytes()


def test_a_checker_without_experts_is_as_before(street):
    checker = Checker(config_of(street), KnownObjects({"a.png": ["car", "bus"]}))
    (row,) = checker.check([Row(0, "0", "a.png", "A red car.")])
    assert {verdict.decision for verdict in row.verdicts} == {"supported", "unverifiable"}
    checker.close()
