"""Keep the results of a run in its folder: a killed run loses no finished part, and two runs never mix.

    OUT/manifest.json           the settings that decide the results; a run is continued only with the same ones
    OUT/parts/part-000017.jsonl finished rows, a fixed number per part, in the order of the input; see `part_lines`
                                (.jsonl.zst, compressed, where the settings say "compact")
    OUT/parts/part-000017.check the expected content: number of the part, rows, first and last index, digest
    OUT/cache.sqlite            the detections, so that no image is searched twice
    OUT/.lock                   locked while a run is at work

A file appears whole or not at all (`halluguard.io.replacing`). A part depends only on its rows, the settings and the
detector, so a run that was killed and continued gives the same bytes as an uninterrupted one. A part that does not pass
its check (cut, emptied, exchanged, edited) is made again. No link inside the folder is followed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from filelock import FileLock, Timeout

from halluguard.auditing.part_lines import index_of, read_row
from halluguard.errors import InputError, OutputError, SettingsError
from halluguard.io import (
    JsonObject,
    file_hash,
    open_text,
    parse_json,
    parsing,
    read_json,
    reading,
    remove_leftovers,
    write_json,
    write_text,
    writing_to,
)

PART = re.compile(r"part-(\d{6,})\.jsonl(?:\.zst)?")
MANIFEST = "manifest.json"
SUMMARY = "summary.json"
"""The file that is written last: where it exists, the run is finished."""
TALLY = "tally.json.zst"
"""File with the sums of a shard; merging adds them up."""
JSON_LINES = ("captions.jsonl", "claims.jsonl", "captions.jsonl.zst", "claims.jsonl.zst")
OUTPUTS = (SUMMARY, "captions.parquet", "claims.parquet", "skipped.jsonl", "report.html", TALLY, *JSON_LINES)


class RunFolder:
    """The folder of one run, locked while it is open.

    Args:
        path: the folder; created if missing.
        manifest: the settings that decide the results, as JSON values.
        force_new: True discards the parts of a run with other settings. The detection cache stays, as its keys are
            exact.

    Raises:
        SettingsError: another run is using this folder, or it holds a run with other settings.
        OutputError: the folder cannot be written.
    """

    def __init__(self, path: Path, manifest: Mapping[str, object], *, force_new: bool = False) -> None:
        self.path = path
        self.parts = path / "parts"
        self.compact = bool(manifest.get("compact"))
        with writing_to(path):
            path.mkdir(parents=True, exist_ok=True)
            _refuse_links(path)
            self._lock = _locked(path)
        try:
            self._claim(json.loads(json.dumps(manifest)), force_new)
        except BaseException:
            self.close()
            raise

    def _claim(self, manifest: JsonObject, force_new: bool) -> None:
        before = read_manifest(self.path)
        if before is not None and before != manifest and not force_new and self._has_results():
            raise SettingsError(
                f"{str(self.path)!r} holds a run with other settings ({_differences(before, manifest)}); use the same "
                "settings to continue it, another folder, or --force-new to discard its results"
            )
        if before is None:
            foreign = [name for name in (*OUTPUTS, "parts") if (self.path / name).exists()]
            if foreign:
                raise SettingsError(
                    f"{str(self.path)!r} holds {', '.join(foreign)}, which no run of halluguard wrote; choose "
                    "another folder with --out"
                )
        with writing_to(self.path):
            if before != manifest:
                shutil.rmtree(self.parts, ignore_errors=True)
                for output in OUTPUTS:
                    (self.path / output).unlink(missing_ok=True)
                write_json(self.path / MANIFEST, manifest)
            self.parts.mkdir(exist_ok=True)
            remove_leftovers(self.path)
            remove_leftovers(self.parts)

    def _has_results(self) -> bool:
        """Whether the folder holds any checked row; without one, the run may be repeated with other settings."""
        return any(_numbered(self.path)) or any((self.path / output).exists() for output in OUTPUTS)

    def part(self, number: int) -> Path:
        return self.parts / f"part-{number:06d}.jsonl{'.zst' if self.compact else ''}"

    def finished(self) -> list[int]:
        """The numbers of the finished parts, in order; a part that does not pass its check is removed."""
        good = []
        for number, part in _numbered(self.path):
            if passes(_read_check(part, number)):
                good.append(number)
            else:
                with writing_to(self.path):
                    part.unlink()
        return good

    def commit(self, number: int, lines: Iterable[str]) -> None:
        """Write part `number` atomically; in an existing part, replace only the rows that are in `lines`."""
        lines = list(lines)
        if self.part(number).exists():
            with open_part(self.part(number)) as file:
                before = list(file)
            anew = {index_of(line): line for line in lines}
            lines = [anew.get(index_of(line), line) for line in before]
            if lines == before:
                return
        write_part(self.part(number), number, lines)

    def close(self) -> None:
        self._lock.release()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_manifest(path: Path) -> JsonObject | None:
    """The manifest of a run folder, or None where there is none."""
    refuse_pipes(path)
    file = path / MANIFEST
    try:
        manifest = parse_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {str(file)!r}: {error}; remove the folder or use another") from error
    if not isinstance(manifest, dict):
        raise InputError(f"expected the settings of a run in {str(file)!r}, got a {type(manifest).__name__}; remove it")
    return manifest


def parts_of(path: Path) -> list[Path]:
    """The finished parts of a run folder, in order."""
    return [part for _, part in _numbered(path)]


def _numbered(path: Path) -> list[tuple[int, Path]]:
    parts = (path / "parts").glob("part-*.jsonl*")
    return sorted((int(match.group(1)), part) for part in parts if (match := PART.fullmatch(part.name)))


def part_lines(path: Path) -> Iterator[str]:
    """The lines of all finished rows of a run folder, in the order of the input; see `part_lines.read_row`."""
    for part in parts_of(path):
        with open_part(part) as file:
            yield from file


def read_parts(path: Path) -> Iterator[JsonObject]:
    """The finished rows of a run folder, in the order of the input, as `pipeline.to_dict` made them."""
    for part in parts_of(path):
        with open_part(part) as file:
            yield from map(read_row, file)


@contextlib.contextmanager
def open_part(part: Path) -> Iterator[TextIO]:
    """Open a part to read its lines.

    Raises:
        InputError: it cannot be read, or the block fails because its lines are not rows.
    """
    content = "the rows of a finished run"
    with reading(part, content), parsing(part, content), open_text(part, "utf-8", newline="\n") as file:
        yield file


def write_part(part: Path, number: int, lines: Sequence[str]) -> None:
    """Write a part and its check."""
    write_text(part, lines)
    first, last = (index_of(lines[0]), index_of(lines[-1])) if lines else (-1, -1)
    check = {"part": number, "rows": len(lines), "first": first, "last": last, "digest": file_hash(part)}
    write_json(_check_file(part), check)


@dataclass(frozen=True)
class PartCheck:
    """A part with its check: number, rows, first and last index, digest of the file."""

    path: Path
    number: int
    rows: int = -1
    first: int = -1
    last: int = -1
    digest: str = ""


def checked_parts(path: Path) -> list[PartCheck]:
    """The parts of a run folder with their checks; the fields of an unreadable check are empty."""
    return [_read_check(part, number) for number, part in _numbered(path)]


def _read_check(part: Path, number: int) -> PartCheck:
    try:
        check = read_json(_check_file(part))
        read = PartCheck(part, check["part"], check["rows"], check["first"], check["last"], check["digest"])
        return read if read.number == number else PartCheck(part, number)
    except (OSError, ValueError, KeyError, TypeError):
        return PartCheck(part, number)


def check_finished(path: Path, rows: int, parts: Sequence[PartCheck], whole: Mapping[Path, bool]) -> None:
    """Check that the parts of a finished run are complete and unchanged.

    Args:
        path: the run folder.
        rows: number of rows according to the summary.
        parts: its parts.
        whole: file of a part -> True if it `passes`.

    Raises:
        InputError: a part is missing or has changed.
    """
    damaged = next((check.number for i, check in enumerate(parts) if check.number != i or not whole[check.path]), None)
    last = -1
    kept = 0
    for check in parts if damaged is None else ():
        kept += check.rows
        if check.first <= last:
            damaged = check.number
        last = check.last
    if damaged is not None or kept != rows:
        where = f"part {damaged} is damaged or missing" if damaged is not None else f"it holds {kept} of {rows} rows"
        raise InputError(f"the audit in {str(path)!r} is not whole: {where}; run its command again")


def _check_file(part: Path) -> Path:
    return part.with_name(part.name.partition(".")[0] + ".check")


def passes(part: PartCheck) -> bool:
    """Whether a part is unchanged since it was written."""
    try:
        return not part.path.is_symlink() and part.digest == file_hash(part.path)
    except OSError:
        return False


def _refuse_links(path: Path) -> None:
    """Refuse links in a run folder: writing through a link could change a file of somebody else."""
    names = (".lock", MANIFEST, "parts", "cache.sqlite", "cache.sqlite-wal", "cache.sqlite-shm")
    links = [name for name in names if (path / name).is_symlink()]
    if links:
        raise OutputError(
            f"expected plain files of a run in {str(path)!r}, got links ({', '.join(links)}); remove them"
        )
    refuse_pipes(path)


def refuse_pipes(path: Path) -> None:
    """Refuse pipes and devices in a run folder, because reading or writing them might never end.

    Raises:
        InputError: there is one, perhaps behind a link.
    """
    for folder in (path, path / "parts"):
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            strange = sorted(entry.name for entry in entries if _is_pipe(entry))
            if strange:
                raise InputError(
                    f"expected files of a run in {str(folder)!r}, got pipes or devices ({', '.join(strange[:3])}); "
                    "remove them"
                )


def _is_pipe(entry: os.DirEntry[str]) -> bool:
    return not entry.is_file() and not entry.is_dir() and os.path.exists(entry)


def _locked(path: Path) -> FileLock:
    """Take the lock of a run folder. The operating system releases it when the process ends, for whatever reason."""
    lock = FileLock(path / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise SettingsError(
            f"another run is at work in {str(path)!r}; wait for it, stop it, or choose another folder with --out"
        ) from error
    return lock


def _differences(before: JsonObject, after: JsonObject) -> str:
    """The settings that differ, with both values, in a few words."""
    keys = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
    return "; ".join(f"{key}: {_short(before.get(key))} then, {_short(after.get(key))} now" for key in keys)


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
