"""Boxes of other tools are read, or refused with what is expected."""

import json

import pytest

from halluguard import correct
from halluguard.detectors.box_files import KnownBoxes
from halluguard.detectors.specs import known_boxes
from halluguard.errors import ExpertError, InputError
from halluguard.records import Box

DOG = (10.0, 20.0, 40.0, 60.0)
PIPELINE = {"score": 0.9, "label": "dog", "box": {"xmin": 10, "ymin": 20, "xmax": 40, "ymax": 60}}
ULTRALYTICS = {"name": "dog", "class": 16, "confidence": 0.9, "box": {"x1": 10, "y1": 20, "x2": 40, "y2": 60}}
RECTANGLE = {"x": 10, "y": 25, "width": 30, "height": 50, "rectanglelabels": ["dog"]}
RESULT = {"type": "rectanglelabels", "original_width": 100, "original_height": 80, "score": 0.9, "value": RECTANGLE}
FIFTYONE = {"label": "dog", "bounding_box": [0.1, 0.25, 0.3, 0.5], "confidence": 0.9}
CVAT = """<annotations><image id="0" name="a.jpg" width="100" height="80">
<box label="dog" xtl="10" ytl="20" xbr="40" ybr="60"/></image><image id="1" name="b.jpg" width="9" height="9"/>
</annotations>"""
VOC = """<annotation><filename>a.jpg</filename><size><width>100</width><height>80</height></size><object><name>dog</name>
<bndbox><xmin>10</xmin><ymin>20</ymin><xmax>40</xmax><ymax>60</ymax></bndbox></object></annotation>"""

READ = {
    "a JSON array of rows": ("x.json", [{"image": "a.jpg", "label": "dog", "score": 0.9, "xyxy": DOG}]),
    "pipeline results by image": ("x.json", {"a.jpg": [PIPELINE], "b.jpg": []}),
    "pipeline results in lines": ("x.jsonl", json.dumps({"image": "a.jpg", **PIPELINE})),
    "pipeline results per image": ("x.json", [{"image": "a.jpg", "predictions": [PIPELINE]}]),
    "lists of boxes in lines": ("x.jsonl", json.dumps({"image": "a.jpg", "boxes": [PIPELINE], "width": 100, "height": 80})),
    "Ultralytics by image": ("x.json", {"a.jpg": [ULTRALYTICS]}),
    "centre and size": ("x.csv", "image,label,score,x_center,y_center,w,h\na.jpg,dog,0.9,25,40,30,40\n"),
    "Label Studio": ("x.json", [{"data": {"image": "/data/upload/1/a.jpg"}, "annotations": [{"result": [RESULT]}]}]),
    "Label Studio's predictions": ("x.json", [{"data": {"image": "s3://b/a.jpg"}, "predictions": [{"result": [RESULT]}]}]),
    "FiftyOne with metadata": (
        "samples.json",
        {"samples": [{"filepath": "/d/a.jpg", "metadata": {"width": 100, "height": 80}, "ground_truth": {"detections": [FIFTYONE]}}]},
    ),
    "CVAT": ("x.xml", CVAT),
    "VOC": ("x.xml", VOC),
}  # fmt: skip

REFUSED = {
    "fractions": ("x.json", [{"image": "a.jpg", "label": "dog", "box": [0.3, 0.3, 0.5, 0.5]}], "fractions"),
    "centres in fractions": ("x.csv", "image,label,cx,cy,w,h\na.jpg,dog,.4,.4,.2,.2\n", "fractions"),
    "FiftyOne's labels": ("labels.json", {"classes": ["dog"], "labels": {"a": [FIFTYONE]}}, "FiftyOne"),
    "FiftyOne without metadata": (
        "x.json",
        {"samples": [{"filepath": "a.jpg", "gt": {"detections": [FIFTYONE]}}]},
        "metadata",
    ),
    "detections without an image": ("x.json", [ULTRALYTICS], "names no image"),
    "YOLO": ("a.txt", "16 0.25 0.5 0.3 0.5\n", "YOLO"),
    "Label Studio without sizes": (
        "x.json",
        [{"data": {"image": "a.jpg"}, "annotations": [{"result": [{"value": RECTANGLE}]}]}],
        "original_width",
    ),
    "a video of CVAT": ("x.xml", "<annotations><track/></annotations>", "expected COCO JSON"),
    "entities": ("x.xml", '<!DOCTYPE x [<!ENTITY e "a">]><annotation/>', "document type"),
    "broken XML": ("x.xml", "<annotation>", "as XML"),
    "not a number": ("x.jsonl", '{"image": "a", "label": "dog", "xyxy": [1, 2, NaN, 9]}', "a.*x.jsonl"),
    "a category without an id": ("x.json", {"categories": [{"name": "dog"}], "images": [], "annotations": []}, "category 0 has no id"),
    "an image without an id": ("x.json", {"images": [{"file_name": "a"}], "annotations": []}, "image 0 has no id"),
}  # fmt: skip


