"""Boxes from other tools' files: COCO results and rows."""

import gzip
import json
import subprocess
import sys

import pytest

from halluguard.detectors.box_files import COCO_IDS, KnownBoxes
from halluguard.errors import ExpertError, InputError
from halluguard.records import Box

ANNOTATIONS = {
    "images": [
        {"id": 7, "file_name": "val/a.jpg", "width": 100, "height": 80},
        {"id": 8, "file_name": "val/b.jpg", "width": 100, "height": 80},
    ],
    "categories": [{"id": 1, "name": "person"}, {"id": 6, "name": "bus"}],
}
RESULT = {"image_id": 7, "category_id": 6, "bbox": [10, 20, 30, 40], "score": 0.75}


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        text = content if isinstance(content, str) else json.dumps(content)
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
        return path

    return write


@pytest.mark.parametrize("image", [7, "7", "val/a.jpg", "a.jpg", "a", "/elsewhere/a.jpg"])
def test_a_coco_result_is_found_by_id_and_by_file_name(write, image):
    expert = KnownBoxes.from_coco(write("r.json.gz", [RESULT]), write("a.json", ANNOTATIONS))
    assert expert.detect([image], [["person", "bus"]]) == [[Box("bus", 0.75, (10, 20, 40, 60), 1)]]


def test_a_listed_image_without_results_is_empty_and_another_is_an_error(write):
    expert = KnownBoxes.from_coco(write("r.json", [RESULT]), write("a.json", ANNOTATIONS))
    assert expert.detect(["b.jpg"], [["bus"]]) == [[]]
    with pytest.raises(ExpertError, match="not among them"):
        expert.detect(["c.jpg"], [["bus"]])
    alone = KnownBoxes.from_coco(write("r.json", [RESULT]))
    with pytest.raises(ExpertError):
        alone.detect([8], [["bus"]])


def test_without_annotations_categories_are_coco_s(write):
    assert (len(COCO_IDS), COCO_IDS[1], COCO_IDS[13], COCO_IDS[90]) == (80, "person", "stop sign", "toothbrush")
    expert = KnownBoxes.from_coco(write("r.json", [RESULT]))
    assert expert.covers("toothbrush")
    assert expert.detect([7], [["vehicle"]])[0][0].label == "bus"


def test_annotations_alone_are_ground_truth(write):
    data = ANNOTATIONS | {"annotations": [{"image_id": 7, "category_id": 1, "bbox": [0, 0, 5, 5]}]}
    expert = KnownBoxes.from_coco(write("instances.json", data))
    assert expert.detect([7, 8], [["people"], ["people"]]) == [[Box("person", 1.0, (0, 0, 5, 5), 0)], []]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"bbox": [10, 20, -30, 40]}, "result 1 .*positive width"),
        ({"bbox": [-10, 20, 30, 40]}, "result 1 .*in its image"),
        ({"bbox": [10, 20, 95, 40]}, "result 1 .*in its image of 100 x 80"),
        ({"bbox": [10, 20, float("nan"), 40]}, "result 1 .*finite"),
        ({"bbox": [10, 20, 30]}, "result 1 .*4 numbers"),
        ({"bbox": None}, "result 1 .*no bbox"),
        ({"score": 1.5}, r"result 1 .*score in \[0, 1\], got 1.5"),
        ({"score": "high"}, "result 1 .*score"),
        ({"score": float("nan")}, "result 1 .*score"),
        ({"category_id": 99}, "result 1 .*category 99"),
        ({"image_id": 99}, "result 1 .*image 99"),
    ],
)
def test_a_box_that_cannot_be_true_is_named(write, wrong, message):
    with pytest.raises(InputError, match=message):
        KnownBoxes.from_coco(write("r.json", [RESULT, RESULT | wrong]), write("a.json", ANNOTATIONS))


def test_a_pixel_of_rounding_is_clipped(write):
    row = RESULT | {"bbox": [-0.5, 20, 101.2, 60.5]}
    expert = KnownBoxes.from_coco(write("r.json", [row]), write("a.json", ANNOTATIONS))
    assert expert.detect([7], [["bus"]])[0][0].xyxy == (0, 20, 100, 80)


