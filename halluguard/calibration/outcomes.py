"""Run the correction at several settings, and record what each releases; a policy is fitted to these outcomes.

Parsing and detection run once; each setting judges and rewrites again. Second looks and ensembles run here as in later
use, so that they are calibrated too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from halluguard.correction.claims.extract import claims_or_error, parses
from halluguard.correction.completing import claims_left, with_additions
from halluguard.correction.emptied import text_if_emptied
from halluguard.correction.rewriting.rewrite import FALLBACK, rewrite_many
from halluguard.correction.text.parse import Parse
from halluguard.correction.verification import Thresholds, thresholds_of, verify_many
from halluguard.correction.verification.evidence import Evidence
from halluguard.correction.verification.omissions import candidates
from halluguard.correction.verification.verify import examine_many
from halluguard.errors import HalluguardError, SettingsError
from halluguard.metrics.chair import Protocol, mentions
from halluguard.metrics.vocabulary import Vocabulary, load_vocabulary
from halluguard.records import Answer, Box, Claim, Detector, Edit, ImageOrKey, PropertyExpert, Verdict, apply_edits

if TYPE_CHECKING:
    from spacy.language import Language

Filter = Literal["all", "confirmed"]
"""Captions that are released: all, or only those in which the detector confirms every remaining object word."""


@dataclass(frozen=True)
class Setting:
    """One point on the path from plain to strict.

    Args:
        contradict: score below which a claim is contradicted, in [0, 1]; 0 contradicts nothing.
        filter: "all", or "confirmed": a caption is released only if each object word that CHAIR's rules read in it
            scores at least `contradict`.
        complete: least score in (0, 1] at which a found object that the caption leaves out is added to it; None adds
            nothing.
        imagination: the imagination setting of the captions; None if they have one setting only.
    """

    contradict: float = 0.0
    filter: Filter = "all"
    imagination: float | None = None
    complete: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.contradict <= 1:
            raise SettingsError(f"contradict must be in [0, 1], got {self.contradict}; 0.2 is usual")
        if self.complete is not None and not 0 < self.complete <= 1:
            raise SettingsError(
                f"complete must be above 0 and at most 1, got {self.complete}; leave it out to add nothing"
            )
        if self.filter not in ("all", "confirmed"):
            raise SettingsError(f"filter must be 'all' or 'confirmed', got {self.filter!r}; choose one")

    def thresholds(self, detector: Detector) -> Thresholds:
        """The thresholds of this setting; the upper one is `complete`, or else the detector's own."""
        high = thresholds_of(detector).high if self.complete is None else self.complete
        return Thresholds(max(high, self.contradict), self.contradict)

    def words(self) -> str:
        """The setting in a few words."""
        made = "" if self.imagination is None else f"imagination {self.imagination:g}, "
        what = f"contradicted below {self.contradict:g}" if self.contradict else "nothing contradicted"
        if self.complete is not None:
            what += f", completed from {self.complete:g}"
        return made + what + (", confirmed captions only" if self.filter == "confirmed" else "")


@dataclass(frozen=True)
class Outcome:
    """The result for one caption at a setting.

    Args:
        draft: the caption before correction.
        text: the corrected caption.
        withheld: reason why the caption is not released; empty if it is.
        agreement: mean detector score of its claims in [0, 1], for `watching.ShiftMonitor`; None without such claims.
        error: True if the caption or its image could not be checked at all.
    """

    draft: str
    text: str
    withheld: str = ""
    agreement: float | None = None
    error: bool = False


@dataclass(frozen=True)
class ObjectReader:
    """Read the objects that a text names, by the rules that the promise uses.

    Args:
        protocol: CHAIR's reading rules; "fixed" has none of the official code's known mistakes.
        vocabulary: categories and their words; default COCO's.
    """

    protocol: Protocol = "fixed"
    vocabulary: Vocabulary | None = None

    @property
    def words(self) -> Vocabulary:
        return self.vocabulary or load_vocabulary()

    def categories(self, text: str) -> list[str]:
        """The categories that a text names, each once, in reading order."""
        return list(dict.fromkeys(m.category for m in mentions(text, self.protocol, self.words)[0]))


