"""Clean inline markup out of words, with a map from each character that is left to its place in the original.

Emphasis, code ticks, links, images, footnotes, HTML and chat tags, emoji, zero-width and bidirectional marks are taken
out; JSON escapes and HTML entities are read as what they stand for.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from halluguard.correction.text.document import Markup, MarkupKind

_INVISIBLE = "\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\ufe00-\ufe0f"
_EMOJI = (
    "\u2190-\u21ff\u2300-\u23ff\u2460-\u24ff\u2500-\u27bf\u2900-\u297f\u2b00-\u2bff\u3030\u303d"
    "\U0001f000-\U0001faff\U000e0020-\U000e007f"
)
_MARKUP = re.compile(
    r"(?P<comment><!--.{0,2000}?-->)"
    r"|(?P<image>!\[[^\]\n]{0,300}\]\([^()\s]{0,1000}(?:\s\"[^\"\n]{0,200}\")?\))"
    r"|(?P<link>\[(?P<words>[^\[\]\n]{1,300})\]\([^()\s]{0,1000}(?:\s\"[^\"\n]{0,200}\")?\))"
    r"|(?P<footnote>\[\^[^\]\s]{1,30}\]:?|\[\d{1,3}\](?!\())"
    r"|(?P<code>(?P<ticks>`{1,3})(?P<ticked>[^`\n]{1,300})(?P=ticks))"
    r"|(?P<boxed>\$?\\boxed\{(?:\\text(?:bf)?\{)?(?P<framed>[^{}\n]{1,300})\}{1,2}\$?)"
    r"|(?P<tag></?[a-zA-Z][^<>\n]{0,300}>|<\|[^<>\n]{1,40}\|>)"
    r"|(?P<quote>\n[ \t]*>[ \t]?)"
    r"|(?P<entity>&(?:[a-zA-Z]{2,8}|#\d{2,6}|#x[0-9a-fA-F]{2,6});)"
    r"|(?P<escape>\\[\\`*_{}\[\]()#+.!|>~\"-])"
    r"|(?P<emphasis>\*{1,3}|(?<![^\W_])_{1,3}(?=\S)|(?<=\S)_{1,3}(?![^\W_])|~~)"
    rf"|(?P<emoji>[{_EMOJI}{_INVISIBLE}]+|`+)",
    re.DOTALL,
)
_HINT = re.compile(rf"[*_`<>&\\~\[{_EMOJI}{_INVISIBLE}]")
_QUOTED = re.compile(
    r"(?<![\w\"])\"(?P<a>[^\"\n]{1,300})\"(?!\w)|“(?P<b>[^“”\n]{1,300})”|«(?P<c>[^«»\n]{1,300})»"
    r"|(?<!\w)'(?P<d>[^'\n]{1,80}|[^'\n]{1,40}(?:\w'\w[^'\n]{1,40}){1,3})'(?!\w)|‘(?P<e>[^‘\n]{1,80})’(?!\w)"
)
_JSON_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{4}|.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Cleaned:
    """Words without markup.

    Args:
        text: the words as they are parsed.
        starts, ends: for each character of `text`, the first and one past the last character it stands for.
        markup: the markup that was removed, and quotation marks.
        quoted: character ranges of the original that stand in quotation marks inside the words.
    """

    text: str
    starts: list[int]
    ends: list[int]
    markup: tuple[Markup, ...] = ()
    quoted: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class _Gap:
    """Characters start..end of the original that are read as `instead`."""

    start: int
    end: int
    instead: str = ""


def clean(text: str, start: int, end: int, *, taken: Iterable[tuple[int, int]] = (), escaped: bool = False) -> Cleaned:
    """The words of `text[start:end]` without markup.

    Args:
        taken: further ranges to take out, such as boxes written into the text.
        escaped: whether the range is the inside of a JSON string.
    """
    words = text[start:end]
    gaps = [_Gap(a, b, _apart(text, a, b)) for a, b in taken if start <= a and b <= end]
    if escaped and "\\" in words:
        gaps += [_Gap(m.start() + start, m.end() + start, _unescaped(m[0])) for m in _JSON_ESCAPE.finditer(words)]
    markup: list[Markup] = []
    if _HINT.search(words):
        gaps += _inline(text, start, end, markup)
    quoted = [] if '"' not in words and not re.search("[“'‘«]", words) else list(_quotations(text, start, end))
    markup += [Markup("quotation", a - 1, b + 1, (a, b)) for a, b in quoted]
    if not gaps:
        return Cleaned(words, list(range(start, end)), list(range(start + 1, end + 1)), tuple(markup), tuple(quoted))
    kept, starts, ends, at = list[str](), list[int](), list[int](), start
    for gap in sorted(gaps, key=lambda gap: (gap.start, -gap.end)):
        if gap.start < at:
            continue
        kept += [text[at : gap.start], gap.instead]
        starts += [*range(at, gap.start), *[gap.start] * len(gap.instead)]
        ends += [*range(at + 1, gap.start + 1), *[gap.end] * len(gap.instead)]
        at = gap.end
    kept.append(text[at:end])
    starts += range(at, end)
    ends += range(at + 1, end + 1)
    return Cleaned("".join(kept), starts, ends, tuple(sorted(markup, key=lambda m: m.start)), tuple(quoted))


def _apart(text: str, start: int, end: int) -> str:
    """A break where markup alone keeps two words apart ("dog<loc_1>...cat"), nothing elsewhere."""
    return "\n\n" if start > 0 and end < len(text) and text[start - 1].isalnum() and text[end].isalnum() else ""


def _unescaped(escape: str) -> str:
    try:
        return json.loads(f'"{escape}"')[:1]
    except ValueError:
        return ""


def _inline(text: str, start: int, end: int, markup: list[Markup]) -> Iterator[_Gap]:
    """The gaps that inline markup leaves; the markup itself is added to `markup`."""
    opened: dict[str, re.Match[str]] = {}
    for match in _MARKUP.finditer(text, start, end):
        kind, (a, b) = match.lastgroup or "", match.span()
        if match["link"]:
            inner = match.span("words")
            markup.append(Markup("link", a, b, inner))
            yield from (_Gap(a, inner[0]), _Gap(inner[1], b))
        elif match["code"] or match["boxed"]:
            inner = match.span("ticked" if match["code"] else "framed")
            markup.append(Markup("code", a, b, inner))
            yield from (_Gap(a, inner[0]), _Gap(inner[1], b))
        elif match["entity"]:
            yield _Gap(a, b, html.unescape(match[0]).replace("\xa0", " ")[:1])
        elif match["escape"]:
            yield _Gap(a, a + 1)
        elif match["emphasis"]:
            if _loose(text, a, b, start, end):
                continue
            yield _Gap(a, b)
            before = opened.pop(match[0], None)
            if before is None and _trails(text, a, b, start, end):
                markup.append(Markup("footnote", a, b, (b, b)))
            elif before is None:
                opened[match[0]] = match
            else:
                markup.append(Markup("emphasis", before.start(), b, (before.end(), a)))
        else:
            named: MarkupKind = kind if kind in ("image", "footnote", "emoji") else "tag"  # type: ignore[assignment]
            markup.append(Markup(named, a, b, (b, b)))
            yield _Gap(a, b, "\n" if match[0].lower().startswith(("\n", "<br", "<p", "</p", "<li", "</li")) else "")


def _loose(text: str, a: int, b: int, start: int, end: int) -> bool:
    """Whether a star stands alone and marks nothing ("3 * 4")."""
    before = text[a - 1] if a > start else " "
    after = text[b] if b < end else " "
    return before.isspace() and after.isspace() and b - a == 1


def _trails(text: str, a: int, b: int, start: int, end: int) -> bool:
    """Whether a star belongs to the word before it, as in "Grade II* listed"."""
    return a > start and text[a - 1].isalnum() and (b >= end or not text[b].isalnum())


_ALT = re.compile(r"\W*(?:<img\b[^<>\"]*\s)?(?:alt|alt[ -]text|caption|description)\s*[=:]\s*", re.IGNORECASE)
"""The words before a quotation that describes the image: 'alt="A dog."'."""


def _quotations(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The ranges in quotation marks, without a quotation that is the whole text."""
    for match in _QUOTED.finditer(text, start, end):
        a, b = match.span(match.lastgroup or 0)
        before = "" if _ALT.fullmatch(text, start, a - 1) else text[start : a - 1].strip(" *_`")
        if before or text[b + 1 : end].strip(" .,!*_`/>"):
            yield a, b