@pytest.mark.parametrize("content", ["no json", '{"a": 1}', "3"])
def test_files_of_another_kind_are_refused(write, content):
    with pytest.raises(InputError):
        KnownBoxes.from_coco(write("r.json", content))
    with pytest.raises(InputError):
        KnownBoxes.from_coco(write("x.json", content).with_name("missing.json"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("b.csv", "image,label,score,x1,y1,x2,y2\na.jpg,bus,0.5,1,2,11,22\nb.jpg,,,,,,\n"),
        ("b.tsv", "filename\tclass_name\tconfidence\tx_min\ty_min\tx_max\ty_max\na.jpg\tbus\t.5\t1\t2\t11\t22\nb.jpg\t\t\t\t\t\t\n"),
        ("b.csv", "image,label,score,x1,y1,w,h\na.jpg,bus,0.5,1,2,10,20\nb.jpg\n"),
        ("b.csv", 'image,label,score,box\na.jpg,bus,0.5,"[1, 2, 11, 22]"\nb.jpg,,,\n'),
        ("b.jsonl", '{"image": "a.jpg", "label": "bus", "score": 0.5, "xyxy": [1, 2, 11, 22]}\n{"image": "b.jpg"}\n'),
    ],
)  # fmt: skip
def test_rows_of_several_tools_are_read(write, name, text):
    expert = KnownBoxes.from_rows(write(name, text), labels=["bus", "dog"])
    assert expert.detect(["a.jpg", "b.jpg"], [["bus", "dog"]] * 2) == [[Box("bus", 0.5, (1, 2, 11, 22), 0)], []]


def test_fractions_need_the_size_of_their_picture(write):
    path = write("b.csv", "image,label,x1,y1,x2,y2\na.jpg,bus,0.1,0.5,0.2,1.0\n")
    expert = KnownBoxes.from_rows(path, normalised=True, sizes={"a.jpg": (200, 100)})
    assert expert.detect(["a"], [["bus"]])[0][0].xyxy == (20, 50, 40, 100)
    with pytest.raises(InputError, match=r"row 1 .*size"):
        KnownBoxes.from_rows(path, normalised=True)


@pytest.mark.parametrize(
    ("row", "message"),
    [("a.jpg,bus,2,1,2,3,4", "row 2 .*score"), ("a.jpg,bus,1,9,2,3,4", "row 2 .*x1 < x2"), (",bus,1,1,2,3,4", "row 2 .*no image"),
     ("a.jpg,,1,1,2,3,4", "row 2 .*no label"), ("a.jpg,bus,1,nan,2,3,4", "row 2 .*finite"), ("a.jpg,bus,1,one,2,3,4", "row 2 .*numbers")],
)  # fmt: skip
def test_a_wrong_row_is_named(write, row, message):
    with pytest.raises(InputError, match=message):
        KnownBoxes.from_rows(write("b.csv", f"image,label,score,x1,y1,x2,y2\na.jpg,bus,1,1,2,3,4\n{row}\n"))


def test_a_short_name_that_two_images_share_finds_neither():
    expert = KnownBoxes({"x/a.jpg": [], "y/a.jpg": [Box("bus", 1, (0, 0, 1, 1))]})
    with pytest.raises(ExpertError):
        expert.detect(["a.jpg"], [["bus"]])
    assert len(expert.detect(["y/a.jpg"], [["bus"]])[0]) == 1


def test_no_torch_is_needed():
    code = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None\n"
        "from halluguard.detectors.box_files import KnownBoxes\n"
        "from halluguard.records import Box\n"
        "print(len(KnownBoxes({1: [Box('bus', 1, (0, 0, 1, 1))]}).detect([1], [['bus']])[0]))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "1"


@pytest.mark.parametrize("spec", ["precomputed:{r},{a}", "precomputed:{c}"])
def test_the_command_line_names_them(write, spec):
    from halluguard.detectors.specs import from_spec

    files = {
        "r": write("r.json", [RESULT]),
        "a": write("a.json", ANNOTATIONS),
        "c": write("b.csv", "image,label,score,x1,y1,x2,y2\na.jpg,bus,0.75,10,20,40,60\n"),
    }
    expert = from_spec(spec.format(**files))
    assert expert.detect(["a.jpg"], [["bus"]]) == [[Box("bus", 0.75, (10, 20, 40, 60), 0)]]
    assert expert.name.startswith("precomputed:")


@pytest.mark.parametrize("number", ["18", 18.0])
def test_a_category_is_known_by_number_or_text(number, tmp_path):
    notes = {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "categories": [{"id": 18, "name": "dog"}],
        "annotations": [{"image_id": 1, "category_id": number, "bbox": [1, 2, 3, 4]}],
    }
    (tmp_path / "n.json").write_text(json.dumps(notes))
    assert [box.label for box in KnownBoxes.from_coco(tmp_path / "n.json").detect(["a.jpg"], [["dog"]])[0]] == ["dog"]


@pytest.mark.parametrize(
    "part",
    [
        {"categories": [{"name": "dog"}]},
        {"images": [{"file_name": "a"}]},
        {"categories": 7},
        {"categories": [7]},
        {"annotations": [7]},
    ],
)
def test_annotations_without_an_id_are_refused_in_a_sentence(part, tmp_path):
    (tmp_path / "n.json").write_text(json.dumps({"images": [], "categories": [], "annotations": []} | part))
    with pytest.raises(InputError):
        KnownBoxes.from_coco(tmp_path / "n.json")