def agreement(verdicts: Sequence[Verdict]) -> float | None:
    """Mean detector score of the claims of one caption, in [0, 1]; None if no claim was judged.

    >>> agreement([Verdict(0, "supported", 0.9), Verdict(1, "contradicted", 0.9), Verdict(2, "unverifiable")])
    0.5
    """
    scores = [
        verdict.confidence if verdict.decision == "supported" else 1 - verdict.confidence
        for verdict in verdicts
        if verdict.decision in ("supported", "contradicted", "unsure") and not verdict.calibrated
    ]
    return round(sum(scores) / len(scores), 6) if scores else None


def withheld(
    texts: Sequence[str],
    images: Sequence[ImageOrKey],
    detector: Detector,
    thresholds: Thresholds,
    setting: Setting,
    reader: ObjectReader,
    *,
    second_look: bool,
) -> list[str]:
    """The reason why each corrected text is not released at a setting; "" if it is released.

    A text that has no sentence left after correction is not released at any setting.
    """
    reasons = ["no sentence was left" if FALLBACK in text else "" for text in texts]
    if setting.filter == "all":
        return reasons
    named = [[] if reason else reader.categories(text) for text, reason in zip(texts, reasons, strict=True)]
    claims = [[Claim("existence", name, name, 0, len(name)) for name in names] for names in named]
    judged = verify_many(claims, images, detector, thresholds=thresholds, second_look=second_look)
    for i, (names, verdicts) in enumerate(zip(named, judged, strict=True)):
        for name, verdict in zip(names, verdicts, strict=True):
            if verdict.decision not in ("supported", "unsure"):
                reasons[i] = f"{name!r} is not confirmed: {verdict.reason}"
                break
    return reasons


class Drafts:
    """Captions that are parsed once and can be corrected at any number of settings.

    Args:
        captions: N texts.
        images: N images, or keys of a detector that needs none.
        detector: the detector; its answers are stored, so each phrase is asked once per image.
        questions: N questions; None for a caption without one.
        reader: reader of objects for the filter "confirmed".
        properties, second_look: see `halluguard.correction.verification.verify.Settings`.
        nlp: a spaCy pipeline; default the best one installed.
    """

    def __init__(
        self,
        captions: Sequence[str],
        images: Sequence[ImageOrKey],
        detector: Detector,
        questions: Sequence[str | None] | None = None,
        *,
        reader: ObjectReader | None = None,
        properties: Sequence[PropertyExpert] = (),
        second_look: bool = True,
        nlp: Language | None = None,
    ) -> None:
        question_list = list(questions) if questions is not None else [None] * len(captions)
        if not len(captions) == len(images) == len(question_list):
            raise SettingsError(
                f"one image (and question) per caption is needed, got {len(captions)} captions, {len(images)} images "
                f"and {len(question_list)} questions; "
                "pass lists of one length"
            )
        self.properties = list(properties)
        self.captions, self.reader, self.second_look, self.nlp = (
            list(captions),
            reader or ObjectReader(),
            second_look,
            nlp,
        )
        self.detector = RememberingDetector(detector)
        self.readable: list[int] = []
        self.questions: list[str | None] = []
        self.parses: list[Parse] = []
        self.claims: list[list[Claim]] = []
        self.unreadable: dict[int, str] = {}
        for i, (parse, question) in enumerate(parses(captions, question_list, nlp=nlp, errors="yield")):
            claims = parse if isinstance(parse, HalluguardError) else claims_or_error(parse, question, nlp=nlp)
            if isinstance(parse, HalluguardError) or isinstance(claims, HalluguardError):
                self.unreadable[i] = str(claims)
                continue
            self.readable.append(i)
            self.questions.append(question)
            self.parses.append(parse)
            self.claims.append(claims)
        self.images = [images[i] for i in self.readable]
        self.names = candidates(detector, True)
        self._left: dict[tuple[int, str], Sequence[Claim]] = {}
        self._rewritten: dict[tuple[int, tuple[tuple[str, str | None], ...]], tuple[str, list[Edit]]] = {}

    def at(self, setting: Setting) -> list[Outcome]:
        """The result for each caption at a setting."""
        limits = setting.thresholds(self.detector.detector)
        names = self.names if setting.complete is not None else ()
        examined = examine_many(
            self.claims,
            self.images,
            self.detector,
            thresholds=limits,
            properties=self.properties,
            second_look=self.second_look,
            names=names,
        )
        verdicts = [judged for judged, _ in examined]
        texts = self._texts(verdicts)
        if names:
            texts = self._completed(texts, examined, setting.complete)
        reasons = withheld(
            texts, self.images, self.detector, limits, setting, self.reader, second_look=self.second_look
        )
        outcomes = [Outcome(text, text, self.unreadable.get(i, ""), error=True) for i, text in enumerate(self.captions)]
        for i, text, reason, judged in zip(self.readable, texts, reasons, verdicts, strict=True):
            failed = next((verdict.reason for verdict in judged if verdict.error), "")
            outcomes[i] = Outcome(self.captions[i], text, failed or reason, agreement(judged), error=bool(failed))
        return outcomes

    def _texts(self, verdicts: Sequence[Sequence[Verdict]]) -> list[str]:
        """The corrected texts; a caption with the verdicts of an earlier setting is not rewritten again."""
        keys = [(i, _decisions(judged)) for i, judged in enumerate(verdicts)]
        new = [key for key in keys if key not in self._rewritten]
        rewritten = rewrite_many(
            [self.parses[i] for i, _ in new],
            [self.claims[i] for i, _ in new],
            [verdicts[i] for i, _ in new],
            style="drop",  # a flag would leave the false name in the text of which the promise speaks
            fallbacks=[text_if_emptied(self.questions[i], self.claims[i], verdicts[i], nlp=self.nlp) for i, _ in new],
            nlp=self.nlp,
        )
        self._rewritten.update(zip(new, rewritten, strict=True))
        return [self._rewritten[key][0] for key in keys]

    def _completed(
        self, texts: Sequence[str], examined: Sequence[tuple[Sequence[Verdict], Evidence | None]], least: float | None
    ) -> list[str]:
        """Corrected texts, with the found objects added that they leave out. A text is read again once."""
        drafts = [self.captions[i] for i in self.readable]
        new = [i for i, text in enumerate(texts) if (i, text) not in self._left]
        left = claims_left(
            [texts[i] for i in new],
            [drafts[i] for i in new],
            [self.questions[i] for i in new],
            [self.claims[i] for i in new],
            nlp=self.nlp,
        )
        self._left.update(zip(((i, texts[i]) for i in new), left, strict=True))
        completed = list(texts)
        for i, (draft, text, (verdicts, evidence)) in enumerate(zip(drafts, texts, examined, strict=True)):
            if evidence is None or FALLBACK in text:
                continue
            edits = self._rewritten[i, _decisions(verdicts)][1]
            answer = Answer(draft, text, self.questions[i], tuple(self.claims[i]), tuple(verdicts), tuple(edits))
            edits = with_additions(answer, self._left[i, text], evidence, self.names, least=least)
            completed[i] = apply_edits(draft, edits)
        return completed


