"""Read the lines of a paragraph: label-value pairs, keyword lines, and prose, which may be wrapped over lines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from halluguard.correction.text.document import Block

_LABEL = re.compile(
    r"(?P<mark>\*{1,3}|_{1,3}|)(?P<label>[^\s:*_\n][^:：*\n]{0,60}?)"
    r"(?:[ \t]*[:：][ \t]*(?P=mark)|(?P=mark)[ \t]*[:：]|(?<=[^\W_])(?P<bold>\*{2,3})[ \t]+[-–—])(?=\s|\Z)"
)
_ITEM_LABEL = re.compile(r"(?P<mark>)(?P<label>[A-Z][\w'-]*(?: [\w'-]+){0,3})[ \t]+[–—-][ \t]+(?=[^\W\d_])")
"""The name that opens a list item before a dash: "Person – standing near the door"."""
_BOLD_LINE = re.compile(r"(\*{2,3}|_{2,3})([^*_\n]{1,80})\1[ \t]*")
_BARE_LABELS = ("title", "description", "keywords", "caption", "tags")
"""Labels that may stand on a line of their own without a colon."""
_FIELD = re.compile(r"(?:[\w-]+ ){0,2}(?:title|headline|caption|description|summary|alt text)(?: \d+)?", re.IGNORECASE)
_FIELD_TERMS = 6
"""From this number of members on, the value of a field such as "Title" is a list of keywords."""
_NUMBERED = re.compile(r"(\d{1,3})[.)][ \t]+(?=\S)")
"""Opens an item in the midst of a paragraph, where Markdown sees a list only if it begins at 1."""
_MOST_LABEL_WORDS = 4
# A line with such a word before its colon is a sentence that goes on.
_SENTENCE = re.compile(
    r"\b(?:is|are|was|were|there|shows?|includes?|including|contains?|features?|has|have|see|following|depicts?|says|"
    r"reads|reading|that|which|I|you|we|it|one|two|three|four|five)\b", re.IGNORECASE,
)  # fmt: skip
_DENYING_LABEL = re.compile(r"\W*(?:no|not|none|absent|missing|without|never)\b", re.IGNORECASE)
_WRITTEN_LABEL = re.compile(
    r"\W*(?:visible |overlaid |written )?(?:text|ocr|caption text|inscription)\b", re.IGNORECASE
)
_NO_LABELS = ("answer", "final answer", "the answer", "response", "reply", "question", "a", "q")
_SEPARATOR = re.compile(r"[ \t]*(?:(?:[,，、;；]|(?<!<)\|(?!>))(?:[ \t]*\n)?|\s[/·•]\s)[ \t]*(?:(?:and|&)[ \t]+)?")
_OPENS_PHRASE = re.compile(
    r"(?:an?|the|there|it|this|that|his|her|its|their|some|with|which|and|or|but|is|are)\b", re.IGNORECASE
)
_CLAUSE = re.compile(r"\b(?:is|are|was|were|has|have|can|will|there|it|they|he|she|I|which|who|while)\b")
_MOST_TERM_WORDS = 5
_LONGEST_LINE = 80
"""Most characters of a line that can be a label alone."""
_LETTER = re.compile(r"[^\W\d_]")
_HASHTAG = re.compile(r"#\w+")
_TERM_SIGNS = " \t\n()[]{}#\"'“”‘’`*_.<>"


def line_blocks(
    text: str, pieces: Sequence[tuple[int, int]], label: str = "", *, item: bool = False
) -> Iterator[Block]:
    """The blocks of a paragraph, given the character range of each of its lines.

    Args:
        label: the label above the paragraph that announces it ("Keywords:"), or "".
        item: whether the paragraph is a list item, which may be the name of one thing.
    """
    lines = list(_unwrapped(text, pieces))
    numbers = [_NUMBERED.match(text, start, end) for start, end in lines]
    is_list = sum(number is not None for number in numbers) > 1
    for n, (start, end) in enumerate(lines):
        number = numbers[n] if is_list else None
        if number is not None:
            inner = _line(text, number.end(), end, label, item=True)
            block = Block("item", inner.start, inner.end, (start, end), (inner,), number=number.span(1))
        elif n + 1 < len(lines) and _is_bare_label(text, start, end):
            block = Block("label", start, end, (start, end), label=text[start:end].rstrip())
        else:
            block = _line(text, start, end, label, item=item)
        yield block
        label = block.label if block.kind == "label" or len(block.children) == 1 else ""


def _unwrapped(text: str, pieces: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Logical lines: a line that starts in lower case goes on with the sentence before it."""
    start, end = pieces[0]
    for a, b in pieces[1:]:
        goes_on = text[end - 1] == "," or (text[a].islower() and text[end - 1] not in ".!?:;")
        if goes_on and not _label(text, a, b) and not _is_bare_label(text, start, end):
            end = b
        else:
            yield start, end
            start, end = a, b
    yield start, end


