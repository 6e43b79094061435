"""Read published preference data of any format as rows: streamed, recognised by keys, nothing lost silently.

    report = ReadingReport()
    rows = list(read_preferences("RLHF-V-Dataset.parquet", report=report))
    print(report)

Known formats: RLHF-V, RLAIF-V, LLaVA-RLHF, VLFeedback, HA-DPO (both files), POVID, mDPO, MM-RLHF, LRV-Instruction,
HACL, LURE and thumbs logs, as JSON, JSON Lines or Parquet. Each is one small function in `formats.py`; the first that
recognises the keys of an entry reads the file. Every entry ends as rows or, with place and reason, in the report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from halluguard.errors import HalluguardError, ImageError, InputError, SettingsError
from halluguard.images import resolve_inside
from halluguard.tuning.preferences.formats import FORMATS, DraftRow, Format, FormatOptions, Skip, Source
from halluguard.tuning.reading import Entry, read_entries
from halluguard.tuning.rows import InstructionRow, PreferenceRow, RatedRow, RowImage, TrainingRow, open_image, row_seed

__all__ = ["FORMATS", "FormatOptions", "ReadingReport", "read_preferences"]

ImageLookup: TypeAlias = "str | Path | Mapping[str, RowImage] | Callable[[object], RowImage | None] | None"
"""Where images are: a folder, a mapping from the file's names or ids, or a function from them."""

_SHOWN = 5  # problems written out by `str(report)`; all are kept
_ENOUGH = 200  # images looked up before the share of missing ones may stop the reading early


@dataclass
class ReadingReport:
    """Counts and reasons of what became of the entries of a file.

    Args:
        format: name of the format that was recognised.
        license: licence of the data, as written in the rows.
        entries, rows: entries read, rows made (one entry may hold several pairs, or none).
        problems: (place, reason) of every malformed entry.
        skipped: reason -> number of entries or pairs left out on purpose (ties, videos, unrated answers).
        missing: (place, reason) of every row whose image could not be found or opened.
        duplicates: rows left out because image, prompt and answers occurred before.
    """

    format: str = ""
    license: str = ""
    entries: int = 0
    rows: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    missing: list[tuple[str, str]] = field(default_factory=list)
    duplicates: int = 0

    def __str__(self) -> str:
        lines = [f"{self.format or 'no known format'} ({self.license}): {self.entries} entries, {self.rows} rows"]
        for name, places in (("malformed", self.problems), ("without their image", self.missing)):
            if places:
                shown = "; ".join(f"{place}: {reason}" for place, reason in places[:_SHOWN])
                lines.append(f"{len(places)} {name}: {shown}{' ...' if len(places) > _SHOWN else ''}")
        lines += [f"{count} skipped: {reason}" for reason, count in sorted(self.skipped.items())]
        lines += [f"{self.duplicates} duplicates left out"] if self.duplicates else []
        return "\n".join(lines)


def read_preferences(
    path: str | Path,
    *,
    images: ImageLookup = None,
    report: ReadingReport | None = None,
    license: str | None = None,
    missing_share: float = 0.05,
    open_images: bool = False,
    options: FormatOptions | None = None,
    seed: int = 0,
) -> Iterator[TrainingRow]:
    """Stream the rows of a preference file.

    Args:
        path: JSON, JSON Lines or Parquet, plain or compressed; or a folder of them.
        images: where the images are: a folder, a mapping from the file's names or ids, or a function from them to an
            image (None where there is none). Not needed where the file holds the images themselves.
        report: filled while reading.
        license: licence of the data; by default what the rows state, else what the authors of the format state, else
            "unknown".
        missing_share: largest allowed share of rows without their image, in [0, 1].
        open_images: whether to open every image now, and not only look for its file.
        options: choices that some formats leave open.
        seed: seed of the rows' own seeds, and of prompts where the data have none.

    Yields:
        `PreferenceRow`; `InstructionRow` for LRV-Instruction; `RatedRow` for thumbs logs. RLHF-V's rows have
        `minimal_edit` set.

    Raises:
        InputError: the file cannot be read, holds no entry of a known format, or too many images are missing.
    """
    if not 0 <= missing_share <= 1:
        raise SettingsError(f"missing_share must be in [0, 1], got {missing_share}")
    report = ReadingReport() if report is None else report
    options = FormatOptions() if options is None else options
    form: Format | None = None
    digests: set[int] = set()
    lookups = 0
    for entry in read_entries(path):
        report.entries += 1
        if form is None and isinstance(entry.value, dict):
            form = next((form for form in FORMATS if form.recognises(entry.value)), None)
            if form is not None:
                report.format, report.license = form.name, license or form.license
        for draft in _drafts(entry, form, options, seed, report):
            lookups += bool(draft.images)
            assert form is not None  # without a format there are no drafts
            row = _row(draft, entry, form, images, open_images, license, seed, report)
            if len(report.missing) > missing_share * lookups and lookups >= _ENOUGH:
                raise _too_many(report, lookups, images)
            if row is None:
                continue
            digest = row_seed(row.image_id, row.prompt, *(getattr(row, name) for name in row.answer_fields()))
            if digest in digests:
                report.duplicates += 1
                continue
            digests.add(digest)
            report.rows += 1
            yield row
    if form is None:
        raise InputError(_unknown(path, report))
    if lookups and len(report.missing) > missing_share * lookups:
        raise _too_many(report, lookups, images)


