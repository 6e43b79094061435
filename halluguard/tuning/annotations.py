"""Pictures whose objects are known: read from COCO-style files or made by hand, and what can be said to be absent.

Absent is a strong word: annotators leave things out and captions name what has no box. A name counts as absent only
when neither it, nor another word for it, nor a wider or narrower one is annotated or told of in a caption.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from halluguard import vocabulary
from halluguard.errors import InputError
from halluguard.records import XYXY, Box
from halluguard.tuning.reading import read_whole
from halluguard.tuning.rows import Picture, open_picture


@dataclass(frozen=True)
class Annotated:
    """A picture with what is known of it.

    Args:
        image_id: rows are split and checked for leakage by it.
        image: a path (opened only when needed), a PIL image, or a recipe.
        boxes: one per instance, in pixels; labels are object names. Boxes without geometry say that it is there.
        captions: true sentences about the picture; things they name are not absent.
        attributes: words that hold of each instance ("red"), in the order of `boxes`; none known by default.
        uncounted: names of which there are more than boxes (crowds).
        source, license: of the data; rows carry them on.
        size: width and height in pixels, where known without opening the picture; taken from a PIL image.
    """

    image_id: int | str
    image: Picture
    boxes: tuple[Box, ...]
    captions: tuple[str, ...] = ()
    attributes: tuple[tuple[str, ...], ...] = ()
    uncounted: frozenset[str] = frozenset()
    source: str = ""
    license: str = ""
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.size is None and isinstance(getattr(self.image, "size", None), tuple):
            object.__setattr__(self, "size", self.image.size)
        if self.attributes and len(self.attributes) != len(self.boxes):
            raise InputError(
                f"attributes must be as many as boxes, got {len(self.attributes)} and {len(self.boxes)} for image "
                f"{self.image_id!r}; give an empty tuple where none is known"
            )

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Distinct labels, in the order of the boxes."""
        return tuple(dict.fromkeys(box.label for box in self.boxes))

    @cached_property
    def told(self) -> frozenset[str]:
        """Names of the vocabulary, and labels of the picture itself, that occur in a caption."""
        return frozenset().union(*(names_in(caption) for caption in self.captions))

    @cached_property
    def doubtful(self) -> frozenset[str]:
        """Every name that cannot be called absent (see the module's first lines).

        A narrower name is in doubt when its wider one is seen or told of: annotated "bird" may be a duck. A wide word
        in a caption that an annotated object explains ("animal" beside a box "dog") puts nothing else in doubt.
        """
        seen = {vocabulary.normal(name) for name in self.names}
        explained = {wide for name in seen for wide in vocabulary.parents(name)}
        names = seen | self.told
        found = set(names) | set(self.names)
        for name in names:
            found |= {vocabulary.same(name), vocabulary.category(name) or name, *vocabulary.parents(name)}
            if name in seen or name not in explained:
                found |= set(vocabulary.children(name))
        return frozenset(found)

    def lacks(self, name: str) -> bool:
        """Whether `name` is surely absent."""
        plain = vocabulary.normal(name)
        forms = {name, plain, vocabulary.same(plain), vocabulary.category(plain) or plain}
        return not forms & self.doubtful

    def boxes_of(self, name: str) -> list[XYXY]:
        return [box.xyxy for box in self.boxes if box.label == name and box.xyxy is not None]

    def attributes_of(self, name: str) -> list[tuple[str, ...]]:
        """What holds of each instance of `name`; empty when nothing is known."""
        pairs = zip(self.boxes, self.attributes, strict=True) if self.attributes else ()
        return [words for box, words in pairs if box.label == name]

    def open(self) -> Any:
        """The picture, upright RGB (PIL). Raises ImageError."""
        return open_picture(self.image)

    def without(self, name: str, image: Picture) -> Annotated:
        """The same with every `name` gone and `image` in place of the picture; captions, now untrue, are dropped."""
        kept = [k for k, box in enumerate(self.boxes) if box.label != name]
        attributes = tuple(self.attributes[k] for k in kept) if self.attributes else ()
        boxes = tuple(self.boxes[k] for k in kept)
        return replace(self, image=image, boxes=boxes, captions=(), attributes=attributes)


_WORDS = re.compile(r"[a-z]+(?:'[a-z]+)?")


def names_in(text: str) -> frozenset[str]:
    """Names of the vocabulary that occur in `text`, in any form; also those inside longer ones ("hot dog": dog).

    >>> sorted(names_in("Two puppies on a hot-dog stand"))
    ['dog', 'hot dog', 'puppy', 'stand']
    """
    words = _WORDS.findall(text.lower().replace("-", " "))
    found = set()
    for size in (1, 2, 3):
        for start in range(len(words) - size + 1):
            name = _known(" ".join(words[start : start + size]))
            if name:
                found.add(name)
    return frozenset(found)


