"""Answer from known objects: the names of the objects in each image. No image is opened, no torch is needed.

`box_files.KnownBoxes` does the same from boxes of another tool.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from halluguard.detectors.image_ids import ImageIndex
from halluguard.detectors.label_language import check_english
from halluguard.detectors.labels import DOUBTFUL, NO_LABELS, meaning
from halluguard.errors import ExpertError, InputError, UnlistedImageError
from halluguard.records import Box, ImageOrKey
from halluguard.reliability import LIST_RECALL, Rates, Stated
from halluguard.vocabulary import COCO, normal, parents, related, same

MAX_NAMES = 10_000
"""Names of the objects of one image, at most: each is compared with each phrase."""


class KnownObjects:
    """A detector that knows the objects of each image: ground truth, or the tags of another tool.

    A phrase is found when a listed object has its name, is a kind of it ("bus" for "vehicle"), or is the listed
    category that includes it ("person" for "man"). A phrase is not covered when neither it nor a wider word is in the
    vocabulary: lists whose vocabulary has no vehicles do not show that there are none. Names may be written in any of
    the ways that `labels` reads. A name that may mean one of several things neither supports nor contradicts a claim;
    an image with a name that cannot be read is an error.

    Args:
        objects: image id -> names of the objects in it. Ids are compared as strings: 42 and "42" are one image.
        vocabulary: all names that the lists could contain; default the 80 COCO categories.
        name: name in verdicts.
        exhaustive: False for lists that do not name everything, such as the confident detections of a tool. An object
            that they do not list is then unsure, unless another expert does not find it either.
        recall: share of the objects in an image that the lists name, in [0, 1], for all labels or per label; it
            replaces `exhaustive`. With 0, listed objects support claims, and a missing object means nothing.
        precision: share of the listed objects that are in the image, in the same form. Default 1.

    >>> detector = KnownObjects({7: ["person", "bus"]})
    >>> [[box.label for box in boxes] for boxes in detector.detect([7], [["man", "vehicle", "dog"]])]
    [['person', 'bus']]
    >>> from halluguard import correct
    >>> correct("A dog.", 7, KnownObjects({7: ["person"]}, exhaustive=False)).verdicts[0].decision
    'unsure'
    """

    needs_image = False
    fingerprint: str | None = None
    """Identifies the contents in a cache; None if the name already does."""

    def __init__(
        self,
        objects: Mapping[ImageOrKey, Iterable[str]],
        *,
        vocabulary: Iterable[str] = COCO,
        name: str = "known-objects",
        exhaustive: bool = True,
        recall: Stated | None = None,
        precision: Stated | None = None,
    ) -> None:
        self.name = name
        self.recall = Rates.of_value(recall, 1.0 if exhaustive else LIST_RECALL)
        self.precision = Rates.of_value(precision)
        self.vocabulary = frozenset(name for word in vocabulary for name in meaning(word).names)
        self._written = {str(image): self._names(image, names) for image, names in objects.items()}
        self._index = ImageIndex(self._written)
        self._wider: dict[str, str | None] = {}
        check_english([name for names in self._written.values() for name in names])

    def _names(self, image: ImageOrKey, names: Iterable[str]) -> tuple[str, ...]:
        if isinstance(names, str) or not all(isinstance(name, str) for name in names):
            raise InputError(f"the objects of image {image!r} must be a list of names, got {names!r}; make it a list")
        names = list(names)
        if len(names) > MAX_NAMES:
            raise InputError(
                f"expected at most {MAX_NAMES:,} names of image {image!r}, got {len(names):,}; name each once"
            )
        return tuple(dict.fromkeys(name for name in names if name.lower().strip() not in NO_LABELS))

    def covers(self, phrase: str) -> bool:
        """Whether the phrase, or a wider word for it, is in the vocabulary."""
        name = normal(phrase)
        return any(word in self.vocabulary for word in (name, same(name), *parents(name)))

    def lists(self, phrase: str) -> bool:
        """Whether the vocabulary has the phrase itself, or another word for it."""
        name = normal(phrase)
        return name in self.vocabulary or same(name) in self.vocabulary

    @property
    def names(self) -> tuple[str, ...]:
        """All names that the lists could contain, sorted."""
        return tuple(sorted(self.vocabulary))

    def detect(self, images: Sequence[ImageOrKey], phrases: Sequence[Sequence[str]]) -> list[list[Box]]:
        """One box without geometry and with score 1 per phrase that is found.

        Args:
            images: B image ids.
            phrases: B lists of phrases.

        Raises:
            UnlistedImageError: an image is not listed. A listed image may have no objects at all.
        """
        boxes = []
        for image, words in zip(images, phrases, strict=True):
            listed = self._index.find(image)
            if listed is None:
                known = next(iter(self._written), None)
                raise UnlistedImageError(
                    f"{self.name} knows {len(self._written)} images, such as {known!r}, and {image!r} is not among "
                    "them; list it (with no objects, if it has none) or leave it out"
                )
            sure, doubtful = self._names_of(image, self._written[listed]) if words else ((), ())
            of_image: list[Box] = []
            for i, name in enumerate(map(normal, words)):
                if (label := self._label(name, sure)) is not None:
                    of_image.append(Box(label, 1.0, phrase=i))
                elif (label := self._label(name, doubtful)) is not None:
                    of_image.append(Box(label, DOUBTFUL, phrase=i))
            boxes.append(of_image)
        return boxes

    def _names_of(self, image: ImageOrKey, written: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The names that the labels of an image mean, and those that they may mean."""
        meanings = [meaning(label) for label in written]
        unreadable = [label for label, known in zip(written, meanings, strict=True) if not known.names]
        if unreadable:
            raise ExpertError(
                f"{self.name} lists {unreadable[0]!r} for the image {image!r}, a piece of a word; "
                "join the pieces, or leave the image out"
            )
        sure = tuple(name for of in meanings if not of.merged for name in of.names)
        return sure, tuple(name for of in meanings if of.merged for name in of.names)

    def _label(self, name: str, listed: tuple[str, ...]) -> str | None:
        """The listed object that is closest to the name."""
        if not listed:
            return None
        relations = [related(name, label) for label in listed]
        for relation in ("same", "kind"):
            if relation in relations:
                return listed[relations.index(relation)]
        wider = self._nearest(name)
        return wider if wider in listed else None

    def _nearest(self, name: str) -> str | None:
        """The nearest wider word that the lists could contain: "man" is listed as "person"."""
        if name not in self._wider:
            words = (name, same(name), *parents(name))
            self._wider[name] = next((word for word in words if word in self.vocabulary), None)
        return self._wider[name]
