"""Ids that mean the same image meet; those that could mean two do not."""

import pytest

from halluguard import Box, ExpertError
from halluguard.detectors.box_files import KnownBoxes
from halluguard.detectors.image_ids import ImageIndex
from halluguard.detectors.precomputed import KnownObjects


@pytest.mark.parametrize(
    ("listed", "asked"),
    [
        ("42", "COCO_val2014_000000000042.jpg"),
        ("42", "val2014/COCO_val2014_000000000042.jpg"),
        ("42", "000000000042.jpg"),
        ("42", "images\\000000000042.png"),
        ("COCO_val2014_000000000042.jpg", "42"),
        ("COCO_val2014_000000000042", 42),
        ("000000000042.jpg", "val2017/000000000042.jpg"),
        ("42.0", 42),
        ("kitchen.png", "photos/kitchen.png"),
        ("photos/kitchen.png", "kitchen.png"),
        ("kitchen", "kitchen.jpg"),
    ],
)
def test_ids_of_one_image_meet(listed, asked):
    (boxes,) = KnownObjects({listed: ["dog"]}).detect([asked], [["dog"]])
    assert boxes
    (boxes,) = KnownBoxes({listed: [Box("dog", 1.0, (0, 0, 9, 9))]}).detect([asked], [["dog"]])
    assert boxes


@pytest.mark.parametrize(
    ("listed", "asked"),
    [
        (["a/1.png", "b/1.png"], "1.png"),
        (["042", "0042"], "COCO_val2014_000000000042.jpg"),
        (["42"], "420"),
        (["42"], "42b.jpg"),
        (["kitchen.png"], "kitchen2.png"),
    ],
)
def test_what_could_be_two_images_or_another_is_not_found(listed, asked):
    assert ImageIndex(listed).find(asked) is None
    with pytest.raises(ExpertError, match="not among them"):
        KnownObjects({name: ["dog"] for name in listed}).detect([asked], [["dog"]])


def test_an_image_is_found_by_its_own_name_first():
    index = ImageIndex(["1", "a/1.png", "b/1.png"])
    assert [index.find(name) for name in ("1", "a/1.png", "b/1.png")] == ["1", "a/1.png", "b/1.png"]
