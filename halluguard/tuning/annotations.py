"""Annotated images: read from COCO-style files or made by hand, with the names that are surely absent.

Annotators leave objects out, and captions name objects that have no box. So a name counts as absent only when neither
it, nor a synonym, nor a wider or narrower name is annotated or named in a caption.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path, PurePath
from typing import Any, TypeAlias

from PIL.Image import Image

from halluguard import vocabulary
from halluguard.errors import InputError
from halluguard.records import XYXY, Box
from halluguard.tuning.reading import read_whole
from halluguard.tuning.rows import InstructionRow, PreferenceRow, RowImage, Truth, open_image

_Fields: TypeAlias = Mapping[str, Any]
"""One record of a COCO file, as parsed."""


@dataclass(frozen=True)
class Annotated:
    """An image with what is known about it.

    Args:
        image_id: id of the image; rows are split and checked for leakage by it.
        image: a path (opened only when needed), a PIL image, or a recipe.
        boxes: one box per instance, in pixels, labelled with the object's name. A box without geometry only says that
            the object is present.
        captions: true sentences about the image; objects they name are not absent.
        attributes: words that hold for each instance ("red"), in the order of `boxes`; none known by default.
        uncounted: names with more instances than boxes (crowds).
        source, license: name and licence of the data; rows repeat them.
        size: width and height in pixels, where known without opening the image; taken from a PIL image.
    """

    image_id: int | str
    image: RowImage
    boxes: tuple[Box, ...]
    captions: tuple[str, ...] = ()
    attributes: tuple[tuple[str, ...], ...] = ()
    uncounted: frozenset[str] = frozenset()
    source: str = ""
    license: str = ""
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.size is None and isinstance(self.image, Image):
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
    def captioned(self) -> frozenset[str]:
        """Names of the vocabulary that occur in a caption."""
        return frozenset().union(*(names_in(caption) for caption in self.captions))

    @cached_property
    def doubtful(self) -> frozenset[str]:
        """Every name that cannot be called absent.

        A narrower name is in doubt when its wider name is annotated or captioned: an annotated "bird" may be a duck. A
        wide word in a caption ("animal") puts no name in doubt if an annotated object explains it (a box "dog").
        """
        annotated = {vocabulary.normal(name) for name in self.names}
        explained = {wide for name in annotated for wide in vocabulary.parents(name)}
        names = annotated | self.captioned
        doubtful = set(names) | set(self.names)
        for name in names:
            doubtful |= {vocabulary.same(name), vocabulary.category(name) or name, *vocabulary.parents(name)}
            if name in annotated or name not in explained:
                doubtful |= set(vocabulary.children(name))
        return frozenset(doubtful)

    def lacks(self, name: str) -> bool:
        """Whether `name` is surely absent."""
        plain = vocabulary.normal(name)
        forms = {name, plain, vocabulary.same(plain), vocabulary.category(plain) or plain}
        return not forms & self.doubtful

    def boxes_of(self, name: str) -> list[XYXY]:
        """The boxes of every instance of `name` that has one."""
        return [box.xyxy for box in self.boxes if box.label == name and box.xyxy is not None]

    def attributes_of(self, name: str) -> list[tuple[str, ...]]:
        """The attributes of each instance of `name`; empty when none are known."""
        pairs = zip(self.boxes, self.attributes, strict=True) if self.attributes else ()
        return [words for box, words in pairs if box.label == name]

    def open(self) -> Image:
        """The image, upright RGB (PIL). Raises ImageError."""
        return open_image(self.image)

    def without(self, name: str, image: RowImage) -> Annotated:
        """The annotation of `image`, from which `name` was removed; captions are dropped, as they may be untrue."""
        kept = [k for k, box in enumerate(self.boxes) if box.label != name]
        attributes = tuple(self.attributes[k] for k in kept) if self.attributes else ()
        boxes = tuple(self.boxes[k] for k in kept)
        return replace(self, image=image, boxes=boxes, captions=(), attributes=attributes)

    def preference(
        self,
        prompt: str,
        chosen: str,
        rejected: str,
        *,
        kind: str,
        seed: int,
        truth: Truth,
        image: RowImage | None = None,
        minimal_edit: bool = False,
    ) -> PreferenceRow:
        """A row about this image, or about `image` made from it, with its id, source and licence."""
        return PreferenceRow(
            (self.image if image is None else image,),
            prompt,
            chosen,
            rejected,
            image_id=self.image_id,
            kind=kind,
            source=self.source,
            seed=seed,
            truth=truth,
            license=self.license,
            minimal_edit=minimal_edit,
        )

    def instruction(self, prompt: str, completion: str, *, kind: str, seed: int, truth: Truth) -> InstructionRow:
        """A row about this image, with its id, source and licence."""
        return InstructionRow(
            (self.image,),
            prompt,
            completion,
            image_id=self.image_id,
            kind=kind,
            source=self.source,
            seed=seed,
            truth=truth,
            license=self.license,
        )


_WORDS = re.compile(r"[a-z]+(?:'[a-z]+)?")


def names_in(text: str) -> frozenset[str]:
    """Names of the vocabulary that occur in `text`, in any form; also those inside longer ones ("hot dog": dog).

    >>> sorted(names_in("Two puppies on a hot-dog stand"))
    ['dog', 'hot dog', 'puppy']
    """
    words = _WORDS.findall(text.lower().replace("-", " "))
    phrases = (" ".join(words[start : start + size]) for size in (1, 2, 3) for start in range(len(words) - size + 1))
    return frozenset(name for name in map(_known, phrases) if name)


@lru_cache(maxsize=1 << 17)
def _known(phrase: str) -> str | None:
    name = vocabulary.normal(phrase)
    return name if name in vocabulary.NAMES else None


class Companions:
    """Counts of how often each object occurs, and how often two objects occur together.

    Args:
        items: annotated images; only their names are read.

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
            raise InputError("expected images with annotated objects, got none; check the annotations")
        self.names = tuple(sorted(self.frequency))

    def beside(self, name: str, present: Sequence[str]) -> int:
        """Number of times that `name` occurs together with each of `present`, summed."""
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
    """Read the images of COCO-style annotation files (`instances_*.json`, `captions_*.json`), in the file's order.

    Args:
        instances: a JSON file with `images`, `annotations` (`bbox` as x, y, width, height; `iscrowd`; perhaps
            `attributes`, a list of words or a mapping to them) and `categories`. Polygons are not kept in memory.
        images: the folder of the images; they are opened only when a row is used.
        captions: the matching caption file; without it, absent means only that a name is not annotated.
        source, license: name and licence of the data, for the rows.

    Raises:
        InputError: a file is missing, is not JSON, or lacks what it should hold; the message names the entry.
    """
    data = read_whole(instances, drop=("segmentation",))
    sentences = _captions(captions)
    try:
        names = {_id(category["id"]): str(category["name"]) for category in data["categories"]}
        annotations: dict[int | str, list[_Fields]] = {}
        for annotation in data["annotations"]:
            annotations.setdefault(_id(annotation["image_id"]), []).append(annotation)
        listed = list(data["images"])
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"expected COCO's instances (images, annotations, categories) in {str(instances)!r}, got one without "
            f"{error}; check the file"
        ) from error
    for image in listed:
        try:
            number = _id(image["id"])
            own = annotations.get(number, [])
            yield Annotated(
                image["id"],
                Path(images) / _name_inside(image["file_name"]),
                tuple(_box(annotation, names) for annotation in own),
                tuple(sentences.get(number, ())),
                _attributes(own),
                frozenset(names[_id(a["category_id"])] for a in own if a.get("iscrowd")),
                source,
                license,
                (int(image["width"]), int(image["height"])) if "width" in image else None,
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise InputError(
                f"expected a COCO image with id, file_name and complete annotations in {str(instances)!r}, got "
                f"{_shown(image)} ({type(error).__name__}: {error}); correct it"
            ) from error


def _name_inside(name: str) -> str:
    if PurePath(name).is_absolute() or ".." in PurePath(name).parts:
        raise ValueError(f"a file outside the folder of the images: {name!r}")
    return name


def _id(value: object) -> int | str:
    """An id of a COCO file; numbers written as text ("18") are the same ids."""
    if isinstance(value, str):
        return int(value) if value.isdecimal() else value
    if not isinstance(value, int):
        raise TypeError(f"an id that is {value!r}")
    return value


def _captions(path: str | Path | None) -> dict[int | str, list[str]]:
    sentences: dict[int | str, list[str]] = {}
    if path is None:
        return sentences
    try:
        for annotation in read_whole(path)["annotations"]:
            sentences.setdefault(_id(annotation["image_id"]), []).append(str(annotation["caption"]).strip())
    except (KeyError, TypeError) as error:
        raise InputError(
            f"expected COCO's captions (annotations with image_id and caption) in {str(path)!r}, got one without "
            f"{error}; check the file"
        ) from error
    return sentences


def _box(annotation: _Fields, names: Mapping[int | str, str]) -> Box:
    x, y, width, height = annotation["bbox"]
    return Box(names[_id(annotation["category_id"])], 1.0, (x, y, x + width, y + height))


def _attributes(annotations: Sequence[_Fields]) -> tuple[tuple[str, ...], ...]:
    if not any(annotation.get("attributes") for annotation in annotations):
        return ()
    words = []
    for annotation in annotations:
        known = annotation.get("attributes") or ()
        values = known.values() if isinstance(known, Mapping) else known
        words.append(tuple(value.lower() for value in values if isinstance(value, str)))
    return tuple(words)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:80] + "..."
