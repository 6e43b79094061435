"""Tests of settings against limits: exact p-values, sequences that stop, and what a refusal says."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from halluguard.calibration.risk import (
    Risk,
    certify,
    check_enough,
    fixed_sequence,
    images_needed,
    p_value,
    refuse,
    upper_bound,
)
from halluguard.errors import InputError, PromiseError, SettingsError


def risks(*texts):
    return [Risk.parse(text) for text in texts]


# --- p-values -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("errors", "n", "limit"), [(0, 59, 0.05), (3, 120, 0.05), (7, 40, 0.1)])
def test_losses_of_0_and_1_are_tested_by_the_exact_binomial(errors, n, limit):
    losses = [1] * errors + [0] * (n - errors)
    assert p_value(losses, limit) == pytest.approx(binomtest(errors, n, limit, alternative="less").pvalue)


def test_other_losses_are_tested_by_hoeffding_and_bentkus():
    """By hand: n 100, mean .02, limit .1. h(.02, .1) = .02 ln .2 + .98 ln(.98 / .9)."""
    h = 0.02 * math.log(0.2) + 0.98 * math.log(0.98 / 0.9)
    bentkus = math.e * binomtest(2, 100, 0.1, alternative="less").pvalue
    assert p_value([0.02] * 100, 0.1) == pytest.approx(min(math.exp(-100 * h), bentkus))


def test_a_mean_at_or_above_the_limit_is_never_certified():
    assert p_value([0.5, 0.2] * 50, 0.3) == 1
    assert p_value([], 0.3) == 1


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.floats(0.01, 0.9))
def test_p_falls_as_the_limit_rises_and_as_losses_fall(losses, limit):
    p = p_value(losses, limit)
    assert 0 <= p <= 1
    assert p_value(losses, min(0.99, limit + 0.05)) <= p + 1e-9
    assert p_value(losses, 0.95) <= max(p_value([1.0] * len(losses), 0.95), p) + 1e-9


@pytest.mark.parametrize("draw", ["coin", "beta", "thirds"])
def test_p_is_below_a_level_at_most_so_often(draw):
    """At the limit itself, p <= .05 in at most 5 % of draws; 4,000 draws, tested at 1 %."""
    rng = np.random.default_rng(5)
    shapes = {
        "coin": lambda: rng.random(80) < 0.1,
        "beta": lambda: rng.beta(0.1, 0.9, 80),
        "thirds": lambda: rng.choice([0, 1 / 3, 1], 80, p=[0.8, 0.15, 0.05]),
    }
    low = sum(p_value(shapes[draw](), 0.1) <= 0.05 for _ in range(4000))
    assert binomtest(low, 4000, 0.05, alternative="greater").pvalue > 0.01


def test_the_upper_bound_of_a_coin_is_clopper_and_pearson_s():
    interval = binomtest(3, 50).proportion_ci(0.9, method="exact")
    assert upper_bound([1] * 3 + [0] * 47, 0.05) == pytest.approx(interval.high, abs=1e-6)


def test_losses_out_of_range_are_refused():
    with pytest.raises(InputError, match=r"in \[0, 1\], got 0 to 2"):
        p_value([0, 2], 0.1)


# --- how many images --------------------------------------------------------------------------------------------------


def test_59_images_without_errors_show_5_percent_at_95():
    assert images_needed(0.05, 0.05) == 59
    assert p_value([0] * 59, 0.05) <= 0.05 < p_value([0] * 58, 0.05)


@pytest.mark.parametrize("mean", [0.01, 0.02, 0.03])
def test_the_number_that_would_do_does(mean):
    n = images_needed(0.05, 0.05, mean)
    errors = math.ceil(n * mean - 1e-9)
    assert p_value([1] * errors + [0] * (n - errors), 0.05) <= 0.05
    assert images_needed(0.05, 0.05, 0.05) is None


def test_too_few_images_are_refused_with_the_number_that_would_do():
    with pytest.raises(PromiseError, match="0 errors need 59 images for 5 % at 95 %; label 19 more"):
        check_enough(risks("chair_s=0.05"), 40, 0.95)
    with pytest.raises(PromiseError, match=r"0 errors need 72 images .* each of two opposed promises"):
        check_enough(risks("chair_s=0.05", "lost=0.2"), 60, 0.95)


# --- sequences --------------------------------------------------------------------------------------------------------


def test_a_sequence_stops_at_its_first_failure():
    assert fixed_sequence({2: 0.01, 1: 0.06, 0: 0.0}, 0.05) == [2]


def path(*rows):
    """Settings of 100 images: per setting, loss -> number of images with loss 1."""
    return [{loss: [1.0] * k + [0.0] * (100 - k) for loss, k in row.items()} for row in rows]


def test_hallucination_is_tested_from_the_strict_end_and_losses_from_the_plain_end():
    """The strictest setting loses too much and the plainest lies too much; only the middle keeps both."""
    losses = path({"chair_s": 20, "lost": 0}, {"chair_s": 0, "lost": 2}, {"chair_s": 0, "lost": 60})
    result = certify(losses, risks("chair_s=0.05", "lost=0.1"), 0.95)
    assert result.passed == (1,)
    assert result.level == pytest.approx(0.025)
    assert certify(losses, risks("chair_s=0.05"), 0.95).passed == (1, 2)


def test_risks_of_one_direction_share_the_full_level():
    losses = path({"chair_s": 0, "wrong_additions": 30}, {"chair_s": 0, "wrong_additions": 0})
    result = certify(losses, risks("chair_s=0.05", "wrong_additions=0.05"), 0.95)
    assert result.level == pytest.approx(0.05)
    assert result.passed == (1,)


def test_what_lies_beyond_a_failure_is_not_certified_however_good():
    losses = path({"chair_s": 0}, {"chair_s": 30}, {"chair_s": 0})
    assert certify(losses, risks("chair_s=0.05"), 0.95).passed == (2,)


def test_images_of_which_nothing_leaves_do_not_count():
    losses = [{"chair_s": [0.0] * 50 + [math.nan] * 50}]
    assert certify(losses, risks("chair_s=0.05"), 0.95).passed == ()
    assert certify(losses, risks("chair_s=0.05"), 0.95).counts["chair_s"] == (50,)


@pytest.mark.parametrize(
    ("losses", "asked", "message"),
    [
        (path({"chair_s": 4}), ["chair_s=0.05"], "the best one has 4 % on 100 images; about .* images would show it"),
        (path({"chair_s": 6}), ["chair_s=0.05"], "no number of images would show that"),
        (
            path({"chair_s": 30, "lost": 0}, {"chair_s": 0, "lost": 30}),
            ["chair_s=0.05", "lost=0.05"],
            "some settings keep each promise .* none keeps all",
        ),
    ],
)
def test_a_refusal_says_what_would_do(losses, asked, message):
    certificate = certify(losses, risks(*asked), 0.95)
    assert certificate.passed == ()
    with pytest.raises(PromiseError, match=message):
        raise refuse(certificate, risks(*asked), 100, 0.95)


# --- how a risk is written --------------------------------------------------------------------------------------------


def test_a_mix_is_written_as_a_sum():
    risk = Risk.parse("0.7*chair_s + 0.3*lost = 0.05")
    assert (risk.name, risk.limit, risk.rises) == ("0.7*chair_s+0.3*lost", 0.05, False)
    assert risk.of({"chair_s": np.array([1.0, 0.0]), "lost": np.array([0.5, 1.0])}).tolist() == [0.85, 0.3]
    assert Risk.parse("lost=0.1").rises


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("chair_s=0", "no data can show a limit of 0"),
        ("chair_s=1", "1 promises nothing"),
        ("chair_s=nan", "between 0 and 1"),
        ("lies=0.1", "a risk is one of chair_s"),
        ("chair_s", "written LOSS=LIMIT"),
        ("chair_s=", "written LOSS=LIMIT"),
        ("=0.1", "written LOSS=LIMIT"),
        ("chair_s*2=0.1", "written LOSS=LIMIT"),
        ("2*chair_s=0.1", "sum to at most 1"),
        ("0*chair_s=0.1", "above 0"),
    ],
)
def test_a_wrong_risk_is_one_sentence(text, message):
    with pytest.raises(SettingsError, match=message):
        Risk.parse(text)


@pytest.mark.parametrize("confidence", [0, 1, 95])
def test_a_confidence_is_between_0_and_1(confidence):
    with pytest.raises(SettingsError, match=r"0\.95 is usual"):
        certify(path({"chair_s": 0}), risks("chair_s=0.05"), confidence)


def test_a_risk_is_named_once_and_at_least_one_is_named():
    with pytest.raises(SettingsError, match="name each once"):
        certify(path({"chair_s": 0}), risks("chair_s=0.05", "chair_s=0.1"), 0.95)
    with pytest.raises(SettingsError, match="at least one risk"):
        certify(path({"chair_s": 0}), [], 0.95)


# --- the promise itself -----------------------------------------------------------------------------------------------


def test_the_promise_is_broken_in_at_most_5_percent_of_fits():
    """Claims of one image are alike. 600 fits on 80 images; the risk of every setting is known. Tested at 1 %."""
    rng = np.random.default_rng(3)
    thresholds = np.linspace(0, 0.9, 10)
    # A lie is left at threshold t if its score is above t; an image has a difficulty that its three lies share.
    pool = rng.beta(1, 3, 200_000)
    truth = [(rng.random((200_000, 3)) * pool[:, None] > t).any(axis=1).mean() for t in thresholds]
    broken = 0
    for _ in range(600):
        hard = rng.beta(1, 3, 80)
        scores = rng.random((80, 3)) * hard[:, None]
        losses = [{"chair_s": (scores > t).any(axis=1).astype(float)} for t in thresholds]
        passed = certify(losses, risks("chair_s=0.1"), 0.95).passed
        broken += bool(passed) and truth[min(passed)] > 0.1
    assert binomtest(broken, 600, 0.05, alternative="greater").pvalue > 0.01
    assert broken > 0, "a bound that is never reached gives away too much"


def test_settings_at_which_too_few_images_leave_are_passed_over():
    few = {"chair_s": [0.0] * 20 + [math.nan] * 80}
    enough = {"chair_s": [0.0] * 70 + [math.nan] * 30}
    assert certify([enough, few], risks("chair_s=0.05"), 0.95).passed == (0,)
    bad = {"chair_s": [1.0] * 20 + [0.0] * 50 + [math.nan] * 30}
    assert certify([enough, bad, few], risks("chair_s=0.05"), 0.95).passed == ()
