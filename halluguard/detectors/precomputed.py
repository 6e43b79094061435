"""Experts that know the answers beforehand. No picture is opened, no torch is needed.

KnownObjects    names of the objects in each image (below)
KnownBoxes      boxes per image, read from COCO results, CSV or JSON lines (`exports.py`)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from halluguard.detectors.box_files import KnownBoxes
from halluguard.errors import ExpertError, InputError
from halluguard.records import Box
from halluguard.vocabulary import COCO, normal, parents, related, same

__all__ = ["KnownBoxes", "KnownObjects"]


class KnownObjects:
    """Knows which objects are in each image: ground truth, or another tool's list of tags.

    A thing is found when a listed object has its name, is a kind of it ("bus" for "vehicle"), or is the listed category
    that covers it ("person" for "man": a list cannot tell finer than its own words). What neither the vocabulary nor a
    wider word in it names is not covered: a list without any vehicle it knows does not show that there is none.

    Args:
        objects: image id -> names of the objects in it. Ids are compared as strings, so 42 and "42" are one image.
        vocabulary: every name the lists could have held; default the 80 COCO categories.
        name: how the expert signs its verdicts.

    >>> expert = KnownObjects({7: ["person", "bus"]})
    >>> [[box.label for box in boxes] for boxes in expert.detect([7], [["man", "vehicle", "dog"]])]
    [['person', 'bus']]
    """

    needs_image = False

    def __init__(
        self,
        objects: Mapping[Any, Iterable[str]],
        *,
        vocabulary: Iterable[str] = COCO,
        name: str = "known-objects",
    ) -> None:
        self.name = name
        self.vocabulary = frozenset(normal(word) for word in vocabulary)
        self._objects = {str(image): self._names(image, names) for image, names in objects.items()}

    def _names(self, image: Any, names: Iterable[str]) -> tuple[str, ...]:
        if isinstance(names, str) or not all(isinstance(name, str) for name in names):
            raise InputError(f"the objects of image {image!r} must be a list of names, got {names!r}; make it a list")
        return tuple(dict.fromkeys(normal(name) for name in names))

    def covers(self, phrase: str) -> bool:
        name = normal(phrase)
        return any(word in self.vocabulary for word in (name, same(name), *parents(name)))

    def detect(self, images: Sequence[Any], phrases: Sequence[Sequence[str]]) -> list[list[Box]]:
        """One box without geometry, score 1, per phrase that is found.

        Args:
            images: B image ids.
            phrases: B lists of phrases.

        Raises:
            ExpertError: an image is not listed. A listed image may have no objects at all.
        """
        found = []
        for image, words in zip(images, phrases, strict=True):
            listed = self._objects.get(str(image))
            if listed is None:
                raise ExpertError(
                    f"{self.name} knows {len(self._objects)} images, {image!r} is not among them; "
                    "list it (with no objects, if it has none) or leave it out"
                )
            boxes = ((i, self._answer(normal(word), listed)) for i, word in enumerate(words))
            found.append([Box(label=label, score=1.0, phrase=i) for i, label in boxes if label])
        return found

    def _answer(self, name: str, listed: tuple[str, ...]) -> str | None:
        """The listed object that speaks for the name, the closest first."""
        for relation in ("same", "kind"):
            for label in listed:
                if related(name, label) == relation:
                    return label
        # The nearest wider word that the lists could have used: "man" is listed as "person".
        wider = next((word for word in (name, same(name), *parents(name)) if word in self.vocabulary), None)
        return wider if wider in listed else None
