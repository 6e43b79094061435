"""Show an answer: the image with its boxes, the draft with its claims marked, the edits and their reasons.

Everything is one self-contained file: no script, no network (by a content security policy), all text escaped.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING

from halluguard.boxes import overlap_of_smaller
from halluguard.errors import SettingsError
from halluguard.images import ImageSource, load_image, shrunk
from halluguard.records import XYXY, Answer, Edit
from halluguard.rendering.label_places import label_places

if TYPE_CHECKING:
    from jinja2 import Environment, Template
    from markupsafe import Markup
    from PIL.Image import Image

COLORS = {"supported": "#1a7f4b", "contradicted": "#c62f2f", "unsure": "#b06a00", "unverifiable": "#6b7280"}
MARKS = {"supported": "✓", "contradicted": "✗", "unsure": "?", "unverifiable": "–"}


@dataclass(frozen=True)
class Piece:
    """A stretch of the draft; outside claims, `decision` and `verdict` are None.

    Args:
        note: the reason of the verdict.
        removed: True for words that an edit takes out.
        verdict: index of the verdict in the answer.
    """

    text: str
    decision: str | None = None
    note: str = ""
    removed: bool = False
    verdict: int | None = None


@dataclass(frozen=True)
class Region:
    """A box to draw, in percent of the image's width and height.

    Args:
        line: line on which the label stands, counted from the top of the box.
        right: True if the label is aligned with the right edge of the box, because it would leave the image otherwise.
    """

    left: float
    top: float
    width: float
    height: float
    label: str
    decision: str
    line: int = 0
    right: bool = False


@dataclass(frozen=True)
class Card:
    """One answer as the values of the template; `image` is a data URL, or None without an image."""

    image: str | None
    size: tuple[int, int]
    regions: Sequence[Region]
    question: str | None
    pieces: Sequence[Piece]
    text: str
    edits: Sequence[str]
    caption: str
    changed: bool


def draw(answer: Answer, image: ImageSource | None = None, *, line: int | None = None) -> Image:
    """The image in its own size, with every piece of evidence boxed and coloured by its verdict.

    Args:
        image: the image, if the answer does not hold it.
        line: line width in pixels; by default about 1/200 of the longer side.

    Raises:
        SettingsError: there is no image.
    """
    from PIL import ImageDraw, ImageFont

    drawing = load_image(_image_of(answer, image)).copy()
    pen = ImageDraw.Draw(drawing)
    width = line or max(1, round(max(drawing.size) / 200))
    font = ImageFont.load_default(max(9, max(drawing.size) / 40))
    for label, decision, box in _evidence(answer):
        color = COLORS[decision]
        pen.rectangle(box, outline=color, width=width)
        text = f"{label} {MARKS[decision]}"
        left, top, right, bottom = pen.textbbox((box[0], box[1]), text, font=font)
        pen.rectangle((left - 1, top - 1, right + 1, bottom + 1), fill=color)
        pen.text((box[0], box[1]), text, fill="white", font=font)
    return drawing


def to_html(answer: Answer, image: ImageSource | None = None) -> str:
    """The answer as a piece of HTML with its own style, for notebooks."""
    return _template("fragment.html.jinja").render(cards=[card(answer, image)], style=_style(), marks=MARKS)


def page(
    answers: Iterable[Answer],
    *,
    title: str = "halluguard",
    lead: str = "",
    tables: Sequence[Mapping[str, object]] = (),
    notes: Sequence[str] = (),
    captions: Sequence[str] = (),
) -> str:
    """A self-contained HTML page of answers.

    Args:
        answers: answers, each with its image.
        title, lead: heading and the sentence below it.
        tables: mappings with `title`, `head` (list of strings), `rows` (lists of strings) and `note`.
        notes: paragraphs below the tables.
        captions: texts under the images, one per answer.
    """
    cards = [card(answer, caption=captions[i] if i < len(captions) else "") for i, answer in enumerate(answers)]
    return _template("page.html.jinja").render(
        title=title, lead=lead, tables=tables, notes=notes, cards=cards, style=_style(), marks=MARKS
    )


def card(
    answer: Answer, image: ImageSource | None = None, *, caption: str = "", longest: int = 640, needed: bool = True
) -> Card:
    """One answer, prepared for the templates.

    Args:
        image: the image, if the answer does not hold it.
        caption: a line under the image.
        longest: longer side of the embedded copy, in pixels.
        needed: False shows an answer without an image as text only.
    """
    source = answer.image if image is None else image
    opened = None if source is None and not needed else load_image(_image_of(answer, image))
    width, height = opened.size if opened else (0, 0)
    regions = [
        Region(100 * x1 / width, 100 * y1 / height, 100 * (x2 - x1) / width, 100 * (y2 - y1) / height, label, decision)
        for label, decision, (x1, y1, x2, y2) in (_evidence(answer) if opened else ())
    ]
    return Card(
        image=data_url(opened, longest) if opened else None,
        size=(width, height),
        regions=[
            replace(region, line=line, right=right)
            for region, (line, right) in zip(regions, label_places(regions, width / max(height, 1)), strict=True)
        ],
        question=answer.question,
        pieces=pieces(answer),
        text=answer.text,
        edits=list(dict.fromkeys(_description(edit) for edit in answer.edits)),
        caption=caption,
        changed=answer.text != answer.draft,
    )


def _description(edit: Edit) -> str:
    if edit.decision == "addition":
        return f"added “{edit.after.strip()}” ({edit.reason})"
    if edit.decision == "flagged":
        return f"flagged, left as it was: “{edit.before.strip()}”" + (f" ({edit.reason})" if edit.reason else "")
    if edit.reason:
        return edit.reason
    before, after = edit.before.strip(), edit.after.strip()
    if not after:
        return f"removed “{before}”"
    return f"“{before}” became “{after}”" if before else f"added “{after}”"


def pieces(answer: Answer) -> list[Piece]:
    """The draft cut into pieces: claims are marked with their verdict, edited text is marked as removed.

    Of two claims that overlap, the one with the graver verdict is shown.
    """
    grave = ("contradicted", "unsure", "supported", "unverifiable")
    marked = sorted(
        range(len(answer.verdicts)),
        key=lambda i: (grave.index(answer.verdicts[i].decision), answer.claims[answer.verdicts[i].claim].start),
    )
    owner: list[int | None] = [None] * len(answer.draft)
    for index in marked:
        claim = answer.claims[answer.verdicts[index].claim]
        if all(owner[i] is None for i in range(claim.start, min(claim.end, len(owner)))):
            owner[claim.start : claim.end] = [index] * (claim.end - claim.start)
    removed = [False] * len(answer.draft)
    for edit in answer.edits:
        if edit.decision == "flagged":
            continue
        removed[edit.start : edit.end] = [True] * (edit.end - edit.start)
    runs: list[Piece] = []
    start = 0
    for i in range(1, len(answer.draft) + 1):
        if i == len(answer.draft) or owner[i] != owner[start] or removed[i] != removed[start]:
            shown = owner[start]
            verdict = None if shown is None else answer.verdicts[shown]
            decision, note = (verdict.decision, verdict.reason) if verdict else (None, "")
            runs.append(Piece(answer.draft[start:i], decision, note, removed[start], shown))
            start = i
    return runs


def _evidence(answer: Answer) -> list[tuple[str, str, XYXY]]:
    """(label, decision, box) of every distinct box on which a verdict rests; boxes of supported claims come first.

    Boxes with scores below the answer's own thresholds are left out. Of two boxes around one object, the one with the
    higher score is drawn.
    """
    limits = answer.settings.get("thresholds", {})
    order = list(COLORS)
    scores: dict[tuple[str, str, XYXY], float] = {}
    for verdict in answer.verdicts:
        least = limits.get("low" if verdict.decision == "unsure" else "high", 0.0)
        for box in verdict.evidence:
            if box.xyxy is not None and box.score >= least:
                key = (box.label, verdict.decision, box.xyxy)
                scores[key] = max(box.score, scores.get(key, 0.0))
    drawn: list[tuple[str, str, XYXY]] = []
    for one in sorted(scores, key=lambda key: (-scores[key], key)):
        if not any(one[:2] == other[:2] and overlap_of_smaller(one[2], other[2]) > 0.5 for other in drawn):
            drawn.append(one)
    return sorted(drawn, key=lambda item: (order.index(item[1]), item[2], item[0]))


def _image_of(answer: Answer, image: ImageSource | None) -> ImageSource:
    source = answer.image if image is None else image
    if source is None:
        raise SettingsError("expected an image to show, got an answer without one; pass image=")
    return source


def render(template: str, **values: object) -> str:
    """Fill a template of this folder; all values are escaped."""
    return _template(template).render(style=_style(), **values)


def visible(text: str) -> str:
    r"""The text with control, zero-width and direction characters as escapes, because they can hide or reorder other
    text.

    >>> print(visible("a\u202eb\x1b[31m"))
    a\u202eb\x1b[31m
    """
    return _HIDING.sub(lambda match: match.group().encode("unicode_escape").decode("ascii"), text)


_HIDING = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


def data_url(image: Image, longest: int, quality: int = 88) -> str:
    """The image as JPEG inside a data URL, shrunk to `longest` pixels on its longer side."""
    small = shrunk(image) if max(image.size) > 2 * longest else image  # the largest images are not copied whole
    copy = image.copy() if small is image else small
    copy.thumbnail((longest, longest))
    buffer = io.BytesIO()
    copy.save(buffer, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


@lru_cache
def _environment() -> Environment:
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


def _template(name: str) -> Template:
    return _environment().get_template(name)


def _style() -> Markup:
    return source("style.css")


def source(name: str) -> Markup:
    """A file of this folder, unchanged and marked as safe, because it is part of the package."""
    from markupsafe import Markup

    return Markup(resources.files(__name__).joinpath(name).read_text(encoding="utf-8"))


def script_hash(name: str) -> str:
    """The hash by which a content security policy allows a script of this folder, and no other script."""
    digest = hashlib.sha256(source(name).encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
