"""Check rows: caption -> claims -> verdicts -> corrected caption.

The result of a row depends only on the row, its image, the detector and the settings.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from halluguard.auditing.cached_detector import cached_detector
from halluguard.auditing.cached_experts import AnyExpert, cached, kinds_not_judged
from halluguard.auditing.caption_rows import Row
from halluguard.auditing.config import AuditConfig
from halluguard.auditing.human_verdicts import with_human
from halluguard.auditing.image_store import ImageFolder, ImageStore, StoredImage
from halluguard.calibration.outcomes import ObjectReader, Outcome, Setting, agreement, withheld
from halluguard.correction.claims.coverage import Coverage, coverage
from halluguard.correction.claims.extract import claims_or_error, parses
from halluguard.correction.completing import claims_left, omitted_from, with_additions
from halluguard.correction.emptied import text_if_emptied
from halluguard.correction.rewriting.rewrite import FALLBACK, rewrite_each
from halluguard.correction.text.parse import Parse
from halluguard.correction.verification import Thresholds, thresholds_of
from halluguard.correction.verification.batches import EXPERT_FAILED
from halluguard.correction.verification.evidence import Evidence
from halluguard.correction.verification.looks import experts_apart
from halluguard.correction.verification.omissions import Omission, candidates
from halluguard.correction.verification.verify import examine_many
from halluguard.detectors.specs import from_specs
from halluguard.errors import BudgetError, HalluguardError, ImageError
from halluguard.io import JsonObject
from halluguard.records import Answer, Box, Claim, Detector, Edit, Verdict, apply_edits
from halluguard.reliability import Rates

OK = "ok"
_TOGETHER = 64
"""Number of images given to the cached detector at once; it divides them into batches."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A row with its verdicts, or with the reason why it was skipped.

    Args:
        row: the row as it was read.
        code: "ok", or the code of the reason why it was skipped ("empty-caption", "image", "expert", ...).
        reason: the code in words.
        corrected: the caption after correction; the caption itself when nothing was contradicted.
        claims, verdicts, edits: as in `halluguard.records.Answer`.
        withheld: reason why the policy keeps the caption back; "" if it is released, None without a policy.
        omitted: objects that the detector found and the caption does not name; None if none were looked for.
        coverage: share of the caption that was read; None for a skipped row.
    """

    row: Row
    code: str = OK
    reason: str = ""
    corrected: str = ""
    claims: tuple[Claim, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    edits: tuple[Edit, ...] = ()
    withheld: str | None = None
    omitted: tuple[Omission, ...] | None = None
    coverage: Coverage | None = None


@dataclass(frozen=True)
class _Read:
    """A row whose caption was parsed."""

    row: Row
    parse: Parse
    claims: list[Claim]


def image_folder(config: AuditConfig) -> ImageFolder:
    """The folder of the images of an audit."""
    return ImageFolder(config.images, config.image_pattern, config.image_names)


def detector_of(config: AuditConfig) -> Detector:
    """The detector of an audit, with the recall that the settings state; it is loaded if the settings name it."""
    detector = config.detector
    if isinstance(detector, str | tuple):
        specs = (detector,) if isinstance(detector, str) else detector
        detector = from_specs(specs, config.agree, device=config.device)
    if config.recall is not None:
        for expert in experts_apart(detector):
            expert.recall = Rates.of_value(config.recall)  # type: ignore[attr-defined]  # an optional attribute
    return detector


def thresholds_in(config: AuditConfig, detector: Detector) -> Thresholds:
    """The thresholds that an audit runs with."""
    if config.policy is not None:
        return config.policy.thresholds(detector)
    return config.thresholds or thresholds_of(detector)


class Checker:
    """Check rows with one detector.

    Args:
        config: the settings of the audit.
        detector: the detector, loaded.
        experts: the experts on attributes, relations and written words, loaded.
        cache: file of the detection cache; None keeps detections in memory.
    """

    def __init__(
        self,
        config: AuditConfig,
        detector: Detector,
        experts: Sequence[AnyExpert] = (),
        cache: Path | None = None,
    ) -> None:
        self.setting = config.policy.setting if config.policy else None
        self.reader = ObjectReader(config.policy.protocol if config.policy else "fixed", config.vocabulary)
        self.thresholds = thresholds_in(config, detector)
        self.calibration = config.calibration
        self.budget, self.style = config.budget, config.style
        self.complete = config.complete or (self.setting is not None and self.setting.complete is not None)
        # Known objects and boxes are searched for omissions at no cost; a model is asked more only on request.
        free = all(hasattr(expert, "names") and not expert.needs_image for expert in experts_apart(detector))
        self.names = candidates(detector, config.look_for or self.complete or free)
        self._all_names = candidates(detector, True)
        if self.setting is not None and self.setting.complete is not None:
            self.names = self._all_names
        self.images = ImageStore(image_folder(config))
        self.detector = cached_detector(detector, cache, self.images, config.batch_size)
        self.experts = [cached(expert, cache, self.images, config.batch_size) for expert in experts]
        self.not_judged = kinds_not_judged(config)
        self._reads: dict[int, _Read] | None = None
        self.human = {(verdict.index, verdict.claim): verdict for verdict in config.verdicts}
        self._sees = any(expert.needs_image for expert in experts)

    def check(self, rows: Sequence[Row]) -> list[Checked]:
        """One result per row, in order.

        Raises:
            ExpertError: the detector failed on many images in a row, or cannot work at all.
        """
        results = {row.index: _skipped(row, row.code, row.reason) for row in rows if row.code}
        read = self._parsed([row for row in rows if not row.code], results)
        images = self._identified([one.row for one in read], results)
        read = [one for one in read if one.row.index not in results]
        stored = list(dict.fromkeys(image for image in images if isinstance(image, StoredImage)))
        for expert in self.experts:
            expert.cached.begin([])
        self.detector.begin(stored if self.detector.needs_image else [])
        verdicts, omitted, evidence = self._examined(read, images)
        for examiner in (self.detector, *(expert.cached for expert in self.experts)):
            if examiner.broken:
                raise examiner.broken
        if self.detector.needs_image:
            self.detector.open_all(stored)
        if self.human:
            verdicts = [
                with_human(one.row.index, one.claims, judged, self.human)
                for one, judged in zip(read, verdicts, strict=True)
            ]
        rewritten = rewrite_each(
            [one.parse for one in read],
            [one.claims for one in read],
            verdicts,
            style="drop" if self.setting is not None else self.style,
            fallbacks=[
                text_if_emptied(one.row.question, one.claims, judged)
                for one, judged in zip(read, verdicts, strict=True)
            ],
        )
        checked_rows = [
            _checked(one, judged, edited, left_out)
            for one, judged, edited, left_out in zip(read, verdicts, rewritten, omitted, strict=True)
        ]
        texts = [
            one.row.caption if isinstance(edited, HalluguardError) else edited[0]
            for one, edited in zip(read, rewritten, strict=True)
        ]
        if self.complete:
            checked_rows = self._completed(checked_rows, texts, evidence)
        kept_back = self._withheld(checked_rows, texts, images)
        for checked, image, why in zip(checked_rows, images, kept_back, strict=True):
            error = self._unreadable(image)
            checked = _skipped(checked.row, "image", str(error)) if error else checked
            results[checked.row.index] = replace(checked, withheld=why) if checked.code == OK else checked
        return [results[row.index] for row in rows]

    def _withheld(
        self, found: Sequence[Checked], rewritten: Sequence[str], images: Sequence[StoredImage | str]
    ) -> Sequence[str | None]:
        """The policy's reasons to withhold captions; None for no reason. A caption left without sentences is kept."""
        if self.setting is None:
            return [None] * len(found)
        detector = cast(Detector, self.detector)
        texts = [
            text if FALLBACK in text else checked.corrected for checked, text in zip(found, rewritten, strict=True)
        ]
        return withheld(texts, images, detector, self.thresholds, self.setting, self.reader, second_look=False)

    def outcomes(self, rows: Sequence[Row], setting: Setting, thresholds: Thresholds) -> list[Outcome]:
        """The results of rows at a setting, for the fit of a policy. Repeated calls parse the same rows once.

        Args:
            rows: all rows; the same rows in every call.
            setting: the setting.
            thresholds: its thresholds.
        """
        if self._reads is None:
            self._reads = {}
        self.setting, self.thresholds = setting, thresholds
        self.complete = setting.complete is not None
        self.names = self._all_names if self.complete else ()
        return [
            Outcome(
                draft=row.caption,
                text=checked.corrected,
                withheld=checked.withheld if checked.code == OK and checked.withheld is not None else checked.reason,
                agreement=agreement(checked.verdicts),
                error=checked.code != OK,
            )
            for row, checked in zip(rows, self.check(rows), strict=True)
        ]

    def _examined(
        self, read: Sequence[_Read], images: Sequence[StoredImage | str]
    ) -> tuple[list[list[Verdict]], list[list[Omission] | None], list[Evidence | None]]:
        """The verdicts of each row, what it leaves out, and the evidence for both.

        Experts that need the image are asked only where there is one.
        """
        claims = [one.claims for one in read]
        omitted: list[list[Omission] | None] = [None for _ in claims]
        evidence_of: list[Evidence | None] = [None for _ in claims]
        # Where phrases interact, captions of one image do not share a detector call: each asks for itself.
        apart = self.detector.interacts and self.detector.needs_image
        verdicts: list[list[Verdict]] = [[] for _ in claims]
        keys = [replace(image) if apart and isinstance(image, StoredImage) else image for image in images]
        for seen in (True, False):
            rows = [i for i, image in enumerate(images) if isinstance(image, StoredImage) == seen]
            judged = examine_many(
                [claims[i] for i in rows],
                [keys[i] for i in rows],
                cast(Detector, self.detector),  # it takes stored images
                thresholds=self.thresholds,
                properties=cast(Sequence[AnyExpert], [e for e in self.experts if seen or not e.needs_image]),
                calibration=self.calibration,
                batch_size=_TOGETHER,
                names=self.names,
            )
            for i, (of_row, evidence) in zip(rows, judged, strict=True):
                row, evidence_of[i] = read[i].row, evidence
                if self.names and evidence is not None:
                    omitted[i] = omitted_from(
                        row.caption, row.question, claims[i], evidence, self.names, least=self._least
                    )
                verdicts[i] = [self._or_not_judged(claims[i][v.claim], v) for v in of_row]
        return verdicts, omitted, evidence_of

    @property
    def _least(self) -> float | None:
        """The score from which an object is added; None for the default."""
        return self.setting.complete if self.setting is not None else None

    def _completed(
        self, found: Sequence[Checked], texts: Sequence[str], evidence: Sequence[Evidence | None]
    ) -> list[Checked]:
        """The rows with additions to their captions; those of which nothing is left get none."""
        rows = [one.row for one in found]
        left = claims_left(
            texts, [row.caption for row in rows], [row.question for row in rows], [one.claims for one in found]
        )
        completed = []
        for checked, text, own, seen in zip(found, texts, left, evidence, strict=True):
            if seen is None or checked.omitted is None or FALLBACK in text:
                completed.append(checked)
                continue
            draft, question = checked.row.caption, checked.row.question
            answer = Answer(draft, text, question, checked.claims, checked.verdicts, checked.edits)
            edits = with_additions(answer, own, seen, self.names, least=self._least)
            completed.append(replace(checked, edits=tuple(edits), corrected=apply_edits(draft, edits)))
        return completed

    def _or_not_judged(self, claim: Claim, verdict: Verdict) -> Verdict:
        if claim.kind not in self.not_judged:
            return verdict
        reason = f"claims of the kind {claim.kind!r} are not judged here"
        return Verdict(verdict.claim, "unverifiable", reason=reason, asked=False)

    def _unreadable(self, image: StoredImage | str) -> ImageError | None:
        """The reason why an image that the detector needs could not be decoded."""
        if not isinstance(image, StoredImage):
            return None
        caches = [self.detector, *(expert.cached for expert in self.experts)]
        return next((error for cache in caches if (error := cache.unreadable.get(image.key))), None)

    def _parsed(self, rows: Sequence[Row], results: dict[int, Checked]) -> list[_Read]:
        """The rows with their claims; a row whose caption cannot be read goes into `results` as skipped."""
        if self._reads:
            return [self._reads[row.index] for row in rows if row.index in self._reads]
        read: list[_Read] = []
        captions, questions = [row.caption for row in rows], [row.question for row in rows]
        parsed = parses(captions, questions, errors="yield", budget=self.budget)
        for row, (parse, question) in zip(rows, parsed, strict=True):
            claims = parse if isinstance(parse, HalluguardError) else claims_or_error(parse, question)
            if isinstance(claims, HalluguardError) or isinstance(parse, HalluguardError):
                results[row.index] = _unread(row, cast(HalluguardError, claims))
            else:
                read.append(_Read(row, parse, claims))
        if self._reads is not None:
            self._reads = {one.row.index: one for one in read}
        return read

    def _identified(self, rows: Sequence[Row], results: dict[int, Checked]) -> Sequence[StoredImage | str]:
        """The image of each row; a row without one goes into `results` as skipped.

        A detector that needs no image gets the row's name of it; if other experts need the image, the image holds the
        name.
        """
        if not self.detector.needs_image:
            return self._of_names(rows)
        images: list[StoredImage] = []
        for row, image in zip(rows, self.images.identify(rows), strict=True):
            if isinstance(image, ImageError):
                results[row.index] = _skipped(row, "image", str(image))
            else:
                images.append(image)
        return images

    def _of_names(self, rows: Sequence[Row]) -> list[StoredImage | str]:
        """One image per name, because the detector uses names; the name alone where no image is needed or found.

        Two names may have the same content.
        """
        if not self._sees or not (self.images.folder.root or any(row.image_bytes for row in rows)):
            return [row.image for row in rows]
        images: dict[str, StoredImage | str] = {}
        for row, image in zip(rows, self.images.identify(rows), strict=True):
            images.setdefault(row.image, row.image if isinstance(image, ImageError) else replace(image, row=row))
        return [images[row.image] for row in rows]

    def close(self) -> None:
        for expert in self.experts:
            expert.cached.store.close()
        self.detector.close()


