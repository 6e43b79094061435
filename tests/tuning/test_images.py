"""Negative images: the same recipe, the same pixels; and what each kind promises."""

import pickle

import numpy as np
import pytest
from PIL import Image

from halluguard import SettingsError
from halluguard.boxes import intersection
from halluguard.tuning.images import Crop, Erased, Noised, Shuffled, kept_signal

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8))
RECIPES = [Erased(PICTURE, ((10, 10, 30, 30),), 1), Crop(PICTURE, 1), Shuffled(PICTURE, 1), Noised(PICTURE, 1)]


def pixels(recipe):
    return np.asarray(recipe.make())


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: type(r).__name__)
def test_the_recipe_alone_decides_the_pixels(recipe):
    """Also after a trip to a worker, and whatever was drawn before."""
    first = pixels(recipe)
    for other in RECIPES:
        other.make()
    np.random.default_rng(0)
    assert (first == pixels(recipe)).all()
    assert (first == pixels(pickle.loads(pickle.dumps(recipe)))).all()
    assert first.shape == (60, 80, 3)
    assert (first != np.asarray(PICTURE)).any()


@pytest.mark.parametrize("kind", [Crop, Shuffled, Noised])
def test_other_seeds_make_other_pixels(kind):
    assert (pixels(kind(PICTURE, 1)) != pixels(kind(PICTURE, 2))).any()


def test_a_crop_keeps_between_1_and_20_percent():
    shares = []
    for seed in range(300):
        x1, y1, x2, y2 = Crop(PICTURE, seed).window(640, 480)
        assert 0 <= x1 < x2 <= 640
        assert 0 <= y1 < y2 <= 480
        shares.append((x2 - x1) * (y2 - y1) / (640 * 480))
    assert 0.0099 <= min(shares) < 0.03
    assert 0.18 < max(shares) <= 0.2005


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (500, 2)])
def test_crops_of_odd_images_stay_inside(size):
    for seed in range(50):
        x1, y1, x2, y2 = Crop(PICTURE, seed).window(*size)
        assert 0 <= x1 < x2 <= size[0]
        assert 0 <= y1 < y2 <= size[1]


def test_a_crop_avoids_what_it_must_not_show():
    box = (0.0, 0.0, 320.0, 480.0)
    kept = [intersection(Crop(PICTURE, seed, keep_out=(box,), keep=0.0).window(640, 480), box) for seed in range(100)]
    assert max(kept) == 0


def test_shuffling_moves_every_patch_and_loses_none():
    flat = Image.fromarray((np.arange(64).reshape(8, 8).repeat(8, 0).repeat(8, 1)).astype(np.uint8)).convert("RGB")
    mixed = pixels(Shuffled(flat, 5))[::8, ::8, 0]
    assert sorted(mixed.ravel()) == list(range(64))
    assert (mixed != np.arange(64).reshape(8, 8)).all()
    assert pixels(Shuffled(Image.new("RGB", (5, 3), "red"), 0)).shape == (3, 5, 3)


def test_noise_follows_the_schedule():
    """At step t the image keeps sqrt(a_t) of its contrast and gains sqrt(1 - a_t) of noise."""
    kept = kept_signal()
    assert kept[0] == pytest.approx(1 - (5e-3 - 1e-5) / (1 + np.exp(6)) - 1e-5)
    assert (np.diff(kept) < 0).all()
    gray = Image.new("RGB", (400, 400), (100, 100, 100))
    for step in (50, 150):
        noisy = pixels(Noised(gray, 0, step)).astype(float)
        inside = noisy[(noisy > 0) & (noisy < 255)]
        if step == 50:
            assert inside.std() == pytest.approx(255 * np.sqrt(1 - kept[step]), rel=0.05)
            assert inside.mean() == pytest.approx(100 * np.sqrt(kept[step]), rel=0.02)
    assert pixels(Noised(gray, 0, 999)).std() > pixels(Noised(gray, 0, 100)).std()


def test_a_filler_of_the_callers_is_used():
    def fill(image, boxes, seed):
        return Image.new("RGB", image.size, (seed, len(boxes), 0))

    assert Erased(PICTURE, ((0, 0, 5, 5),), 7, fill).make().getpixel((0, 0)) == (7, 1, 0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Crop(PICTURE, 0, least=0), "0 < least"),
        (lambda: Crop(PICTURE, 0, least=0.5, most=0.2), "0 < least"),
        (lambda: Shuffled(PICTURE, 0, grid=1), "at least 2"),
        (lambda: Noised(PICTURE, 0, step=1000), "0..999"),
    ],
)
def test_bad_settings_are_refused(make, words):
    with pytest.raises(SettingsError, match=words):
        make()
