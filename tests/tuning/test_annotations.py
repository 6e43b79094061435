"""Annotations of an image: COCO's files, and the names that are surely absent."""

import json

import pytest

from halluguard import Box, InputError
from halluguard.metrics.vocabulary import load_vocabulary
from halluguard.tuning.annotations import Annotated, coco_items, names_in


def item(*names, captions=()):
    return Annotated(0, "x.jpg", tuple(Box(name, 1.0) for name in names), captions)


@pytest.mark.parametrize(
    ("there", "captions", "asked", "lacks"),
    [
        (("dog",), (), "cat", True),
        (("dog",), (), "dog", False),
        (("dog",), (), "puppy", False),  # a dog may be a puppy
        (("dog",), (), "animal", False),
        (("couch",), (), "sofa", False),
        (("dog",), ("Two cats sleep.",), "cat", False),  # told of, though without a box
        (("dog",), ("A kitten sleeps.",), "cat", False),
        (("dog",), ("An animal sleeps.",), "cat", True),  # the dog is the animal
        (("cup",), ("An animal sleeps.",), "cat", False),  # it may be a cat
        (("cup",), ("A man sits.",), "person", False),
        (("cup",), ("A hot dog.",), "dog", False),  # careful rather than clever
        (("unicorn",), (), "unicorn", False),  # a name of the caller's own
        (("unicorn",), (), "dragon", True),
    ],
)
def test_absent_means_absent_under_every_name(there, captions, asked, lacks):
    assert item(*there, captions=captions).lacks(asked) is lacks


def test_every_synonym_of_the_metric_puts_its_category_in_doubt():
    """A word that CHAIR counts as a category must not stand in a caption whose image is said to lack it."""
    words = {w: c for w, c in load_vocabulary().words.items() if w == w.strip() and w.islower()}
    missed = [w for w, c in words.items() if item(captions=(f"There is a {w} here.",)).lacks(c)]
    assert len(words) > 350
    assert len(missed) <= 0.06 * len(words), missed


def test_names_are_read_in_any_form():
    assert {"man", "bench", "traffic light"} <= names_in("Men on BENCHES, near traffic lights.")


def coco(tmp_path, **changes):
    data = {
        "images": [{"id": 9, "file_name": "9.jpg", "width": 100, "height": 50}, {"id": 8, "file_name": "8.jpg"}],
        "annotations": [
            {"image_id": 9, "category_id": 1, "bbox": [10, 20, 30, 5], "iscrowd": 0, "segmentation": [[1] * 999]},
            {"image_id": 9, "category_id": 2, "bbox": [0, 0, 9, 9], "iscrowd": 1, "attributes": {"color": "Red"}},
        ],
        "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "person"}],
    } | changes
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(data))
    captions = tmp_path / "captions.json"
    captions.write_text(json.dumps({"annotations": [{"image_id": 9, "caption": "A cat. "}]}))
    return path, captions


def test_coco_files_are_read(tmp_path):
    instances, captions = coco(tmp_path)
    nine, eight = coco_items(instances, tmp_path, captions=captions)
    assert nine.names == ("dog", "person")
    assert nine.boxes[0].xyxy == (10, 20, 40, 25)
    assert (nine.uncounted, nine.captions, nine.size) == ({"person"}, ("A cat.",), (100, 50))
    assert nine.attributes_of("person") == [("red",)]
    assert nine.image == tmp_path / "9.jpg"
    assert not nine.lacks("cat")
    assert (eight.names, eight.size) == ((), None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"categories": None}, "COCO's instances"),
        ({"images": [{"id": 9}]}, "file_name"),
        ({"annotations": [{"image_id": 9, "category_id": 7, "bbox": [0, 0, 1, 1]}]}, "KeyError: 7"),
        ({"annotations": [{"image_id": 9, "category_id": 1, "bbox": [0, 0]}]}, "ValueError"),
        ({"annotations": [{"category_id": 1}]}, "image_id"),
    ],
)
def test_broken_annotations_are_named_in_one_sentence(changes, words, tmp_path):
    instances, _ = coco(tmp_path, **changes)
    with pytest.raises(InputError, match=words) as caught:
        list(coco_items(instances, tmp_path))
    assert "\n" not in str(caught.value)


def test_files_that_are_no_json_say_where_they_break(tmp_path):
    (tmp_path / "x.json").write_text('{"images": [')
    with pytest.raises(InputError, match="line 1"):
        list(coco_items(tmp_path / "x.json", tmp_path))
    with pytest.raises(InputError, match="No such file"):
        list(coco_items(tmp_path / "none.json", tmp_path))
