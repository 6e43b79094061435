"""The run folder: what makes a run survive a crash, and keeps two runs apart.

    OUT/manifest.json           the settings that decide the results; another run may continue only with the same
    OUT/parts/part-000017.jsonl finished rows, a fixed number a part, in the order of the input
    OUT/cache.sqlite            what the expert found, so that no picture is looked at twice
    OUT/.lock                   held while a run is at work

A file appears whole or not at all: it is written under another name, synced to disk and renamed. A part depends on its
rows, the settings and the expert alone, so a run that was killed and continued gives the bytes of one that was not.
"""

from __future__ import annotations

import fcntl
import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from halluguard.errors import InputError, SettingsError
from halluguard.io import remove_leftovers, write_json, write_text, writing_to

PART = re.compile(r"part-(\d{6,})\.jsonl")
SUMMARY = "summary.json"
"""Written last: where it stands, the run is finished."""
OUTPUTS = (
    *(SUMMARY, "captions.jsonl", "captions.parquet", "claims.jsonl", "claims.parquet", "skipped.jsonl"),
    "report.html",
)


class RunFolder:
    """One run's folder, locked while it is open.

    Args:
        path: created when missing.
        manifest: the settings that decide the results, as JSON values.
        force_new: throw away the parts of a run with other settings; the detection cache is kept, its keys are exact.

    Raises:
        SettingsError: another run is at work here, or this folder holds a run with other settings.
        OutputError: the folder cannot be written.
    """

    def __init__(self, path: Path, manifest: Mapping[str, Any], *, force_new: bool = False) -> None:
        self.path = path
        self.parts = path / "parts"
        with writing_to(path):
            path.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(path)
        try:
            self._claim(json.loads(json.dumps(manifest)), force_new)
        except BaseException:
            self.close()
            raise

    def _claim(self, manifest: dict[str, Any], force_new: bool) -> None:
        before = read_manifest(self.path)
        if before is not None and before != manifest and not force_new:
            raise SettingsError(
                f"{str(self.path)!r} holds a run with other settings ({_differences(before, manifest)}); use the same "
                "settings to continue it, another folder, or --force-new to throw its results away"
            )
        with writing_to(self.path):
            if before != manifest:
                shutil.rmtree(self.parts, ignore_errors=True)
                for output in OUTPUTS:
                    (self.path / output).unlink(missing_ok=True)
                write_json(self.path / "manifest.json", manifest)
            self.parts.mkdir(exist_ok=True)
            remove_leftovers(self.path)
            remove_leftovers(self.parts)

    def part(self, number: int) -> Path:
        return self.parts / f"part-{number:06d}.jsonl"

    def done(self, number: int) -> bool:
        return self.part(number).exists()

    def finished(self) -> list[int]:
        """The numbers of the finished parts, in order."""
        return [number for number, _ in _numbered(self.path)]

    def commit(self, number: int, lines: Iterable[str]) -> None:
        """Write part `number`, whole or not at all; where it stands already, replace the rows that `lines` has."""
        lines = list(lines)
        if self.done(number):
            with self.part(number).open(encoding="utf-8") as file:
                before = list(file)
            anew = {json.loads(line)["index"]: line for line in lines}
            lines = [anew.get(json.loads(line)["index"], line) for line in before]
            if lines == before:
                return
        write_text(self.part(number), lines)

    def close(self) -> None:
        self._lock.close()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_manifest(path: Path) -> dict[str, Any] | None:
    """The manifest of a run folder, or None where there is none."""
    file = path / "manifest.json"
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {str(file)!r}: {error}; remove the folder or use another") from error
    return found


def parts_of(path: Path) -> list[Path]:
    """The finished parts of a run folder, in order."""
    return [part for _, part in _numbered(path)]


def _numbered(path: Path) -> list[tuple[int, Path]]:
    found = (path / "parts").glob("part-*.jsonl")
    return sorted((int(match.group(1)), part) for part in found if (match := PART.fullmatch(part.name)))


def read_parts(path: Path, then: Callable[[dict[str, Any]], Any] = dict) -> Iterator[Any]:
    """The finished rows of a run folder, in the order of the input."""
    for part in parts_of(path):
        with part.open(encoding="utf-8") as file:
            for line in file:
                yield then(json.loads(line))


def _locked(path: Path) -> IO[str]:
    """The open lock file. The kernel lets go of the lock when the process ends, however it ends."""
    lock = (path / ".lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise SettingsError(
            f"another run is at work in {str(path)!r}; wait for it, stop it, or choose another folder with --out"
        ) from error
    return lock


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Which settings differ, and how, in a few words."""
    keys = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
    return "; ".join(f"{key}: {_short(before.get(key))} then, {_short(after.get(key))} now" for key in keys)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
