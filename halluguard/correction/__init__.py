"""After generation: claims of an answer, an expert's verdicts on them, and the smallest edits that make it true.

    corrected = correct("A dog and a cat.", image, detector)       everything in one call
    claims.extract  ->  verify.verify  ->  rewrite.rewrite         the same, step by step

No language model and no network are needed; a detector is passed in (see `halluguard.detectors`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING, Any

from halluguard.errors import SettingsError
from halluguard.records import Answer, Detector

if TYPE_CHECKING:
    from halluguard.correction.rewriting.llm_rewriter import Proposer
    from halluguard.correction.rewriting.rewrite import Style
    from halluguard.correction.verification import Calibration, Properties, Thresholds

__all__ = ["correct", "correct_many"]


def correct(
    text: str,
    image: Any,
    detector: Detector,
    question: str | None = None,
    *,
    thresholds: Thresholds | None = None,
    properties: Properties = None,
    calibration: Calibration | None = None,
    second_look: bool = True,
    style: Style = "delete",
    proposer: Proposer | None = None,
    nlp: Any = None,
) -> Answer:
    """Check an answer against its picture and correct what the expert contradicts.

    Args:
        text: the answer (the draft), English.
        image: an RGB picture (PIL), or a key that the detector knows when it needs no image.
        detector: the expert; see `halluguard.records.Detector`.
        question: what was asked, needed to judge "Yes", "No" and fragments.
        thresholds: where support ends and contradiction begins; default the detector's own.
        properties, calibration, second_look: see `halluguard.correction.verification.verify.verify_many`.
        style: "delete", "hedge" or "annotate", see `halluguard.correction.rewriting.rewrite.rewrite`.
        proposer: a language model that may word the correction, accepted only if it passes the checks of
            `halluguard.correction.rewriting.llm_rewriter`; otherwise the rules' own text stands.
        nlp: a spaCy pipeline; default the best English one installed.

    Returns:
        `Answer` with the corrected `text`, and claims, verdicts and edits as evidence. Where the expert failed, the
        text stays as it was and the verdicts say so.

    Raises:
        InputError: the text cannot be read.
    """
    (answer,) = correct_many(
        [text],
        [image],
        detector,
        [question],
        thresholds=thresholds,
        properties=properties,
        calibration=calibration,
        second_look=second_look,
        style=style,
        proposer=proposer,
        nlp=nlp,
    )
    return answer


def correct_many(
    texts: Iterable[str],
    images: Iterable[Any],
    detector: Detector,
    questions: Iterable[str | None] | None = None,
    *,
    thresholds: Thresholds | None = None,
    properties: Properties = None,
    calibration: Calibration | None = None,
    second_look: bool = True,
    style: Style = "delete",
    proposer: Proposer | None = None,
    batch_size: int = 32,
    nlp: Any = None,
) -> Iterator[Answer]:
    """Correct a stream of answers, one image each; answers in a batch that share an image share its detector pass.

    Args:
        texts, images, questions: as in `correct`, in step.
        batch_size: answers read, checked and rewritten together.
    """
    how = _How(thresholds, properties, calibration, second_look, style, proposer, nlp)
    text_stream, image_stream = iter(texts), iter(images)
    question_stream = iter(questions) if questions is not None else None
    while batch := list(islice(text_stream, batch_size)):
        pictures = list(islice(image_stream, len(batch)))
        asked = list(islice(question_stream, len(batch))) if question_stream is not None else [None] * len(batch)
        if len(pictures) != len(batch) or len(asked) != len(batch):
            raise SettingsError(
                f"one image (and question) per text is needed, got {len(batch)} texts, {len(pictures)} images and "
                f"{len(asked)} questions at the end of a stream; make them equally long"
            )
        yield from _correct_batch(batch, pictures, asked, detector, how)


@dataclass(frozen=True)
class _How:
    """The options of `correct_many` that a batch needs."""

    thresholds: Thresholds | None
    properties: Properties
    calibration: Calibration | None
    second_look: bool
    style: Style
    proposer: Proposer | None
    nlp: Any


def _correct_batch(
    texts: Sequence[str],
    images: Sequence[Any],
    questions: Sequence[str | None],
    detector: Detector,
    how: _How,
) -> Iterator[Answer]:
    from halluguard.correction.claims.extract import from_parse, parses
    from halluguard.correction.rewriting.llm_rewriter import propose
    from halluguard.correction.rewriting.rewrite import rewrite
    from halluguard.correction.text.parse import Parse
    from halluguard.correction.verification import thresholds_of, verify_many

    started = perf_counter()
    limits = how.thresholds or thresholds_of(detector)
    parsed = [
        parse for parse, _ in parses(texts, questions, batch_size=len(texts), nlp=how.nlp) if isinstance(parse, Parse)
    ]
    claims = [from_parse(parse, question, nlp=how.nlp) for parse, question in zip(parsed, questions, strict=True)]
    read = perf_counter()
    verdicts = verify_many(
        claims,
        images,
        detector,
        thresholds=limits,
        properties=how.properties,
        calibration=how.calibration,
        second_look=how.second_look,
    )
    checked = perf_counter()
    settings = {
        "detector": detector.name,
        "style": how.style,
        "thresholds": {
            "high": limits.high,
            "low": limits.low,
            "labels": {k: list(v) for k, v in limits.labels.items()},
        },
    }
    share = {"extract": (read - started) / len(texts), "verify": (checked - read) / len(texts)}
    for parse, image, question, found, said in zip(parsed, images, questions, claims, verdicts, strict=True):
        began = perf_counter()
        text, edits = rewrite(parse.text, found, said, style=how.style, parse=parse, nlp=how.nlp)
        proposed: dict[str, Any] = {}
        if how.proposer is not None and edits:
            proposal = propose(parse.text, found, said, how.proposer, nlp=how.nlp)
            proposed = {"proposer": proposal.record}
            text, edits = (proposal.text, proposal.edits) if proposal.text is not None else (text, edits)
        yield Answer(
            draft=parse.text,
            text=text,
            question=question,
            claims=tuple(found),
            verdicts=tuple(said),
            edits=tuple(edits),
            timings=share | {"rewrite": perf_counter() - began},
            settings=settings | proposed,
            image=image,
        )
