"""Rows: checked where they are made, light, and in the form TRL's trainers read."""

import pickle
from dataclasses import dataclass

import pytest
from PIL import Image

from halluguard import ImageError, InputError
from halluguard.tuning.rows import InstructionRow, PreferenceRow, RatedRow, as_dataset, open_image, row_seed

DOG = "Is there a dog in the image?"


@dataclass(frozen=True)
class Plain:
    color: str

    def make(self):
        return Image.new("RGB", (4, 4), self.color)


def test_a_preference_row_becomes_trls_conversation():
    row = PreferenceRow((Plain("red"),), DOG, "No.", "Yes.", negative_images=(Plain("blue"),), seed=3, image_id=7)
    columns = row.to_conversation()
    assert columns["prompt"] == [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": DOG}]}]
    assert columns["chosen"] == [{"role": "assistant", "content": [{"type": "text", "text": "No."}]}]
    assert columns["rejected"][0]["content"][0]["text"] == "Yes."
    assert columns["images"][0].getpixel((0, 0)) == (255, 0, 0)
    assert columns["negative_images"][0].getpixel((0, 0)) == (0, 0, 255)
    assert (columns["seed"], columns["image_id"]) == (3, "7")


def test_images_stand_before_the_first_question_of_a_dialogue():
    row = PreferenceRow((Plain("red"),), "And a cat?", "No.", "Yes.", history=((DOG, "Yes."),))
    turns = row.to_conversation()["prompt"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    assert [len(turn["content"]) for turn in turns] == [2, 1, 1]


def test_rows_without_images_are_allowed():
    assert InstructionRow((), "What is 2 + 2?", "4").to_conversation()["images"] == []


def test_images_are_opened_on_access_only(tmp_path):
    path = tmp_path / "later.png"
    data = as_dataset([PreferenceRow((path,), DOG, "No.", "Yes.")])
    with pytest.raises(ImageError, match=r"later\.png"):
        data[0]
    Image.new("RGB", (5, 3)).save(path)
    assert data[0]["images"][0].size == (5, 3)


def test_the_data_set_survives_a_trip_to_a_worker():
    data = pickle.loads(pickle.dumps(as_dataset([RatedRow((Plain("red"),), DOG, "No.", False)] * 3)))
    assert data[2]["label"] is False
    assert data[1:3]["images"][0][0].size == (4, 4)


def test_trls_collator_takes_the_rows():
    """Built for a LLaVA processor: image tokens in the prompt, completion tokens marked."""
    pytest.importorskip("trl")
    from trl.trainer.dpo_trainer import DataCollatorForVisionPreference

    from halluguard.sandbox.models import build_processor

    rows = [PreferenceRow((Image.new("RGB", (112, 112)),), DOG, "Yes.", "No."), PreferenceRow((), DOG, "No.", "Yes.")]
    data = as_dataset(rows)
    batch = DataCollatorForVisionPreference(build_processor())([data[0], data[1]])
    assert batch["input_ids"].shape[0] == 4
    assert (batch["completion_mask"].sum(1) >= 2).all()


def test_seeds_depend_on_the_row_alone():
    assert row_seed(0, "a.jpg", "crop") == 7253155543567766842
    assert len({row_seed(seed, name) for seed in range(40) for name in "abc"}) == 120
    assert row_seed("1") != row_seed(1)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: PreferenceRow((), DOG, "No.", " no. "), "must differ"),
        (lambda: PreferenceRow((), DOG, "", "Yes."), "chosen must be a text"),
        (lambda: PreferenceRow((), DOG, "No.", None), "rejected must be a text"),
        (lambda: PreferenceRow("a.jpg", DOG, "No.", "Yes."), "sequence of images"),
        (lambda: PreferenceRow(("a.jpg",), DOG, "No.", "Yes.", negative_images=("b", "c")), "as many as images"),
        (lambda: InstructionRow((), "", "No."), "prompt must be a text"),
        (lambda: RatedRow((), DOG, "No.", 1), "label must be true or false"),
        (lambda: as_dataset([]), "got no rows"),
        (lambda: as_dataset([InstructionRow((), "a", "b"), RatedRow((), "a", "b", True)]), "of one class"),
    ],
)
def test_bad_rows_are_refused_in_one_sentence(make, words):
    with pytest.raises(InputError, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_a_recipe_is_made_and_a_path_is_read(tmp_path):
    Image.new("RGB", (6, 2), "green").save(tmp_path / "a.png")
    assert open_image(Plain("red")).size == (4, 4)
    assert open_image(tmp_path / "a.png").size == (6, 2)