@lru_cache(maxsize=1 << 17)
def _known(phrase: str) -> str | None:
    name = vocabulary.normal(phrase)
    return name if name in vocabulary.NAMES else None


class Companions:
    """How often each object is in the pictures, and how often beside each other.

    Args:
        items: the pictures; only names are read.

    Raises:
        InputError: no object is annotated at all.
    """

    def __init__(self, items: Iterable[Annotated]) -> None:
        self.frequency: Counter[str] = Counter()
        self._beside: dict[str, Counter[str]] = {}
        for item in items:
            self.frequency.update(item.names)
            for name in item.names:
                self._beside.setdefault(name, Counter()).update(item.names)
        if not self.frequency:
            raise InputError("expected pictures with annotated objects, got none; check the annotations")
        self.names = tuple(sorted(self.frequency))
        self.by_frequency = tuple(sorted(self.names, key=lambda name: (-self.frequency[name], name)))

    def beside(self, name: str, present: Sequence[str]) -> int:
        """How often `name` was seen with each of `present`, summed."""
        return sum(self._beside[other][name] for other in present if other != name and other in self._beside)

    def expected(self, present: Sequence[str], among: Sequence[str]) -> list[str]:
        """`among`, the likeliest companions of `present` first."""
        return sorted(among, key=lambda name: (-self.beside(name, present), name))


def coco_items(
    instances: str | Path,
    images: str | Path,
    *,
    captions: str | Path | None = None,
    source: str = "COCO",
    license: str = "CC BY 4.0 (annotations); pictures under Flickr's terms",
) -> Iterator[Annotated]:
    """Pictures of COCO-style annotation files (`instances_*.json`, `captions_*.json`), in the order of the file.

    Args:
        instances: a JSON file with `images`, `annotations` (`bbox` as x, y, width, height; `iscrowd`; perhaps
            `attributes`, a list of words or a mapping to them) and `categories`. Polygons are not kept in memory.
        images: the folder of the pictures; they are opened only when a row is used.
        captions: the matching caption file; without it absent means only: not annotated.
        source, license: for the rows.

    Raises:
        InputError: a file is missing, is no JSON, or lacks what it should hold; the message names the entry.
    """
    data = read_whole(instances, drop=("segmentation",))
    told = _captions(captions)
    try:
        names = {category["id"]: str(category["name"]) for category in data["categories"]}
        of_image: dict[Any, list[Mapping[str, Any]]] = {}
        for annotation in data["annotations"]:
            of_image.setdefault(annotation["image_id"], []).append(annotation)
        pictures = data["images"]
    except (KeyError, TypeError) as error:
        raise InputError(
            f"expected COCO's instances (images, annotations, categories) in {str(instances)!r}, got one without "
            f"{error}; check the file"
        ) from error
    for picture in pictures:
        try:
            found = of_image.get(picture["id"], [])
            yield Annotated(
                picture["id"],
                Path(images) / picture["file_name"],
                tuple(_box(annotation, names) for annotation in found),
                tuple(told.get(picture["id"], ())),
                _attributes(found),
                frozenset(names[a["category_id"]] for a in found if a.get("iscrowd")),
                source,
                license,
                (picture["width"], picture["height"]) if "width" in picture else None,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"expected a COCO picture with id, file_name and complete annotations in {str(instances)!r}, got "
                f"{_shown(picture)} ({type(error).__name__}: {error}); correct it"
            ) from error


def _captions(path: str | Path | None) -> dict[Any, list[str]]:
    told: dict[Any, list[str]] = {}
    if path is None:
        return told
    try:
        for annotation in read_whole(path)["annotations"]:
            told.setdefault(annotation["image_id"], []).append(str(annotation["caption"]).strip())
    except (KeyError, TypeError) as error:
        raise InputError(
            f"expected COCO's captions (annotations with image_id and caption) in {str(path)!r}, got one without "
            f"{error}; check the file"
        ) from error
    return told


def _box(annotation: Mapping[str, Any], names: Mapping[Any, str]) -> Box:
    x, y, width, height = annotation["bbox"]
    return Box(names[annotation["category_id"]], 1.0, (x, y, x + width, y + height))


def _attributes(annotations: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], ...]:
    if not any(annotation.get("attributes") for annotation in annotations):
        return ()
    words = []
    for annotation in annotations:
        known = annotation.get("attributes") or ()
        values = known.values() if isinstance(known, Mapping) else known
        words.append(tuple(value.lower() for value in values if isinstance(value, str)))
    return tuple(words)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:80] + "..."
