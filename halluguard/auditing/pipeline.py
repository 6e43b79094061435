"""The check itself: rows in, checked rows out. A row's result depends on the row, its picture and the expert alone.

caption ─► claims ─► verdicts (the expert looks, or its cache answers) ─► corrected caption
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from halluguard.auditing.album import Album, Picture
from halluguard.auditing.cached_detector import BATCH, Looker
from halluguard.auditing.caption_rows import Row
from halluguard.auditing.detection_store import Cache
from halluguard.auditing.image_store import ImageFolder
from halluguard.calibration.record import Calibration
from halluguard.correction.claims.extract import from_parse, parses
from halluguard.correction.rewriting import rewrite
from halluguard.correction.text.parse import Parse
from halluguard.correction.verification import Thresholds, verify_many
from halluguard.errors import HalluguardError, ImageError
from halluguard.records import Box, Claim, Detector, Edit, Verdict

OK = "ok"
_TOGETHER = 64  # pictures put to the looker at once, which divides them as the expert can take them


@dataclass(frozen=True, slots=True)
class Checked:
    """A row with what was found, or with the reason why it was skipped.

    Args:
        row: what was read.
        code: "ok", or why it was skipped ("empty-caption", "image", "expert", ...); `reason` says it in words.
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
        cache: what the expert found before; None begins with nothing.
        batch: pictures the expert looks at together.
        calibration: turns scores into probabilities; None leaves them raw, and says so.
    """

    def __init__(
        self,
        detector: Detector,
        thresholds: Thresholds | None = None,
        pictures: ImageFolder | None = None,
        cache: Cache | None = None,
        batch: int = BATCH,
        calibration: Calibration | None = None,
    ) -> None:
        self.thresholds, self.calibration = thresholds, calibration
        self.album = Album(pictures or ImageFolder(None))
        self.looker = Looker(detector, cache or Cache(None, detector.name), self.album, batch)

    def check(self, rows: Sequence[Row]) -> list[Checked]:
        """One result per row, in order.

        Raises:
            ExpertError: the expert failed on many pictures in a row, or cannot work at all.
        """
        found: dict[int, Checked] = {row.index: _aside(row, row.code, row.reason) for row in rows if row.code}
        read = self._read([row for row in rows if not row.code], found)
        images, pictures = self._images([row for row, _, _ in read], found)
        read = [entry for entry in read if entry[0].index not in found]
        claims = [c for _, _, c in read]
        self.looker.begin(list(pictures))
        verdicts = verify_many(
            *(claims, images, cast(Detector, self.looker)),
            thresholds=self.thresholds,
            calibration=self.calibration,
            batch_size=_TOGETHER,
        )
        if self.looker.broken:
            raise self.looker.broken
        self.looker.open_all(list(pictures))
        for (row, parse, of_row), image, judged in zip(read, images, verdicts, strict=True):
            unreadable = self.looker.unreadable.get(image.key) if isinstance(image, Picture) else None
            found[row.index] = (
                _aside(row, "image", str(unreadable)) if unreadable else _result(row, parse, of_row, judged)
            )
        return [found[row.index] for row in rows]

    def _read(self, rows: Sequence[Row], found: dict[int, Checked]) -> list[tuple[Row, Parse, list[Claim]]]:
        """The rows with parse and claims; one whose caption cannot be read is put into `found`."""
        read: list[tuple[Row, Parse, list[Claim]]] = []
        texts, questions = [row.caption for row in rows], [row.question for row in rows]
        for row, (parse, question) in zip(rows, parses(texts, questions, errors="yield"), strict=True):
            if isinstance(parse, HalluguardError):
                found[row.index] = _aside(row, "caption", str(parse))
            else:
                read.append((row, parse, from_parse(parse, question)))
        return read

    def _images(self, rows: Sequence[Row], found: dict[int, Checked]) -> tuple[list[Any], dict[Picture, None]]:
        """What the expert is given per row, and the different pictures; a row without one is put into `found`.

        An expert that needs no picture gets the row's own name for it.
        """
        if not self.looker.needs_image:
            return [row.image for row in rows], {}
        images: list[Picture] = []
        for row, picture in zip(rows, self.album.identify(rows), strict=True):
            if isinstance(picture, ImageError):
                found[row.index] = _aside(row, "image", str(picture))
            else:
                images.append(picture)
        different = dict.fromkeys(images)
        # Where phrases interact, captions do not share a look: each asks for itself.
        return [replace(picture) for picture in images] if self.looker.interacts else list(images), different

    def close(self) -> None:
        self.album.close()
        self.looker.cache.close()


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
