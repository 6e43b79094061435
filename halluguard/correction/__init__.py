"""Correct answers after generation: read claims, verify them with a detector, make the smallest edits that help.

    corrected = correct("A dog and a cat.", image, detector)       everything in one call
    claims.extract  ->  verification.verify  ->  rewriting.rewrite         the same, step by step

No language model and no network are needed; a detector is passed in (see `halluguard.detectors`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias

from halluguard.correction.claims.extract import extract, from_parse, parses
from halluguard.correction.completing import completed
from halluguard.correction.emptied import text_if_emptied
from halluguard.correction.rewriting import Proposer, Style, propose, rewrite, rewrite_many
from halluguard.correction.text.budget import MAX_SECONDS
from halluguard.correction.text.parse import Parse
from halluguard.correction.verification import (
    Calibration,
    Properties,
    Thresholds,
    thresholds_of,
    verify,
    verify_many,
)
from halluguard.correction.verification.omissions import candidates
from halluguard.correction.verification.verify import examine_many
from halluguard.errors import SettingsError
from halluguard.records import Answer, Claim, Detector, Edit, Verdict, check_detector

if TYPE_CHECKING:
    from PIL.Image import Image
    from spacy.language import Language

__all__ = [
    "Calibration",
    "ImageOrKey",
    "Properties",
    "Proposer",
    "Style",
    "Thresholds",
    "acorrect",
    "correct",
    "correct_many",
    "rewrite",
    "verify",
    "verify_many",
    "warm_up",
]

ImageOrKey: TypeAlias = "Image | str | int | None"
"""An RGB image, or the key by which a detector that needs no image knows it."""


def correct(
    text: str,
    image: ImageOrKey,
    detector: Detector,
    question: str | None = None,
    *,
    thresholds: Thresholds | None = None,
    properties: Properties = None,
    calibration: Calibration | None = None,
    second_look: bool = True,
    style: Style = "delete",
    proposer: Proposer | None = None,
    complete: bool | Sequence[str] = False,
    budget: float = MAX_SECONDS,
    nlp: Language | None = None,
) -> Answer:
    """Check an answer against its image and correct what the detector contradicts.

    Args:
        text: the answer (the draft), English.
        image: an RGB image (PIL), or a key that the detector knows when it needs no image.
        detector: finds objects; see `halluguard.records.Detector`.
        question: the question that was asked, needed to judge "Yes", "No" and fragments.
        thresholds: scores at which support ends and contradiction begins; default the detector's own.
        properties, calibration, second_look: see `halluguard.correction.verification.verify.Settings`.
        style: "delete", "drop", "hedge" or "annotate", see `halluguard.correction.rewriting.rewrite.rewrite`.
        proposer: a language model that may word the correction, accepted only if it passes the checks of
            `halluguard.correction.rewriting.llm_rewriter`; otherwise the text of the rules stands.
        complete: True adds objects that the detector finds and the answer leaves out, in the answer's own form, as
            edits with the decision "addition". It looks for the detector's labels, or for COCO's categories if the
            detector takes any phrase; names in place of True are looked for instead. Answers to questions that do not
            ask for a description stay as they are.
        budget: processor seconds that reading and correcting the answer may take, not counting the detector.
        nlp: a spaCy pipeline; default the best English one installed.

    Returns:
        `Answer` with the corrected `text`, and claims, verdicts and edits as evidence. Where the detector failed, the
        text stays as it was and the verdicts say so.

    Raises:
        InputError: the text cannot be read.
        BudgetError: reading and correcting it takes longer than the budget.

    >>> from halluguard.detectors.precomputed import KnownObjects
    >>> correct("A dog and a cat.", "1.jpg", KnownObjects({"1.jpg": ["dog"]})).text
    'A dog.'
    >>> correct("A dog and a cat.", "1.jpg", KnownObjects({"1.jpg": ["dog", "cup"]}), complete=True).text
    'A dog. There is also a cup.'
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
        complete=complete,
        budget=budget,
        nlp=nlp,
    )
    return answer


def warm_up(detector: Detector | None = None) -> None:
    """Load what the first correction would load: the English pipeline and, on a GPU, the detector's kernels.

    Call it before a program takes requests; the first answer is then as quick as the next ones.

    Args:
        detector: a loaded detector, asked once about a blank image; None reads and parses a sentence only.

    Raises:
        MissingExtraError: no English pipeline is installed.

    >>> warm_up()
    """
    text = "A dog sits beside two red cars."
    if detector is None:
        extract(text)
        return
    from PIL import Image

    correct(text, Image.new("RGB", (224, 224), "white") if detector.needs_image else "", detector)


async def acorrect(
    text: str, image: ImageOrKey, detector: Detector, question: str | None = None, **settings: Any
) -> Answer:
    """Check an answer in a thread, so that the event loop keeps running; arguments as of `correct`.

    >>> import asyncio
    >>> from halluguard.detectors.precomputed import KnownObjects
    >>> asyncio.run(acorrect("A dog and a cat.", "1.jpg", KnownObjects({"1.jpg": ["dog"]}))).text
    'A dog.'
    """
    import asyncio  # a quarter of what importing this package would take, and needed here alone

    return await asyncio.to_thread(correct, text, image, detector, question, **settings)


