"""Read published preference data of any format as rows: streamed, recognised by keys, nothing lost silently.

    report = ReadingReport()
    rows = list(read_preferences("RLHF-V-Dataset.parquet", report=report))
    print(report)

Known formats: RLHF-V, RLAIF-V, LLaVA-RLHF, VLFeedback, HA-DPO (both files), POVID, mDPO, MM-RLHF, LRV-Instruction,
HACL, LURE, thumbs logs, and the rows of TRL, LLaMA-Factory and ms-swift, as JSON, JSON Lines or Parquet. Each is one
small function in `formats.py`; the first that recognises the keys of an entry reads the file. Every entry ends as rows
or, with place and reason, in the report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from halluguard.errors import HalluguardError, ImageError, InputError, SettingsError
from halluguard.images import resolve_inside
from halluguard.tuning.preferences.drafts import UNREAD_IMAGE, DraftRow, Format, FormatOptions, Skip, Source
from halluguard.tuning.preferences.formats import FORMATS
from halluguard.tuning.preferences.messages import PLACEHOLDER
from halluguard.tuning.reading import Entry, read_entries
from halluguard.tuning.rows import InstructionRow, PreferenceRow, RatedRow, RowImage, TrainingRow, open_image, row_seed

__all__ = ["FORMATS", "FormatOptions", "ReadingReport", "read_preferences"]

ImageLookup: TypeAlias = "str | Path | Mapping[str, RowImage] | Callable[[object], RowImage | None] | None"
"""Source of the images: a folder, a mapping from the file's names or ids, or a function from them."""

_SHOWN = 5  # problems written out by `str(report)`; all are kept
_ENOUGH = 200  # images looked up before the share of missing ones may stop the reading early


