"""Read the objects in each image from JSON, or derive them from COCO's instances and reference captions."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from halluguard import io
from halluguard.errors import InputError
from halluguard.metrics.reading import read_json
from halluguard.metrics.vocabulary import Vocabulary

ImageId = int | str
T = TypeVar("T")
ById = Mapping[int, T] | Mapping[str, T]
"""Image id (or question id) -> a value."""

_COCO_NAME = re.compile(r"(?:COCO_[A-Za-z]+\d{4}_)?0*(\d+)(?:\.(?:jpg|jpeg|png)|\.0)?", re.IGNORECASE)
_COCO_FILE = re.compile(r".*[/\\](?=COCO_|\d{12}\.)(?:COCO_[A-Za-z]+\d{4}_)?0*(\d+)\.(?:jpg|jpeg|png)", re.IGNORECASE)


def image_key(image_id: object) -> str:
    """The canonical form of an image id: COCO numbers, their strings and COCO file names agree; other names stay.

    A COCO file name may have a folder in front, and a number may be a float, as in tables.

    Raises:
        InputError: the id is neither a whole number nor a name.

    >>> image_key(310196), image_key("val2014/COCO_val2014_000000310196.jpg"), image_key("kitchen.png")
    ('310196', '310196', 'kitchen.png')
    """
    if isinstance(image_id, str) and image_id.strip():
        name = image_id.strip()
        match = _COCO_NAME.fullmatch(name) or _COCO_FILE.fullmatch(name)
        return match[1] if match else name
    if isinstance(image_id, float) and image_id.is_integer():
        image_id = int(image_id)
    if isinstance(image_id, int) and not isinstance(image_id, bool):
        return str(image_id)
    raise InputError(f"an image id must be a whole number or a name, got {image_id!r}; correct it in the file")


class GroundTruth:
    """The categories that are present in each image.

    Args:
        objects: image id -> names, each a category of the vocabulary or a synonym of one.
        vocabulary: the categories and their synonyms.
        name: name of this ground truth in signatures.

    Raises:
        InputError: not a mapping of ids to lists of names, no image at all, an unknown name, or one image twice.
    """

    def __init__(self, objects: ById[Iterable[str]], vocabulary: Vocabulary, *, name: str = "given") -> None:
        if not isinstance(objects, Mapping) or not objects:
            raise InputError(f"objects must map image ids to lists of names, got {_shown(objects)}; convert them")
        shared: dict[frozenset[str], frozenset[str]] = {}
        self._present: dict[str, frozenset[str]] = {}
        for image_id, names in objects.items():
            if isinstance(names, str) or not isinstance(names, Iterable):
                raise InputError(
                    f"objects of image {image_id!r} must be a list of names, got {_shown(names)}; convert them"
                )
            names = list(names)
            if not all(isinstance(n, str) for n in names):
                raise InputError(f"objects of image {image_id!r} must be names, got {_shown(names)}; correct them")
            key = image_key(image_id)
            if key in self._present:
                raise InputError(f"every image may occur once in the ground truth, got {key} twice; join the two")
            present = frozenset(vocabulary.category(n) for n in names)
            self._present[key] = shared.setdefault(present, present)
        self.name = name

    def __len__(self) -> int:
        return len(self._present)

    def get(self, key: str) -> frozenset[str]:
        """Categories of the image with this `image_key`.

        Raises:
            InputError: the image is not in the ground truth.
        """
        present = self._present.get(key)
        if present is None:
            raise InputError(
                f"the ground truth holds {len(self)} images, such as {next(iter(self._present))}, but not {key}; "
                "give the objects of every image, an empty list where there is none"
            )
        return present

    @property
    def signature(self) -> str:
        """Name and digest of the content; the order of images does not change it."""
        digest = hashlib.sha256()
        for key in sorted(self._present):
            digest.update(f"{key}:{','.join(sorted(self._present[key]))}\n".encode(errors="surrogatepass"))
        return f"{self.name}@{digest.hexdigest()[:8]}"


def _shown(value: object) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text[:60]}{'...' if len(text) > 60 else ''}"


def read_objects(path: str | Path) -> dict[str, list[str]]:
    """Read a JSON file, compressed or not, with an object of image id -> list of names.

    Raises:
        InputError: the file is missing, is not JSON, or has another form.
    """
    data = read_json(path)
    if not isinstance(data, dict):
        raise InputError(
            f"{path} must hold a JSON object, image id -> list of names, got {_shown(data)}; correct the file"
        )
    return data


def coco_objects(
    folder: str | Path,
    categories_of: Callable[[str], Iterable[str]],
    *,
    sets: Iterable[str] = ("train2014", "val2014"),
) -> dict[int, list[str]]:
    """CHAIR's official ground truth: the categories of COCO's instance annotations and of its reference captions.

    Every annotation counts, whatever its area, including crowds. Instances without captions give another benchmark.

    Args:
        folder: folder with `instances_<set>.json` and `captions_<set>.json` for every set.
        categories_of: caption -> categories named in it, such as
            `lambda text: [m.category for m in chair.mentions(text, "pattern")[0]]`. Its protocol is the protocol of the
            ground truth.
        sets: names of COCO's sets.

    Returns:
        image id -> sorted categories, for every image; some lists are empty. Write it with `write_objects`.

    Raises:
        InputError: a file is missing, is not JSON, or is not one of COCO's annotation files.
    """
    present: dict[int, set[str]] = {}
    for name in sets:
        instances = io.read_json(Path(folder) / f"instances_{name}.json")
        captions = io.read_json(Path(folder) / f"captions_{name}.json")
        try:
            categories = {category["id"]: category["name"] for category in instances["categories"]}
            for image in captions["images"]:
                present.setdefault(image["id"], set())
            for annotation in instances["annotations"]:
                present.setdefault(annotation["image_id"], set()).add(categories[annotation["category_id"]])
            for annotation in captions["annotations"]:
                present.setdefault(annotation["image_id"], set()).update(categories_of(annotation["caption"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{folder} must hold COCO's annotation files of {name}, got a file in which {error} is missing or wrong"
                "; check the files"
            ) from error
    try:
        return {image_id: sorted(names) for image_id, names in sorted(present.items())}
    except TypeError as error:
        raise InputError(
            f"all image ids in {folder} must be of one type, and so must all category names ({error}); correct the file"
        ) from error


def write_objects(objects: ById[Iterable[str]], path: str | Path) -> None:
    """Write image id -> names as compact JSON, gzipped when the name ends in .gz. Equal content gives equal bytes."""
    content = {str(key): list(names) for key, names in objects.items()}
    io.write_text(path, json.dumps(content, separators=(",", ":"), ensure_ascii=False))
