"""Find and replace values, and the texts of dialogues and lists, in the fields of a row by keys with dots.

In a key, dots step into objects and lists; a number names an element, "@" the elements with that role or type, "*" all:

    conversations.1.value                       the second turn
    messages.@assistant.content.@text.text      the text parts of the assistant's turns
    texts.*.assistant                           the assistant's side of each exchange
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

Fields = Mapping[str, Any]
"""The columns or keys of a row; the code that uses a value checks its type."""

_ROLES = {"assistant": ("assistant", "gpt", "chatgpt", "model", "bot", "chatbot", "ai"), "user": ("user", "human")}
_ROLE_KEYS = ("role", "from", "type")
_WORD_KEYS = ("value", "content", "text")
_SIDES = {"assistant": "user", "answer": "question", "response": "query", "output": "instruction", "gpt": "human"}
"""Key of an answer -> key of its question, for exchanges of a dialogue."""


class Text(NamedTuple):
    """A text of a row, with its key and, in a dialogue, the question before it."""

    key: str
    value: object
    question: str | None = None


def shortened(names: Iterable[str], most: int = 30) -> str:
    """Names in a message, cut short because there may be millions of long ones.

    >>> shortened(["a", "b", "c"], most=2)
    "'a', 'b', ..."
    """
    first = [repr(name[:60]) for name in itertools.islice(names, most + 1)]
    return ", ".join([*first[:most], *(["..."] if len(first) > most else [])])


def step_into(fields: object, key: str) -> Any:
    """The first value under `key`; None if there is none.

    >>> step_into({"messages": [{"role": "user", "content": "Why?"}]}, "messages.@user.content")
    'Why?'
    """
    return next((value for _, value in _places(fields, key)), None)


def values_under(fields: object, key: str) -> list[Any]:
    """Every value under `key`.

    >>> values_under({"images": ["a.png", "b.png"]}, "images.*")
    ['a.png', 'b.png']
    """
    return [value for _, value in _places(fields, key)]


def texts_of(fields: Fields, key: str, question_key: str | None = None) -> list[Text]:
    """Every text under `key`: one for each turn of an assistant, each element of a list, or the one value.

    Args:
        fields: columns or keys of a row.
        key: key of the captions.
        question_key: key of the questions; a question in the dialogue itself takes precedence.

    >>> turns = [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "A dog."}]
    >>> texts_of({"conversations": turns}, "conversations.@assistant.value")
    [Text(key='conversations.1.value', value='A dog.', question='Who?')]
    """
    question = step_into(fields, question_key) if question_key else None
    question = question if isinstance(question, str) else None
    texts = []
    for path, value in _places(fields, key):
        own = _question_before(fields, path)
        texts += [Text(place, text, question if own is None else own) for place, text in _strings(path, value)]
    texts = [text for text in texts if text.value is not None] or [Text(key, None, question)]
    return [*_history(fields, key), *texts] if "." not in key else texts


def with_texts(fields: Fields, texts: Mapping[str, str]) -> dict[str, Any]:
    """A copy of `fields` with new texts, by key; each key must lead to one existing place."""
    changed: Any = fields
    for key, text in texts.items():
        if isinstance(changed, Mapping) and key in changed:
            changed = {**changed, key: text}
        else:
            changed = _replaced(changed, key.split("."), text)
    return changed


def _replaced(value: Any, parts: Sequence[str], text: str) -> Any:
    if not parts:
        return text
    part, *rest = parts
    if isinstance(value, Mapping):
        if part.startswith("@"):
            column, at = next(_columns(value, part, rest))
            return _replaced(value, [column, str(at), *rest[1:]], text)
        return {**value, part: _replaced(value[part], rest, text)}
    at = _elements(value, part)[0]
    return [*value[:at], _replaced(value[at], rest, text), *value[at + 1 :]]


def _places(fields: object, key: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(path, value) of each place that `key` leads to."""
    if isinstance(fields, Mapping) and key in fields:
        yield (key,), fields[key]
    else:
        yield from _walk(fields, tuple(key.split(".")), ())


