"""Intervals, paired comparison, saved scores, and baselines: what makes a number quotable."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halluguard.errors import InputError, SettingsError
from halluguard.metrics import baselines, chair, pope, stats
from halluguard.metrics.score import Score, compare, from_counts

OBJECTS = {i: ["dog"] if i % 2 else ["dog", "cat"] for i in range(40)}
PLAIN = [(i, "A dog and a cat sit on a couch.") for i in range(40)]
BETTER = [(i, "A dog and a cat sit." if i % 4 else "A dog sits.") for i in range(40)]


def counted(columns):
    return {"rate": stats.ratio(columns["hit"], columns["all"])}


# --- laws -----------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 1), min_size=2, max_size=60))
def test_the_interval_holds_the_value(hits):
    columns = {"hit": hits, "all": [1] * len(hits)}
    low, high = stats.bootstrap(columns, counted, resamples=200)["rate"]
    assert low <= sum(hits) / len(hits) <= high


def test_the_interval_is_that_of_the_binomial():
    """400 images, half of them hit: the standard error is 2.5 points, the interval four of them wide."""
    columns = {"hit": [i % 2 for i in range(400)], "all": [1] * 400}
    low, high = stats.bootstrap(columns, counted, resamples=4000)["rate"]
    assert high - low == pytest.approx(4 * 0.98 * 0.025, rel=0.08)


def test_a_run_against_itself_differs_by_nothing():
    score = chair.score(PLAIN, OBJECTS, resamples=0)
    for change in compare(score, score, resamples=50).values():
        assert change["difference"] == 0
        assert change["interval"] == (0, 0)
        assert change["p"] == 1


def test_turned_round_the_difference_changes_sign():
    a, b = (chair.score(run, OBJECTS, resamples=0) for run in (PLAIN, BETTER))
    there, back = compare(a, b, resamples=200), compare(b, a, resamples=200)
    assert there["CHAIRi"]["difference"] == pytest.approx(-back["CHAIRi"]["difference"])
    assert there["CHAIRi"]["interval"][1] < 0, "fewer objects are invented in the second run"


def test_runs_scored_differently_are_not_compared():
    a = chair.score(PLAIN, OBJECTS, resamples=0)
    with pytest.raises(InputError, match="protocol: 'pattern' and 'fixed'"):
        compare(a, chair.score(PLAIN, OBJECTS, protocol="fixed", resamples=0))
    with pytest.raises(InputError, match="same images"):
        compare(a, Score(a.metric, a.settings, a.values, per_image={"image_id": ["x"]}))


@pytest.mark.parametrize(("successes", "trials"), [(0, 5), (3, 20), (5, 5), (611, 1000)])
def test_wilson_is_scipys(successes, trials):
    from scipy.stats import binomtest

    expected = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    assert stats.wilson(successes, trials) == pytest.approx(tuple(expected))


def test_wilson_takes_ties_as_halves_and_refuses_more_successes_than_trials():
    below, tie, above = (stats.wilson(k, 10) for k in (4, 4.5, 5))
    assert below < tie < above
    with pytest.raises(SettingsError, match="between 0 and trials"):
        stats.wilson(6, 5)


def test_mcnemar_is_the_exact_binomial():
    """10 discordant pairs, 9 to 1: p = 2 * (1 + 10) / 2^10."""
    questions = [pope.Question(str(i), str(i), f"Is there a dog{i}?", "yes") for i in range(20)]
    first = {q.question_id: "Yes" if i < 1 or i >= 10 else "No" for i, q in enumerate(questions)}
    second = {q.question_id: "No" if i < 1 else "Yes" for i, q in enumerate(questions)}
    test = pope.mcnemar(*(pope.score(questions, said, resamples=0) for said in (first, second)))
    assert (test["only_first"], test["only_second"]) == (1, 9)
    assert test["p"] == pytest.approx(2 * 11 / 1024)


# --- the record -----------------------------------------------------------------------------------------------


def test_a_saved_score_is_read_back_and_can_be_compared(tmp_path):
    score = chair.score(PLAIN, OBJECTS, resamples=20)
    score.save(tmp_path / "a.json")
    again = Score.load(tmp_path / "a.json")
    assert again.to_dict() == score.to_dict()
    assert compare(again, score, resamples=10)["CHAIRs"]["difference"] == 0


def test_what_is_no_score_is_told(tmp_path):
    (tmp_path / "a.json").write_text('{"metric": "chair"}', encoding="utf-8")
    with pytest.raises(InputError, match="needs the fields"):
        Score.load(tmp_path / "a.json")
    with pytest.raises(InputError, match="written by a benchmark"):
        Score.load(tmp_path / "none.json")
    (tmp_path / "b.json").write_text("[]", encoding="utf-8")
    with pytest.raises(InputError, match="needs the fields"):
        Score.load(tmp_path / "b.json")


def test_a_metric_of_ones_own_is_compared_by_its_own_values():
    one, other = (
        from_counts("mine", counted, ["a", "b", "c"], {"hit": hits, "all": [1, 1, 1]}, {}, resamples=0)
        for hits in ([0, 0, 1], [1, 1, 1])
    )
    with pytest.raises(InputError, match="no metric 'mine'"):
        compare(one, other)
    (change,) = compare(one, other, values=counted).values()
    assert change["difference"] == pytest.approx(2 / 3)


def test_bad_settings_are_told():
    with pytest.raises(SettingsError, match="resamples must be at least 1"):
        stats.bootstrap({"hit": [1], "all": [1]}, counted, resamples=0)
    with pytest.raises(SettingsError, match="level must be between"):
        stats.bootstrap({"hit": [1], "all": [1]}, counted, level=95)
    with pytest.raises(InputError, match="one length"):
        stats.bootstrap({"hit": [1, 0], "all": [1]}, counted)


# --- baselines ----------------------------------------------------------------------------------------------------


def questions_of(n):
    return [pope.Question(str(i), str(i // 2), f"Is there a thing{i}?", "no" if i % 2 else "yes") for i in range(n)]


def test_always_no_is_right_on_half_and_finds_nothing():
    questions = questions_of(20)
    with pytest.warns(stats.UndefinedScoreWarning):
        score = pope.score(questions, baselines.always(questions), resamples=0)
    assert (score["acc"], score["recall"], score["yes_ratio"]) == (0.5, 0, 0)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(["yes", "no", "neither"]), min_size=1, max_size=50), st.floats(0, 1), st.integers(0, 9))
def test_shifted_answers_say_yes_as_often_as_wanted(verdicts, ratio, seed):
    said = {str(i): verdict for i, verdict in enumerate(verdicts)}
    shifted = baselines.shift_yes_ratio(said, ratio, seed)
    assert sum(answer == "Yes" for answer in shifted.values()) == round(ratio * len(said))
    changed = {before for key, before in said.items() if (before == "yes") != (shifted[key] == "Yes")}
    assert len(changed & {"yes"}) + len(changed & {"no", "neither"}) <= 2
    assert not ({"yes"} & changed and {"no", "neither"} & changed), "answers move one way only"


def test_a_moved_threshold_keeps_the_ranking():
    margins = {str(i): float(i) for i in range(10)}
    said = baselines.lean_yes(margins, 0.3)
    assert [key for key, answer in said.items() if answer == "Yes"] == ["7", "8", "9"]


def test_cut_captions_have_the_words_of_the_method():
    like = {"1": 2, "2": 9}
    assert list(baselines.shorten([(1, "A dog on a couch."), (2, "A cat.")], like=like)) == [
        (1, "A dog"),
        (2, "A cat."),
    ]
    with pytest.raises(InputError, match="image 3 is in one only"):
        list(baselines.shorten([(3, "A dog.")], like=like))


def test_mentions_dropped_blindly_cost_recall_and_leave_chair_i_where_it_was():
    objects = {i: ["dog"] for i in range(2000)}
    scorer = chair.ChairScorer(objects)
    scored = [scorer.caption(i, "A dog and a cat.") for i in objects]
    half = scorer.total(baselines.drop_mentions(scored, scorer, 0.5, seed=1), resamples=0)
    assert half["CHAIRi"] == pytest.approx(0.5, abs=0.03)
    assert half["recall"] == pytest.approx(0.5, abs=0.03)
    assert half["CHAIRs"] == pytest.approx(0.5, abs=0.03), "CHAIRs falls by half, and nothing was understood"


@pytest.mark.parametrize("by", ["words", "mentions"])
def test_at_equal_length_a_shorter_copy_gains_nothing(by):
    """The second run is the first, cut: matched, the two are one."""
    scorer = chair.ChairScorer(OBJECTS)
    cut = [(i, " ".join(text.split()[:5])) for i, text in PLAIN]
    first, second = baselines.matched(PLAIN, cut, scorer, by=by, resamples=0)
    assert {**first.values, "length": 0} == {**second.values, "length": 0}
    assert f"matched:{by}" in first.signature


def test_auc_is_the_chance_that_a_yes_ranks_first():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200).astype(bool)
    margins = rng.normal(labels * 1.0, 1.0).round(1)
    wins = [(a > b) + 0.5 * (a == b) for a in margins[labels] for b in margins[~labels]]
    assert stats.auc(labels, margins) == pytest.approx(np.mean(wins))


# --- coverage ---------------------------------------------------------------------------------------------------------


def clustered(n, rate, rng, rho=0.4):
    """Hits and trials of n images whose trials are alike."""
    trials = 1 + rng.poisson(3, n)
    spread = (1 - rho) / rho
    return rng.binomial(trials, rng.beta(rate * spread, (1 - rate) * spread, n)), trials


@pytest.mark.parametrize(("n", "rate"), [(40, 0.2), (200, 0.05)])
def test_intervals_of_clustered_shares_cover_the_truth(n, rate):
    """93 to 97 %, up to the error of 600 draws (2.6 standard errors); intervals that count claims do not."""
    rng = np.random.default_rng(6)
    held = naive = 0
    for _ in range(600):
        hits, trials = clustered(n, rate, rng)
        _, low, high = stats.clustered_share(hits, trials)
        held += low <= rate <= high
        low, high = stats.wilson(int(hits.sum()), int(trials.sum()))
        naive += low <= rate <= high
    assert 0.93 - 0.025 <= held / 600 <= 0.97 + 0.018
    assert naive / 600 < 0.9


def test_a_share_with_few_hits_has_an_interval_that_is_not_empty():
    none = stats.bootstrap({"hit": [0] * 50, "all": [1] * 50}, counted, resamples=50)["rate"]
    assert none == pytest.approx((0, 0.0747), abs=1e-3)
    few = stats.bootstrap({"hit": [1] * 2 + [0] * 48, "all": [1] * 50}, counted, resamples=500)["rate"]
    assert few[0] > 0
    assert few[1] > 0.12
    every = stats.bootstrap({"hit": [1] * 50, "all": [1] * 50}, counted, resamples=50)["rate"]
    assert every == pytest.approx((1 - none[1], 1))


@pytest.mark.parametrize("whole", [True, False])
def test_totals_of_resamples_are_those_of_the_drawn_rows(whole):
    rng = np.random.default_rng(0)
    matrix = rng.integers(0, 9, (40, 3)) + (0.0 if whole else 0.1)
    drawn = np.random.default_rng(5)
    expected = [matrix[drawn.integers(0, 40, 40)].sum(axis=0) for _ in range(20)]
    assert np.array_equal(stats._resampled(matrix, 20, 5), expected)
