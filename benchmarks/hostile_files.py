"""Make files that exhaust a reader: rows, tables, archives and images. `bombs.py` gives them to every command."""

from __future__ import annotations

import gzip
import io
import itertools
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

MEGABYTE = 1_000_000
SIDE = 9990
"""Side of a square image just under the limit of 100 megapixels."""
_ROW = b'{"image":"a.png","caption":"'
Make = Callable[[Path], object]


def _bytes(*pieces: bytes | Iterable[bytes], packed: bool = False) -> Make:
    """A maker of a file of these pieces, packed by gzip if asked."""

    def make(path: Path) -> None:
        opened = gzip.open(path, "wb", compresslevel=1) if packed else path.open("wb")  # noqa: SIM115
        with cast(IO[bytes], opened) as file:
            for piece in pieces:
                file.writelines([piece] if isinstance(piece, bytes) else piece)

    return make


def _repeated(piece: bytes, times: int) -> Iterable[bytes]:
    return itertools.repeat(piece, times)


def _filled(start: bytes, megabytes: int, end: bytes, byte: bytes = b"x", packed: bool = False) -> Make:
    return _bytes(start, _repeated(byte * MEGABYTE, megabytes), end, packed=packed)


def _many_keys() -> Iterator[bytes]:
    for start in range(0, 1_200_000, 100_000):
        yield b"".join(b',"%d":0' % number for number in range(start, start + 100_000))


def _random_hex() -> Iterator[bytes]:
    for _ in range(125):
        yield os.urandom(MEGABYTE).hex().encode()


def _add(tar: tarfile.TarFile, name: str, content: IO[bytes], size: int) -> None:
    member = tarfile.TarInfo(name)
    member.size = size
    tar.addfile(member, content)


class _Zeros(io.RawIOBase):
    def read(self, size: int = -1) -> bytes:
        return bytes(size)


def _tar(path: Path) -> None:
    """Large members of rows, and one that claims a terabyte."""
    contents = {
        "0.txt": b"A dog.",
        "0.png": b"x",
        "1.txt": b"x" * 150 * MEGABYTE,
        "2.json": b"[" * 20 * MEGABYTE,
        "3.png": b"x" * 200 * MEGABYTE,
    }
    with tarfile.open(path, "w") as tar:
        for name, content in contents.items():
            _add(tar, name, io.BytesIO(content), len(content))
        endless = tarfile.TarInfo("4.txt")
        endless.size = 10**12
        cast(IO[bytes], tar.fileobj).write(endless.tobuf())


def _packed_tar(path: Path) -> None:
    """18 MB that unpack to 4 GiB of members nobody reads."""
    with gzip.open(path, "wb", compresslevel=1) as packed, tarfile.open(fileobj=packed, mode="w|") as tar:
        for number in range(4):
            _add(tar, f"{number}.bin", cast(IO[bytes], _Zeros()), 1 << 30)
        _add(tar, "9.txt", io.BytesIO(b"A dog."), 6)


def _tar_of_many(path: Path) -> None:
    with gzip.open(path, "wb", compresslevel=1) as packed, tarfile.open(fileobj=packed, mode="w|") as tar:
        for number in range(300_000):
            _add(tar, f"{number}.bin", io.BytesIO(), 0)


def _workbook(path: Path) -> None:
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book,
        book.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as sheet,
    ):
        for _ in range(2000):
            sheet.write(b"<" * MEGABYTE)


def _large_text() -> str:
    return "x" * (15 * MEGABYTE)


def _dictionary(rows: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([_large_text()]))


def _parquet(table: Callable[[], pa.Table], dictionary: bool = True) -> Make:
    return lambda path: pq.write_table(table(), path, compression="zstd", use_dictionary=dictionary)