def _walk(value: Any, parts: tuple[str, ...], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if not parts:
        yield path, value
        return
    part, *rest = parts
    if isinstance(value, Mapping) and part.startswith("@"):
        for column, at in _columns(value, part, rest):
            yield from _walk(value[column][at], tuple(rest[1:]), (*path, column, str(at)))
    elif isinstance(value, Mapping):
        if part in value:
            yield from _walk(value[part], tuple(rest), (*path, part))
    elif isinstance(value, list):
        for at in _elements(value, part):
            yield from _walk(value[at], tuple(rest), (*path, str(at)))
    elif isinstance(value, str) and parts == ("@text", "text"):  # a turn without parts among turns with parts
        yield path, value


def _elements(elements: list[Any], part: str) -> list[int]:
    """The indices of a list to which a part of a key refers."""
    if part == "*":
        return list(range(len(elements)))
    if part.startswith("@"):
        names = _ROLES.get(part[1:], (part[1:],))
        return [at for at, element in enumerate(elements) if _role(element) in names]
    return [int(part)] if part.isdecimal() and len(part) < 10 and int(part) < len(elements) else []


def _columns(turns: Mapping[str, Any], part: str, rest: Sequence[str]) -> Iterator[tuple[str, int]]:
    """(column, index) of the turns of a role in a dialogue stored as columns: {"role": [...], "content": [...]}."""
    names = _ROLES.get(part[1:], (part[1:],))
    roles: list[Any] = next((turns[key] for key in _ROLE_KEYS if isinstance(turns.get(key), list)), [])
    column = rest[0] if rest else ""
    values = turns.get(column)
    if isinstance(values, list) and len(values) == len(roles):
        yield from ((column, at) for at, role in enumerate(roles) if isinstance(role, str) and role.lower() in names)


def _role(element: object) -> str:
    if not isinstance(element, Mapping):
        return ""
    return next((element[key].lower() for key in _ROLE_KEYS if isinstance(element.get(key), str)), "")


def _strings(path: tuple[str, ...], value: object) -> Iterator[tuple[str, object]]:
    """(key, text) for each text in a list of texts or text parts, else for the value itself."""
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        yield from ((".".join((*path, str(at))), one) for at, one in enumerate(value))
    elif isinstance(value, list) and any(_role(one) == "text" for one in value):
        yield from ((".".join(place), text) for place, text in _walk(value, ("@text", "text"), path))
    else:
        yield ".".join(path), value


def _question_before(fields: Fields, path: tuple[str, ...]) -> str | None:
    """The question before a turn, or of the other side of an exchange; None where there is none."""
    turns: Any = fields
    for part in path:
        if isinstance(turns, list):
            return _asked(turns, int(part), path[-1])
        roles = next((turns[key] for key in _ROLE_KEYS if isinstance(turns.get(key), list)), None)
        turns = turns[part]
        if roles is not None and isinstance(turns, list):  # a dialogue as columns
            turns = [{"role": role, "content": text} for role, text in zip(roles, turns, strict=False)]
    return None


def _asked(turns: list[Any], at: int, key: str) -> str | None:
    here, side = turns[at], _SIDES.get(key)
    if isinstance(here, Mapping) and side in here and not _role(here):
        return _said(here[side])
    if not _role(here):
        return None
    before = [turn for turn in turns[:at] if _role(turn) in _ROLES["user"]]
    return next((_said(before[-1][key]) for key in _WORD_KEYS if key in before[-1]), None) if before else None


def _said(value: object) -> str | None:
    """The words of a turn: its text, or its text parts, one per line."""
    if isinstance(value, str):
        return value
    parts = [text for _, text in _walk(value, ("@text", "text"), ()) if isinstance(text, str)]
    return "\n".join(parts) or None


def _history(fields: Fields, key: str) -> list[Text]:
    """Earlier answers of a row that keeps its dialogue as pairs under "history": [[question, answer], ...]."""
    pairs = fields.get("history") if key in _SIDES else None
    if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        return []
    return [Text(f"history.{at}.1", answer, _said(question)) for at, (question, answer) in enumerate(pairs)]
