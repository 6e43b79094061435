"""General statements, instructions, purposes, history and stories claim nothing; statements of the image do."""

import importlib.util
from collections import Counter
from pathlib import Path

import pytest

from halluguard.correction import correct
from halluguard.correction.claims import extract, extract_many
from halluguard.detectors.precomputed import KnownObjects

GOLD = Path(__file__).parents[1] / "gold" / "general.tsv"
SCRIPT = Path(__file__).parents[3] / "benchmarks" / "general_statements.py"


def load(path):
    spec = importlib.util.spec_from_file_location(f"benchmarks_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


statements = load(SCRIPT)
LEAST = {
    "habits of kinds": 9,
    "advice": 13,
    "instructions": 13,
    "definitions": 9,
    "purposes": 12,
    "history": 10,
    "user-interface help": 10,
    "hypotheticals": 8,
    "symbols": 10,
    "games, stories, hints": 13,
    statements.OF_THE_IMAGE: 124,
}


def test_sentences_of_each_kind_are_read_right():
    rows = [row for row in statements.read(GOLD) if row["set"] == "mended"]
    right = Counter()
    for row, claims in zip(rows, extract_many(row["sentence"] for row in rows), strict=True):
        right[row["kind"]] += not statements.misread(row["kind"], row["names"].split(), claims)
    assert {kind: right[kind] for kind in LEAST if right[kind] < LEAST[kind]} == {}


def names(text):
    return [c.name for c in extract(text) if c.kind == "existence" and c.modality != "irrealis"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # What is tied to the image stays a claim beside what is not.
        ("The castle was built in 1385 to defend the coast against ships.", ["castle", "coast"]),
        ("The house once belonged to a merchant who owned several ships.", ["house"]),
        ("The sign warns drivers of deer.", ["sign"]),
        ("The path is accessible to people in wheelchairs.", ["path"]),
        ("The owl on the branch stands for wisdom and the moon.", ["owl", "branch"]),
        ("The caption mentions a bus, but a dog is on the beach.", ["dog", "beach"]),
        ("The shoe's thin sole would not give support to a runner.", ["shoe", "sole"]),
        # Fragments and descriptions are no instructions.
        ("Close up of a hand.", ["hand"]),
        ("Cut fruit on a plate.", ["fruit", "plate"]),
        ("Stop sign at a corner.", ["stop sign"]),
        ("Notice the dog on the left.", ["dog"]),
        ("Describe the bench.", ["bench"]),
        # A game of sports is seen, the game on a screen is told.
        ("In the game, two players wear red jerseys.", ["player", "jersey"]),
        ("In the game, the player jumps over barrels.", []),
    ],
)
def test_only_what_is_told_is_left_out(text, expected):
    assert names(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "A watermelon lies on a table. Watermelons are typically cut into slices.",
        "A hedgehog sits on the grass. Hedgehogs roll up into a ball when they feel threatened.",
        "A street with a bus. Follow the road signs.",
    ],
)
def test_what_is_not_claimed_is_not_cut(text):
    known = KnownObjects(
        {0: ["watermelon", "table", "hedgehog", "grass", "street", "bus"]}, vocabulary=["slice", "ball", "sign"]
    )
    assert correct(text, 0, known).text == text
