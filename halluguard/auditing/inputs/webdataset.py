"""Read and write WebDataset: tar files whose members share a name within a sample and differ in suffix.

"0.jpg", "0.txt" and "0.json" are one sample, which is one row. Members are read in memory, one sample at a time, and
never unpacked to disk; links and devices are left out.
"""

from __future__ import annotations

import io
import json
import tarfile
import zlib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from halluguard.auditing.inputs import MAX_ROW, Decision, Item, with_caption
from halluguard.errors import InputError
from halluguard.io import open_binary

NAME = "WebDataset"
ORDER = 15
MAX_MEMBER = 512 * 1024 * 1024
"""Largest member that is read, in bytes."""
_TEXTS = ("txt", "text", "caption", "cap")
_IMAGES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm")
_BROKEN = (tarfile.TarError, EOFError, OSError, zlib.error, ValueError)


def recognises(path: Path, head: bytes) -> bool:
    if path.is_dir():
        return bool(_files(path))
    return head[257:262] == b"ustar" or path.name.endswith((".tar", ".tar.gz", ".tgz"))


def read(path: Path, encoding: str | None = None, columns: Collection[str] | None = None) -> Iterator[Item]:
    """The samples: "__key__", "image" (the member's name), texts by suffix, and the object of a .json under "json"."""
    for file in [path] if path.is_file() else _files(path):
        try:
            for sample in _samples(file):
                yield _item(sample)
        except _BROKEN as error:
            yield Item(
                None, "", f"the tar {file.name!r} cannot be read to its end: {error}; the samples before are good"
            )


def export(path: Path, encoding: str | None, out: BinaryIO, key: str, decisions: Iterable[Decision]) -> None:
    """One tar with the same members, in order, and the text or .json member of each sample rewritten."""
    suffix, _, inner = key.partition(".")
    remaining = iter(decisions)
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for file in [path] if path.is_file() else _files(path):
            try:
                for sample in _samples(file):
                    decision = next(remaining)
                    for member, data in sample if decision.keep else []:
                        if decision.caption is not None and _suffix(member.name) == suffix:
                            data = _rewritten(data, inner, decision.caption)
                            member.size = len(data)
                        tar.addfile(member, io.BytesIO(data))
            except _BROKEN:
                next(remaining)  # the row that says that the tar ends early


def _rewritten(data: bytes, key: str, caption: str) -> bytes:
    if not key:
        return caption.encode()
    return json.dumps(with_caption(json.loads(data), key, caption), ensure_ascii=False).encode()


_Sample = list[tuple[tarfile.TarInfo, bytes]]


def _samples(file: Path) -> Iterator[_Sample]:
    """Runs of members with the same name before the first dot."""
    sample: _Sample = []
    with open_binary(file) as raw, tarfile.open(fileobj=raw, mode="r|") as tar:
        for member in tar:
            if not member.isfile():
                continue
            if sample and _key(sample[0][0].name) != _key(member.name):
                yield sample
                sample = []
            if member.size <= MAX_MEMBER:
                handle = tar.extractfile(member)
                sample.append((member, handle.read() if handle else b""))
    if sample:
        yield sample


def _item(sample: _Sample) -> Item:
    fields: dict[str, Any] = {"__key__": _key(sample[0][0].name)}
    picture = None
    for member, data in sample:
        suffix = _suffix(member.name)
        try:
            if suffix in _IMAGES:
                fields["image"], picture = member.name, data
            elif suffix in (*_TEXTS, "json") and len(data) > MAX_ROW:
                return Item(None, "", f"expected a member of at most {MAX_ROW:,} bytes, got {member.name!r}")
            elif suffix in _TEXTS:
                fields[suffix] = data.decode("utf-8-sig")
            elif suffix == "json":
                fields["json"] = json.loads(data)
        except (ValueError, RecursionError) as error:
            return Item(None, "", f"cannot read {member.name!r}: {error}")
    return Item(fields, image_bytes=picture)


def _key(name: str) -> str:
    folder, slash, base = name.rpartition("/")
    return folder + slash + base.partition(".")[0]


def _suffix(name: str) -> str:
    return name.rpartition("/")[2].partition(".")[2].lower()


def _files(folder: Path) -> list[Path]:
    files = sorted(p for p in folder.iterdir() if p.name.endswith((".tar", ".tar.gz", ".tgz")))
    if not files and not any(folder.iterdir()):
        raise InputError(f"expected captions in {str(folder)!r}, got an empty folder; check the path")
    return files
