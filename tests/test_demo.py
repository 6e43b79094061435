"""The demo on a few scenes: every setup measured, the page safe and complete, the same numbers twice."""

import json
import re

import pytest

from halluguard import SettingsError, demo


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folders = [tmp_path_factory.mktemp(name) for name in ("one", "two")]
    results = [demo.run(folder, scenes=16, seed=0) for folder in folders]
    return folders, results


def test_two_runs_write_the_same_numbers_and_pages(runs):
    (one, two), _ = runs
    assert (one / "demo.json").read_bytes() == (two / "demo.json").read_bytes()
    assert (one / "demo.html").read_bytes() == (two / "demo.html").read_bytes()


def test_every_layer_is_measured_alone_and_all_together(runs):
    (one, _), (results, _) = runs
    assert [result.setup.name for result in results] == [
        *("plain", "before", "during", "after", "all three"),
        *("after, completed", "all three, completed"),
    ]
    numbers = json.loads((one / "demo.json").read_text())
    for setup in numbers["setups"]:
        assert {"CHAIRi", "CHAIRs", "recall"} <= set(setup["captions"]["values"])
        assert set(setup["pope"]) == {"random", "popular", "adversarial"}
        for score in setup["pope"].values():
            assert {"acc", "f1", "yes_ratio", "auc"} <= set(score["values"])
            assert set(score["values"]) == set(score["intervals"])


def test_the_plain_model_hallucinates_and_all_layers_lower_it(runs):
    """On sixteen scenes only the direction is certain; the sizes are in the README, from all scenes."""
    _, (results, _) = runs
    plain, together = results[0].captions, results[-1].captions
    assert plain["CHAIRi"] > 0.08
    assert together["CHAIRi"] < plain["CHAIRi"] / 2
    assert together["recall"] > plain["recall"] - 0.15


def test_the_page_shows_a_dozen_images_and_no_network(runs):
    (one, _), _ = runs
    html = (one / "demo.html").read_text()
    assert 8 <= html.count("<article>") <= 12
    assert "default-src 'none'" in html
    assert not re.search(r"""(src|href)=["']?(https?:|//)""", html)


def test_too_few_scenes_are_refused(tmp_path):
    with pytest.raises(SettingsError, match="at least 10"):
        demo.run(tmp_path, scenes=3)
