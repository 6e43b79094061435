"""JSON as blocks: each value and member with its exact place, so that an element can go and the rest stays valid."""

from __future__ import annotations

import json
import re
from bisect import bisect
from dataclasses import replace

from halluguard.correction.text.document import Block, BlockKind
from halluguard.correction.text.lexicon import concrete
from halluguard.vocabulary import FORMS, singular

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+', re.DOTALL)
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)", re.MULTILINE)
_DECODER = json.JSONDecoder()
_MOST_TRIES = 50
_DEEPEST = 100
"""Levels of nesting beyond which JSON is not taken apart."""
_NAME_KEY = re.compile(r"(?i)(?:(?:object|item|class|label|category)[_\s-]?)?name")
"""Keys for the name of a thing, if the value is such a name: "name": "dog", but not "name": "John Smith"."""
COUNT_KEYS = frozenset(("count", "counts", "quantity", "qty", "amount", "how_many", "instances", "total"))
"""Keys for the number of things that their object names: {"name": "dog", "count": 2}."""
_COUNT = re.compile(r"\d{1,4}|true|false|null|\"(?:yes|no|none|present|absent|\d{1,4})\"", re.IGNORECASE)
# Values of such keys are data about something, not what is seen.
_DATA_KEY = re.compile(
    r"(?i)(?:^|[_\s-])(?:id|name|address|phone|email|url|date|time|number|no|sku|currency)(?:$|[_\s-])"
)
_FORM_KEY = re.compile(r"(?i)(?:^|[_\s-])(?:address|phone|email|sku|currency|zip|invoice|iban)(?:$|[_\s-])")
"""Keys of forms, whose values are names and numbers that were read from paper."""
_WRITTEN_KEYS = frozenset(("text", "texts", "ocr", "ocr_text", "visible_text", "transcription", "written", "quote"))


def json_end(text: str, start: int) -> int | None:
    """One past the last character of the JSON object or array that starts at `start`, None where there is none."""
    try:
        value, end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    return end if isinstance(value, dict | list) and value and not _is_deep(value) else None


def _is_deep(value: object) -> bool:
    """Whether a value is nested more than `_DEEPEST` levels deep."""
    level = _inner(value)
    for _ in range(_DEEPEST - 1):
        if not level:
            return False
        level = [deeper for inner in level for deeper in _inner(inner)]
    return bool(level)


def _inner(value: object) -> list[object]:
    """The objects and arrays that stand directly in a value."""
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [member for member in members if isinstance(member, dict | list)]


