"""Verdicts on written words: the quotations of an answer, compared with the lines that OCR read in the image.

Case, accents, punctuation, blanks and line breaks make no difference. With s the similarity of the claimed words and
the most similar run of words that was read, 1 - (edit distance) / (longer length):

    s >= 0.8 in the place of the words                                          supported
    s <  0.5, and in the place of the words another text stands, clearly read   contradicted
    otherwise, or nothing legible there, or almost all of it inside other words unsure

The place is that of the thing that bears the words, where a detector found it, else the whole image. Part of a longer
word never supports a claim ("GO" in "GOOGLE"), nor does a text that differs in one word or number. Words that are
nearly those claimed never contradict it. A number is contradicted only where its bearer was found: a number on a shirt
may be too small to read beside a large sign.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from halluguard.boxes import area, intersection
from halluguard.correction.verification.evidence import Evidence
from halluguard.records import Box, Claim, Verdict

ALIKE, UNLIKE = 0.8, 0.5
"""Words of similarity ALIKE or more are those claimed; words below UNLIKE are others."""
INSIDE = 0.75
"""Similarity to a part of other words from which the claimed words may be there, split in another way."""
_WORD = 0.6
"""Similarity from which on a single word of a quotation counts as read; numbers must be read exactly."""
CLEAR = 0.9
"""Score of a line that is read without doubt."""
_LONGEST = 300
"""Characters of a claim, and words of an image, that are compared."""
_REPLACED = 60
"""Characters of the longest text that is put in place of a wrong quotation."""
_CONFUSED = str.maketrans("0158|!", "olsbll")
"""Digits and marks that readers take for letters."""


def verify_text(claim: Claim, evidence: Evidence) -> Verdict:
    """The verdict on words that are said to be written in the image."""
    if claim.modality == "question":
        return Verdict(0, "unverifiable", reason="a question claims nothing", asked=False)
    reader = evidence.answers.reader
    if reader is None:
        return Verdict(0, "unverifiable", reason="written words need an expert that reads them", asked=False)
    lines = evidence.answers.lines()
    if lines is None:
        reason = f"the expert failed: {evidence.answers.failed[reader.name]}"
        return Verdict(0, "unverifiable", expert=reader.name, reason=reason, error=True)
    verdict = compare(claim.phrase, lines, evidence.objects(claim.other_name) if claim.other_name else [])
    return Verdict(
        0,
        verdict.decision,
        verdict.confidence,
        evidence=verdict.evidence,
        expert=reader.name,
        reason=verdict.reason,
        replacement=verdict.replacement,
    )


def compare(claimed: str, lines: Sequence[Box], bearers: Sequence[Box] = ()) -> Verdict:
    """The verdict on claimed words, from the lines of the image.

    Args:
        claimed: the words, quotation marks or not.
        lines: lines that were read: boxes labelled with their text, scores in [0, 1].
        bearers: boxes of the things that may bear the words; none means the whole image.

    >>> compare("stop", [Box("STOP", 0.99, (0, 0, 50, 20))]).decision
    'supported'
    >>> compare("stop", [Box("Main Street", 0.99, (0, 0, 50, 20))]).decision
    'contradicted'
    """
    claimed_letters = "".join(plain_words(claimed))[:_LONGEST]
    if not claimed_letters:
        return Verdict(0, "unverifiable", reason="the quotation has no letters or digits")
    there = [line for line in lines if not bearers or any(_lies_in(line, bearer) for bearer in bearers)]
    alike, matched = _best(claimed_letters, there)
    if alike >= ALIKE and _has_each_word(claimed, matched):
        return Verdict(0, "supported", alike, evidence=matched, reason=f"reads {_quoted(matched)}")
    elsewhere, matched = _best(claimed_letters, lines)
    if elsewhere >= ALIKE and _has_each_word(claimed, matched):
        return Verdict(0, "unsure", elsewhere, evidence=matched, reason=f"reads {_quoted(matched)}, in another place")
    if not there:
        return Verdict(0, "unsure", 0.0, reason="nothing legible stands there")
    inside = _best_part(claimed_letters, lines)
    reason = f"reads {_quoted(there)}"
    legible = min(line.score for line in there) >= CLEAR
    enough = 2 * sum(len("".join(plain_words(line.label))) for line in there) >= len(claimed_letters)
    placed = bool(bearers) or not claimed_letters.isdigit()
    if alike >= UNLIKE or inside >= INSIDE or not (legible and enough and placed):
        return Verdict(0, "unsure", alike, evidence=tuple(there), reason=f"{reason}; could not tell {claimed!r}")
    written = " ".join(line.label for line in there)
    certain = (1 - alike) * min(line.score for line in there)
    fits = (
        len(there) == 1
        and len(written) <= _REPLACED
        and '"' not in written
        and written.isdigit() == claimed_letters.isdigit()
    )
    replacement = written if fits else None
    return Verdict(0, "contradicted", certain, evidence=tuple(there), reason=reason, replacement=replacement)


def plain_words(text: str) -> list[str]:
    """The words of a text in lower case, without accents and punctuation.

    >>> plain_words("Café—No. 5!")
    ['cafe', 'no', '5']
    """
    letters = "".join(ch for ch in unicodedata.normalize("NFKD", text) if not unicodedata.combining(ch))
    return re.findall(r"[^\W_]+", letters.casefold().replace("'", "").replace("’", ""))


def _best(wanted: str, lines: Sequence[Box]) -> tuple[float, tuple[Box, ...]]:
    """The highest similarity of a run of whole words, and the lines it stands in.

    Lines are read from top to bottom and, where two columns stand side by side, from left to right within a column.
    """
    best, matched = 0.0, tuple[Box, ...]()
    for ordered in (lines, sorted(lines, key=lambda line: (line.xyxy or (0.0,))[0])):
        words = [(word, n) for n, line in enumerate(ordered) for word in plain_words(line.label)][:_LONGEST]
        for first in range(len(words)):
            run, end = "", first
            while end < len(words) and len(run) + len(words[end][0]) <= len(wanted) / UNLIKE:
                run += words[end][0]
                end += 1
                if len(run) < UNLIKE * len(wanted):
                    continue
                alike = max(_similarity(wanted, run), _similarity(_unconfused(wanted), _unconfused(run)))
                if alike > best:
                    best = alike
                    matched = tuple(ordered[n] for n in dict.fromkeys(n for _, n in words[first:end]))
    return best, matched


def _has_each_word(claimed: str, matched: Sequence[Box]) -> bool:
    """Whether the lines hold each word of a quotation; similar texts may differ in the word that matters."""
    read = _unconfused("".join(word for line in matched for word in plain_words(line.label)))
    for word in plain_words(claimed):
        numeral = any(ch.isdigit() for ch in word)
        if (numeral or len(word) > 3) and _in_part(_unconfused(word), read) < (1.0 if numeral else _WORD):
            return False
    return True


def _best_part(wanted: str, lines: Sequence[Box]) -> float:
    """The highest similarity of any run of characters, within words and across lines."""
    read = "".join(word for line in lines for word in plain_words(line.label))[: 10 * _LONGEST]
    return max(_in_part(wanted, read), _in_part(_unconfused(wanted), _unconfused(read)))


def _unconfused(text: str) -> str:
    return text.translate(_CONFUSED)


def _similarity(a: str, b: str) -> float:
    """1 - edit distance / length of the longer text."""
    return 1 - _distance(a, b, free_ends=False) / max(len(a), len(b))


def _in_part(wanted: str, text: str) -> float:
    """1 - edit distance / length of the wanted text, for the nearest run of characters of another text."""
    return 1 - _distance(wanted, text, free_ends=True) / len(wanted)


def _distance(a: str, b: str, *, free_ends: bool) -> int:
    """The edit distance; with free ends, that to the nearest part of `b` (Sellers 1980)."""
    above = [0] * (len(b) + 1) if free_ends else list(range(len(b) + 1))
    for i, letter in enumerate(a, start=1):
        row = [i]
        for j, other in enumerate(b, start=1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (letter != other)))
        above = row
    return min(above) if free_ends else above[-1]


def _lies_in(line: Box, bearer: Box) -> bool:
    """Whether most of a line lies in the box of a thing; a thing without a box may be anywhere."""
    if line.xyxy is None or bearer.xyxy is None:
        return True
    return intersection(line.xyxy, bearer.xyxy) >= 0.5 * area(line.xyxy)


def _quoted(lines: Sequence[Box]) -> str:
    text = " / ".join(line.label for line in lines)
    return repr(text if len(text) <= 80 else text[:77] + "...")
