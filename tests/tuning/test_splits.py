"""Splits put each image on one side only; images of evaluations are refused."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halluguard import InputError, SettingsError
from halluguard.tuning.images import Crop
from halluguard.tuning.rows import InstructionRow, PreferenceRow
from halluguard.tuning.splits import (
    EvaluationImages,
    held_out,
    image_key,
    mix,
    refuse_leaks,
    split_by_image,
    without_leaks,
)


def row(image_id, image="x.jpg", **more):
    return PreferenceRow((image,), "Is there a dog?", "Yes.", "No.", image_id=image_id, **more)


@given(st.lists(st.integers(0, 50), max_size=80), st.floats(0, 1), st.integers(0, 5))
def test_all_rows_of_a_image_fall_on_one_side(ids, share, seed):
    rows = [row(i) for i in ids]
    train, out = split_by_image(rows, share=share, seed=seed)
    assert not {r.image_id for r in train} & {r.image_id for r in out}
    assert len(train) + len(out) == len(rows)


def test_the_side_is_the_images_own():
    """The same image under another spelling, in another file, in another order: the same side."""
    for i in range(200):
        names = (i, str(i), f"{i:012d}.jpg", f"val2014/COCO_val2014_{i:012d}.jpg")
        assert len({held_out(name, share=0.3, seed=1) for name in names}) == 1
    assert 0.25 < sum(held_out(i, share=0.3, seed=1) for i in range(5000)) / 5000 < 0.35


@pytest.mark.parametrize(
    ("image_id", "image", "leaks"),
    [
        (310196, "a.jpg", True),
        ("000000310196.jpg", "a.jpg", True),  # train2017 holds most of val2014 under its number
        ("a", "train2017/000000310196.jpg", True),
        ("a", Path("COCO_val2014_000000000001.jpg"), True),  # by its name alone
        ("a", "AMBER_17.jpg", True),
        ("a", Crop("COCO_val2014_000000000001.jpg", 0), True),
        ("vg7", "a.jpg", True),
        (310197, "a.jpg", False),
        ("a", "COCO_train2014_000000000001.jpg", False),
    ],
)
def test_evaluation_images_are_known_by_id_and_by_name(image_id, image, leaks):
    guard = EvaluationImages(frozenset({"COCO_val2014_000000310196.jpg"}), aliases={"vg7": "310196"})
    assert guard.leaks(row(image_id, image)) is leaks
    assert guard.leaks(row("b", "b.jpg", negative_images=(image,))) is (leaks and image_id == "a")


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        (
            '{"question_id": 1, "image": "COCO_val2014_000000000007.jpg"}\n{"question_id": 2, "image": "8.jpg"}\n',
            {"7", "8"},
        ),
        (json.dumps([{"id": 1, "image": "AMBER_1.jpg"}]), {"AMBER_1"}),
        (json.dumps([{"image_id": 7, "caption": "a"}]), {"7"}),
        ("[7, 8]", {"7", "8"}),
        ("7\n000000000008.jpg\n", {"7", "8"}),
        (json.dumps({"images": [{"id": 7, "file_name": "000000000007.jpg"}], "annotations": [{"id": 1}]}), {"7"}),
        (json.dumps({"7": ["dog"], "8": []}), {"7", "8"}),
    ],
)
def test_lists_of_evaluations_are_read(text, ids, tmp_path):
    (tmp_path / "list").write_text(text)
    assert EvaluationImages.read(tmp_path / "list").ids == ids


def test_a_list_without_ids_is_refused(tmp_path):
    (tmp_path / "list").write_text('{"a": 1}')
    with pytest.raises(InputError, match="got none"):
        EvaluationImages.read(tmp_path / "list")


def test_leaks_are_set_apart_or_refused():
    rows = [row(1), row(2)]
    guard = EvaluationImages(frozenset({"2"}))
    assert without_leaks(rows, guard) == ([rows[0]], [rows[1]])
    with pytest.raises(InputError, match="image 2 is one of"):
        list(refuse_leaks(rows, guard))
    assert list(refuse_leaks(rows[:1], guard)) == rows[:1]


def test_retention_rows_are_mixed_in_by_share():
    main, other = [row(i) for i in range(80)], [InstructionRow((), "a", f"{i}") for i in range(30)]
    mixed = mix(main, other, share=0.2, seed=0)
    assert len(mixed) == 100
    assert sum(isinstance(r, InstructionRow) for r in mixed) == 20
    assert mixed == mix(main, other, share=0.2, seed=0) != mix(main, other, share=0.2, seed=1)
    with pytest.raises(InputError, match="needs 53 retention rows, got 30"):
        mix(main, other, share=0.4, seed=0)
    with pytest.raises(SettingsError, match="share"):
        mix(main, other, share=1.0, seed=0)


def test_one_image_has_one_key():
    assert image_key(7) == image_key("COCO_train2014_000000000007.jpg") == image_key("a/b/0007.png") == "7"
    assert image_key("kitchen.jpg") == "kitchen"


@pytest.mark.parametrize("call", [lambda: EvaluationImages(names=("(",)), lambda: held_out(1, share=2, seed=0)])
def test_bad_settings_are_refused(call):
    with pytest.raises(SettingsError):
        call()


def test_the_official_lists_are_recognised(request):
    """With the reference data: every POPE image is refused, under COCO 2017's name too."""
    import os

    folder = os.environ.get("HALLUGUARD_REFERENCE_DATA")
    if not folder:
        pytest.skip("needs HALLUGUARD_REFERENCE_DATA")
    path = Path(folder) / "pope" / "coco_pope_random.json"
    guard = EvaluationImages.read(path, names=())
    assert len(guard.ids) == 500
    some = next(iter(guard.ids))
    assert guard.holds(f"train2017/{int(some):012d}.jpg")
