"""Open images as upright RGB, within limits, with errors that give advice.

The result is what an image viewer shows: EXIF orientation applied, transparency over white, the first frame of an
animation, 16-bit and float values scaled to 8 bits.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import math
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from halluguard.errors import ImageError
from halluguard.image_files import FORMATS, ORIENTATION, MeteredFile, formats, missing_format, open_file, regular_file
from halluguard.image_objects import ReadableFile, TensorLike, decode_data_url, pixels_of, read_all

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

MAX_MODEL_PIXELS = 25_000_000
"""Most pixels of an image for a model or detector; a larger one is shrunk to a half, a third, ... of its sides."""
MAX_PIXELS = 100_000_000
"""Images with more pixels are refused before they are decoded."""

DECODER_SHARE = {"WEBP": 0.5, "plain PPM": 0.05}
"""Format -> share of the limit on pixels: WebP needs twice the memory per pixel, plain text fifty times the time."""

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"),
    *(".heic", ".heif", ".hif", ".avif", ".jp2", ".j2k", ".jpx"),
    *(".jxl", ".svg", ".ico", ".tga", ".psd", ".eps", ".dds", ".exr", ".hdr"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".pef", ".raw"),
)
"""Ends of the names of files that look like images, lower case."""

ImageSource: TypeAlias = (
    "Image | NDArray[np.uint8] | TensorLike | ReadableFile | bytes | bytearray | memoryview | str | os.PathLike[str]"
)
"""A PIL image, an (H, W), (H, W, 3) or (H, W, 4) uint8 array, a tensor of torchvision's form, the bytes of a file, an
open file, a path, or a data URL."""


def load_image(source: ImageSource, *, max_pixels: int = MAX_PIXELS, shrink_to: int | None = None) -> Image:
    """Open `source` as an upright RGB image.

    Args:
        source: PIL image, uint8 array (H, W), (H, W, 3) or (H, W, 4), tensor (H, W) or (C, H, W) of uint8 or of
            values in [0, 1], bytes of a file, file open for reading bytes, path to a regular file, or data URL.
        max_pixels: limit on width * height; half of it for WebP, a twentieth for PPM in plain text. At the default,
            opening takes less than 1 GiB.
        shrink_to: pixels above which an image is opened at a half, a third, ... of its sides; None for never.

    Returns:
        A PIL image of mode RGB. All boxes are given in its pixels.

    Raises:
        ImageError: the source is missing, not a regular file, not an image, truncated, or larger than `max_pixels`.
    """
    from PIL import Image, UnidentifiedImageError

    name = _describe(source)
    try:
        with _opened(source) as image:
            width, height = image.size
            plain = any(tile[0] == "ppm_plain" for tile in getattr(image, "tile", ()))
            limit = int(max_pixels * DECODER_SHARE.get("plain PPM" if plain else image.format or "", 1.0))
            if width * height > limit:
                raise ImageError(
                    f"expected an image of at most {limit:,} pixels, got {width} x {height} in {name}; "
                    "shrink it, or raise max_pixels"
                )
            if min(width, height) < 1:
                raise ImageError(f"expected an image, got an empty one ({width} x {height}) in {name}; leave it out")
            with _turn(width * height):
                if shrink_to is not None and image is not source:
                    factor = _divisor(image, shrink_to)
                    image.draft(None, (width // factor, height // factor))  # JPEG is decoded small
                return _decoded(image, shrink_to)
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(f"expected an image of at most {max_pixels:,} pixels, got {name}: {error}") from error
    except UnidentifiedImageError as error:
        missing = missing_format(source) if formats() == FORMATS else ""
        advice = "; its format is read with: pip install 'halluguard-mllm[heif]'" if missing else ""
        raise ImageError(
            f"expected an image ({', '.join(formats())}), got {missing or 'something else'} in {name}{advice}"
        ) from error
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, OverflowError) as error:
        reason = str(error) or type(error).__name__
        raise ImageError(f"could not read the image {name}: {reason}; check the file or leave it out") from error


def _decoded(image: Image, shrink_to: int | None) -> Image:
    image.seek(0) if getattr(image, "is_animated", False) else None
    if isinstance(file := getattr(image, "fp", None), MeteredFile):
        file.decoding = True
    image.load()
    orientation = image.getexif().get(ORIENTATION)
    small = image
    if shrink_to is not None and image.mode in ("RGB", "L", "CMYK") and "transparency" not in image.info:
        small = shrunk(image, shrink_to)  # before the whole image is copied
    rgb = _upright_rgb(small, orientation)
    return rgb if shrink_to is None else shrunk(rgb, shrink_to)


_large_image = threading.Lock()


def _turn(pixels: int) -> contextlib.AbstractContextManager[object]:
    """Wait until no other thread decodes a large image, which may take 1 GiB. Smaller images do not wait."""
    return _large_image if pixels > MAX_MODEL_PIXELS else contextlib.nullcontext()


@contextlib.contextmanager
def _opened(source: object) -> Iterator[Image]:
    """Open what is no image yet, and close it at the end: its pixels are part of a reference cycle, and freed so."""
    import numpy as np
    from PIL import Image

    if isinstance(source, str) and source[:5].lower() == "data:":
        source = decode_data_url(source)
    elif isinstance(source, TensorLike):
        source = pixels_of(source)
    elif isinstance(source, ReadableFile) and not isinstance(source, Image.Image):
        source = read_all(source)
    if isinstance(source, Image.Image):
        yield source
    elif isinstance(source, bytes | bytearray | memoryview):
        with contextlib.closing(open_file(io.BytesIO(source))) as image:
            yield image
    elif isinstance(source, str) and (address := _ADDRESS.match(source)):
        raise ImageError(
            f"expected a PIL image, a uint8 array, bytes or a path, got an address that begins with "
            f"{address[0]!r}; nothing is downloaded here: give the bytes of the image"
        )
    elif isinstance(source, str | os.PathLike):
        with regular_file(Path(source)).open("rb") as file, contextlib.closing(open_file(file)) as image:
            yield image
    elif hasattr(source, "__array_interface__"):
        array = np.asarray(source)
        if array.dtype != np.uint8 or array.ndim not in (2, 3) or array.shape[2:] not in ((), (2,), (3,), (4,)):
            raise ImageError(
                f"expected a uint8 array of shape (H, W), (H, W, 3) or (H, W, 4), got {array.dtype} {array.shape}; "
                "scale it to 0..255 and cast it, channels last"
            )
        yield Image.fromarray(array)
    else:
        raise ImageError(
            f"expected a PIL image, a uint8 array, bytes or a path, got {type(source).__name__}; convert it"
        )


_ADDRESS = re.compile(r"(?:https?|ftp|s3|gs|hf|file)://", re.IGNORECASE)


_STRIP = 1 << 20  # number of pixels that are converted at once: copies of a whole large image would take gigabytes


def _upright_rgb(image: Image, orientation: int | None) -> Image:
    """The image in RGB, over white where it is transparent, turned upright by an EXIF orientation."""
    from PIL import Image

    if type(image) is Image.Image and image.mode == "RGB" and not image.info and not image.getexif():
        return image  # already upright: copying the largest would take 400 MB
    convert = _scaling_to_8_bits(image) if image.mode in ("I", "F") or image.mode.startswith("I;16") else _over_white
    turn = _TURNS.get(orientation or 1)
    sideways = orientation in (5, 6, 7, 8)
    rgb = Image.new("RGB", image.size[::-1] if sideways else image.size)
    for top, strip in _strips(image):  # turned strip by strip: turning the whole would take another 400 MB
        place = image.height - top - strip.height if orientation in (3, 4, 6, 7) else top
        converted = convert(strip)
        turned = converted if turn is None else converted.transpose(Image.Transpose(turn))
        rgb.paste(turned, (place, 0) if sideways else (0, place))
    return rgb


_TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
"""EXIF orientation -> the value of Pillow's `Transpose` that turns the image upright."""


