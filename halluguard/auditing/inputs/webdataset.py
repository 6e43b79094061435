"""Read and write WebDataset: tar files whose members share a name within a sample and differ in suffix.

"0.jpg", "0.txt" and "0.json" are one sample, which is one row. As in the `webdataset` library, names that begin with a
dot ("._0.jpg", which macOS adds) or have no suffix belong to no sample. Nothing is unpacked to disk; links, devices and
sparse files are left out.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from halluguard.auditing.fields import with_texts
from halluguard.auditing.inputs import MAX_ROW, MAX_ROW_WITH_IMAGE, Decision, Item, load_json
from halluguard.errors import InputError
from halluguard.io import json_line, open_binary

NAME = "WebDataset"
ORDER = 15
_MEMBER = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]*)", re.DOTALL)
_TEXTS = ("txt", "text", "caption", "cap")
_IMAGES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm")
_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.zst")
_BROKEN = (tarfile.TarError, EOFError, OSError, zlib.error, ValueError)
_MAX_HEADER = 1 << 20  # most bytes of a long name, or of a member's attributes


def recognises(path: Path, head: bytes) -> bool:
    if path.is_dir():
        return bool(_files(path))
    return head[257:262] == b"ustar" or path.name.endswith(_ENDINGS)


def read(path: Path, encoding: str | None = None, columns: Collection[str] | None = None) -> Iterator[Item]:
    """Yield samples: "__key__", "image" (name of a member), texts by suffix, and the object of a .json under "json"."""
    for file in [path] if path.is_file() else _files(path):
        sample: _Sample | None = None
        problem = ""
        try:
            with open_binary(file) as raw, _open_tar(raw) as tar:
                for member, key, suffix in _members(tar):
                    if sample is None or sample.key != key:
                        if sample is not None:
                            yield sample.item()
                        sample = _Sample(key)
                    sample.add(tar, member, suffix)
        except _BROKEN as error:
            problem = f"the tar {file.name!r} cannot be read to its end: {error}; the samples before the fault are good"
        if problem:
            yield Item(None, "", problem)
        elif sample is not None:
            yield sample.item()


def export(path: Path, encoding: str | None, out: BinaryIO, key: str, decisions: Iterable[Decision]) -> None:
    """Write one tar with the same members in order, and with the new text or .json member of each sample."""
    text_suffix = key.partition(".")[0]
    remaining = iter(decisions)
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as target:
        for file in [path] if path.is_file() else _files(path):
            sample, decision = "", None
            try:
                with open_binary(file) as raw, _open_tar(raw) as tar:
                    for member, sample_key, suffix in _members(tar):
                        if decision is None or sample != sample_key:
                            sample, decision = sample_key, next(remaining)
                        texts = decision.texts(key) if suffix == text_suffix else {}
                        if decision.keep and texts:
                            data = _with_texts(_contents(tar, member), suffix, texts)
                            member.size = len(data)
                            target.addfile(member, io.BytesIO(data))
                        elif decision.keep:
                            _copy(tar, member, target)
            except _HalfCopiedError:
                raise
            except _BROKEN:
                if decision is None:
                    next(remaining)  # the decision on the row that reports the early end


def _with_texts(data: bytes, suffix: str, texts: Mapping[str, str]) -> bytes:
    """The data of a member with new texts, whose keys begin with the member's suffix."""
    if suffix in texts:
        return texts[suffix].encode()
    inner = {key.removeprefix(f"{suffix}."): text for key, text in texts.items()}
    return json_line(with_texts(json.loads(data), inner)).rstrip("\n").encode()


def _copy(tar: tarfile.TarFile, member: tarfile.TarInfo, target: tarfile.TarFile) -> None:
    """Copy a member. A small one is read into memory first, because half a member would damage the target."""
    if member.size <= MAX_ROW_WITH_IMAGE:
        target.addfile(member, io.BytesIO(_contents(tar, member)))
        return
    try:
        target.addfile(member, tar.extractfile(member))
    except _BROKEN as error:
        raise _HalfCopiedError(
            f"cannot copy {member.name!r} of {member.size:,} bytes: {error}; check the tar"
        ) from error


class _HalfCopiedError(InputError):
    """A large member ends early, so that the target is damaged."""


@dataclass
class _Sample:
    """A sample while its members are read.

    Args:
        key: the name that its members share.
        fields: see `read`.
        image: the bytes of its image.
        names: the members so far.
        size: bytes of the sample in memory.
        problem: reason why it cannot be read.
    """

    key: str
    fields: dict[str, Any] = field(default_factory=dict)
    image: bytes | None = None
    names: set[str] = field(default_factory=set)
    size: int = 0
    problem: str = ""

    def add(self, tar: tarfile.TarFile, member: tarfile.TarInfo, suffix: str) -> None:
        if member.name in self.names:
            self.problem = f"the member {member.name!r} occurs twice in one sample"
        self.names.add(member.name)
        is_image, is_text = suffix in _IMAGES, suffix in _TEXTS
        if self.problem or not (is_image or is_text or suffix == "json"):
            return
        limit = MAX_ROW_WITH_IMAGE if is_image else MAX_ROW
        if member.size > limit or self.size + member.size > MAX_ROW_WITH_IMAGE:
            self.problem = f"expected a member of at most {limit:,} bytes, got {member.name!r} with {member.size:,}"
            return
        data = _contents(tar, member)
        self.size += len(data)
        if is_image:
            self.fields["image"], self.image = member.name, data
            return
        try:
            self.fields[suffix] = data.decode("utf-8-sig") if is_text else load_json(data.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            self.problem = f"cannot read {member.name!r}: {error}"

    def item(self) -> Item:
        if self.problem:
            return Item(None, "", self.problem)
        return Item({"__key__": self.key, **self.fields}, image_bytes=self.image)


def _contents(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    handle = tar.extractfile(member)
    data = handle.read() if handle else b""
    if len(data) < member.size:
        raise tarfile.ReadError("unexpected end of data")
    return data


def _members(tar: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, str, str]]:
    """Yield (member, key of its sample, suffix) of the regular files that belong to a sample."""
    for member in tar:
        tar.members = []  # type: ignore[attr-defined]  # which would hold every header of the file
        name = _MEMBER.fullmatch(member.name)
        if name and member.isreg() and not member.issparse():
            yield member, name[1], name[2].lower()


class _Member(tarfile.TarInfo):
    """A tar header whose long name and attributes are limited, because they are read into memory."""

    def _proc_member(self, tar: tarfile.TarFile) -> Any:
        if self.size > _MAX_HEADER and not (self.isreg() or self.issparse()):
            raise tarfile.ReadError(f"a header of {self.size:,} bytes")
        return super()._proc_member(tar)  # type: ignore[misc]


class _Ending:
    """A stream that can be read past its end only a few times: tarfile would search a missing terabyte for hours."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw, self._empty = raw, 0

    def read(self, size: int) -> bytes:
        data = self._raw.read(size)
        self._empty += not data
        if self._empty > 100:
            raise tarfile.ReadError("unexpected end of data")
        return data


def _open_tar(raw: BinaryIO) -> tarfile.TarFile:
    ending: Any = _Ending(raw)
    return tarfile.open(fileobj=ending, mode="r|", tarinfo=_Member)


def _files(folder: Path) -> list[Path]:
    files = sorted(p for p in folder.iterdir() if p.name.endswith(_ENDINGS))
    if not files and not any(folder.iterdir()):
        raise InputError(f"expected captions in {str(folder)!r}, got an empty folder; check the path")
    return files