def _arrow(table: Callable[[], pa.Table], codec: str, stream: bool = False) -> Make:
    def make(path: Path) -> None:
        opened = pa.ipc.new_stream if stream else pa.ipc.new_file
        content = table()
        with opened(str(path), content.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
            writer.write_table(content)

    return make


def _texts(rows: int = 100) -> pa.Table:
    return pa.table({"image": ["a.png"] * rows, "caption": [_large_text()] * rows})


def _wide_table() -> pa.Table:
    return pa.table({"image": ["a.png"], "caption": ["A dog."], **{f"c{i}": [0] for i in range(20_000)}})


def _long_list() -> pa.Table:
    numbers = pa.array([[0] * 60_000_000], pa.list_(pa.int8()))
    return pa.table({"image": ["a.png"], "caption": ["A dog."], "x": numbers})


_ALIASES = "a0: &a0 [x,x,x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1},*a{i - 1}]\n" for i in range(1, 60))

FILES: dict[str, Make] = {
    "line200.jsonl": _filled(_ROW, 200, b'"}\n'),
    "line200.csv": _filled(b'image,caption\na.png,"', 200, b'"\n'),
    "line200.json": _filled(b"[" + _ROW, 200, b'"}]\n'),
    "quotes.json": _filled(b"[" + _ROW, 60, b'"}]\n', b'\\"'),
    "quotes200.csv": _filled(b'image,caption\na.png,"', 200, b"", b'"'),
    "oneline200.txt": _filled(b"", 200, b""),
    "gz3.jsonl.gz": _filled(_ROW, 3000, b'"}\n', packed=True),
    "gz3.csv.gz": _filled(b'image,caption\na.png,"', 3000, b'"\n', packed=True),
    "gz3.json.gz": _filled(b"[" + _ROW, 3000, b'"}]\n', packed=True),
    "brackets.json": _filled(b"", 100, b"", b"["),
    "braces.json": _bytes(_repeated(b'{"a":' * 200_000, 100)),
    "arr.json": _bytes(b"[" + _ROW + b'A dog.","x":[', _repeated(b"[]," * 333_333, 60), b"0]}]"),
    "concat.json": _bytes(_repeated(_ROW + b'\\"' * 1000 + b'"}\n\n', 2000)),
    "concatquad.json": _bytes(_repeated(b'{"' * 500_000, 60)),
    "emptyobjs.json": _bytes(b"[", b"{}," * 50_000, b"{}]"),
    "wide.csv": _bytes(b"image,caption,", _repeated(b"a," * 500_000, 15), b"z\na.png,A dog.\n"),
    "wide2.csv": _filled(b"image,caption\na.png,A dog.", 100, b"\n", b","),
    "manycells.csv": _bytes(b"image,caption\n", b"a.png,\n" * 50_000),
    "nl.jsonl": _filled(b"", 300, b"", b"\n"),
    "obj.jsonl": _bytes(b"{}\n" * 50_000),
    "numbers.jsonl": _filled(_ROW + b'A dog.","n":', 15, b"}\n", b"9"),
    "keys.jsonl": _bytes(_ROW + b'A dog."', _many_keys(), b"}\n"),
    "gap.jsonl": _filled(_ROW + b'A dog."}\n', 300, b"", b"\n"),
    "gap.csv": _filled(b"image,caption,phrase,present\na.png,A dog.,dog,yes\n", 300, b"", b"\n"),
    "emoji.jsonl": _filled(_ROW, 200, '🐕"}\n'.encode()),
    "emoji.csv": _filled(b'image,caption\na.png,"', 200, '🐕"\n'.encode()),
    "emojigz.json.gz": _bytes(b"[" + _ROW, _random_hex(), '🐕"}]'.encode(), packed=True),
    "x.xml": _bytes(b"<annotations>", _repeated(b"<a/>" * 250_000, 60), b"</annotations>"),
    "flow.yaml": _bytes(b"out: [", _repeated(b"a, " * 300_000, 20), b"]"),
    "x.yaml": _bytes(_ALIASES.encode()),
    "truncated.jsonl.gz": lambda path: path.write_bytes(gzip.compress((_ROW + b'A dog."}\n') * 5000)[:-40]),
    "bomb.tar": _tar,
    "bomb.tar.gz": _packed_tar,
    "members.tar.gz": _tar_of_many,
    "bigcells.parquet": _parquet(_texts, dictionary=False),
    "dict.parquet": _parquet(lambda: pa.table({"image": ["a.png"] * 1000, "caption": _dictionary(1000)})),
    "nulls.parquet": _parquet(lambda: pa.table({name: pa.nulls(50_000, pa.string()) for name in ("image", "caption")})),
    "lists.parquet": _parquet(_long_list),
    "widecols.parquet": _parquet(_wide_table),
    "zstd.arrow": _arrow(_texts, "zstd"),
    "lz4.arrow": _arrow(_texts, "lz4"),
    "zstdstream.arrow": _arrow(_texts, "zstd", stream=True),
    "dictzstd.arrow": _arrow(lambda: pa.table({"image": ["a.png"] * 100, "caption": _dictionary(100)}), "zstd"),
    "bomb.xlsx": _workbook,
}
"""Makers of files of rows, by the file's name."""


