"""The table of claim kinds is complete, and extraction lists claims in its order."""

from typing import get_args

from halluguard.correction.claims import extract
from halluguard.correction.kinds import KINDS
from halluguard.records import Kind


def test_every_kind_of_the_record_has_a_row():
    assert tuple(KINDS) == get_args(Kind)


def test_claims_are_listed_kind_by_kind_in_the_order_of_the_table():
    claims = extract(
        'Yes, there are two red cars and a cup on a table. A sign reads "STOP".', "Are there two red cars?"
    )
    assert list(dict.fromkeys(claim.kind for claim in claims)) == list(KINDS)


def test_a_row_names_the_field_that_holds_the_claimed_value():
    claims = extract("Two red cars and a cup on a table.")
    assert {c.kind: KINDS[c.kind].value(c) for c in claims} == {
        "existence": None,
        "count": 2,
        "attribute": "red",
        "relation": "on",
    }
