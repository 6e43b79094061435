"""Published preference data, whatever its form, as rows: streamed, recognised by keys, nothing lost silently.

    report = Reading()
    rows = list(read_preferences("RLHF-V-Dataset.parquet", report=report))
    print(report)

Known forms: RLHF-V, RLAIF-V, LLaVA-RLHF, VLFeedback, HA-DPO (both files), POVID, mDPO, MM-RLHF, LRV-Instruction, HACL,
LURE and thumbs logs, as JSON, JSON Lines or Parquet. Each is one small function in `formats.py`; the first that
recognises the keys of an entry reads the file. Every entry ends as rows or, with place and reason, in the report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from halluguard.errors import HalluguardError, ImageError, InputError, SettingsError
from halluguard.images import load_image, resolve_inside
from halluguard.tuning.preferences.formats import FORMATS, Draft, Format, Options, Skip
from halluguard.tuning.reading import Entry, read_entries
from halluguard.tuning.rows import InstructionRow, Picture, PreferenceRow, RatedRow, Row, row_seed

__all__ = ["FORMATS", "Options", "Reading", "read_preferences"]

Images = str | Path | Mapping[Any, Any] | Callable[[Any], Any] | None

_NAMED = 5  # problems written out by `str(report)`; all are kept
_ENOUGH = 200  # pictures asked for before the share of missing ones may stop a reading early


@dataclass
class Reading:
    """What became of the entries of a file.

    Args:
        format: the form that was recognised.
        license: of the data, as written in the rows.
        entries, rows: entries read, rows made (one entry may hold several pairs, or none).
        problems: (place, reason) of every malformed entry.
        skipped: reason -> number of entries or pairs left out on purpose (ties, videos, unrated answers).
        missing: (place, picture) of every row whose picture could not be found or opened.
        duplicates: rows left out because picture, prompt and answers occurred before.
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
        lines = [f"{self.format or 'no known form'} ({self.license}): {self.entries} entries, {self.rows} rows"]
        for what, found in (("malformed", self.problems), ("without their picture", self.missing)):
            if found:
                shown = "; ".join(f"{place}: {reason}" for place, reason in found[:_NAMED])
                lines.append(f"{len(found)} {what}: {shown}{' ...' if len(found) > _NAMED else ''}")
        lines += [f"{count} skipped: {reason}" for reason, count in sorted(self.skipped.items())]
        lines += [f"{self.duplicates} duplicates left out"] if self.duplicates else []
        return "\n".join(lines)


def read_preferences(
    path: str | Path,
    *,
    images: Images = None,
    report: Reading | None = None,
    license: str | None = None,
    missing_share: float = 0.05,
    open_images: bool = False,
    options: Options | None = None,
    seed: int = 0,
) -> Iterator[Row]:
    """Stream the rows of a preference file.

    Args:
        path: JSON, JSON Lines or Parquet, plain or gzipped; or a folder of them.
        images: where the pictures are: a folder, a mapping from the file's names or ids, or a callable from them to a
            picture (None where there is none). Not needed where the file holds the pictures themselves.
        report: filled while reading.
        license: of the data; by default what the rows state, else what the authors of the form state, else "unknown".
        missing_share: the largest share of rows without their picture, in [0, 1].
        open_images: open every picture now, not only look whether the file is there.
        options: choices some forms leave open, see `Options`.
        seed: of the rows' own seeds, and of prompts where the data have none.

    Yields:
        `PreferenceRow`; `InstructionRow` for LRV-Instruction; `RatedRow` for thumbs logs. RLHF-V's rows have
        `minimal_edit` set.

    Raises:
        InputError: the file cannot be read, holds no entry of a known form, or too many pictures are missing.
    """
    if not 0 <= missing_share <= 1:
        raise SettingsError(f"missing_share must be in [0, 1], got {missing_share}")
    report = Reading() if report is None else report
    options = Options() if options is None else options
    form: Format | None = None
    seen: set[int] = set()
    asked = 0
    for entry in read_entries(path):
        report.entries += 1
        form = form or _recognised(entry)
        if form is not None and not report.format:
            report.format, report.license = form.name, license or form.license
        for draft in _drafts(entry, form, options, seed, report):
            asked += draft.image is not None
            row = _row(draft, entry, form, images, open_images, license, seed, report)  # type: ignore[arg-type]
            if len(report.missing) > missing_share * asked and asked >= _ENOUGH:
                raise _too_many(report, asked, images)
            if row is None:
                continue
            digest = row_seed(
                row.image_id, row.prompt, *(getattr(row, n, "") for n in ("chosen", "rejected", "completion"))
            )
            if digest in seen:
                report.duplicates += 1
                continue
            seen.add(digest)
            report.rows += 1
            yield row
    if form is None:
        raise InputError(_unknown(path, report))
    if asked and len(report.missing) > missing_share * asked:
        raise _too_many(report, asked, images)


