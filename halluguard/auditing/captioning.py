"""Caption a folder of images with any captioner: an OpenAI-compatible endpoint, a `Guard`, a function.

    server = Endpoint("http://localhost:8000/v1", "llava-hf/llava-1.5-7b-hf")
    caption_folder(Path("photos"), Path("captions.jsonl"), server)      # `halluguard audit` reads the file

Finished captions are kept: the same command continues after the last complete line and tries failed images again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from PIL.Image import Image

from halluguard.errors import ExpertError, HalluguardError, ImageError, InputError, SettingsError, forget_frames
from halluguard.image_files import header, regular_file
from halluguard.images import MAX_MODEL_PIXELS, SUFFIXES, load_image, resolve_inside
from halluguard.io import JsonObject, check_path, json_line, read_json, write_text, writing_to

_USUAL = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
MAX_CONSECUTIVE_FAILURES = 20
"""Number of consecutive failures after which the captioner counts as unavailable."""
MAX_BATCH_PIXELS = MAX_MODEL_PIXELS
"""A batch is closed early when its images together have more pixels than this."""


class Captioner(Protocol):
    """Anything that captions images, such as a function or an `Endpoint`."""

    def __call__(self, images: Sequence[Image], /) -> Sequence[str | HalluguardError]:
        """B upright RGB images -> B captions, each of which may be an error instead."""


class CaptionerRefusedError(ExpertError):
    """The captioner refuses all work, for example because of a wrong key. The run ends; finished captions are kept."""


@dataclass(frozen=True)
class Captioned:
    """Result of a captioning run.

    Args:
        captioned: number of images captioned in this run.
        already: number of images whose captions were in the file before this run.
        failed: number of images without a caption.
        skipped: names of files that look like images but cannot be read here, with the reason.
        reasons: the reason of each failed image.
        failures: file that holds the reason of every failed image; None where none failed.
    """

    captioned: int
    already: int
    failed: int
    skipped: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    failures: Path | None = None


def find_images(folder: Path) -> list[str]:
    """Sorted paths, relative to the folder, of all files whose names end like those of images.

    Links that lead outside are left out.

    Raises:
        InputError: there is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise InputError(f"expected a folder of images, got {str(folder)!r}; {check_path(folder)}")
    names = []
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.suffix.lower() in SUFFIXES and path.is_file() and _is_inside(folder, name):
            names.append(name)
    if not names:
        raise InputError(f"expected images ({', '.join(SUFFIXES)}) in {str(folder)!r}, found none; check the path")
    return sorted(names)


def _is_inside(folder: Path, name: str) -> bool:
    try:
        resolve_inside(folder, name)
    except ImageError:
        return False
    return True