def _drafts(
    entry: Entry, form: Format | None, options: FormatOptions, seed: int, report: ReadingReport
) -> Iterator[DraftRow]:
    """The drafts of an entry; a malformed entry is put into the report instead."""
    value = entry.value
    if entry.problem or not isinstance(value, dict):
        report.problems.append((entry.place, entry.problem or f"expected an object, got {type(value).__name__}"))
        return
    if form is None:
        report.problems.append((entry.place, f"no known format has the keys {_keys(value)}"))
        return
    if not form.recognises(value):
        report.problems.append((entry.place, f"expected {form.name} ({form.keys}), got the keys {_keys(value)}"))
        return
    try:
        drafts = list(form.read(Source(value, entry.key, options, row_seed(seed, "preference", entry.place))))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        reason = str(error) if isinstance(error, HalluguardError) else f"{type(error).__name__}: {error}"
        report.problems.append((entry.place, reason))
        return
    if value.get("video"):
        drafts = [Skip("a video")]
    for draft in drafts:
        if isinstance(draft, Skip):
            report.skipped[draft.reason] += 1
        else:
            yield draft


def _row(
    draft: DraftRow,
    entry: Entry,
    form: Format,
    images: ImageLookup,
    open_images: bool,
    license: str | None,
    seed: int,
    report: ReadingReport,
) -> TrainingRow | None:
    try:
        found = tuple(_resolved(image, images, open_images) for image in draft.images)
    except ImageError as error:
        report.missing.append((entry.place, str(error)))
        return None
    stated = entry.value.get("license")
    about: dict[str, Any] = {
        "image_id": draft.image_id,
        "kind": draft.kind,
        "source": form.name,
        "seed": row_seed(seed, form.name, draft.image_id, draft.prompt, draft.chosen),
        "license": license or (stated if isinstance(stated, str) else form.license),
        "history": draft.history,
    }
    try:
        if draft.label is not None:
            return RatedRow(found, draft.prompt, draft.chosen, draft.label, **about)
        if not draft.pair:
            return InstructionRow(found, draft.prompt, draft.chosen, **about)
        edit = form.minimal_edit
        return PreferenceRow(found, draft.prompt, draft.chosen, draft.rejected, minimal_edit=edit, **about)
    except InputError as error:
        report.problems.append((entry.place, str(error)))
        return None


def _resolved(image: object, images: ImageLookup, open_images: bool) -> RowImage:
    """The image for what the file holds: bytes, or a name or id to look up."""
    if isinstance(image, Mapping):
        image = image.get("bytes") or image.get("path")
    found: RowImage | None
    if isinstance(image, bytes):
        found = image
    elif images is None:
        raise ImageError(f"the file holds only the name {str(image)!r}; say where the images are with images=")
    elif callable(images):
        found = images(image)
    elif isinstance(images, Mapping):
        found = images.get(image, images.get(str(image)))  # type: ignore[call-overload]
    else:
        found = resolve_inside(Path(images), str(image))
    if found is None:
        raise ImageError(f"no image for {str(image)!r}")
    if isinstance(found, str | Path) and not Path(found).is_file():
        raise ImageError(f"no image at {str(found)!r}")
    if open_images:
        open_image(found)
    return found


def _keys(value: Mapping[str, object]) -> str:
    return ", ".join(sorted(map(str, value))[:8]) or "none"


def _unknown(path: str | Path, report: ReadingReport) -> str:
    first = "; ".join(f"{place}: {reason}" for place, reason in report.problems[:3])
    known = ", ".join(dict.fromkeys(form.name for form in FORMATS))
    return f"expected preference data ({known}) in {str(path)!r}, got {first or 'no entry'}; rename its keys"


def _too_many(report: ReadingReport, lookups: int, images: ImageLookup) -> InputError:
    place, reason = report.missing[0]
    return InputError(
        f"{len(report.missing)} of {lookups} rows are without their image (first, {place}: {reason}); "
        f"{'pass images=' if images is None else 'correct images='}, or raise missing_share to train on the rest"
    )
