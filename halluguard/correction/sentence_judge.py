"""Judge the words of an unfinished answer: the claims of its last sentence, put to a detector.

A model that steps back while writing calls it at the end of every sentence. Each name is asked once per image.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from halluguard.correction.claims.extract import extract
from halluguard.correction.verification import Thresholds, thresholds_of, verify
from halluguard.correction.verification.verify import key_of
from halluguard.records import Box, Claim, Decision, Detector, Verdict
from halluguard.thinking import thoughts
from halluguard.vocabulary import category, same

if TYPE_CHECKING:
    from PIL.Image import Image
    from spacy.language import Language


@dataclass(frozen=True)
class SentenceWord:
    """One claim of the sentence: its characters, the verdict, and whether the answer named the same thing before.

    The fields are those of `halluguard.decoding.step_back.JudgedWord`.
    """

    start: int
    end: int
    decision: Decision
    score: float
    high: float
    repeated: bool


@dataclass
class Asked:
    """A detector that is asked for each phrase of an image once.

    Args:
        detector: the detector.
    """

    detector: Detector
    known: dict[tuple[Hashable, str], list[Box]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.name, self.needs_image = self.detector.name, self.detector.needs_image

    def covers(self, phrase: str) -> bool:
        return self.detector.covers(phrase)

    def detect(self, images: Sequence[Image], phrases: Sequence[Sequence[str]]) -> list[list[Box]]:
        new = [
            [p for p in own if (key_of(image), p) not in self.known] for image, own in zip(images, phrases, strict=True)
        ]
        rows = [i for i, own in enumerate(new) if own]
        detected = self.detector.detect([images[i] for i in rows], [new[i] for i in rows]) if rows else []
        for i, boxes in zip(rows, detected, strict=True):
            for at, phrase in enumerate(new[i]):
                self.known[key_of(images[i]), phrase] = [box for box in boxes if box.phrase == at]
        return [
            [_at(box, at) for at, phrase in enumerate(own) for box in self.known[key_of(image), phrase]]
            for image, own in zip(images, phrases, strict=True)
        ]


def _at(box: Box, phrase: int) -> Box:
    return Box(box.label, box.score, box.xyxy, phrase)


class SentenceJudge:
    """Judge sentences of answers about images: existence claims that the answer asserts.

    Args:
        detector: finds objects.
        images: images of each prompt; a claim is contradicted if no image of its prompt can show it.
        questions: the question of each prompt.
        thresholds: scores at which support ends and contradiction begins; default the detector's own.
        nlp: a spaCy pipeline; default the best English one installed.

    >>> from halluguard.detectors.precomputed import KnownObjects
    >>> judge = SentenceJudge(KnownObjects({"1.jpg": ["dog"]}), [["1.jpg"]], ["Describe the image."])
    >>> [(word.start, word.decision) for word in judge(0, "A dog sits. A cat sleeps.", 11)]
    [(14, 'contradicted')]
    """

    def __init__(
        self,
        detector: Detector,
        images: Sequence[Sequence[object]],
        questions: Sequence[str | None],
        *,
        thresholds: Thresholds | None = None,
        nlp: Language | None = None,
    ) -> None:
        self.limits = thresholds or thresholds_of(detector)
        self.detector = Asked(detector)
        self.images, self.questions, self.nlp = images, questions, nlp

    def __call__(self, prompt: int, text: str, start: int) -> list[SentenceWord]:
        """The claims of a text that begin at character `start` or after it; those of thoughts are left out."""
        hidden = thoughts(text)
        claims = [one for one in extract(text, self.questions[prompt], nlp=self.nlp) if one.kind == "existence"]
        new = [
            i
            for i, claim in enumerate(claims)
            if claim.start >= start
            and claim.polarity == "asserted"
            and not any(a <= claim.start < b for a, b in hidden)
        ]
        if not new or not self.images[prompt]:
            return []
        by_image = [
            verify(claims, image, self.detector, thresholds=self.limits, second_look=False)
            for image in self.images[prompt]
        ]
        return [self._word(claims[i], claims, [verdicts[i] for verdicts in by_image]) for i in new]

    def _word(self, claim: Claim, claims: Sequence[Claim], verdicts: Sequence[Verdict]) -> SentenceWord:
        best = max(verdicts, key=lambda verdict: (_RANK[verdict.decision], _score(verdict)))
        earlier = {_thing(one) for one in claims if one.start < claim.start}
        return SentenceWord(
            claim.start, claim.end, best.decision, _score(best), self.limits.of(claim.name)[0], _thing(claim) in earlier
        )


_RANK: dict[Decision, int] = {"contradicted": 0, "unverifiable": 1, "unsure": 2, "supported": 3}


def _score(verdict: Verdict) -> float:
    return max((box.score for box in verdict.evidence), default=0.0)


def _thing(claim: Claim) -> str:
    return category(claim.name) or same(claim.name) or claim.name
