"""The check itself: rows in, checked rows out. A row's result depends on the row, its picture and the expert alone.

caption ─► claims ─► verdicts (the expert looks, or its cache answers) ─► corrected caption
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from halluguard.auditing.pictures import Pictures, content_key
from halluguard.auditing.rows import Row
from halluguard.correction.claims import from_parse, parses
from halluguard.correction.parse import Parse
from halluguard.correction.rewrite import rewrite
from halluguard.correction.verify import Thresholds, verify_many
from halluguard.errors import HalluguardError, ImageError
from halluguard.images import load_image
from halluguard.records import Box, Claim, Detector, Edit, Verdict

OK = "ok"


@dataclass(frozen=True, slots=True)
class Checked:
    """A row with what was found, or with the reason why it was set aside.

    Args:
        row: what was read.
        code: "ok", or why it was set aside ("empty-caption", "image", "expert", ...); `reason` says it in words.
        corrected: the caption after correction; the caption itself when nothing was contradicted.
        claims, verdicts, edits: as in `halluguard.records.Answer`.
    """

    row: Row
    code: str = OK
    reason: str = ""
    corrected: str = ""
    claims: tuple[Claim, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    edits: tuple[Edit, ...] = ()


class Checker:
    """Checks rows with one expert.

    Args:
        detector: the expert.
        thresholds: where support ends and contradiction begins; None takes the detector's own.
        pictures: where the pictures are; unused by an expert that needs none.
    """

    def __init__(
        self, detector: Detector, thresholds: Thresholds | None = None, pictures: Pictures | None = None
    ) -> None:
        self.detector = detector
        self.thresholds = thresholds
        self.pictures = pictures or Pictures(None)

    def check(self, rows: Sequence[Row]) -> list[Checked]:
        """One result per row, in order."""
        found: dict[int, Checked] = {row.index: _aside(row, row.code, row.reason) for row in rows if row.code}
        good = [row for row in rows if not row.code]
        read: list[tuple[Row, Parse, list[Claim]]] = []
        texts, questions = [row.caption for row in good], [row.question for row in good]
        for row, (parse, question) in zip(good, parses(texts, questions, errors="yield"), strict=True):
            if isinstance(parse, HalluguardError):
                found[row.index] = _aside(row, "caption", str(parse))
            else:
                read.append((row, parse, from_parse(parse, question)))
        images, missing = self._images([row for row, _, _ in read])
        found |= missing
        read = [entry for entry in read if entry[0].index not in missing]
        claims = [c for _, _, c in read]
        verdicts = verify_many(claims, images, self.detector, thresholds=self.thresholds)
        for (row, parse, of_row), judged in zip(read, verdicts, strict=True):
            found[row.index] = _result(row, parse, of_row, judged)
        return [found[row.index] for row in rows]

    def _images(self, rows: Sequence[Row]) -> tuple[list[Any], dict[int, Checked]]:
        """The pictures of the rows, equal ones opened once, and the rows whose picture cannot be opened.

        An expert that needs no picture gets the row's own name for it.
        """
        if not self.detector.needs_image:
            return [row.image for row in rows], {}
        images: list[Any] = []
        missing: dict[int, Checked] = {}
        opened: dict[str, Any] = {}
        for row in rows:
            try:
                data = self.pictures.read(row)
                key = content_key(data)
                if key not in opened:
                    opened[key] = load_image(data)
                images.append(opened[key])
            except ImageError as error:
                missing[row.index] = _aside(row, "image", str(error))
        return images, missing


def _result(row: Row, parse: Parse, claims: list[Claim], verdicts: list[Verdict]) -> Checked:
    failed = next((v for v in verdicts if v.error), None)
    if failed is not None:
        return _aside(row, "expert", failed.reason)
    corrected, edits = rewrite(row.caption, claims, verdicts, parse=parse)
    return Checked(row, OK, "", corrected, tuple(claims), tuple(verdicts), tuple(edits))


def _aside(row: Row, code: str, reason: str) -> Checked:
    return Checked(row, code, reason, row.caption)


def to_dict(checked: Checked) -> dict[str, Any]:
    """The JSON line of a checked row; fields of claims and verdicts that hold their default are left out."""
    row = checked.row
    return {
        "index": row.index,
        "id": row.id,
        "image": row.image,
        "code": checked.code,
        "reason": checked.reason,
        "question": row.question,
        "caption": row.caption,
        "corrected": checked.corrected,
        "claims": [sparse(claim) for claim in checked.claims],
        "verdicts": [sparse(verdict) for verdict in checked.verdicts],
        "edits": [sparse(edit) for edit in checked.edits],
    }


def from_dict(data: Mapping[str, Any]) -> Checked:
    """The checked row of a JSON line."""
    return Checked(
        row=Row(data["index"], data["id"], data["image"], data["caption"], data["question"]),
        code=data["code"],
        reason=data["reason"],
        corrected=data["corrected"],
        claims=tuple(Claim.from_dict(claim) for claim in data["claims"]),
        verdicts=tuple(Verdict.from_dict(verdict) for verdict in data["verdicts"]),
        edits=tuple(Edit.from_dict(edit) for edit in data["edits"]),
    )


def sparse(record: Any) -> dict[str, Any]:
    """A record's fields that differ from their defaults; `from_dict` of the record reads them back."""
    found = {}
    for name, default in _DEFAULTS[type(record)]:
        value = getattr(record, name)
        if value != default or default is dataclasses.MISSING:
            found[name] = [sparse(v) for v in value] if name == "evidence" else value
    return found


def _defaults(kind: Any) -> tuple[tuple[str, Any], ...]:
    return tuple((field.name, field.default) for field in dataclasses.fields(kind))


_DEFAULTS = {kind: _defaults(kind) for kind in (Claim, Verdict, Edit, Box)}
