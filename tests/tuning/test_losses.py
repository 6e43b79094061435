"""The added terms: their values at known points, and which tokens the weights find."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from halluguard.tuning.losses import anchor_term, segment_weights, visual_term

numbers = st.floats(-30, 30)
tokens = st.lists(st.integers(0, 6), min_size=1, max_size=12)


@given(numbers, numbers, st.floats(0.01, 2))
def test_the_visual_term_is_minus_log_sigmoid_of_the_gap(chosen, negative, beta):
    ratios = torch.tensor([[chosen], [negative]], dtype=torch.float64)
    found = visual_term(*ratios, beta)
    assert float(found) == pytest.approx(math.log1p(math.exp(-beta * (chosen - negative))), abs=1e-9)


def test_at_the_first_step_each_term_is_log_two():
    zero = torch.zeros(3)
    assert torch.allclose(visual_term(zero, zero, 0.1), torch.full((3,), math.log(2)))
    assert torch.allclose(anchor_term(zero, 0.1, 0.0), torch.full((3,), math.log(2)))
    assert torch.allclose(anchor_term(zero, 0.1, 1.0), torch.full((3,), math.log(1 + math.e)))


def test_the_anchor_pulls_a_chosen_answer_up_that_has_become_less_likely():
    ratio = torch.tensor([-5.0, 0.0, 5.0], requires_grad=True)
    anchor_term(ratio, 0.1, 0.0).sum().backward()
    assert (ratio.grad < 0).all()
    assert ratio.grad[0] < ratio.grad[1] < ratio.grad[2]


@given(tokens, tokens, st.floats(1.1, 5))
def test_weights_are_one_or_gamma_and_equal_answers_have_none(a, b, gamma):
    left, right = segment_weights(a, b, gamma)
    assert set(left) | set(right) <= {1.0, gamma}
    assert (len(left), len(right)) == (len(a), len(b))
    assert segment_weights(a, a, gamma, shortest=1)[0] == [1.0] * len(a)


@pytest.mark.parametrize(
    ("chosen", "rejected", "left", "right"),
    [
        ([1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 9, 5, 6, 7], [1, 1, 1, 5, 1, 1, 1], [1, 1, 1, 5, 1, 1, 1]),
        # an invented object is a pure insertion; the official code leaves it at weight 1
        ([1, 2, 3, 4, 5, 6], [1, 2, 3, 8, 9, 4, 5, 6], [1] * 6, [1, 1, 1, 5, 5, 1, 1, 1]),
        # two tokens in common are no agreement
        ([1, 2], [1, 3], [5, 5], [5, 5]),
    ],
)
def test_changed_tokens_weigh_gamma(chosen, rejected, left, right):
    assert segment_weights(chosen, rejected, 5) == (left, right)
