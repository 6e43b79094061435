"""Coverage: the share of an answer's letters and nouns that extraction has read."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from halluguard.correction.text.lexicon import words
from halluguard.correction.text.parse import Parse
from halluguard.records import Claim
from halluguard.vocabulary import singular

_KNOWN = words("generic") | words("depictions") | words("measures")
_LATIN = 0x24F


@dataclass(frozen=True, slots=True)
class Coverage:
    """Counts of the letters and nouns that were read of one answer, without its thoughts.

    Args:
        letters, letters_read: letters of the answer, and those that are read: in Latin script, or in a block of a
            language with an extractor.
        nouns, nouns_read: nouns of what is read as English, and those that a claim names or that are known to name no
            thing.
    """

    letters: int
    letters_read: int
    nouns: int
    nouns_read: int

    @property
    def text(self) -> float:
        """Share of letters read, in [0, 1]; 1 for an answer without letters."""
        return self.letters_read / self.letters if self.letters else 1.0

    @property
    def named(self) -> float:
        """Share of nouns read, in [0, 1]; 1 for an answer without nouns."""
        return self.nouns_read / self.nouns if self.nouns else 1.0


def coverage(parse: Parse, claims: Sequence[Claim]) -> Coverage:
    """The share of a parsed answer that its claims account for."""
    letters = read = 0
    leaves = parse.document.root.leaves() if parse.document is not None else iter(parse.leaves)
    for leaf in leaves:
        if leaf.kind != "thinking":
            signs = [ord(sign) for sign in parse.text[leaf.start : leaf.end] if sign.isalpha()]
            letters += len(signs)
            own = len(signs) if leaf.language else sum(sign <= _LATIN for sign in signs)
            read += own if leaf.reads else 0
    nouns = [i for i, tag in enumerate(parse.tags) if tag in ("NN", "NNS") and parse.words[i].isalpha()]
    spans = sorted((claim.start, claim.end) for claim in claims if claim.kind in ("existence", "text"))
    starts = [start for start, _ in spans]
    known = 0
    for i in nouns:
        at = bisect_right(starts, parse.starts[i]) - 1
        named = at >= 0 and parse.ends[i] <= spans[at][1]
        known += named or singular(parse.words[i]) in _KNOWN or parse.words[i] in _KNOWN or i in parse.quoted
    return Coverage(letters, read, len(nouns), known)