def find_json(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Ranges of JSON objects and arrays that start a line and end one, outermost only, outside of code fences."""
    ranges: list[tuple[int, int]] = []
    fences = [m.start() + start for m in _FENCE.finditer(text[start:end])]
    at = start
    for tries, line in enumerate(re.finditer(r"^[ \t]*(?=[\[{])", text[start:end], re.MULTILINE)):
        first = start + line.end()
        if first < at or bisect(fences, first) % 2:
            continue
        if tries >= _MOST_TRIES:
            break
        last = json_end(text, first)
        if last is not None and last <= end and not text[last:end].split("\n", 1)[0].strip(" \t\r.,;"):
            ranges.append((first, last))
            at = last
    return ranges


def looks_like_json(text: str) -> bool:
    """Whether a text that is not valid JSON was meant as JSON: it opens like an object, or an array of them."""
    return re.match(r"\s*(?:\{\s*\"|\[\s*[{\"])", text) is not None


def json_blocks(text: str, start: int, end: int) -> Block:
    """The tree of the valid JSON in `text[start:end]`."""
    tokens = [(m.start(), m.end()) for m in _TOKEN.finditer(text, start, end)]
    stack: list[_Open] = []
    for a, b in tokens:
        sign = text[a]
        if sign in "{[":
            stack.append(_Open(a, sign, stack[-1].key_label(text) if stack else ""))
        elif sign == ":":
            stack[-1].key = stack[-1].children.pop()
        elif sign in "}]":
            opened = stack.pop()
            kind: BlockKind = "object" if opened.sign == "{" else "array"
            block = Block(kind, opened.start, b, (opened.start, b), opened.closed(text))
            if not stack:
                return block
            stack[-1].add(text, block)
        elif sign != ",":
            stack[-1].add(text, Block("value", a, b, (a, b)))
    raise AssertionError("json_blocks needs valid JSON")


class _Open:
    """An object or array that is being read."""

    def __init__(self, start: int, sign: str, label: str) -> None:
        self.start, self.sign, self.label = start, sign, label
        self.children: list[Block] = []
        self.key: Block | None = None

    def key_label(self, text: str) -> str:
        """The key of the value that comes next; elements of an array have the key of the array."""
        return self.label if self.key is None else text[self.key.start + 1 : self.key.end - 1]

    def add(self, text: str, value: Block) -> None:
        """Add an element, or the value of the key read before it; keys come here first, as elements."""
        if self.sign == "[":
            inside = value.children if value.kind != "value" else ()
            leaf = _leaf(text, value, self.label) if value.kind == "value" else value
            self.children.append(Block("value", leaf.start, leaf.end, value.outer, inside or (leaf,)))
        elif self.key is None:
            self.children.append(value)
        else:
            label = self.key_label(text)
            leaf = _leaf(text, value, label) if value.kind == "value" else value
            outer = (self.key.start, value.end)
            self.children.append(Block("member", value.start, value.end, outer, (leaf,), label))
            self.key = None

    def closed(self, text: str) -> tuple[Block, ...]:
        """The children, once all are read; keys that name things ({"dog": 2, "cat": 0}) become labels."""
        if self.sign == "[":
            return tuple(self.children)
        if any(_FORM_KEY.search(member.label) for member in self.children):
            return tuple(_on_form(text, member) for member in self.children)
        only_counts = all(_COUNT.fullmatch(text, member.start, member.end) for member in self.children)
        return tuple(_named(text, member, only_counts) for member in self.children)


def _on_form(text: str, member: Block) -> Block:
    """A member of a form; values of two or more words with capitals are names: "plant": "North Yard Plant"."""
    (leaf,) = member.children if len(member.children) == 1 else (member,)
    words = text[leaf.start : leaf.end].split()
    is_name = leaf.kind == "term" and len(words) > 1 and all(word[:1].isupper() or word.isdigit() for word in words)
    return replace(member, children=(replace(leaf, reads=False),)) if is_name else member


def _named(text: str, member: Block, only_counts: bool) -> Block:
    """A member with its key as the label of its value, where the key names a thing and the value counts it."""
    if not _COUNT.fullmatch(text, member.start, member.end):
        return member
    key = Block("label", member.outer[0] + 1, member.outer[0] + 1 + len(member.label), member.outer, label=member.label)
    words = member.label.lower().replace("_", " ").split()
    known = " ".join(words) in FORMS or (only_counts and words and concrete(singular(words[-1])))
    if not known or text[key.end] != '"':
        return member
    outer = (member.outer[0], key.end + 1)
    (leaf,) = member.children
    value = replace(leaf, kind="term", reads=True, label=member.label)
    return replace(member, start=key.start, children=(replace(key, outer=outer), value))


def _leaf(text: str, value: Block, label: str) -> Block:
    """The words of a string, and a number that counts; other numbers, booleans and null hold none."""
    if text[value.start] != '"':
        if label.lower() in COUNT_KEYS and text[value.start : value.end].isdecimal():
            return Block("term", value.start, value.end, value.outer, label=label)
        return Block("code", value.start, value.end, value.outer, reads=False)
    start, end = value.start + 1, value.end - 1
    words = text[start:end]
    kind: BlockKind = "prose" if len(words.split()) > 4 or words.rstrip().endswith(".") else "term"
    if label.lower().replace(" ", "_") in _WRITTEN_KEYS:
        kind = "written"
    names = _NAME_KEY.fullmatch(label) is not None and _names_a_thing(words)
    return Block(kind, start, end, value.outer, label=label, reads=names or _DATA_KEY.search(label) is None)


def _names_a_thing(words: str) -> bool:
    """Whether the value of a key such as "name" is that of a thing: "dog", "Fire hydrant", not "John Smith"."""
    head = words.lower().split()[-1:]
    known = bool(head) and (head[0] in FORMS or concrete(singular(head[0])) is not None)
    return known and (words[1:].islower() or words.lower() in FORMS)
