"""Run all inputs that failed once, and some mutations of every seed; `python -m tests.fuzz` tries more."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.__main__ import CORPUS, attempt
from tests.fuzz.mutation import mutate
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_mutations_are_read_or_refused(name):
    rng, seeds = random.Random(0), TARGETS[name].seeds
    for data in seeds:
        assert not attempt(name, data)
        for _ in range(8):
            mutated = mutate(data, seeds, rng)
            problem = attempt(name, mutated)
            assert not problem, (problem, mutated[:1000])


@pytest.mark.parametrize("path", sorted(CORPUS.iterdir()), ids=lambda path: path.name)
def test_what_failed_once_does_not_fail_again(path):
    assert not attempt(path.name.rpartition("-")[0], path.read_bytes())


PIECES = st.sampled_from(
    ["# ", "- ", "1. ", "**", "`", "|", "\n", "\n\n", "```", "<b>", '"', "“", "A dog", ": ", "[", "]", "{", "}", "&"]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(PIECES, st.text(max_size=5)), max_size=30).map("".join))
def test_any_text_is_a_document_and_stays_text_on_a_page(text):
    data = text.encode("utf-8", "replace")
    assert not attempt("document", data)
    assert not attempt("page", data)