def _checked(
    read: _Read,
    verdicts: Sequence[Verdict],
    rewritten: tuple[str, list[Edit]] | HalluguardError,
    omitted: Sequence[Omission] | None,
) -> Checked:
    failed = next((verdict for verdict in verdicts if verdict.error), None)
    if failed is not None:
        code = "expert" if failed.reason.startswith(EXPERT_FAILED) else "unlisted-image"
        return _skipped(read.row, code, failed.reason)
    if isinstance(rewritten, HalluguardError):
        return _unread(read.row, rewritten)
    corrected, edits = rewritten
    if any(FALLBACK in edit.after for edit in edits):
        corrected, edits = read.row.caption, [_flagged(edit) for edit in edits]
    left_out = None if omitted is None else tuple(omitted)
    return Checked(
        read.row,
        corrected=corrected,
        claims=tuple(read.claims),
        verdicts=tuple(verdicts),
        edits=tuple(edits),
        omitted=left_out,
        coverage=coverage(read.parse, read.claims),
    )


def _unread(row: Row, error: HalluguardError) -> Checked:
    """A row whose caption could not be read or corrected."""
    return _skipped(row, skip_code(error), str(error))


def skip_code(error: HalluguardError) -> str:
    """The code of a row whose caption could not be read."""
    return "budget" if isinstance(error, BudgetError) else "caption"


