"""Images of repeated prompts: A B A B for each prompt, whatever the order in which a family repeats them."""

import pytest
import torch
from transformers.utils import ModelOutput

from halluguard.decoding.engine.image_order import in_prompt_order


def features(*lengths):
    return [torch.full((length, 2), float(i)) for i, length in enumerate(lengths)]


def encoded(images):
    return {"image": ModelOutput(pooler_output=images)}


def test_images_repeated_one_by_one_are_put_in_the_order_of_the_prompts():
    a, b, c = features(2, 3, 4)
    ordered = in_prompt_order(encoded([a, a, b, b, c, c]), tokens=[5, 4], times=2)
    assert [id(image) for image in ordered["image"]["pooler_output"]] == [id(x) for x in (a, b, a, b, c, c)]


@pytest.mark.parametrize("right", [[0, 1, 0, 1, 2, 2]])
def test_images_in_the_right_order_stay_as_they_are(right):
    images = features(2, 3, 4)
    given = encoded([images[i] for i in right])
    assert in_prompt_order(given, tokens=[5, 4], times=2) is given


def test_layers_of_features_follow():
    a, b = features(2, 2)
    given = {"image": ModelOutput(pooler_output=None, deepstack_features=[(3, [a, a, b, b])])}
    ordered = in_prompt_order(given, tokens=[4], times=2)["image"]["deepstack_features"]
    assert ordered[0][0] == 3
    assert [id(image) for image in ordered[0][1]] == [id(x) for x in (a, b, a, b)]


def test_features_that_are_not_arranged_by_image_stay_as_they_are():
    given = encoded(features(2, 3))
    assert in_prompt_order(given, tokens=[7], times=2) is given
    assert in_prompt_order(None, tokens=[7], times=2) is None