def written(folder, name, content):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize("case", READ)
def test_a_format_is_recognised_and_read(tmp_path, case):
    expert = known_boxes(str(written(tmp_path, *READ[case])))
    ((box,),) = expert.detect(["a.jpg"], [["dog"]])
    assert box.xyxy == pytest.approx(DOG)
    assert box.score == (1.0 if case in ("CVAT", "VOC") else 0.9)


@pytest.mark.parametrize("case", REFUSED)
def test_another_format_is_refused_by_name(tmp_path, case):
    name, content, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        known_boxes(str(written(tmp_path, name, content)))


def test_a_column_named_size_is_no_size_of_the_image(tmp_path):
    rows = "image,label,size,x1,y1,x2,y2\na.jpg,dog,7,10,20,40,60\n"
    expert = KnownBoxes.from_rows(written(tmp_path, "x.csv", rows))
    assert expert.sizes == {}
    assert len(expert.detect(["a.jpg"], [["dog"]])[0]) == 1


def test_a_folder_of_voc_files_is_read_and_one_of_yolo_files_refused(tmp_path):
    for name in ("a", "b"):
        written(tmp_path, f"{name}.xml", VOC.replace("a.jpg", f"{name}.jpg"))
    expert = known_boxes(str(tmp_path))
    assert [len(boxes) for boxes in expert.detect(["a.jpg", "b.jpg"], [["dog"]] * 2)] == [1, 1]
    (tmp_path / "labels").mkdir()
    written(tmp_path / "labels", "a.txt", "16 0.25 0.5 0.3 0.5\n")
    with pytest.raises(InputError, match="YOLO"):
        known_boxes(str(tmp_path / "labels"))


def test_boxes_without_extent_are_left_out_one_by_one_and_named(tmp_path):
    rows = "image,label,x1,y1,x2,y2\na.jpg,dog,10,20,40,60\na.jpg,dog,10,20,40,20\n"
    expert = KnownBoxes.from_rows(written(tmp_path, "x.csv", rows))
    assert expert.detect(["a.jpg"], [["dog"]]) == [[Box("dog", 1.0, DOG, 0)]]
    assert len(expert.skipped) == 1
    assert "no extent" in expert.skipped[0]
    results = [{"image_id": 1, "category_id": 18, "bbox": box, "score": 0.5} for box in ([1, 1, 5, 5], [1, 1, 0, 5])]
    expert = KnownBoxes.from_coco(written(tmp_path, "r.json", results))
    assert len(expert.detect([1], [["dog"]])[0]) == 1
    assert len(expert.skipped) == 1


@pytest.mark.parametrize(
    ("label", "text", "decision"),
    [
        ("pottedplant", "A potted plant stands there.", "supported"),
        ("FireHydrant", "A fire hydrant stands there.", "supported"),
        ("firehydr ##ant", "A fire hydrant stands there.", "supported"),
        ("black dog", "A dog is here.", "supported"),
        ("Red Leather Handbag", "A handbag is here.", "supported"),
        ("car_(automobile)", "A car is here.", "supported"),
        ("Monitor/TV", "A TV is here.", "supported"),
        ("chair table", "A chair is here.", "unsure"),
        ("chair table", "A table is here.", "unsure"),
        ("stuffed bear", "A bear is here.", "contradicted"),
    ],
)
def test_names_meet_however_labels_are_written(label, text, decision):
    expert = KnownBoxes({1: [Box(label, 0.9, DOG)]}, labels=["chair", "table", "bear", "car", "dog", "tv"])
    verdict = correct(text, 1, expert).verdicts[0]
    assert verdict.decision == decision


def test_an_image_with_a_piece_of_a_word_is_not_judged_and_others_are():
    expert = KnownBoxes({"a": [Box("firehydr", 0.9), Box("##hy", 0.5)], "b": [Box("fire hydrant", 0.9)]})
    with pytest.raises(ExpertError, match="piece of a word"):
        expert.detect(["a"], [["fire hydrant"]])
    assert len(expert.detect(["b"], [["fire hydrant"]])[0]) == 1
    assert correct("A fire hydrant stands there.", "a", expert).text == "A fire hydrant stands there."


@pytest.mark.parametrize("labels", [["Hund", "Katze"], ["perro", "gato", "persona"], ["собака", "кошка"], ["狗"]])
def test_labels_of_other_languages_are_refused(labels):
    with pytest.raises(InputError, match="English"):
        KnownBoxes({1: [Box(label, 0.9) for label in labels]})


@pytest.mark.parametrize(
    "labels", [["forklift", "pallet", "hard hat"], ["taco", "burrito", "nacho"], ["quokka", "emu"]]
)
def test_rare_english_labels_pass(labels):
    assert KnownBoxes({1: [Box(label, 0.9) for label in labels]}).covers(labels[0])