def correct_many(
    texts: Iterable[str],
    images: Iterable[ImageOrKey],
    detector: Detector,
    questions: Iterable[str | None] | None = None,
    *,
    thresholds: Thresholds | None = None,
    properties: Properties = None,
    calibration: Calibration | None = None,
    second_look: bool = True,
    style: Style = "delete",
    proposer: Proposer | None = None,
    complete: bool | Sequence[str] = False,
    batch_size: int = 32,
    budget: float = MAX_SECONDS,
    nlp: Language | None = None,
) -> Iterator[Answer]:
    """Correct a stream of answers, one image each; answers in a batch that share an image share its detector pass.

    Args:
        texts, images, questions: as in `correct`, of equal length.
        batch_size: answers read, verified and rewritten together.
        budget: processor seconds that reading and correcting one answer may take.
    """
    check_detector(detector)
    names = candidates(detector, complete)
    options = _Options(thresholds, properties, calibration, second_look, style, proposer, names, budget, nlp)
    text_stream, image_stream = iter(texts), iter(images)
    question_stream = iter(questions) if questions is not None else None
    while batch := list(islice(text_stream, batch_size)):
        of_batch = list(islice(image_stream, len(batch)))
        of_questions = list(islice(question_stream, len(batch))) if question_stream is not None else [None] * len(batch)
        if len(of_batch) != len(batch) or len(of_questions) != len(batch):
            raise SettingsError(
                f"one image (and question) per text is needed, got {len(batch)} texts, {len(of_batch)} images and "
                f"{len(of_questions)} questions at the end of a stream; make them equally long"
            )
        yield from _correct_batch(batch, of_batch, of_questions, detector, options)


@dataclass(frozen=True)
class _Options:
    """The options of `correct_many` that a batch needs."""

    thresholds: Thresholds | None
    properties: Properties
    calibration: Calibration | None
    second_look: bool
    style: Style
    proposer: Proposer | None
    names: Sequence[str]
    budget: float
    nlp: Language | None


@dataclass(frozen=True)
class _Case:
    """One answer of a batch: its parse, image and question, its claims and their verdicts."""

    parse: Parse
    image: ImageOrKey
    question: str | None
    claims: Sequence[Claim]
    verdicts: Sequence[Verdict]


def _correct_batch(
    texts: Sequence[str],
    images: Sequence[ImageOrKey],
    questions: Sequence[str | None],
    detector: Detector,
    options: _Options,
) -> Iterator[Answer]:
    started = perf_counter()
    read = [
        parse
        for parse, _ in parses(texts, questions, batch_size=len(texts), nlp=options.nlp, budget=options.budget)
        if isinstance(parse, Parse)
    ]
    claims = [from_parse(parse, question, nlp=options.nlp) for parse, question in zip(read, questions, strict=True)]
    extracted = perf_counter()
    examined = examine_many(
        claims,
        images,
        detector,
        thresholds=options.thresholds,
        properties=options.properties,
        calibration=options.calibration,
        second_look=options.second_look,
        names=options.names,
    )
    verdicts = [judged for judged, _ in examined]
    timings = {
        "extract": (extracted - started) / len(texts),
        "verify": (perf_counter() - extracted) / len(texts),
    }
    verified = perf_counter()
    fallbacks = [
        text_if_emptied(question, of_text, judged, nlp=options.nlp)
        for question, of_text, judged in zip(questions, claims, verdicts, strict=True)
    ]
    rewritten = rewrite_many(read, claims, verdicts, style=options.style, fallbacks=fallbacks, nlp=options.nlp)
    timings["rewrite"] = (perf_counter() - verified) / len(texts)
    cases = map(_Case, read, images, questions, claims, verdicts)
    for case, edited, (_, evidence) in zip(cases, rewritten, examined, strict=True):
        answer = _answer(case, edited, detector, timings, options)
        if options.names and evidence is not None:
            answer = completed(answer, evidence, options.names, options.nlp)
        yield answer


def _answer(
    case: _Case,
    rewritten: tuple[str, list[Edit]],
    detector: Detector,
    timings: dict[str, float],
    options: _Options,
) -> Answer:
    started, limits = perf_counter(), options.thresholds or thresholds_of(detector)
    text, edits = rewritten
    labels = {name: list(pair) for name, pair in limits.labels.items()}
    settings: dict[str, object] = {
        "detector": detector.name,
        "style": options.style,
        "thresholds": {"high": limits.high, "low": limits.low, "labels": labels},
    }
    draft = case.parse.text
    if options.proposer is not None and text != draft:
        proposal = propose(draft, case.claims, case.verdicts, options.proposer, nlp=options.nlp)
        settings["proposer"] = proposal.record
        text, edits = (proposal.text, proposal.edits) if proposal.text is not None else (text, edits)
    return Answer(
        draft=draft,
        text=text,
        question=case.question,
        claims=tuple(case.claims),
        verdicts=tuple(case.verdicts),
        edits=tuple(edits),
        timings=timings | {"rewrite": timings["rewrite"] + perf_counter() - started},
        settings=settings,
        image=case.image,
    )