def _decisions(verdicts: Sequence[Verdict]) -> tuple[tuple[str, str | None], ...]:
    """The parts of the verdicts on which a rewriting depends."""
    return tuple((verdict.decision, verdict.replacement) for verdict in verdicts)


class RememberingDetector:
    """A detector that searches each phrase of an image only once; images are identified by their content.

    Args:
        detector: the detector that searches.
    """

    def __init__(self, detector: Detector) -> None:
        self.detector = detector
        self.name, self.needs_image = detector.name, detector.needs_image
        self.covers = detector.covers
        self._known: dict[object, list[Box]] = {}

    def __getattr__(self, name: str) -> Any:
        """Return optional members of the detector, such as its names, recall and precision."""
        return getattr(self.detector, name)

    def detect(self, images: Sequence[ImageOrKey], phrases: Sequence[Sequence[str]]) -> list[list[Box]]:
        """As `Detector.detect`. Equal lists of phrases for one image are searched once."""
        keys = [(_key(image), tuple(words)) for image, words in zip(images, phrases, strict=True)]
        new = {
            key: (image, words)
            for key, image, words in zip(keys, images, phrases, strict=True)
            if key not in self._known
        }
        if new:
            boxes = self.detector.detect([image for image, _ in new.values()], [words for _, words in new.values()])
            self._known.update(zip(new, boxes, strict=True))
        return [self._known[key] for key in keys]


def _key(image: ImageOrKey) -> object:
    """The identity of an image: a digest of its pixels, or its key."""
    if hasattr(image, "tobytes"):
        return hashlib.blake2b(image.tobytes(), digest_size=16).digest(), image.size
    return image
