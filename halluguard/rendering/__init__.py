"""Show an answer: the picture with its boxes, the draft with its claims marked, what was corrected and why.

Everything is one self-contained file: no script, no network (a content security policy says so), all text escaped.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from halluguard.boxes import overlap_of_smaller
from halluguard.errors import SettingsError
from halluguard.images import load_image
from halluguard.records import XYXY, Answer, Claim, Edit, Verdict

if TYPE_CHECKING:
    from PIL.Image import Image

COLORS = {"supported": "#1a7f4b", "contradicted": "#c62f2f", "unsure": "#b06a00", "unverifiable": "#6b7280"}
MARKS = {"supported": "✓", "contradicted": "✗", "unsure": "?", "unverifiable": "–"}


@dataclass(frozen=True)
class Piece:
    """A run of the draft: `decision` is None outside claims, `note` says what the expert said."""

    text: str
    decision: str | None = None
    note: str = ""
    removed: bool = False


@dataclass(frozen=True)
class Region:
    """A box to draw: percent of the picture's width and height."""

    left: float
    top: float
    width: float
    height: float
    label: str
    decision: str


@dataclass(frozen=True)
class Card:
    """One answer, ready for the template; `picture` is None where there is none to show."""

    picture: str | None
    size: tuple[int, int]
    regions: Sequence[Region]
    question: str | None
    pieces: Sequence[Piece]
    text: str
    edits: Sequence[str]
    caption: str
    changed: bool


def draw(answer: Answer, image: Any = None, *, line: int | None = None) -> Image:
    """The picture with every piece of evidence boxed, coloured by its verdict, in the picture's own size.

    Args:
        image: the picture, when the answer does not carry it.
        line: line width in pixels; by default about 1/200 of the longer side.

    Raises:
        SettingsError: there is no picture.
    """
    from PIL import ImageDraw, ImageFont

    picture = load_image(_picture_of(answer, image)).copy()
    pen = ImageDraw.Draw(picture)
    width = line or max(1, round(max(picture.size) / 200))
    font = ImageFont.load_default(max(9, max(picture.size) / 40))
    for label, decision, box in _evidence(answer):
        color = COLORS[decision]
        pen.rectangle(box, outline=color, width=width)
        text = f"{label} {MARKS[decision]}"
        left, top, right, bottom = pen.textbbox((box[0], box[1]), text, font=font)
        pen.rectangle((left - 1, top - 1, right + 1, bottom + 1), fill=color)
        pen.text((box[0], box[1]), text, fill="white", font=font)
    return picture


def to_html(answer: Answer, image: Any = None) -> str:
    """The answer as a piece of HTML with its own style, for notebooks."""
    return _template("fragment.html.jinja").render(cards=[card(answer, image)], style=_style(), marks=MARKS)


def page(
    answers: Iterable[Answer],
    *,
    title: str = "halluguard",
    lead: str = "",
    tables: Sequence[Mapping[str, Any]] = (),
    notes: Sequence[str] = (),
    captions: Sequence[str] = (),
) -> str:
    """A self-contained HTML page of answers.

    Args:
        answers: each must carry its picture.
        title, lead: heading and the sentence below it.
        tables: mappings with `title`, `head` (list of strings), `rows` (lists of strings) and `note`.
        notes: paragraphs below the tables.
        captions: one line under each picture.
    """
    cards = [card(answer, caption=captions[i] if i < len(captions) else "") for i, answer in enumerate(answers)]
    return _template("page.html.jinja").render(
        title=title, lead=lead, tables=tables, notes=notes, cards=cards, style=_style(), marks=MARKS
    )


def card(answer: Answer, image: Any = None, *, caption: str = "", longest: int = 640, needed: bool = True) -> Card:
    """What the templates show of one answer.

    Args:
        image: the picture, when the answer does not carry it.
        caption: a line under the picture.
        longest: longer side of the embedded copy, in pixels.
        needed: False shows an answer without a picture as text only.
    """
    shown = answer.image if image is None else image
    picture = None if shown is None and not needed else load_image(_picture_of(answer, image))
    wide, high = picture.size if picture else (0, 0)
    regions = [
        Region(100 * x1 / wide, 100 * y1 / high, 100 * (x2 - x1) / wide, 100 * (y2 - y1) / high, label, decision)
        for label, decision, (x1, y1, x2, y2) in (_evidence(answer) if picture else ())
    ]
    return Card(
        picture=data_url(picture, longest) if picture else None,
        size=(wide, high),
        regions=regions,
        question=answer.question,
        pieces=pieces(answer),
        text=answer.text,
        edits=[edit.reason or _told(edit) for edit in answer.edits],
        caption=caption,
        changed=answer.text != answer.draft,
    )


