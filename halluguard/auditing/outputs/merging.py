"""Shards put together: what `--shard i/n` gave on n machines becomes the run that one machine would have made."""

from __future__ import annotations

import heapq
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from halluguard.auditing.run import finish
from halluguard.auditing.run_folder import SUMMARY, RunFolder, parts_of, read_manifest
from halluguard.errors import InputError, SettingsError


def merge(shards: Sequence[Path], out: Path, *, force_new: bool = False) -> dict[str, Any]:
    """Merge finished shards into the folder `out`; the summary comes back.

    Parts, tables and summary are byte for byte those of an unsharded run.

    Args:
        shards: the run folders of all n shards, in any order.
        out: another folder.
        force_new: throw away another run in `out`.

    Raises:
        InputError: a folder holds no run, or one that is not finished.
        SettingsError: the shards are not of one run, or not all of it.
    """
    manifest = _common(shards)
    if out.resolve() in {shard.resolve() for shard in shards}:
        raise SettingsError(f"the merged run needs a folder of its own, got one of the shards: {str(out)!r}")
    with RunFolder(out, manifest, force_new=force_new) as folder:
        lines = (line for _, line in heapq.merge(*map(_indexed, shards), key=lambda entry: entry[0]))
        for number in itertools.count():
            part = list(itertools.islice(lines, manifest["part_rows"]))
            if not part:
                break
            folder.commit(number, part)
        return finish(out, manifest)


def _common(shards: Sequence[Path]) -> dict[str, Any]:
    """The manifest of the whole run."""
    found: dict[int, Path] = {}
    whole: dict[str, Any] = {}
    count = 0
    for shard in shards:
        manifest = read_manifest(shard)
        if manifest is None or "selection" not in manifest:
            raise InputError(f"no audit in {str(shard)!r}; name the folders given to --out of each shard")
        if not (shard / SUMMARY).exists():
            raise InputError(f"the audit in {str(shard)!r} is not finished; run its command again, then merge")
        i, n = manifest["selection"]["shard"]
        manifest["selection"]["shard"] = [0, 1]
        if whole and (manifest != whole or n != count):
            different = sorted(key for key in manifest if manifest[key] != whole.get(key)) or ["number of shards"]
            raise SettingsError(f"the shards are not of one run: {str(shard)!r} differs in {', '.join(different)}")
        if i in found:
            raise SettingsError(f"shard {i + 1}/{n} is given twice: {str(found[i])!r} and {str(shard)!r}")
        found[i], whole, count = shard, manifest, n
    missing = [f"{i + 1}/{count}" for i in range(count) if i not in found]
    if missing or not found:
        raise SettingsError(f"expected all shards of a run, missing {', '.join(missing) or 'all'}; name them too")
    return whole


def _indexed(shard: Path) -> Iterator[tuple[int, str]]:
    for part in parts_of(shard):
        with part.open(encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)["index"], line