@dataclass
class ReadingReport:
    """Numbers of entries that were read, left out or malformed, with reasons.

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
    keys: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Iterator[TrainingRow]:
    """Stream the rows of a preference file.

    Args:
        path: JSON, JSON Lines or Parquet, plain or compressed; or a folder of them.
        images: source of the images: a folder, a mapping from the file's names or ids, or a function from them to an
            image (None where there is none). Not needed where the file holds the images themselves.
        report: filled while reading.
        license: licence of the data; by default what the rows state, else what the authors of the format state, else
            "unknown".
        missing_share: largest allowed share of rows without their image, in [0, 1].
        open_images: whether to open every image now, and not only look for its file.
        options: choices that some formats leave open.
        keys: keys of a file whose format is not known: our name of a field (see `OWN_KEYS`) -> the file's key, in which
            dots lead into nested records.
        seed: seed of the rows' own seeds, and of prompts where the data have none.

    Yields:
        `PreferenceRow`; `InstructionRow` for LRV-Instruction and conversations, one for each answer; `RatedRow` for
        thumbs logs. RLHF-V's rows have `minimal_edit` set.

    Raises:
        InputError: the file cannot be read, holds no entry of a known format, or too many images are missing.
    """
    if not 0 <= missing_share <= 1:
        raise SettingsError(f"missing_share must be in [0, 1], got {missing_share}; 1 allows any")
    report = ReadingReport() if report is None else report
    reader = _Reader(images, open_images, license, options or FormatOptions(), _checked_keys(keys), seed, report)
    digests: set[int] = set()
    lookups = 0
    for entry in read_entries(path):
        report.entries += 1
        for draft in reader.drafts(entry):
            lookups += bool(draft.images)
            row = reader.row(draft, entry)
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
    if reader.format is None:
        raise InputError(_unknown(path, report))
    if lookups and len(report.missing) > missing_share * lookups:
        raise _too_many(report, lookups, images)


@dataclass
class _Reader:
    """Reads entries of one file into rows; problems go into the report."""

    images: ImageLookup
    open_images: bool
    license: str | None
    options: FormatOptions
    keys: Mapping[str, str]
    seed: int
    report: ReadingReport
    format: Format | None = None

    def drafts(self, entry: Entry) -> Iterator[DraftRow]:
        """The drafts of an entry; none of a malformed one."""
        try:
            for draft in self._drafts(entry):
                if isinstance(draft, Skip):
                    self.report.skipped[draft.reason] += 1
                else:
                    yield draft
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            reason = str(error) if isinstance(error, HalluguardError) else f"{type(error).__name__}: {error}"
            self.report.problems.append((entry.place, reason))

    def _drafts(self, entry: Entry) -> list[DraftRow | Skip]:
        value = entry.value
        if entry.problem or not isinstance(value, dict):
            raise InputError(entry.problem or f"expected an object, got {type(value).__name__}")
        if self.keys:
            value = {**value, **{own: _under(value, key) for own, key in self.keys.items()}}
        if self.format is None:
            self.format = next((format for format in FORMATS if format.recognises(value)), None)
            if self.format is None:
                raise InputError(f"no known format has the keys {_keys(value)}")
            self.report.format, self.report.license = self.format.name, self.license or self.format.license
        elif not self.format.recognises(value):
            raise InputError(f"expected {self.format.name} ({self.format.keys}), got the keys {_keys(value)}")
        for medium in ("video", "audio"):
            if value.get(medium) or value.get(f"{medium}s"):
                return [Skip(f"a{'n' * (medium == 'audio')} {medium}")]
        source = Source(value, entry.key, self.options, row_seed(self.seed, "preference", entry.place))
        drafts = list(self.format.read(source))
        for draft in drafts:
            if isinstance(draft, DraftRow):
                _check_images(draft, value)
        return drafts

    def row(self, draft: DraftRow, entry: Entry) -> TrainingRow | None:
        """The row of a draft; None if its image is missing or its texts do not form a row."""
        assert self.format is not None  # a draft comes from a format
        try:
            images = tuple(self._found(image) for image in draft.images)
            negatives = tuple(self._found(image) for image in draft.negative_images)
        except ImageError as error:
            self.report.missing.append((entry.place, str(error)))
            return None
        stated = entry.value.get("license")
        about: dict[str, Any] = {
            "image_id": draft.image_id,
            "kind": draft.kind,
            "source": self.format.name,
            "seed": row_seed(self.seed, self.format.name, draft.image_id, draft.prompt, draft.chosen),
            "license": self.license or (stated if isinstance(stated, str) else self.format.license),
            "history": draft.history,
        }
        try:
            if draft.label is not None:
                return RatedRow(images, draft.prompt, draft.chosen, draft.label, **about)
            if not draft.pair:
                return InstructionRow(images, draft.prompt, draft.chosen, **about)
            about |= {"minimal_edit": self.format.minimal_edit, "negative_images": negatives}
            return PreferenceRow(images, draft.prompt, draft.chosen, draft.rejected, **about)
        except InputError as error:
            self.report.problems.append((entry.place, str(error)))
            return None

    def _found(self, image: object) -> RowImage:
        """The image for what the file holds: bytes, or a name or id to look up."""
        if isinstance(image, Mapping):
            image = image.get("bytes") or image.get("path")
        source: RowImage | None
        if isinstance(image, bytes):
            source = image
        elif self.images is None:
            raise ImageError(f"the file holds only the name {str(image)!r}; say where the images are with images=")
        elif callable(self.images):
            source = self.images(image)
        elif isinstance(self.images, Mapping):
            source = self.images.get(image, self.images.get(str(image)))  # type: ignore[call-overload]
        else:
            source = resolve_inside(Path(self.images), str(image))
        if source is None:
            raise ImageError(f"no image for {str(image)!r}")
        if isinstance(source, str | Path) and not is_file(source):
            raise ImageError(f"no image at {str(source)!r}")
        if self.open_images:
            open_image(source)
        return source


def is_file(path: str | Path) -> bool:
    """Whether a file exists; False for a name that is not valid as one."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def _check_images(draft: DraftRow, entry: Mapping[str, object]) -> None:
    """Raises InputError where an entry speaks of images that its row would not have."""
    texts = [str(text) for text in (draft.chosen, draft.rejected, *(answer for _, answer in draft.history))]
    if any(PLACEHOLDER.search(text) for text in texts):
        raise InputError("an answer holds a placeholder of an image; remove it from the text")
    if draft.images:
        return
    unread = [key for key, value in entry.items() if UNREAD_IMAGE.search(str(key)) and value not in (None, "", [])]
    if unread:
        raise InputError(f"{unread[0]!r} seems to hold an image, which is not read; name its key (image={unread[0]})")
    if any(PLACEHOLDER.search(text) for text in _texts(entry)):
        raise InputError("a text holds a placeholder of an image, but the entry has none; give it under 'images'")


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(inner)


OWN_KEYS = ("image", "images", "prompt", "chosen", "rejected", "completion", "label", "messages", "license")
"""Names of what an entry holds, for `keys`."""


def _checked_keys(keys: Mapping[str, str] | None) -> Mapping[str, str]:
    unknown = sorted(set(keys or ()) - set(OWN_KEYS))
    if unknown:
        raise SettingsError(f"keys must name some of {', '.join(OWN_KEYS)}, got {unknown[0]!r}; correct it")
    return keys or {}


def _under(entry: Mapping[str, Any], key: str) -> object:
    """The value under a key; dots lead into records ("data.question")."""
    value: Any = entry
    for part in [key] if key in entry else key.split("."):
        value = value[part]
    return value


def _keys(value: Mapping[str, object]) -> str:
    return ", ".join(key[:40] for key in sorted(map(str, value))[:8]) or "none"


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
