"""Negative instructions and images: balanced, true, reproducible, and without a tell-tale."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from halluguard import Box, InputError, SettingsError
from halluguard.tuning import Annotated, erase, negative_images, negative_instructions
from halluguard.tuning.question_templates import POPE_QUESTION, SHORT_ANSWERS

NAMES = ("dog", "cat", "cup", "fork", "apple", "chair")


def items(count=120, size=100):
    """Images with two to four coloured squares on a smooth ground, known boxes."""
    rng = np.random.default_rng(0)
    made = []
    for i in range(count):
        ground = np.linspace(60, 180, size)[None, :, None] + np.zeros((size, size, 3))
        image = Image.fromarray((ground + rng.normal(0, 3, ground.shape)).clip(0, 255).astype(np.uint8))
        boxes = []
        for k, name in enumerate(rng.choice(NAMES, rng.integers(2, 5), replace=False)):
            x, y = 4 + 50 * (k % 2), 4 + 50 * (k // 2)
            image.paste((255, 0, 0), (x, y, x + 20, y + 20))
            boxes.append(Box(str(name), 1.0, (x, y, x + 20, y + 20)))
        made.append(Annotated(i, image, tuple(boxes)))
    return made


def rows_of(made, **settings):
    return negative_instructions(made, seed=0, questions=(POPE_QUESTION,), answers=SHORT_ANSWERS, **settings)


def test_every_image_gets_as_many_no_as_yes():
    """Unbalanced rows teach a polarity, not an image."""
    per_image = Counter((row.image_id, row.completion) for row in rows_of(items()))
    assert all(per_image[i, "Yes."] == per_image[i, "No."] for i in range(120))
    assert per_image.total() > 400, "balance may cost few rows"


def test_every_object_gets_as_many_no_as_yes():
    balance = Counter()
    for row in rows_of(items()):
        balance[row.prompt] += 1 if row.completion == "Yes." else -1
    assert not any(balance.values()), balance


def test_answers_are_true():
    truth = {
        item.image_id: {f"Is there {'an' if n == 'apple' else 'a'} {n} in the image?" for n in item.names}
        for item in items()
    }
    for row in rows_of(items()):
        assert (row.prompt in truth[row.image_id]) == (row.completion == "Yes.")


def test_the_seed_decides():
    first, again, other = ([r.prompt for r in negative_instructions(items(), seed=s)] for s in (1, 1, 2))
    assert first == again != other


def test_polarity_has_no_order():
    """Yes-first would let a model answer by position in the epoch."""
    rows = list(rows_of(items()))
    assert 0.35 < np.mean([row.completion == "Yes." for row in rows[::4]]) < 0.65


def test_an_erased_object_is_gone_and_the_rest_untouched():
    item = items(1)[0]
    before = np.asarray(item.image).astype(int)
    after = np.asarray(erase(item.image, [(4, 4, 24, 24)], seed=0)).astype(int)
    assert (before[6:22, 6:22, 0] == 255).all()
    assert (after[6:22, 6:22, 0] < 180).all()
    assert (before[30:] == after[30:]).all()
    assert (before[:, 30:] == after[:, 30:]).all()


def test_the_fill_has_the_grain_of_its_surroundings():
    """A smooth or noisy fill would be a mark that says no."""
    item = items(1)[0]
    filled = np.asarray(erase(item.image, [(4, 4, 24, 24)], seed=0)).astype(float)
    inside, outside = filled[8:20, 8:20].std(), filled[30:44, 4:24].std()
    assert 0.3 < inside / outside < 3


def test_erased_and_control_come_in_pairs_about_the_same_object():
    rows = list(negative_images(items(), seed=0, questions=(POPE_QUESTION,), answers=SHORT_ANSWERS))
    assert len(rows) > 100
    for erased, control in zip(rows[::2], rows[1::2], strict=True):
        assert (erased.kind, control.kind) == ("erased", "control")
        assert (erased.completion, control.completion) == ("No.", "Yes.")
        assert erased.prompt == control.prompt
        assert erased.image_id == control.image_id
        assert erased.images[0].make().tobytes() != control.images[0].make().tobytes()


def test_erased_images_are_described_without_the_object():
    def describe(item):
        return "Describe the image.", " and ".join(item.names)

    rows = list(negative_images(items(), seed=0, questions=(POPE_QUESTION,), answers=SHORT_ANSWERS, describe=describe))
    for erased, _, told in zip(rows[::3], rows[1::3], rows[2::3], strict=True):
        name = erased.prompt.split()[3]
        assert told.kind == "erased-caption"
        assert name not in told.completion.split(" and ")


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: list(negative_instructions(items(3), seed=0, per_image=0)), SettingsError),
        (lambda: list(negative_instructions(items(3), seed=0, samplings=("hard",))), SettingsError),
        (lambda: list(negative_instructions([Annotated(0, Image.new("RGB", (9, 9)), ())], seed=0)), InputError),
    ],
)
def test_bad_settings_are_refused(call, error):
    with pytest.raises(error):
        call()
