"""Check an edited sentence by reading it again, before it is accepted.

A correction that breaks a sentence is worse than none. An edit is withdrawn when what it leaves has lost its verb or
its subject, ends in the air ("is sitting next."), doubles its joints ("and and"), or names an object that the draft
does not name ("There are some flies").
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable

from halluguard.correction.claims import mentions
from halluguard.correction.rewriting import deletions
from halluguard.correction.text.lexicon import FINITE_TAGS, NOUN_TAGS, VERB_TAGS
from halluguard.correction.text.parse import SUBJECTS, Parse

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
    r"[:;(]\s*(?:and|or)\b|(?<=\s)-\w|\b(?:and|or|with|of|a|an|the|in|on)\s+(?:and|or|of)\b|\b(?:a|an|the)\s+(?:is|are|with|in|on)\b"
    r"|\b(?:of|in|on|with|from|to|at|by|for)\s+(?:particularly|especially|including|namely|notably|specifically)\b",
    re.I,
)
_SUBORDINATE = frozenset("what which that who whose where when while because whether although though".split())
_NEEDS_TWO = re.compile(
    r"\b(?:(?:mix|mixture|combination|blend|fusion|contrast) of|between)\b(?![^.;]*(?:\band\b|,|\w+s\b))", re.I
)
_BARE_SCENE = re.compile(
    r"\b(?:(?:shows|captures|depicts|presents|features|portrays|is) (?:an?|the)|of an?) (?:scene|view|setting)\s*[.;!]",
    re.I,
)
"""A rest of "captures a scene of two men"; "through the scene" needs no more."""
_LONE_ONE = re.compile(r",\s*(?:one|another|the other)\s*(?:[,.;!?]|$|and\b)|\bone and the other\b", re.I)
"""A rest of "one with a toy, the other with a collar"."""
_LONE_PART = re.compile(r",\s*(?:its|his|her|their)\s+\w+\s*[.;!]", re.I)
"""A rest of "a tree stands tall, its trunk leading up to a crown"."""
_LONE_PLACE = re.compile(r";\s*(?:and\s+)?(?:to|on|at|in|by|near)\s+(?:its|the|their|his|her)\s+\w+\s*[.!?]", re.I)
"""A rest of "there is a cup; to its right, a spoon"."""
_NOT_ONLY = re.compile(r"\bnot (?:only|just)\b(?!.*\bbut\b)", re.I)
_LONE = (_LONE_ONE, _LONE_PART, _LONE_PLACE, _BARE_SCENE, _NOT_ONLY)
_GLOSS = re.compile(r"(\w+), (possibly|perhaps|likely|probably|presumably|such as|including|namely)\b")
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def _tears_marks(before: str, after: str) -> bool:
    """Whether an edit takes away one mark of a pair: a quotation mark, a bracket, a mark of Markdown."""
    odd = any(after.count(mark) % 2 != before.count(mark) % 2 for mark in ('"', "*", "`"))
    return odd or any(
        after.count(left) - after.count(right) != before.count(left) - before.count(right)
        for left, right in ("()", "[]", "“”")
    )


def breaks_form(before: str, after: str) -> str:
    """The reason why an edited sentence cannot stand, by its characters alone; "" when it can."""
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
    if set(_GLOSS.findall(after.lower())) - set(_GLOSS.findall(before.lower())):
        return "an explanation would explain something else"
    if " ".join(words[:2]) in ("the other", "the others") and old_words[0] != "the":
        return "the other would have no one beside it"
    if words[0] in _SUBORDINATE and words[0] != old_words[0]:
        return f"it would begin with {words[0]!r}"
    if _tears_marks(before, after):
        return "a quotation or bracket would be torn"
    if any(len(lone.findall(after)) > len(lone.findall(before)) for lone in _LONE):
        return "a word would stand alone"
    if _NEEDS_TWO.search(after) and not _NEEDS_TWO.search(before):
        return "a mix or a contrast needs two"
    if len(words) == 1 and len(old_words) > 3:
        return "one word would be left"
    return ""


def _pieces(text: str) -> Iterable[tuple[list[str], str]]:
    """The parts of a text between marks such as commas and stops: the words of each, and the mark after it."""
    for match in re.finditer(r"([^,.;:!?]*)([,.;:!?]|$)", text):
        yield _WORD.findall(match.group(1).lower()), match.group(2)


def _ends_so(word: str, mark: str, before: str) -> bool:
    """Whether the draft's sentence ends a part with the same word."""
    return any(piece and piece[-1] == word for piece, _ in _pieces(before)) or (mark == ":" and word in before.lower())


def breaks_clause(parse: Parse, sentence: int, alive: Callable[[int], bool]) -> str:
    """The reason why what is left of a sentence is not a clause, by its own parse; "" if it is."""
    tokens = range(*parse.sentences[sentence])
    has_verb = deletions.has_main_verb(parse, sentence)
    finite = [i for i in tokens if has_verb and parse.tags[i] in FINITE_TAGS]
    subjects = [i for i in tokens if parse.deps[i] in SUBJECTS and parse.tags[parse.heads[i]] in VERB_TAGS]
    if not any(map(alive, tokens)):
        return ""
    if finite and not any(map(alive, finite)):
        return "it would have no verb"
    if has_verb and subjects and not any(alive(i) or any(map(alive, parse.conjuncts(i))) for i in subjects):
        return "it would have no subject"
    if any(_hangs_alone(parse, verb, alive) for verb in tokens):
        return "a clause would have no sentence to hang on"
    if any(_points_elsewhere(parse, i, alive) for i in tokens):
        return "a pronoun would point at something else"
    return "it would join unlike things" if _joins_unlike(parse, tokens, alive) else ""