def _told(edit: Edit) -> str:
    before, after = edit.before.strip(), edit.after.strip()
    if not after:
        return f"removed “{before}”"
    return f"“{before}” became “{after}”" if before else f"added “{after}”"


def pieces(answer: Answer) -> list[Piece]:
    """The draft in runs: claims marked with their verdict, edited text marked as removed.

    Of two claims that overlap, the one with the graver verdict is shown.
    """
    grave = ("contradicted", "unsure", "supported", "unverifiable")
    marked: list[tuple[Claim, Verdict]] = sorted(
        ((answer.claims[verdict.claim], verdict) for verdict in answer.verdicts),
        key=lambda pair: (grave.index(pair[1].decision), pair[0].start),
    )
    owner: list[tuple[Claim, Verdict] | None] = [None] * len(answer.draft)
    for claim, verdict in marked:
        if all(owner[i] is None for i in range(claim.start, min(claim.end, len(owner)))):
            owner[claim.start : claim.end] = [(claim, verdict)] * (claim.end - claim.start)
    removed = [False] * len(answer.draft)
    for edit in answer.edits:
        removed[edit.start : edit.end] = [True] * (edit.end - edit.start)
    runs: list[Piece] = []
    start = 0
    for i in range(1, len(answer.draft) + 1):
        if i == len(answer.draft) or owner[i] is not owner[start] or removed[i] != removed[start]:
            pair = owner[start]
            decision, note = (pair[1].decision, pair[1].reason) if pair else (None, "")
            runs.append(Piece(answer.draft[start:i], decision, note, removed[start]))
            start = i
    return runs


def _evidence(answer: Answer) -> list[tuple[str, str, XYXY]]:
    """(label, decision, box) of every distinct box that counted for its verdict, supported ones first.

    What scored below the thresholds the answer was judged by is not shown as if it had been found, and of boxes that
    show one thing twice the surest is drawn.
    """
    limits = answer.settings.get("thresholds", {})
    order = list(COLORS)
    found: dict[tuple[str, str, XYXY], float] = {}
    for verdict in answer.verdicts:
        least = limits.get("low" if verdict.decision == "unsure" else "high", 0.0)
        for box in verdict.evidence:
            if box.xyxy is not None and box.score >= least:
                key = (box.label, verdict.decision, box.xyxy)
                found[key] = max(box.score, found.get(key, 0.0))
    drawn: list[tuple[str, str, XYXY]] = []
    for one in sorted(found, key=lambda key: (-found[key], key)):
        if not any(one[:2] == other[:2] and overlap_of_smaller(one[2], other[2]) > 0.5 for other in drawn):
            drawn.append(one)
    return sorted(drawn, key=lambda item: (order.index(item[1]), item[2], item[0]))


def _picture_of(answer: Answer, image: Any) -> Any:
    picture = answer.image if image is None else image
    if picture is None:
        raise SettingsError("expected a picture to show, got an answer without one; pass image=")
    return picture


def render(template: str, **values: Any) -> str:
    """A page of this folder, filled; all values are escaped."""
    return _template(template).render(style=_style(), **values)


def visible(text: str) -> str:
    r"""The text with what hides or turns round other text written out: control, zero-width and direction characters.

    >>> print(visible("a\u202eb\x1b[31m"))
    a\u202eb\x1b[31m
    """
    return _HIDING.sub(lambda found: found.group().encode("unicode_escape").decode("ascii"), text)


_HIDING = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


def data_url(picture: Image, longest: int, quality: int = 88) -> str:
    """The picture as JPEG inside an address, shrunk to `longest` pixels on its longer side."""
    shown = picture.copy()
    shown.thumbnail((longest, longest))
    buffer = io.BytesIO()
    shown.save(buffer, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


@lru_cache
def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("halluguard.rendering", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["visible"] = visible
    return made


def _template(name: str) -> Any:
    return _environment().get_template(name)


def _style() -> Any:
    return source("style.css")


def source(name: str) -> Any:
    """A file of this folder as it is, marked safe: it is ours."""
    from markupsafe import Markup

    return Markup(_environment().loader.get_source(_environment(), name)[0])


def script_hash(name: str) -> str:
    """What a content security policy calls a script of this folder: it then runs, and no other."""
    digest = hashlib.sha256(source(name).encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
