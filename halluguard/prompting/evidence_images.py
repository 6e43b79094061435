"""Check answers about several images, or about the frames of a clip, with the detectors of one image.

A claim is true of several images when it is true of one of them, so each phrase is answered from the image that shows
it best. Boxes of different images are never added up: two frames of one dog are not two dogs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL.Image import Image

from halluguard.records import Answer, Box, Detector, PropertyExpert, Question, TextReader, Verdict


@dataclass(frozen=True, eq=False)
class ImageSet:
    """The images of one answer, as one key for the detectors below.

    Args:
        images: RGB images.
        times: seconds from the start of the clip, None for an image that is not a frame.
    """

    images: tuple[Image, ...]
    times: tuple[float | None, ...]


class SetDetector:
    """A detector of `ImageSet`s, made of a detector of images.

    Args:
        detector: asked about every image of a set, in one call.
    """

    needs_image = False  # its keys are sets; there is no second look into their parts

    def __init__(self, detector: Detector) -> None:
        self.detector, self.name = detector, detector.name
        self.shown: dict[int, int] = {}  # id of a box -> index of the image that it is in
        self.boxes: list[Box] = []  # keeps the ids taken
        if hasattr(detector, "thresholds"):
            self.thresholds = detector.thresholds
        if hasattr(detector, "recall"):
            self.recall = detector.recall

    def covers(self, phrase: str) -> bool:
        """Whether the detector can judge `phrase`."""
        return self.detector.covers(phrase)

    def detect(self, images: Sequence[Any], phrases: Sequence[Sequence[str]]) -> list[list[Box]]:
        """The boxes of each phrase in the image of the set that shows it best; arguments as of a detector."""
        flat = [image for group in images for image in group.images]
        queries = [words for group, words in zip(images, phrases, strict=True) for _ in group.images]
        answers = iter(self.detector.detect(flat, queries))
        return [
            self._best([next(answers) for _ in group.images], len(words))
            for group, words in zip(images, phrases, strict=True)
        ]

    def _best(self, found: Sequence[Sequence[Box]], phrases: int) -> list[Box]:
        chosen: list[Box] = []
        for phrase in range(phrases):
            by_image = [[box for box in boxes if box.phrase == phrase] for boxes in found]
            best = max(range(len(found)), key=lambda i: max((box.score for box in by_image[i]), default=-1.0))
            chosen += [self.placed(box, best) for box in by_image[best]]
        return chosen

    def placed(self, box: Box, image: int) -> Box:
        """A copy of the box, noted as seen in one image of the set."""
        own = replace(box)  # a new object, so that its id is its own
        self.shown[id(own)] = image
        self.boxes.append(own)
        return own


class SetReader:
    """A reader of written words on `ImageSet`s: the lines of all images, one after another.

    Args:
        reader: the reader of images.
        detector: notes which image a line is in.
    """

    needs_image = False

    def __init__(self, reader: TextReader, detector: SetDetector) -> None:
        self.reader, self.detector, self.name = reader, detector, reader.name

    def read(self, images: Sequence[Any]) -> list[list[Box]]:
        """As `TextReader.read`."""
        lines = iter(self.reader.read([image for group in images for image in group.images]))
        return [
            [self.detector.placed(box, i) for i, _ in enumerate(group.images) for box in next(lines)]
            for group in images
        ]


class SetExpert:
    """A property expert on `ImageSet`s: each question goes to the image that its box is in.

    Args:
        expert: the expert on images.
        detector: the detector that made the boxes.
    """

    needs_image = False

    def __init__(self, expert: PropertyExpert, detector: SetDetector) -> None:
        self.expert, self.detector, self.name = expert, detector, expert.name
        if hasattr(expert, "thresholds"):
            self.thresholds = expert.thresholds

    def covers(self, question: Question) -> bool:
        """Whether the expert can judge `question`."""
        return self.expert.covers(question)

    def judge(self, images: Sequence[Any], questions: Sequence[Sequence[Question]]) -> list[list[float | None]]:
        """As `PropertyExpert.judge`. Two objects in different images have no relation that could be seen."""
        judged = []
        for group, asked in zip(images, questions, strict=True):
            answers: list[float | None] = []
            for question in asked:
                places = {self.detector.shown.get(id(box), 0) for box in (question.box, question.other) if box}
                if len(places) > 1:
                    answers.append(None)
                    continue
                ((answer,),) = self.expert.judge([group.images[next(iter(places), 0)]], [[question]])
                answers.append(answer)
            judged.append(answers)
        return judged


def with_places(answer: Answer, images: ImageSet, detector: SetDetector) -> Answer:
    """The answer, every verdict with boxes saying which image or second it was read in ("at 0:07", "in image 2").

    `Answer.image` is the image with most of the evidence.
    """
    counts = [0] * len(images.images)
    verdicts = []
    for verdict in answer.verdicts:
        places = [detector.shown[id(box)] for box in verdict.evidence if id(box) in detector.shown]
        for place in places:
            counts[place] += 1
        verdicts.append(_placed(verdict, images, places[0]) if places else verdict)
    best = counts.index(max(counts))
    return replace(answer, verdicts=tuple(verdicts), image=images.images[best])


def _placed(verdict: Verdict, images: ImageSet, place: int) -> Verdict:
    time = images.times[place]
    where = f"in image {place + 1}" if time is None else f"at {int(time) // 60}:{int(time) % 60:02d}"
    return replace(verdict, reason=f"{verdict.reason} ({where})" if verdict.reason else where)