def _points_elsewhere(parse: Parse, i: int, alive: Callable[[int], bool]) -> bool:
    """Whether "next to which" would lose the noun before it: "in the mirror, next to which"."""
    if (
        parse.words[i] not in ("which", "whom", "whose")
        or not alive(i)
        or i == 0
        or parse.tags[i - 1] not in ("IN", "TO")
    ):
        return False
    k = i - 1
    while k > 0 and parse.tags[k] in ("IN", "TO", "RB", "JJ", ",", ":"):
        k -= 1
    return parse.tags[k] in NOUN_TAGS and not alive(k)


def _hangs_alone(parse: Parse, verb: int, alive: Callable[[int], bool]) -> bool:
    """Whether only the clause after "while" or "although" is left of a sentence."""
    mark = parse.child(verb, "mark")
    if parse.deps[verb] != "advcl" or mark is None or not alive(mark) or not alive(verb):
        return False
    return parse.words[mark] in _SUBORDINATE and not any(map(alive, parse.conjuncts(parse.heads[verb])))


def _joins_unlike(parse: Parse, tokens: range, alive: Callable[[int], bool]) -> bool:
    """Whether a cut lets an "and" join what it did not join: "is urban and paved roads"."""
    for c in tokens:
        head = parse.heads[c]
        if parse.deps[c] != "conj" or not alive(c) or parse.words[c] in ("etc", "etc."):
            continue
        first = min(parse.subtree(c))
        top = parse.conjuncts(c)[0]
        held = alive(parse.heads[top]) or parse.heads[top] == top
        if parse.tags[c][:2] == parse.tags[head][:2]:
            if not alive(head) and not held and any(alive(i) for i in range(tokens.start, first)):
                return True
            continue
        joint = next((j for j in parse.children[head] if parse.deps[j] == "cc" and j < first), None)
        orphan = not alive(head) and any(alive(i) for i in range(tokens.start, first) if parse.words[i].isalnum())
        bared = joint is not None and alive(joint) and not alive(joint - 1)
        if orphan or bared:
            return True
    return False


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


_FENCED = re.compile(r"```(?:json)?\s*\n(.*?)```", re.S)
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)\b[^<>]*?(/?)>")
_VOID_TAGS = frozenset("br hr img input meta link".split())
_YAML_LINE = re.compile(r"\s*(?:- .*|[\w\"'-]+:(?: .*)?)$")
_CELL_BORDER = re.compile(r"(?<!\\)\|")


def breaks_structure(before: str, after: str) -> str:
    """The reason why JSON, a table, HTML or a code fence was valid and is broken now, or ""."""
    if _json_blocks(before) > _json_blocks(after):
        return "it would not be JSON any more"
    if before.count("```") % 2 == 0 and after.count("```") % 2:
        return "a fence would stay open"
    if _unbalanced(after) - _unbalanced(before):
        return "a tag would stay open"
    if _table_shapes(after) - _table_shapes(before):
        return "a row would have other columns"
    if _open_emphasis(after) > _open_emphasis(before):
        return "emphasis would stay open"
    if _yaml_keys(before) and _yaml_keys(before) != _yaml_keys(after):
        return "a key of the YAML would be lost"
    return ""


def _json_blocks(text: str) -> int:
    if not text.lstrip().startswith(("{", "[", "```")) and "```" not in text:
        return 0
    return sum(map(_is_json, [text, *_FENCED.findall(text)]))


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict | list)
    except (ValueError, RecursionError):
        return False


def _open_emphasis(text: str) -> int:
    """Number of lines with an odd number of asterisks, bullets not counted."""
    return sum(re.sub(r"^\s*\* ", "", line).count("*") % 2 for line in text.splitlines() if "*" in line)


def _yaml_keys(text: str) -> list[str]:
    """The keys of an answer that is nothing but YAML lines, in order; none where it is something else."""
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) < 3 or not all(map(_YAML_LINE.match, lines)) or not any(line.lstrip()[:2] == "- " for line in lines):
        return []
    return [line.strip() for line in lines if line.rstrip().endswith(":") and line[:1] not in "-*"]


def _unbalanced(text: str) -> set[str]:
    """Names of tags that open more often than they close, or the other way round."""
    depth: dict[str, int] = {}
    for closing, name, alone in _TAG.findall(text) if "<" in text else ():
        if not alone and name.lower() not in _VOID_TAGS:
            depth[name] = depth.get(name, 0) + (-1 if closing else 1)
    return {name for name, many in depth.items() if many}


def _table_shapes(text: str) -> set[int]:
    """The numbers of cell borders in lines that begin and end with one."""
    rows = (line.strip() for line in text.splitlines() if "|" in line)
    return {len(_CELL_BORDER.findall(row)) for row in rows if row.startswith("|") and row.endswith("|")}
