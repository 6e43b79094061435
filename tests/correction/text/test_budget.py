"""Whatever a text holds, it is read as plain text or refused in a sentence, within its budget of time."""

import contextlib
import json
import threading
import time

import pytest

from halluguard.correction import correct, correct_many
from halluguard.correction.claims import extract, extract_many
from halluguard.correction.text.budget import MAX_SECONDS, Budget, check_budget
from halluguard.detectors.precomputed import KnownObjects
from halluguard.errors import BudgetError, InputError, SettingsError

SMALL = 0.5
MARGIN = 10
"""Seconds beyond the budget that the longest single step may take on a slow machine."""
DETECTOR = KnownObjects({"1": ["bus"]})


@pytest.fixture(autouse=True, scope="module")
def _loaded():
    """The time of loading counts for no text."""
    extract("A dog sits on a sofa.\n\nEin Hund liegt auf dem Sofa im Haus.")


def fill(words, size=200_000):
    return (words * (size // len(words) + 1))[:size]


HOSTILE = {
    "brackets": fill("["),
    "one list": "A dog" + " and a dog" * 2_000 + ".",
    "nested brackets": "[" * 100_000 + "]" * 100_000,
    "no space": fill("dog"),
    "nested lists": fill("- "),
    "nested quotes": fill("> "),
    "many items": fill("- dog\n"),
    "numbered items": "".join(f"{i}. A dog runs.\n" for i in range(11_000)),
    "zero width": fill("d\u200bo\u200bg "),
    "right to left": fill("\u202edog \u202c"),
    "open fence": "```json\n" + fill('{"a": "dog"},\n', 199_000),
    "fences": fill("```\n"),
    "deep JSON": '{"a":' * 900 + '"dog"' + "}" * 900,
    "deeper JSON": '{"a":' * 30_000 + "1" + "}" * 30_000,
    "objects": json.dumps([{"name": "dog", "count": 2} for _ in range(5_000)]),
    "strings": json.dumps(["dog", "cat"] * 9_000),
    "quotation marks": fill("'a "),
    "emphasis": fill("*a "),
    "open links": fill("[a]("),
    "open tags": fill("<a"),
    "comments": fill("<!-- a "),
    "hashtags": fill("#dog "),
    "one sentence": fill("a brown dog and a cat and "),
    "prose": fill("A brown dog and a cat are sitting on a red couch near two tables. "),
    "pronouns": fill("It is a dog. It is red. They run. "),
    "table": "| a | b |\n|---|---|\n" + fill("| dog | cat |\n", 190_000),
    "boxes": fill("dog[1,2,3,4] "),
}


QUICK = (
    "brackets",
    "nested brackets",
    "no space",
    "nested lists",
    "nested quotes",
    "many items",
    "deep JSON",
    "objects",
)


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in HOSTILE]
)
def test_a_hostile_text_is_read_or_refused_within_its_budget(name):
    started = time.thread_time()
    (claims,) = extract_many([HOSTILE[name]], budget=SMALL, errors="yield")
    if isinstance(claims, list):
        with contextlib.suppress(BudgetError):
            assert correct(HOSTILE[name], "1", DETECTOR, budget=2 * SMALL).draft == HOSTILE[name]
    else:
        assert isinstance(claims, BudgetError)
        assert "\n" not in str(claims)
    assert time.thread_time() - started < 3 * SMALL + MARGIN


def test_a_million_brackets_are_refused_at_once():
    started = time.thread_time()
    with pytest.raises(InputError, match="200,000 characters"):
        extract("[" * 1_000_000)
    assert time.thread_time() - started < 1


def test_the_budget_covers_reading_and_rewriting():
    text = fill("There is a dog near a cat. ", 40_000)
    with pytest.raises(BudgetError, match=r"0\.2 seconds of processor time"):
        correct(text, "1", DETECTOR, budget=0.2)
    with pytest.raises(BudgetError):
        extract(text, budget=0.2)


def test_one_long_text_does_not_cost_the_others():
    long = fill("There is a dog near a cat. ", 60_000)
    texts = ["A dog sits.", long, "A cat sits."]
    first, refused, last = extract_many(texts, budget=0.2, errors="yield")
    assert isinstance(refused, BudgetError)
    assert ([c.name for c in first], [c.name for c in last]) == (["dog"], ["cat"])


def test_a_budget_holds_in_a_thread():
    errors = []

    def read():
        try:
            list(correct_many([fill("A dog sits near a cat. ", 60_000)], ["1"], DETECTOR, budget=0.2))
        except BudgetError as error:
            errors.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    assert len(errors) == 1


def test_a_budget_is_spent_once_and_nested_ones_are_apart():
    spent = Budget(0.05)
    with pytest.raises(BudgetError), spent.running():
        _spend_all()
    check_budget()  # none is running here
    with pytest.raises(BudgetError), spent.running():
        pass
    assert spent.copy().spent == spent.spent >= 0.05


def _spend_all():
    while True:
        check_budget()


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_budget_is_positive(seconds):
    with pytest.raises(SettingsError, match="positive"):
        extract("A dog.", budget=seconds)


def test_the_default_is_that_of_the_command_line():
    import inspect

    from halluguard.cli.audit import audit

    assert inspect.signature(audit).parameters["budget"].default == MAX_SECONDS