def _recognised(entry: Entry) -> Format | None:
    if not isinstance(entry.value, dict):
        return None
    return next((form for form in FORMATS if form.recognises(entry.value)), None)


def _drafts(entry: Entry, form: Format | None, options: Options, seed: int, report: Reading) -> Iterator[Draft]:
    """The pairs of an entry; a malformed one is put into the report instead."""
    value = entry.value
    if entry.problem or not isinstance(value, dict):
        report.problems.append((entry.place, entry.problem or f"expected an object, got {type(value).__name__}"))
        return
    if form is None:
        report.problems.append((entry.place, f"no known form has the keys {_keys(value)}"))
        return
    if not form.recognises(value):
        report.problems.append((entry.place, f"expected {form.name} ({form.keys}), got the keys {_keys(value)}"))
        return
    try:
        found = list(form.read(value, entry.key, options, row_seed(seed, "preference", entry.place)))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        reason = str(error) if isinstance(error, HalluguardError) else f"{type(error).__name__}: {error}"
        report.problems.append((entry.place, reason))
        return
    for draft in found:
        if isinstance(draft, Skip):
            report.skipped[draft.reason] += 1
        else:
            yield draft


def _row(
    draft: Draft,
    entry: Entry,
    form: Format,
    images: Images,
    open_images: bool,
    license: str | None,
    seed: int,
    report: Reading,
) -> Row | None:
    try:
        picture = () if draft.image is None else (_resolved(draft.image, images, open_images),)
    except ImageError as error:
        report.missing.append((entry.place, str(error)))
        return None
    stated = entry.value.get("license")
    common: dict[str, Any] = {
        "image_id": draft.image_id,
        "kind": draft.kind,
        "source": form.name,
        "seed": row_seed(seed, form.name, draft.image_id, draft.prompt, draft.chosen),
        "license": license or (stated if isinstance(stated, str) else form.license),
        "history": draft.history,
    }
    try:
        if draft.label is not None:
            return RatedRow(picture, draft.prompt, draft.chosen, draft.label, **common)
        if not draft.pair:
            return InstructionRow(picture, draft.prompt, draft.chosen, **common)
        return PreferenceRow(
            picture, draft.prompt, draft.chosen, draft.rejected, minimal_edit=form.minimal_edit, **common
        )
    except InputError as error:
        report.problems.append((entry.place, str(error)))
        return None


def _resolved(image: Any, images: Images, open_images: bool) -> Picture:
    """The picture for what the file holds: bytes, or a name or id to look up."""
    if isinstance(image, Mapping):
        image = image.get("bytes") or image.get("path")
    if isinstance(image, bytes):
        picture: Picture = image
    elif images is None:
        raise ImageError(f"the file holds only the name {str(image)!r}; say where the pictures are with images=")
    elif callable(images):
        picture = images(image)
    elif isinstance(images, Mapping):
        picture = images.get(image, images.get(str(image)))
    else:
        picture = resolve_inside(Path(images), str(image))
    if picture is None:
        raise ImageError(f"no picture for {str(image)!r}")
    if isinstance(picture, str | Path) and not Path(picture).is_file():
        raise ImageError(f"no picture at {str(picture)!r}")
    if open_images:
        load_image(picture)
    return picture


def _keys(value: Mapping[str, Any]) -> str:
    return ", ".join(sorted(map(str, value))[:8]) or "none"


def _unknown(path: str | Path, report: Reading) -> str:
    first = "; ".join(f"{place}: {reason}" for place, reason in report.problems[:3])
    known = ", ".join(dict.fromkeys(form.name for form in FORMATS))
    return f"expected preference data ({known}) in {str(path)!r}, got {first or 'no entry'}; rename its keys"


def _too_many(report: Reading, asked: int, images: Images) -> InputError:
    place, reason = report.missing[0]
    return InputError(
        f"{len(report.missing)} of {asked} rows are without their picture (first, {place}: {reason}); "
        f"{'pass images=' if images is None else 'correct images='}, or raise missing_share to train on the rest"
    )
