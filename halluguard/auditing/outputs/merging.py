"""Merge the shards of a run: the results of `--shard i/n` on n machines become those of one machine."""

from __future__ import annotations

import heapq
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from halluguard.auditing.run import finish
from halluguard.auditing.run_folder import SUMMARY, RunFolder, check_finished, parts_of, read_manifest
from halluguard.errors import InputError, SettingsError
from halluguard.io import JsonObject, parsing, read_json


def merge_shards(shards: Sequence[Path], out: Path, *, force_new: bool = False) -> JsonObject:
    """Merge finished shards into the folder `out`.

    Parts, tables and summary are byte for byte those of a run without shards.

    Args:
        shards: the run folders of all n shards, in any order.
        out: another folder.
        force_new: discard another run in `out`.

    Returns:
        The summary.

    Raises:
        InputError: a folder holds no run, or one that is not finished.
        SettingsError: the shards are not of one run, or not all of it.
    """
    manifest = _common_manifest(shards)
    if out.resolve() in {shard.resolve() for shard in shards}:
        raise SettingsError(f"the merged run needs a folder of its own, got one of the shards: {str(out)!r}")
    with RunFolder(out, manifest, force_new=force_new) as folder:
        lines = _in_order(heapq.merge(*map(_indexed_lines, shards), key=lambda pair: pair[0]))
        for number in itertools.count():
            part = list(itertools.islice(lines, manifest["part_rows"]))
            if not part:
                break
            folder.commit(number, part)
        return finish(out, manifest)


def _common_manifest(shards: Sequence[Path]) -> JsonObject:
    """The manifest of the whole run."""
    folders: dict[int, Path] = {}
    whole: JsonObject = {}
    count = 0
    for shard in shards:
        manifest = read_manifest(shard)
        if manifest is None or "selection" not in manifest:
            raise InputError(f"no audit in {str(shard)!r}; name the folders given to --out of each shard")
        if not (shard / SUMMARY).exists():
            raise InputError(f"the audit in {str(shard)!r} is not finished; run its command again, then merge")
        with parsing(shard, "a finished audit"):
            i, n = manifest["selection"]["shard"]
            manifest["selection"]["shard"] = [0, 1]
            check_finished(shard, read_json(shard / SUMMARY)["rows"])
        if whole and (manifest != whole or n != count):
            different = sorted(key for key in manifest if manifest[key] != whole.get(key)) or ["number of shards"]
            raise SettingsError(f"the shards are not of one run: {str(shard)!r} differs in {', '.join(different)}")
        if i in folders:
            raise SettingsError(f"shard {i + 1}/{n} is given twice: {str(folders[i])!r} and {str(shard)!r}")
        folders[i], whole, count = shard, manifest, n
    missing = [f"{i + 1}/{count}" for i in range(count) if i not in folders]
    if missing or not folders:
        raise SettingsError(f"expected all shards of a run, missing {', '.join(missing) or 'all'}; name them too")
    return whole


def _in_order(lines: Iterable[tuple[int, str]]) -> Iterator[str]:
    last = -1
    for index, line in lines:
        if index <= last:
            raise InputError(f"row {index} stands in more than one shard; run the shards' commands again")
        last = index
        yield line


def _indexed_lines(shard: Path) -> Iterator[tuple[int, str]]:
    for part in parts_of(shard):
        with part.open(encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)["index"], line