def _strips(image: Image) -> Iterator[tuple[int, Image]]:
    """Yield (first row, strip of rows) from top to bottom."""
    height = max(1, _STRIP // image.width)
    for top in range(0, image.height, height):
        yield top, image.crop((0, top, image.width, min(image.height, top + height)))


def _over_white(image: Image) -> Image:
    from PIL import Image

    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _scaling_to_8_bits(image: Image) -> Callable[[Image], Image]:
    """A function that scales the 16-bit or float values of an image to 0..255."""
    import numpy as np
    from PIL import Image

    def values_of(strip: Image.Image) -> NDArray[np.float64]:
        return np.asarray(strip).astype(np.float64)

    lows, highs = [], []
    for _, strip in _strips(image):
        values = values_of(strip)
        finite = values[np.isfinite(values)]
        if finite.size:
            lows.append(float(finite.min()))
            highs.append(float(finite.max()))
    low, high = min(lows, default=0.0), max(highs, default=0.0)
    if low >= 0 and high > 255 and image.mode != "F":
        low, high = 0.0, 65535.0 if high <= 65535 else high
    elif low >= 0 and high <= 255 and image.mode != "F":
        low, high = 0.0, 255.0

    def scale(strip: Image.Image) -> Image.Image:
        values = values_of(strip)
        scaled = np.nan_to_num((values - low) / (high - low) if high > low else values * 0) * 255
        return Image.fromarray(scaled.clip(0, 255).astype(np.uint8)).convert("RGB")

    return scale


def shrunk(image: Image, pixels: int | None = None) -> Image:
    """Shrink an image of more than `pixels` to a half, a third, ... of its sides; default `MAX_MODEL_PIXELS`.

    Processors of models resize images to a few megapixels at most, and need up to 12 bytes per pixel before that.
    """
    factor = _divisor(image, MAX_MODEL_PIXELS if pixels is None else pixels)
    return image.reduce(factor) if factor > 1 else image


def _divisor(image: Image, pixels: int) -> int:
    """The least whole number by which to divide the sides of an image so that it has at most `pixels` pixels."""
    return max(1, math.ceil(math.sqrt(image.width * image.height / pixels)))


def limit_size(image: Image) -> tuple[Image, int]:
    """Shrink an image to at most `MAX_MODEL_PIXELS`; returns it with the factor by which its sides were divided.

    Detectors convert an image to floating-point numbers, 12 bytes per pixel and channel, before they resize it to about
    a megapixel. Strips are padded; see `limit_aspect`. Multiply boxes by the factor to get boxes in the original.
    """
    width, height = image.size
    padded = max(width, math.ceil(height / _LONGEST_STRIP)) * max(height, math.ceil(width / _LONGEST_STRIP))
    factor = math.ceil(math.sqrt(padded / MAX_MODEL_PIXELS))
    return limit_aspect(image.reduce(factor) if factor > 1 else image), max(1, factor)


_LONGEST_STRIP = 8.0
"""Largest ratio of the sides of an image that a processor gets."""


def limit_aspect(image: Image) -> Image:
    """Pad an image with its mean colour if its longer side is more than eight times the shorter.

    Processors that resize the longer side fail on such strips: the shorter side becomes zero. The padding lies to the
    right or below, so that boxes keep their coordinates.
    """
    from PIL import Image, ImageStat

    width, height = image.size
    padded_width, padded_height = (
        max(width, math.ceil(height / _LONGEST_STRIP)),
        max(height, math.ceil(width / _LONGEST_STRIP)),
    )
    if (padded_width, padded_height) == (width, height):
        return image
    padded = Image.new("RGB", (padded_width, padded_height), tuple(round(v) for v in ImageStat.Stat(image).mean))
    padded.paste(image, (0, 0))
    return padded


def resolve_inside(root: Path, name: str) -> Path:
    """The file `name` under `root`. URLs and paths that lead outside, even by links, are refused.

    An absolute path is accepted if it lies inside `root`.

    Raises:
        ImageError: the name leads outside `root`.
    """
    if "\x00" in name or "://" in name or name.startswith(("\\", "~")) or (len(name) > 1 and name[1] == ":"):
        raise ImageError(
            f"expected an image path relative to {str(root)!r}, got {name!r}; use a path inside the folder"
        )
    base = root.resolve()
    try:
        path = (base / name).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a name that is too long, a lone surrogate
        raise ImageError(f"the image path {name[:80]!r} leads nowhere ({error}); use a path to a file") from error
    if not path.is_relative_to(base):
        raise ImageError(f"the image path {name!r} leads outside {str(root)!r}; use a path inside the folder")
    return path


def _describe(source: ImageSource) -> str:
    if isinstance(source, str | os.PathLike):
        return "a data: URL" if str(source)[:5].lower() == "data:" else repr(str(source))
    return f"a {type(source).__name__}"


_LARGE = 8 * 1024 * 1024
_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of glibc's malloc.h


def return_freed_memory() -> None:
    """Let the C library return the memory of large images to the system as soon as it is freed.

    By default, glibc keeps freed blocks of up to 32 MiB for the thread that used them. Pillow's blocks are of 16 MiB,
    so 32 threads of the server that each had decoded one large image held 3 GB of free memory, and the threads of an
    audit keep theirs. Other C libraries are left alone.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE)
