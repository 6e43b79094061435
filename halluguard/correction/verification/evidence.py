"""Evidence of one image: detected boxes, answers of property experts, and the phrases that a claim puts to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

from halluguard.boxes import suppress
from halluguard.correction.text.lexicon import words
from halluguard.correction.verification.batches import error_text
from halluguard.correction.verification.thresholds import Thresholds
from halluguard.errors import ExpertError
from halluguard.records import Box, Claim, Detector, PropertyExpert, Question, TextReader, Verdict
from halluguard.reliability import Rates
from halluguard.vocabulary import category, children, parents, same

_NEVER_ASKED = words("never asked")
Covers = Callable[[str], bool]


class Calibration(Protocol):
    """Turns a detector's score into a probability, fitted on labelled data."""

    def probability(self, label: str, score: float) -> float | None:
        """The probability in [0, 1] that an object scored `score` under `label` is there; None where none was fitted.

        A score of 0 stands for nothing found.
        """
        ...


@dataclass(frozen=True)
class QueryTerms:
    """The phrases that ask a detector for a name.

    Args:
        own: phrases that mean the name itself.
        wider: at most one phrase for a wider class ("person" for "man").
    """

    own: tuple[str, ...]
    wider: tuple[str, ...]

    def __iter__(self) -> Iterator[str]:
        return iter((*self.own, *self.wider))


TermsOf = Callable[[str], QueryTerms]


def query_terms(name: str, covers: Covers) -> QueryTerms:
    """The phrases that ask for `name`; they depend on nothing but the name and the detector.

    The name and its synonym where the detector covers them, else the nearest wider word ("man" -> "person"), else the
    kinds of it ("vehicle" -> "bus", "car", ...). A covered name is asked together with its COCO category, so that
    "a person, perhaps a man" can be distinguished from "nobody".

    >>> query_terms("man", {"person", "dog"}.__contains__)
    QueryTerms(own=(), wider=('person',))
    """
    own = tuple(phrase for phrase in dict.fromkeys((name, same(name))) if covers(phrase))
    wider = tuple([wide for wide in parents(name) if covers(wide)][:1])
    if own:
        return QueryTerms(own, wider if wider == (category(name),) else ())
    return QueryTerms((), wider) if wider else QueryTerms(tuple(kind for kind in children(name) if covers(kind)), ())


def query_terms_for(covers: Covers) -> TermsOf:
    """`query_terms` for one detector, each name computed once."""
    return cache(lambda name: query_terms(name, covers))


def why_not_asked(claim: Claim) -> str:
    """The reason why no detector is asked about a claim, or ""."""
    if claim.modality == "question":
        return "a question claims nothing"
    if claim.kind == "text":
        return "written words need an expert that reads them"
    if claim.modality == "depicted":
        return "it is said to be depicted, not to be there"
    return "no detector has a box for it" if claim.name in _NEVER_ASKED else ""


def phrases_for(claim: Claim, terms_of: TermsOf) -> list[str]:
    """The phrases that one claim puts to the detector; none where it claims no presence."""
    if why_not_asked(claim):
        return []
    return [phrase for name in (claim.name, *claim.alternatives) for phrase in terms_of(name)]


