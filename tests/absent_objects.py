"""Answers of which some objects are declared absent, for tests of correction."""

from halluguard.correction import correct
from halluguard.correction.claims import extract
from halluguard.detectors.precomputed import KnownObjects


def without(text, *absent):
    """The answer corrected by a detector that knows all its objects to be there, but those absent."""
    named = {claim.name for claim in extract(text) if claim.kind == "existence"}
    gone = {name for name in named if name.split()[-1] in absent} | set(absent)
    return correct(text, 1, KnownObjects({1: sorted(named - gone)}, vocabulary=named | gone))
