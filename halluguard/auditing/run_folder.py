"""The run folder: keeps what is finished when a run is killed, and keeps two runs apart.

    OUT/manifest.json           the settings that decide the results; a run is continued only with the same ones
    OUT/parts/part-000017.jsonl finished rows, a fixed number per part, in the order of the input
    OUT/parts/part-000017.check what the part must hold: its number, rows, first and last index, digest
    OUT/cache.sqlite            the detections, so that no image is searched twice
    OUT/.lock                   held while a run is at work

A file appears whole or not at all (`halluguard.io.replacing`). A part depends on its rows, the settings and the
detector alone, so a run that was killed and continued gives the bytes of one that was not. A part that does not pass
its check (cut, emptied, exchanged, edited) is made again. No link inside the folder is followed.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from filelock import FileLock, Timeout

from halluguard.errors import InputError, OutputError, SettingsError
from halluguard.io import (
    JsonObject,
    file_hash,
    parse_json,
    read_json,
    remove_leftovers,
    write_json,
    write_text,
    writing_to,
)

PART = re.compile(r"part-(\d{6,})\.jsonl")
MANIFEST = "manifest.json"
SUMMARY = "summary.json"
"""Written last: where it stands, the run is finished."""
OUTPUTS = (
    *(SUMMARY, "captions.jsonl", "captions.parquet", "claims.jsonl", "claims.parquet", "skipped.jsonl"),
    "report.html",
)


class RunFolder:
    """The folder of one run, locked while it is open.

    Args:
        path: the folder; created if missing.
        manifest: the settings that decide the results, as JSON values.
        force_new: throw away the parts of a run with other settings. The detection cache is kept: its keys are exact.

    Raises:
        SettingsError: another run is using this folder, or it holds a run with other settings.
        OutputError: the folder cannot be written.
    """

    def __init__(self, path: Path, manifest: Mapping[str, object], *, force_new: bool = False) -> None:
        self.path = path
        self.parts = path / "parts"
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
                "settings to continue it, another folder, or --force-new to throw its results away"
            )
        if before is None:
            foreign = [name for name in (*OUTPUTS, "parts") if (self.path / name).exists()]
            if foreign:
                raise SettingsError(
                    f"{str(self.path)!r} holds {', '.join(foreign)}, which no run of halluguard wrote there; choose "
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
        """Whether the folder holds any checked row; a run without one may be repeated with other settings."""
        return any(_numbered(self.path)) or any((self.path / output).exists() for output in OUTPUTS)

    def part(self, number: int) -> Path:
        return self.parts / f"part-{number:06d}.jsonl"

    def finished(self) -> list[int]:
        """The numbers of the finished parts, in order; a part that does not pass its check is removed."""
        good = []
        for number, part in _numbered(self.path):
            if _passes(part, number):
                good.append(number)
            else:
                with writing_to(self.path):
                    part.unlink()
        return good

    def commit(self, number: int, lines: Iterable[str]) -> None:
        """Write part `number` atomically; in an existing part, replace only the rows that are in `lines`."""
        lines = list(lines)
        if self.part(number).exists():
            with self.part(number).open(encoding="utf-8") as file:
                before = list(file)
            anew = {json.loads(line)["index"]: line for line in lines}
            lines = [anew.get(json.loads(line)["index"], line) for line in before]
            if lines == before:
                return
        write_text(self.part(number), lines)
        write_json(_check_file(self.part(number)), _check(self.part(number), number))

    def close(self) -> None:
        self._lock.release()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_manifest(path: Path) -> JsonObject | None:
    """The manifest of a run folder, or None where there is none."""
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
    parts = (path / "parts").glob("part-*.jsonl")
    return sorted((int(match.group(1)), part) for part in parts if (match := PART.fullmatch(part.name)))


def read_parts(path: Path) -> Iterator[JsonObject]:
    """The finished rows of a run folder, in the order of the input."""
    for part in parts_of(path):
        with part.open(encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)


def check_finished(path: Path, rows: int) -> None:
    """Check that the parts of a finished run are whole.

    Args:
        path: the run folder.
        rows: number of rows by its summary.

    Raises:
        InputError: a part is missing, or is not as the run wrote it.
    """
    parts = _numbered(path)
    damaged = next((number for i, (number, part) in enumerate(parts) if number != i or not _passes(part, number)), None)
    last = -1
    kept = 0
    for number, part in parts if damaged is None else ():
        check = read_json(_check_file(part))
        kept += check["rows"]
        if check["first"] <= last:
            damaged = number
        last = check["last"]
    if damaged is not None or kept != rows:
        where = f"part {damaged} is damaged or missing" if damaged is not None else f"it holds {kept} of {rows} rows"
        raise InputError(f"the audit in {str(path)!r} is not whole: {where}; run its command again")


def _check_file(part: Path) -> Path:
    return part.with_suffix(".check")


def _check(part: Path, number: int) -> JsonObject:
    """What a part holds."""
    first, last, rows = -1, -1, 0
    with part.open(encoding="utf-8") as file:
        for rows, line in enumerate(file, start=1):
            last = json.loads(line)["index"]
            first = last if rows == 1 else first
    return {"part": number, "rows": rows, "first": first, "last": last, "digest": file_hash(part)}


def _passes(part: Path, number: int) -> bool:
    """Whether a part is as it was written."""
    try:
        return not part.is_symlink() and read_json(_check_file(part)) == _check(part, number)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _refuse_links(path: Path) -> None:
    """A link in a run folder could lead what is written to a file of somebody else."""
    names = (".lock", MANIFEST, "parts", "cache.sqlite", "cache.sqlite-wal", "cache.sqlite-shm")
    links = [name for name in names if (path / name).is_symlink()]
    if links:
        raise OutputError(f"expected files of a run in {str(path)!r}, got links ({', '.join(links)}); remove them")


def _locked(path: Path) -> FileLock:
    """The lock, held. The operating system releases it when the process ends, however it ends."""
    lock = FileLock(path / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise SettingsError(
            f"another run is at work in {str(path)!r}; wait for it, stop it, or choose another folder with --out"
        ) from error
    return lock


def _differences(before: JsonObject, after: JsonObject) -> str:
    """Which settings differ, and how, in a few words."""
    keys = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
    return "; ".join(f"{key}: {_short(before.get(key))} then, {_short(after.get(key))} now" for key in keys)


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
