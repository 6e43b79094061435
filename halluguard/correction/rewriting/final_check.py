"""Check an edited sentence by reading it again, before it is let into the text.

A correction that breaks a sentence is worse than none. An edit is withdrawn when what it leaves has lost its verb or
its subject, ends in the air ("is sitting next."), doubles its joints ("and and"), or names an object that the draft
does not name ("There are some flies").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from halluguard.correction.claims import mentions
from halluguard.correction.text.lexicon import VERB_TAGS
from halluguard.correction.text.parse import SUBJECTS, Parse

_FINITE = frozenset(("VBD", "VBP", "VBZ", "MD"))
_UNFINISHED = frozenset(
    """
a an the and or but nor with without of near next from at by for to into onto including featuring such while where which
that as is are was were be been am also than between among against toward towards beside behind atop amid
""".split()
)
_DOUBLED = re.compile(
    r"\b(and|or|with|of|a|an|the|in|on|is|are)\s+\1\b|,\s*,|,\s*[.;!?]|\(\s*\)|\[\s*\]|“\s*”|\"\"|\*{4,}|``", re.I
)
_JOINED = re.compile(
    r"[:;(]\s*(?:and|or)\b|(?<=\s)-\w|\b(?:and|or|with|of|a|an|the|in|on)\s+(?:and|or|of)\b|\b(?:a|an|the)\s+(?:is|are|with|in|on)\b",
    re.I,
)
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def breaks_form(before: str, after: str) -> str:
    """The reason why an edited sentence cannot stand, from its letters alone; "" when it can."""
    words, old_words = _WORD.findall(after.lower()), _WORD.findall(before.lower())
    if not words:
        return ""
    if after.lstrip()[:1] in ",;:.)]!?":
        return "it would begin with a mark"
    for pattern in (_DOUBLED, _JOINED):
        if len(pattern.findall(after)) > len(pattern.findall(before)):
            return "two joints would stand side by side"
    for piece, end in _pieces(after):
        last = piece[-1] if piece else ""
        if last in _UNFINISHED and not _ends_so(last, end, before):
            return f"it would end in the air, after {last!r}"
    if len(words) == 1 and len(old_words) > 3:
        return "one word would be left"
    return ""


def _pieces(text: str) -> Iterable[tuple[list[str], str]]:
    """Words of the parts that commas and stops close, each with the mark that closes it."""
    for match in re.finditer(r"([^,.;:!?]*)([,.;:!?]|$)", text):
        yield _WORD.findall(match.group(1).lower()), match.group(2)


def _ends_so(word: str, mark: str, before: str) -> bool:
    """Whether the draft's sentence ends a part with the same word."""
    return any(piece and piece[-1] == word for piece, _ in _pieces(before)) or (mark == ":" and word in before.lower())


def breaks_clause(parse: Parse, sentence: int, alive: Callable[[int], bool]) -> str:
    """The reason why what is left of a sentence is no clause any more, as its own parse tells; "" when it is."""
    tokens = range(*parse.sentences[sentence])
    finite = [i for i in tokens if parse.tags[i] in _FINITE]
    subjects = [i for i in tokens if parse.deps[i] in SUBJECTS and parse.tags[parse.heads[i]] in VERB_TAGS]
    if not any(map(alive, tokens)):
        return ""
    if finite and not any(map(alive, finite)):
        return "it would have no verb"
    if subjects and not any(alive(i) or any(map(alive, parse.conjuncts(i))) for i in subjects):
        return "it would have no subject"
    return ""


def adds_object(before: Parse, sentence: int, after: Parse) -> str:
    """The reason why an edited sentence names something new when it is read again; "" when it does not.

    Args:
        before, sentence: parse of the draft, and the sentence in it.
        after: parse of the edited sentence alone.
    """
    first, end = before.sentences[sentence]
    named = {name for mention in mentions.find(before) if first <= mention.last < end for name in _names(mention)}
    for mention in mentions.find(after):
        if not named & set(_names(mention)) and after.words[mention.last] not in before.words[first:end]:
            return f"it would name {mention.name!r}"
    return ""


def _names(mention: mentions.Mention) -> tuple[str, str]:
    return mention.name, mention.name.split()[-1]