def _image(mode: str, size: tuple[int, int] = (SIDE, SIDE), turned: bool = False, **options: Any) -> Make:
    def make(path: Path) -> None:
        exif = Image.Exif()
        if turned:
            exif[0x112] = 6  # a quarter turn
        Image.new(mode, size).save(path, **options, **cast(dict[str, Any], {"exif": exif} if turned else {}))

    return make


def _noise(path: Path) -> None:
    Image.frombytes("L", (SIDE, SIDE), os.urandom(SIDE * SIDE)).convert("RGB").save(path, quality=60)


def _frames(mode: str, count: int, **options: Any) -> Make:
    size = (3000, 3000)
    shades = [number if mode == "P" else (number,) * 3 for number in range(count)]

    def make(path: Path) -> None:
        frames = [Image.new(mode, size, cast(int, shade)) for shade in shades]
        frames[0].save(path, save_all=True, append_images=frames[1:], **options)

    return make


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _deflated(size: int) -> bytes:
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(MEGABYTE)) for _ in range(size // MEGABYTE + 1)) + packer.flush()


def _png(side: int, depth: int, kind: int, *chunks: tuple[bytes, bytes, int], interlaced: bool = False) -> Make:
    """A PNG of these chunks: name, content before, and bytes of zeros that are packed behind it."""

    def make(path: Path) -> None:
        head = struct.pack(">IIBBBBB", side, side, depth, kind, 0, 0, interlaced)
        with path.open("wb") as file:
            file.write(b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head))
            for name, content, size in chunks:
                file.write(_chunk(name, content + (_deflated(size) if size else b"")))
            file.write(_chunk(b"IEND", b""))

    return make


def _prefixed(kind: str, after: int, piece: bytes, times: int) -> Make:
    """An image of 100 x 100 whose first `after` bytes are followed by this piece so many times."""

    def make(path: Path) -> None:
        Image.new("P" if kind == "GIF" else "RGB", (100, 100)).save(path, kind)
        data = path.read_bytes()
        _bytes(data[:after], _repeated(piece, times), data[after:])(path)

    return make