@dataclass
class PropertyAnswers:
    """Answers of property experts about one image; each question is asked once.

    Args:
        image: the image, as the experts take it.
        experts: the first that covers a question is asked.
        reader: reads the written words of the image.
        known: question -> probability, None for "could not tell".
        failed: name of an expert -> its error.
    """

    image: Any
    experts: Sequence[PropertyExpert]
    reader: TextReader | None = None
    known: dict[Question, float | None] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    _lines: Sequence[Box] | None = None

    def lines(self) -> Sequence[Box] | None:
        """The lines that the reader found, read once; None if it failed, and then it is not asked again."""
        if self.reader is not None and self._lines is None and self.reader.name not in self.failed:
            try:
                (self._lines,) = self.reader.read([self.image])
            except Exception as error:  # foreign code, as below
                self.failed[self.reader.name] = error_text(error)
        return self._lines

    def expert(self, question: Question) -> PropertyExpert | None:
        """The first expert that covers the question."""
        return next((expert for expert in self.experts if expert.covers(question)), None)

    def ask(self, questions: Sequence[Question]) -> None:
        """Ask all questions without an answer, one call per expert. A failing expert is remembered as such."""
        for expert in self.experts:
            new = [q for q in dict.fromkeys(questions) if q not in self.known and self.expert(q) is expert]
            if not new or expert.name in self.failed:
                continue
            try:
                (answers,) = expert.judge([self.image], [new])
                if len(answers) != len(new):
                    raise ExpertError(
                        f"{expert.name} must answer {len(new)} questions, got {len(answers)} answers; "
                        "correct its judge()"
                    )
                self.known |= {q: _probability(expert.name, p) for q, p in zip(new, answers, strict=True)}
            except Exception as error:  # foreign code: whatever it raises is its failure, and is reported
                self.failed[expert.name] = error_text(error)


def _probability(expert: str, p: float | None) -> float | None:
    if p is None or 0.0 <= p <= 1.0:
        return p
    raise ExpertError(f"{expert} must answer with probabilities in [0, 1] or None, got {p}; correct its judge()")


@dataclass(frozen=True)
class Evidence:
    """All that is known of one image when its claims are judged.

    Args:
        detected: phrase -> boxes, for each phrase that was put to the detector; no boxes means not found.
        terms_of: the query terms of a name.
        answers: answers of the property experts.
        recall: share of the objects in an image that the detector finds; it decides whether "not found" contradicts.
        experts: the evidence of each expert of an ensemble, which are judged separately; empty for a single detector.
        agree: rule that combines the verdicts of `experts`: "any", "all" or "votes".
        size: width and height of the image in pixels, where they are known.
        second_look: phrase -> best score in the second look; empty when there was none.
        second_look_failed: the error of the second look, or "".
        presence: name -> the verdict on "there is such an object", once it was made; other evidence begins without.
    """

    detected: Mapping[str, Sequence[Box]]
    detector: Detector
    terms_of: TermsOf
    thresholds: Thresholds
    answers: PropertyAnswers
    calibration: Calibration | None = None
    size: tuple[int, int] | None = None
    second_look: Mapping[str, float] = field(default_factory=dict)
    second_look_failed: str = ""
    recall: Rates = field(default_factory=Rates)
    experts: tuple[Evidence, ...] = ()
    agree: str = "any"
    presence: dict[str, Verdict] = field(default_factory=dict, init=False, repr=False, compare=False)

    def boxes(self, phrases: Iterable[str]) -> list[Box]:
        """All boxes of these phrases, best first."""
        return sorted((box for phrase in phrases for box in self.detected.get(phrase, ())), key=lambda box: -box.score)

    def objects(self, name: str) -> list[Box]:
        """The distinct objects of a name, best first: all that score at least `high`, or else at least `low`."""
        if self.experts:
            boxes = [box for one in self.experts for box in one.objects(name)]
            return distinct(sorted(boxes, key=lambda box: -box.score))
        terms = self.terms_of(name)
        high, low = self.thresholds.of(name)
        boxes = distinct(self.boxes(terms.own or terms.wider))
        return [box for box in boxes if box.score >= high] or [box for box in boxes if box.score >= low]


def best_score(boxes: Iterable[Box]) -> float:
    """The highest score, 0 without boxes."""
    return max((box.score for box in boxes), default=0.0)


def distinct(boxes: Sequence[Box], max_iou: float = 0.5) -> list[Box]:
    """The boxes that overlap no better box by more than `max_iou`, best first."""
    kept = suppress([box.xyxy for box in boxes], [box.score for box in boxes], max_iou)
    return [boxes[i] for i in kept]
