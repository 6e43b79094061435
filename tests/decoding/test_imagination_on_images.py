"""The laws of Imagination on the rows of a trained model: every step of the captions of 50 images, 21 settings each."""

import itertools

import pytest
import torch

from halluguard import sandbox
from halluguard.decoding import DecodingMethod, Imagination
from halluguard.decoding.base import Step
from halluguard.decoding.engine.view import folded_view
from halluguard.decoding.imagination import information
from halluguard.decoding.negative_inputs import NoImage
from halluguard.guard import Guard

SETTINGS = [round(-1 + i / 10, 1) for i in range(21)]


class Watching(DecodingMethod):
    """Plain generation that keeps the rows of every step: the image's and the one without it."""

    is_identity = False
    negative_branches = (NoImage(),)

    def __init__(self):
        self.rows = []

    def combine_logits(self, branches, step):
        self.rows += [[branch[i : i + 1] for branch in branches] for i in range(len(branches[0]))]
        return branches[0], None


@pytest.fixture(scope="module")
def rows():
    model, processor = sandbox.load_mllm()
    guard, method = Guard(model, processor), Watching()
    images = [sample.image for sample in sandbox.scenes(50)]
    inputs = guard.inputs(images, ["Describe the image."] * 50)
    with torch.inference_mode():
        folded_view(method, model, processor).generate(**inputs, images=images, max_new_tokens=12, do_sample=False)
    assert len(method.rows) == 50 * 12
    return method.rows


def spread(rows, setting):
    return Imagination(setting).combine_logits(rows, Step(torch.tensor([0])))[0].double()


@pytest.mark.parametrize(
    "truncated", [lambda s, plain: s, lambda s, plain: s.masked_fill(plain < plain.topk(5, -1).values[..., -1:], -1e30)]
)
def test_expected_information_falls_strictly_at_every_step_of_50_images(rows, truncated):
    """Also under the user's top-k, which is read on the plain row and so is the same at every setting.

    The statistic is the one of Imagination, clipped where tokens are implausible. Steps at which one token has all the
    probability that a double can tell apart cannot fall and must stay level.
    """
    moved = 0
    for pair in rows:
        statistic, plain = information(*pair, 0.1).double(), pair[0].double()
        expected = []
        for setting in SETTINGS:
            p = truncated(spread(pair, setting), plain).softmax(-1)
            expected.append(float((p * statistic).sum()))
        assert all(a >= b - 1e-6 for a, b in itertools.pairwise(expected)), "more imagination, more from the image"
        moved += all(a > b for a, b in itertools.pairwise(expected))
    assert moved > 0.9 * len(rows), f"the law is strict at {moved} of {len(rows)} steps only"


def test_log_odds_of_any_two_tokens_are_affine_in_the_setting(rows):
    for pair in rows[::25]:
        odds = torch.stack([spread(pair, setting).flatten() for setting in SETTINGS])
        odds = odds[:, :-1] - odds[:, 1:]
        line = odds[0] + torch.linspace(0, 1, 21, dtype=torch.double)[:, None] * (odds[-1] - odds[0])
        assert torch.allclose(odds, line, atol=1e-3)


def test_the_greedy_tokens_information_never_rises(rows):
    for pair in rows:
        statistic = information(*pair, 0.1).flatten()
        chosen = [int(spread(pair, setting).argmax()) for setting in SETTINGS]
        assert all(statistic[a] >= statistic[b] - 1e-6 for a, b in itertools.pairwise(chosen))