def _is_bare_label(text: str, start: int, end: int) -> bool:
    """Whether a line is one of the labels that need no colon. Long lines are not copied."""
    return end - start <= _LONGEST_LINE and text[start:end].rstrip().lower() in _BARE_LABELS


def _line(text: str, start: int, end: int, label: str, *, item: bool) -> Block:
    match = _label(text, start, end) or (_item_label(text, start, end) if item else None)
    if match:
        return _pair(text, start, end, match)
    bold = _BOLD_LINE.fullmatch(text, start, end)
    if bold and len(bold[2].split()) <= _MOST_LABEL_WORDS:
        return Block("label", *bold.span(2), (start, end), label=bold[2])
    return _value(text, start, end, label, item=item)


def _label(text: str, start: int, end: int) -> re.Match[str] | None:
    """The label that opens a line, if one does."""
    match = _LABEL.match(text, start, end)
    if match is None:
        return None
    words, count = match["label"], len(match["label"].split())
    if words.lower() in _NO_LABELS:
        return None
    if match["mark"] or _DENYING_LABEL.match(words):
        return match if count <= 2 * _MOST_LABEL_WORDS else None
    sentence = count > _MOST_LABEL_WORDS or _SENTENCE.search(words) or words.endswith((".", "!", "?", ","))
    return None if sentence else match


def _item_label(text: str, start: int, end: int) -> re.Match[str] | None:
    """The name that opens an item before a dash, if one does."""
    match = _ITEM_LABEL.match(text, start, end)
    sentence = match is not None and (_OPENS_PHRASE.match(match["label"]) or _SENTENCE.search(match["label"]))
    return None if sentence else match


def _pair(text: str, start: int, end: int, match: re.Match[str]) -> Block:
    first, last = match.span("label")
    name = match["label"].strip()
    last = first + len(match["label"].rstrip())
    children = [Block("label", first, last, (start, match.end()), label=name)]
    at = match.end()
    while at < end and text[at] in " \t\r\n":
        at += 1
    if at < end:
        children.append(_value(text, at, end, name))
    return Block("pair", start, end, (start, end), tuple(children), name)


def is_field(label: str) -> bool:
    """Whether a label announces words about the whole image, as "Title" and "Short description" do."""
    return _FIELD.fullmatch(label) is not None


def _value(text: str, start: int, end: int, label: str, *, item: bool = False) -> Block:
    """A value or an unlabelled line: written words, a keyword list, one term, or prose."""
    outer = (start, end)
    if label and _WRITTEN_LABEL.match(label):
        return Block("written", start, end, outer, label=label)
    terms = list(_terms(text, start, end))
    if _is_keywords(text, terms, label):
        return Block("keywords", start, end, outer, tuple(terms), label)
    if (
        (label or item)
        and len(terms) == 1
        and len(text[start:end].split()) <= _MOST_TERM_WORDS
        and _is_term(text, terms[0])
    ):
        return Block("term", terms[0].start, terms[0].end, outer, label=label)
    return Block("prose", start, end, outer, label=label)


def _terms(text: str, start: int, end: int) -> Iterator[Block]:
    """The members of a line that is parted by commas, or of a line of hashtags."""
    words = text[start:end]
    if words.count("#") > 1 and all(_HASHTAG.fullmatch(word) for word in words.split()):
        ranges = [m.span() for m in _HASHTAG.finditer(words)]
    else:
        cuts = [m.span() for m in _SEPARATOR.finditer(words)]
        ranges = list(zip([0, *(b for _, b in cuts)], [*(a for a, _ in cuts), len(words)], strict=True))
    for a, b in ranges:
        first, last = start + a, start + b
        while first < last and text[first] in _TERM_SIGNS:
            first += 1
        while first < last and text[last - 1] in _TERM_SIGNS:
            last -= 1
        if first < last:
            outer = start + b if b < len(words) else max(last, start + len(words.rstrip(" .!?\n")))
            yield Block("term", first, last, (start + a, outer))


def _is_term(text: str, block: Block) -> bool:
    words = text[block.start : block.end]
    sentence = _OPENS_PHRASE.match(words) or _CLAUSE.search(words) or ". " in words or "</" in words
    return not sentence and len(words.split()) <= _MOST_TERM_WORDS


def _is_keywords(text: str, terms: Sequence[Block], label: str) -> bool:
    """Whether the members read as names rather than as the phrases of a sentence."""
    if len(terms) < (_FIELD_TERMS if is_field(label) else 2 if label else 3):
        return False
    short = sum(_is_term(text, term) and _LETTER.search(text, term.start, term.end) is not None for term in terms)
    lone = sum(len(text[term.start : term.end].split()) <= 4 for term in terms)
    ends = text[terms[-1].outer[1] - 1] in ".!?"
    if not label and ends and len(terms) < 5:
        return False
    return short >= 0.8 * len(terms) and lone >= 0.7 * len(terms)
