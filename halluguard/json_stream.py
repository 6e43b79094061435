"""Split a stream of JSON text into its objects, in one pass and bounded memory, even if the text is malformed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_SEPARATORS = "\ufeff \t\r\n,[]"
_STRING = r'[^"\\\n]*+(?:\\[^\n][^"\\\n]*+)*+'
# Text between braces: any other characters, whole strings, and quotes without a partner on their line.
_BETWEEN = r'(?:[^{}"]++|"' + _STRING + r'"|"[^"\\\n{}]*+\n)*+'
_REST_OF_STRING = re.compile(_STRING + '(?P<end>")?')
_BRACES_OR_STRING = re.compile(_BETWEEN + r'(?P<mark>\{+|\}+|"' + _STRING + '(?P<end>")?)')
_BRACES = re.compile(r"[^{}]*+(?P<mark>\{+|\}+)")


def split_objects(pieces: Iterable[str], limit: int) -> Iterator[tuple[int, str | None]]:
    """Split a text into its objects and the runs of other text between them; separators are left out.

    An object ends where its braces close, so a malformed object does not affect the others. Strings are skipped whole,
    so that braces inside them do not count. No string runs over a line end: a quote without its partner on the line
    does not open a string. Every character is read a few times at most, and about `limit` characters are held in
    memory.

    Args:
        pieces: the text.
        limit: most characters of an object or a run.

    Returns:
        (line number from 1, text) of each object or run; the text is None if it is longer than the limit.

    >>> list(split_objects(['[{"a": "}', '"},\\n7, {"b": 1}]'], limit=100))
    [(1, '{"a": "}"}'), (2, '7'), (2, '{"b": 1}')]
    """
    buffer, start, at, depth = "", 0, 0, 0
    line, counted = 1, 0  # `line` is the line number at the character `counted` of the buffer
    string = lone_until = -1  # start of the current string; end of the text in which quotes have no partner
    overlong = False
    for piece in pieces:
        buffer += piece
        while at < len(buffer):
            if string >= 0:  # the previous piece ended inside a string
                token = _REST_OF_STRING.match(buffer, at)
            elif at < lone_until:
                token = _BRACES.match(buffer, at, lone_until)
            else:
                token = _BRACES_OR_STRING.match(buffer, at)
            if token is None:
                at = lone_until if at < lone_until else len(buffer)
                continue
            begin, at = token.span() if string >= 0 else token.span("mark")
            if string >= 0 or buffer[begin] == '"':
                string = begin if string < 0 else string
                if token["end"] is None and len(buffer) - at < (2 if buffer.startswith("\\", at) else 1):
                    break
                if token["end"] is None and not overlong:
                    at, lone_until = string + 1, at
                string = -1
            elif buffer[begin] == "{":
                if depth == 0:
                    yield from _between(line, buffer[start:begin], overlong)
                    line += buffer.count("\n", counted, begin)
                    start, counted, overlong = begin, begin, False
                depth += at - begin
            elif depth:
                at = min(at, begin + depth)
                depth -= at - begin
                if depth == 0:
                    yield line, None if overlong or at - start > limit else buffer[start:at]
                    line += buffer.count("\n", counted, at)
                    start, counted, overlong = at, at, False
        overlong |= at - start > limit
        start = at if overlong else start
        if start > counted:
            line += buffer.count("\n", counted, start)
            counted = start
        buffer, at, lone_until, counted = buffer[start:], at - start, lone_until - start, counted - start
        string, start = (max(string - start, 0) if string >= 0 else -1), 0
    if depth:
        yield line, None if overlong else buffer
    else:
        yield from _between(line, buffer, overlong)


def _between(line: int, text: str, overlong: bool) -> Iterator[tuple[int, str | None]]:
    stray = text.strip(_SEPARATORS)
    if overlong:
        yield line, None
    elif stray:
        yield line + text.count("\n", 0, len(text) - len(text.lstrip(_SEPARATORS))), stray
