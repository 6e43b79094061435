"""Singulars are pattern's, mistakes included."""

import gzip
import json

import pytest

from halluguard.metrics.singular import singularize


@pytest.mark.parametrize(
    ("word", "singular"),
    [
        ("dogs", "dog"),
        ("benches", "bench"),
        ("horses", "horse"),
        ("women", "woman"),
        ("people", "person"),
        ("knives", "knife"),
        ("buses", "bus"),
        ("mice", "mouse"),
        ("geese", "goose"),
        ("sandwiches", "sandwich"),
        ("scissors", "scissors"),
        ("skis", "ski"),
        ("glass", "glas"),
        ("mothers-in-law", "mother-in-law"),
        ("dogs'", "dog's"),
        ("", ""),
    ],
)
def test_ordinary_words(word, singular):
    assert singularize(word) == singular


@pytest.mark.parametrize(
    ("word", "singular"),
    [
        ("bus", "bu"),
        ("ties", "ty"),
        ("canoes", "cano"),
        ("tennis", "tenni"),
        ("collies", "collies"),
        ("four", "fmy"),
        ("pizza", "pizza"),
        ("psychoanalyses", "psychoanalyasis"),
        ("oxenford", "oxford"),
    ],
)
def test_its_mistakes_are_kept_because_the_metric_rests_on_them(word, singular):
    assert singularize(word) == singular


@pytest.mark.reference
def test_every_token_of_the_reference_list_agrees(reference_data):
    with gzip.open(reference_data / "expected" / "singularize_pairs.json.gz", "rt") as file:
        pairs = json.load(file)
    wrong = {word: (singularize(word), right) for word, right in pairs.items() if singularize(word) != right}
    assert len(pairs) > 4000
    assert not wrong
