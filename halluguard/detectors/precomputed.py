"""Answer from known objects: the names of the objects in each image. No image is opened, no torch is needed.

`box_files.KnownBoxes` does the same from boxes of another tool.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from halluguard.errors import ExpertError, InputError
from halluguard.records import Box, ImageOrKey
from halluguard.vocabulary import COCO, normal, parents, related, same


class KnownObjects:
    """A detector that knows the objects of each image: ground truth, or the tags of another tool.

    A phrase is found when a listed object has its name, is a kind of it ("bus" for "vehicle"), or is the listed
    category that covers it ("person" for "man": a list is no finer than its words). A phrase is not covered when
    neither it nor a wider word is in the vocabulary: a list without vehicles does not show that there are none.

    Args:
        objects: image id -> names of the objects in it. Ids are compared as strings: 42 and "42" are one image.
        vocabulary: all names that the lists could contain; default the 80 COCO categories.
        name: name in verdicts.

    >>> detector = KnownObjects({7: ["person", "bus"]})
    >>> [[box.label for box in boxes] for boxes in detector.detect([7], [["man", "vehicle", "dog"]])]
    [['person', 'bus']]
    """

    needs_image = False

    def __init__(
        self,
        objects: Mapping[ImageOrKey, Iterable[str]],
        *,
        vocabulary: Iterable[str] = COCO,
        name: str = "known-objects",
    ) -> None:
        self.name = name
        self.vocabulary = frozenset(normal(word) for word in vocabulary)
        self._objects = {str(image): self._names(image, names) for image, names in objects.items()}

    def _names(self, image: ImageOrKey, names: Iterable[str]) -> tuple[str, ...]:
        if isinstance(names, str) or not all(isinstance(name, str) for name in names):
            raise InputError(f"the objects of image {image!r} must be a list of names, got {names!r}; make it a list")
        return tuple(dict.fromkeys(normal(name) for name in names))

    def covers(self, phrase: str) -> bool:
        """Whether the phrase, or a wider word for it, is in the vocabulary."""
        name = normal(phrase)
        return any(word in self.vocabulary for word in (name, same(name), *parents(name)))

    def detect(self, images: Sequence[ImageOrKey], phrases: Sequence[Sequence[str]]) -> list[list[Box]]:
        """One box without geometry and with score 1 per phrase that is found.

        Args:
            images: B image ids.
            phrases: B lists of phrases.

        Raises:
            ExpertError: an image is not listed. A listed image may have no objects at all.
        """
        boxes = []
        for image, words in zip(images, phrases, strict=True):
            listed = self._objects.get(str(image))
            if listed is None:
                raise ExpertError(
                    f"{self.name} knows {len(self._objects)} images, {image!r} is not among them; "
                    "list it (with no objects, if it has none) or leave it out"
                )
            labels = ((i, self._label(normal(word), listed)) for i, word in enumerate(words))
            boxes.append([Box(label=label, score=1.0, phrase=i) for i, label in labels if label])
        return boxes

    def _label(self, name: str, listed: tuple[str, ...]) -> str | None:
        """The listed object that is closest to the name."""
        for relation in ("same", "kind"):
            for label in listed:
                if related(name, label) == relation:
                    return label
        # The nearest wider word that the lists could contain: "man" is listed as "person".
        wider = next((word for word in (name, same(name), *parents(name)) if word in self.vocabulary), None)
        return wider if wider in listed else None
