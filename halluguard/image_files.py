"""Open image files without decoding them, and bound what a file makes its reader do.

Pillow reads the parts of a file one by one in Python: the chunks of a PNG, the segments and filler bytes of a JPEG, the
comment of a PPM. A file of 256 MB of such parts would take minutes. The number of reads bounds all formats alike.
"""

from __future__ import annotations

import io
import os
import stat
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from halluguard.errors import ImageError

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""File formats, recognised by content, not by the file's name."""
EXTRA_FORMATS = ("AVIF", "HEIF", "JPEG2000")
"""Further formats that are read if the extra `heif` is installed."""

MAX_READS = 1_000_000
"""Most reads of an image file while it is opened and decoded. Chunks of PNG take three each."""
MAX_METADATA = 33_554_432
"""Most bytes before the pixels of an image that are read in pieces of less than a mebibyte."""
_PIECE = 1 << 20
ORIENTATION = 0x0112
"""The EXIF tag of the orientation."""


class MeteredFile:
    """A binary file whose reads are counted.

    Args:
        file: the file.

    Attributes:
        decoding: whether pixels are read now, so that `MAX_METADATA` no longer holds.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._reads = 0
        self._metadata = 0
        self.decoding = False

    def read(self, size: int = -1) -> bytes:
        """Read at most `size` bytes; -1 for all.

        Raises:
            OSError: a limit is exceeded.
        """
        data = self._file.read(size)
        self._reads += 1
        if self._reads > MAX_READS:
            raise OSError(f"expected an image whose file is read in at most {MAX_READS:,} steps, got more parts")
        if not self.decoding and len(data) < _PIECE:
            self._metadata += len(data)
            if self._metadata > MAX_METADATA:
                raise OSError(f"expected at most {MAX_METADATA:,} bytes of metadata before the pixels, got more")
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def open_file(file: IO[bytes]) -> Image:
    """Open an image file without decoding it. Pixels are not limited here."""
    import warnings

    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is checked by the caller
        return Image.open(MeteredFile(file), formats=formats())


def header(file: IO[bytes]) -> tuple[tuple[int, int] | None, int]:
    """Width and height in the header of an image file, and its EXIF orientation from 1 to 8, without decoding it.

    What cannot be read is (None, 1), which `load_image` will report.
    """
    from PIL import Image

    try:
        with open_file(file) as image:
            if image.format == "PNG":  # Pillow's `getexif` of PNG decodes the pixels, because metadata may follow them
                with open_file(_without_pixels(cast(IO[bytes], image.fp))) as metadata:  # type: ignore[attr-defined]
                    exif = Image.Image.getexif(metadata)
            else:
                exif = image.getexif()
            orientation = exif.get(ORIENTATION, 1)
            return image.size, orientation if orientation in range(1, 9) else 1
    except Exception:  # any fault of the file
        return None, 1


def _without_pixels(png: IO[bytes]) -> io.BytesIO:
    """A PNG of the header and the metadata of another, which may stand before or after its pixels."""
    png.seek(0)
    chunks = [png.read(8)]
    size = 0
    while len(head := png.read(8)) == 8 and head[4:] != b"IEND":
        length = int.from_bytes(head[:4], "big")
        if head[4:] in (b"IHDR", b"eXIf", b"tEXt", b"zTXt", b"iTXt") and (size := size + length) <= MAX_METADATA:
            chunks.append(head + png.read(length + 4))
        else:
            png.seek(length + 4, os.SEEK_CUR)
    return io.BytesIO(b"".join((*chunks, _NO_PIXELS)))


_NO_PIXELS = b"\0\0\0\0IDAT\x35\xaf\x06\x1e\0\0\0\0IEND\xaeB`\x82"


def header_pixels(data: bytes) -> int:
    """Width times height in the header of an image file; 0 if it cannot be read, which `load_image` will report.

    >>> header_pixels(b"no image")
    0
    """
    size, _ = header(io.BytesIO(data))
    return size[0] * size[1] if size else 0


@lru_cache(maxsize=1)
def formats() -> tuple[str, ...]:
    """The formats that this installation can read; the extra `heif` adds HEIC, AVIF and JPEG 2000."""
    try:
        import pillow_heif
    except ImportError:
        return FORMATS
    pillow_heif.register_heif_opener(thumbnails=False)
    return FORMATS + EXTRA_FORMATS


def missing_format(source: object) -> str:
    """The name of a format that needs the extra `heif`, recognised by a file's first bytes; "" for any other."""
    if isinstance(source, bytes | bytearray | memoryview):
        head = bytes(source[:16])
    elif isinstance(source, str | os.PathLike) and Path(source).is_file():
        with open(source, "rb") as file:
            head = file.read(16)
    else:
        return ""
    if head[:12] == b"\x00\x00\x00\x0cjP  \r\n\x87\n" or head[:4] == b"\xff\x4f\xff\x51":
        return "JPEG 2000"
    if head[4:8] != b"ftyp":
        return ""
    return "AVIF" if head[8:12] in (b"avif", b"avis") else "HEIC" if head[8:11] in (b"hei", b"hev", b"mif") else ""


def regular_file(path: Path) -> Path:
    """Return `path` if it is a regular file. A pipe or device is refused, because reading it might never end."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise ImageError(f"no image at {str(path)!r} ({error}); check the path") from error
    if not stat.S_ISREG(mode):
        raise ImageError(f"expected an image file, got a folder or device at {str(path)!r}; name the file itself")
    return path