def caption_folder(
    folder: Path,
    out: Path,
    captioner: Captioner,
    *,
    settings: JsonObject | None = None,
    limit: int | None = None,
    batch_size: int = 8,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Captioned:
    """Caption every image of a folder, and write JSON lines {"image": path in the folder, "caption": text}.

    Images that fail are written to `OUT.errors.jsonl` with the reason.

    Args:
        folder: folder of images, searched with its subfolders.
        out: the file to write. Captions that it holds already are kept, and their images are not captioned again.
        captioner: see `Captioner`.
        settings: settings that decide the captions (model, prompt, ...). They are stored beside `out`, and compared
            when the file is continued.
        limit: largest number of images, taken in order of name; None for all.
        batch_size: images per call of the captioner.
        progress: called with (images done, images to do) after each batch.

    Raises:
        InputError: there are no images.
        SettingsError: `out` was begun with other settings.
        ExpertError: the captioner refuses all work, or `MAX_CONSECUTIVE_FAILURES` images failed one after another.
    """
    if batch_size < 1 or (limit is not None and limit < 1):
        raise SettingsError(f"batch_size and limit must be at least 1, got {batch_size} and {limit}; raise them")
    names, skipped = _readable(folder, find_images(folder))
    names = names[:limit]
    captioned = _continue(out, settings or {})
    remaining = [name for name in names if name not in captioned]
    failures: list[JsonObject] = []
    done = consecutive = 0
    with writing_to(out.parent), out.open("a", encoding="utf-8") as file:
        for batch in _batches(folder, remaining, batch_size):
            captions = _captions(captioner, list(batch.values()))
            for name, caption in zip(batch, captions, strict=True):
                if isinstance(caption, str):
                    file.write(json_line({"image": name, "caption": caption}))
                    consecutive = 0
                else:
                    code = "image" if isinstance(caption, ImageError) else "captioner"
                    failures.append({"image": name, "code": code, "reason": str(caption)})
                    consecutive += isinstance(caption, ExpertError)
            file.flush()
            os.fsync(file.fileno())
            write_text(_beside(out, "errors.jsonl"), map(json_line, failures))
            refused = [caption for caption in captions if isinstance(caption, CaptionerRefusedError)]
            if refused:
                raise refused[0]
            if consecutive >= MAX_CONSECUTIVE_FAILURES:
                raise ExpertError(
                    f"{consecutive} images in a row failed, the last with: {failures[-1]['reason']}; check that the "
                    "captioner is available, then run the same command again: what is finished is kept"
                )
            done += len(batch)
            progress(done, len(remaining))
    return Captioned(
        captioned=len(remaining) - len(failures),
        already=len(names) - len(remaining),
        failed=len(failures),
        skipped=tuple(skipped),
        reasons=tuple(str(failure["reason"]) for failure in failures),
        failures=_beside(out, "errors.jsonl") if failures else None,
    )


def _readable(folder: Path, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """(readable images, reasons why others are skipped). Images of unusual formats are opened to check them.

    A damaged image of a usual format is not skipped here; it fails when it is captioned.
    """
    readable, skipped = [], []
    for name in names:
        if Path(name).suffix.lower() in _USUAL:
            readable.append(name)
            continue
        try:
            load_image(resolve_inside(folder, name))
            readable.append(name)
        except ImageError as error:
            skipped.append(f"{name}: {error}")
    return readable, skipped


def _beside(out: Path, suffix: str) -> Path:
    return out.with_name(f"{out.stem}.{suffix}")


def _continue(out: Path, settings: JsonObject) -> set[str]:
    """The images that `out` holds already. A line that a crash cut is removed. An empty file accepts any settings."""
    beside = _beside(out, "settings.json")
    captioned: set[str] = set()
    if out.exists():
        before = read_json(beside) if beside.exists() else None
        if out.stat().st_size and before != json.loads(json.dumps(settings)):
            raise SettingsError(
                f"{str(out)!r} was begun with other settings ({before}); remove it, or name another file"
            )
        whole = 0
        with writing_to(out.parent), out.open("r+b") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    file.truncate(whole)
                    break
                whole += len(line)
                try:
                    captioned.add(json.loads(line)["image"])
                except (ValueError, LookupError, TypeError, RecursionError) as error:
                    raise InputError(
                        f"{str(out)!r} holds lines that are not captions ({error}); name another file"
                    ) from error
    write_text(beside, json.dumps(settings, ensure_ascii=False, sort_keys=True) + "\n")
    return captioned


def _batches(folder: Path, names: Sequence[str], batch_size: int) -> Iterator[dict[str, Image | ImageError]]:
    """Yield batches: name -> image, or the error of an image that cannot be opened. A batch is emptied after its use.

    A large image is opened while no other is held, because opening it may take 1 GiB.
    """
    batch: dict[str, Image | ImageError] = {}
    pixels = 0
    for name in names:
        size = _pixels(folder, name)
        if batch and (len(batch) == batch_size or pixels + size > MAX_BATCH_PIXELS):
            yield batch
            batch.clear()
            pixels = 0
        batch[name] = _opened(folder, name)
        pixels += size
    if batch:
        yield batch


def _pixels(folder: Path, name: str) -> int:
    """Pixels in the header of an image; 0 where it cannot be read."""
    try:
        with regular_file(resolve_inside(folder, name)).open("rb") as file:
            size, _ = header(file)
    except (ImageError, OSError):
        return 0
    return size[0] * size[1] if size else 0


def _opened(folder: Path, name: str) -> Image | ImageError:
    try:
        return load_image(resolve_inside(folder, name), shrink_to=MAX_MODEL_PIXELS)
    except ImageError as error:
        forget_frames(error)
        return error


def _captions(captioner: Captioner, images: Sequence[Image | ImageError]) -> list[str | HalluguardError]:
    """One caption or error per image. The captioner gets only the images that could be opened."""
    captions = iter(_call(captioner, [image for image in images if isinstance(image, Image)]))
    return [_not_empty(next(captions)) if isinstance(image, Image) else image for image in images]


def _not_empty(caption: str | HalluguardError) -> str | HalluguardError:
    if isinstance(caption, str) and not caption.strip():
        return ExpertError("the captioner returned an empty text")
    return caption


def _call(captioner: Captioner, images: Sequence[Image]) -> Sequence[str | HalluguardError]:
    if not images:
        return []
    try:
        captions = list(captioner(images))
    except HalluguardError:
        raise
    except Exception as error:  # any error of a user's function is a failure of these images
        failure = ExpertError(f"the captioner raised {type(error).__name__}: {error}")
        failure.__cause__ = error
        return [failure] * len(images)
    if len(captions) != len(images):
        raise ExpertError(
            f"a captioner must give one caption per image, got {len(captions)} for {len(images)}; correct the captioner"
        )
    return captions