def _flagged(edit: Edit) -> Edit:
    """Turn an edit into a flag: a caption of which nothing would be left stays unchanged, for a person to look at."""
    reason = f"{edit.reason}; left as it was: nothing that it names was confirmed"
    return replace(edit, after=edit.before, reason=reason, decision="flagged")


def _skipped(row: Row, code: str, reason: str) -> Checked:
    return Checked(row, code, reason, row.caption)


def to_dict(checked: Checked) -> JsonObject:
    """A checked row as JSON values; fields of claims and verdicts that hold their default are left out."""
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
        **({} if checked.withheld is None else {"withheld": checked.withheld}),
        "omitted": None if checked.omitted is None else [_omission(one) for one in checked.omitted],
        "coverage": None if checked.coverage is None else dataclasses.asdict(checked.coverage),
    }


def _omission(omission: Omission) -> JsonObject:
    boxes = [sparse(box) for box in omission.evidence]
    return {"name": omission.name, "count": omission.count, "place": omission.place, "evidence": boxes}


def from_dict(data: JsonObject) -> Checked:
    """The checked row that `to_dict` wrote."""
    return Checked(
        row=Row(data["index"], data["id"], data["image"], data["caption"], data["question"]),
        code=data["code"],
        reason=data["reason"],
        corrected=data["corrected"],
        claims=tuple(Claim.from_dict(claim) for claim in data["claims"]),
        verdicts=tuple(Verdict.from_dict(verdict) for verdict in data["verdicts"]),
        edits=tuple(Edit.from_dict(edit) for edit in data["edits"]),
        withheld=data.get("withheld"),
        omitted=None if data.get("omitted") is None else tuple(map(_read_omission, data["omitted"])),
        coverage=None if data.get("coverage") is None else Coverage(**data["coverage"]),
    )


def _read_omission(data: JsonObject) -> Omission:
    return Omission(data["name"], tuple(Box.from_dict(box) for box in data["evidence"]), data["count"], data["place"])


def sparse(record: Claim | Verdict | Edit | Box) -> dict[str, object]:
    """A record's fields that differ from their defaults; `from_dict` of the record reads them back."""
    fields: dict[str, object] = {}
    for name, default in _DEFAULTS[type(record)]:
        value = getattr(record, name)
        if value != default or default is dataclasses.MISSING:
            fields[name] = [sparse(box) for box in value] if name == "evidence" else value
    return fields


_DEFAULTS = {
    kind: tuple((field.name, field.default) for field in dataclasses.fields(kind))
    for kind in (Claim, Verdict, Edit, Box)
}