_SMALL = (b"IDAT", b"", 30_100)
IMAGES: dict[str, Make] = {
    "rgb.png": _image("RGB", compress_level=1),
    "rgba.png": _image("RGBA", compress_level=1),
    "la.png": _image("LA", compress_level=1),
    "palpha.png": _image("P", compress_level=1, transparency=0),
    "one.png": _image("1"),
    "i16.png": _image("I;16", compress_level=1),
    "rgb16.png": _png(SIDE, 16, 2, (b"IDAT", b"", SIDE * (SIDE * 6 + 1))),
    "rgba16.png": _png(SIDE, 16, 6, (b"IDAT", b"", SIDE * (SIDE * 8 + 1))),
    "interlaced.png": _png(SIDE, 8, 6, (b"IDAT", b"", SIDE * SIDE * 4 + 40_000), interlaced=True),
    "rotated.png": _image("RGBA", (16_000, 6200), turned=True, compress_level=1),
    "strip.png": _image("RGB", (9_900_000, 10), compress_level=1),
    "a.jpg": _image("RGB"),
    "noise.jpg": _noise,
    "progressive.jpg": _image("RGB", progressive=True),
    "rotated.jpg": _image("RGB", (16_000, 6200), turned=True),
    "cmyk.jpg": _image("CMYK"),
    "a.webp": _image("RGB", (16_000, 6200), lossless=True, method=0, quality=0),
    "rgba.webp": _image("RGBA", (16_000, 6200), lossless=True, method=0, quality=0),
    "p.gif": _image("P"),
    "frames.gif": _frames("P", 60),
    "frames.webp": _frames("RGB", 30, method=0),
    "a.tif": _image("RGB", compression="tiff_deflate"),
    "i.tif": _image("I", compression="tiff_deflate"),
    "f.tif": _image("F", compression="tiff_deflate"),
    "lab.tif": _image("LAB", compression="tiff_deflate"),
    "ycck.tif": _image("YCbCr", compression="tiff_deflate"),
    "a.ppm": _bytes(b"P6 9990 9990 255\n", _repeated(bytes(SIDE * 3), SIDE)),
    "plain.ppm": _bytes(b"P3 4000 4000 255\n", _repeated(b"0 " * MEGABYTE, 48)),
    "ztxt.png": _png(100, 8, 2, (b"zTXt", b"a\0\0", 1000 * MEGABYTE), _SMALL),
    "iccp.png": _png(100, 8, 2, (b"iCCP", b"a\0\0", 1000 * MEGABYTE), _SMALL),
    "idat.png": _png(100, 8, 2, (b"IDAT", b"", 1000 * MEGABYTE)),
    "chunks.png": _png(100, 8, 2, *[(b"tEXt", b"a\0b", 0)] * 3_000_000, _SMALL),
    "tail.png": _png(100, 8, 2, _SMALL, *[(b"tEXt", b"a\0b", 0)] * 3_000_000),
    "idats.png": _png(100, 8, 2, *[(b"IDAT", b"", 0)] * 3_000_000, _SMALL),
    "filler.jpg": _prefixed("JPEG", 2, b"\xff" * MEGABYTE, 250),
    "segments.jpg": _prefixed("JPEG", 2, b"\xff\xe5\0\2" * 250_000, 250),
    "exif.jpg": _prefixed("JPEG", 2, b"\xff\xe1\xff\xffExif\0\0" + b"x" * 65_527, 3800),
    "comment.ppm": _bytes(b"P6\n#", _repeated(b"x" * MEGABYTE, 250), b"\n10 10 255\n", bytes(300)),
    "comments.gif": _prefixed("GIF", 19, b"!\xfe\1x\0" * 200_000, 250),
    "huge.png": _png(2**31 - 1, 8, 2),
    "tags.tif": _bytes(b"II*\0\x08\0\0\0\xff\xff" + struct.pack("<HHII", 270, 2, 2**31 - 1, 0) * 65_535 + bytes(4)),
    "loop.tif": _bytes(b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIII", 256, 4, 1, 5, 8)),
}
"""Makers of images, by the file's name."""


def make_all(folder: Path) -> None:
    """Make every file of rows in `folder` and every image in `folder/images`, where it is not there yet."""
    Image.MAX_IMAGE_PIXELS = None
    (folder / "images").mkdir(parents=True, exist_ok=True)
    makers = FILES | {f"images/{name}": make for name, make in IMAGES.items()}
    for name, make in makers.items():
        if not (folder / name).exists():
            unfinished = folder / f".unfinished{Path(name).suffix}"
            make(unfinished)
            unfinished.replace(folder / name)
