"""Correct drafts against the images that they are about."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL.Image import Image

from halluguard.correction import correct_many
from halluguard.correction.rewriting.llm_rewriter import Proposer
from halluguard.correction.rewriting.rewrite import Style
from halluguard.correction.verification import Calibration, Properties, Thresholds
from halluguard.correction.verification.verify import is_reader
from halluguard.prompting.conversation import Conversation
from halluguard.prompting.drafting import Draft
from halluguard.prompting.evidence_images import ImageSet, SetDetector, SetExpert, SetReader, with_places
from halluguard.records import Answer, Detector

_SENTENCE_END = re.compile(r"[.!?][\"')\]]*\s+(?=\S)|\n+(?=\S)")


@dataclass(frozen=True)
class Checker:
    """A detector and the settings of the correction; arguments as of `Guard`."""

    detector: Detector | None
    thresholds: Thresholds | None
    properties: Properties
    calibration: Calibration | None
    style: Style
    proposer: Proposer | None
    complete: bool | Sequence[str] = False

    def answers(
        self, drafts: Sequence[Draft], conversations: Sequence[Conversation], audit_thinking: bool = False
    ) -> list[Answer]:
        """One answer per draft; with `audit_thinking`, what was thought before it is checked in the same way."""
        answers = self._checked([draft.text for draft in drafts], conversations, self.complete)
        answers = [replace(a, thinking=draft.thinking) for a, draft in zip(answers, drafts, strict=True)]
        thinking = [i for i, draft in enumerate(drafts) if audit_thinking and draft.thinking]
        checked = self._checked([drafts[i].thinking for i in thinking], [conversations[i] for i in thinking])
        for i, thoughts in zip(thinking, checked, strict=True):
            answers[i] = replace(answers[i], thoughts=thoughts)
        return answers

    def _checked(
        self, texts: Sequence[str], conversations: Sequence[Conversation], complete: bool | Sequence[str] = False
    ) -> list[Answer]:
        """The answers after the check. `complete` adds what finished answers about a single image leave out."""
        answers: list[Answer | None] = [None] * len(texts)
        single: list[tuple[int, Image]] = []
        for i, (text, conversation) in enumerate(zip(texts, conversations, strict=True)):
            subjects = conversation.subjects
            if self.detector is None or not subjects:
                image = subjects[0][0] if subjects else None
                answers[i] = Answer(text, text, conversation.question, image=image)
            elif len(subjects) == 1:
                single.append((i, subjects[0][0]))
            else:
                answers[i] = self._about_several(text, conversation)
        if self.detector is not None and single:
            images = [image for _, image in single]
            of_single = (
                [texts[i] for i, _ in single],
                images,
                self.detector,
                [conversations[i].question for i, _ in single],
            )
            for (i, image), answer in zip(
                single, correct_many(*of_single, **self._settings, complete=complete), strict=True
            ):
                answers[i] = replace(answer, image=image)
        return [answer for answer in answers if answer is not None]

    def _about_several(self, text: str, conversation: Conversation) -> Answer:
        assert self.detector is not None
        images, times = zip(*conversation.subjects, strict=True)
        group, detector = ImageSet(images, times), SetDetector(self.detector)
        experts = self.properties
        if experts is not None:
            several = list(experts) if isinstance(experts, Sequence) else [experts]
            experts = [
                SetReader(expert, detector) if is_reader(expert) else SetExpert(expert, detector) for expert in several
            ]
        settings = {**self._settings, "properties": experts}
        keys: list[Any] = [group]
        (answer,) = correct_many([text], keys, detector, [conversation.question], **settings)
        return with_places(answer, group, detector)

    @property
    def _settings(self) -> dict[str, Any]:
        return {
            "thresholds": self.thresholds,
            "properties": self.properties,
            "calibration": self.calibration,
            "style": self.style,
            "proposer": self.proposer,
        }

    def sentences(self, drafts: Iterator[Draft], conversation: Conversation) -> Iterator[tuple[str, Answer]]:
        """Corrected sentences of a draft that is still being written, each with the answer so far.

        A sentence is read together with those before it. Where a later sentence changes how an earlier one reads, the
        earlier one stays as it was yielded.
        """
        released, end, draft = "", 0, Draft("")
        for draft in drafts:
            ends = [match.end() for match in _SENTENCE_END.finditer(draft.text, end)]
            if not ends:
                continue
            end = ends[-1]
            (answer,) = self.answers([replace(draft, text=draft.text[:end].rstrip())], [conversation])
            piece, released = _new_part(released, answer.text)
            if piece:
                yield piece, answer
        (answer,) = self.answers([draft], [conversation])
        piece, released = _new_part(released, answer.text)
        yield piece, answer


def _new_part(given: str, text: str) -> tuple[str, str]:
    """The part of `text` that was not yielded yet, and the whole text yielded with it."""
    common = next((i for i, (a, b) in enumerate(zip(given, text, strict=False)) if a != b), min(len(given), len(text)))
    if common < len(given):  # an earlier sentence reads otherwise now; go on at the same sentence
        done = len(_SENTENCE_END.findall(given)) + 1
        starts = [match.end() for match in _SENTENCE_END.finditer(text)]
        common = starts[done - 1] if done <= len(starts) else len(text)
        piece = text[common:]
        return (f" {piece}" if piece and given else piece), given + (f" {piece}" if piece and given else piece)
    return text[common:], given + text[common:]
