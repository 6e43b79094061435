"""Define the records that cross between layers, and the protocols of detectors: frozen dataclasses with JSON, no torch.

Spans are exact, in characters of the original string: `text[claim.start:claim.end] == claim.phrase`.
"Could not tell" is a decision of its own and is never turned into absence. Every edit names its evidence.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, TypeVar, get_args

from halluguard.errors import InputError, SettingsError

if TYPE_CHECKING:
    from PIL.Image import Image

    from halluguard.images import ImageSource

Kind = Literal["existence", "count", "attribute", "relation", "text", "answer"]
Polarity = Literal["asserted", "denied"]
Modality = Literal["asserted", "hedged", "disjunctive", "irrealis", "depicted", "question", "restricted"]
Decision = Literal["supported", "contradicted", "unsure", "unverifiable"]
EditDecision = Literal["edited", "flagged", "addition"]
Deleting = Literal["delete", "drop"]
"""Styles of correction that delete what is false; see `halluguard.correction.rewriting.rewrite.rewrite`."""
_KINDS, _DECISIONS, _EDIT_DECISIONS = get_args(Kind), get_args(Decision), get_args(EditDecision)

ImageOrKey = Any
"""An RGB PIL image; or, for a detector with `needs_image = False`, the key of an image in that detector."""

XYXY = tuple[float, float, float, float]
"""x1, y1, x2, y2."""

NEVER = 1.0001
"""A threshold that no score in [0, 1] reaches."""

DEFAULT_PROMPT = "Describe the image."
"""Prompt of every function that asks a model about an image and is given no prompt."""


def _encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


class _Record:
    """Base class of records: a frozen dataclass that is written to and read from JSON."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON values."""
        return dataclasses.asdict(self)

    def to_json(self) -> str:
        """The record as one line of JSON; a lone surrogate in a text becomes an escape."""
        text = json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False)
        return text if _encodable(text) else json.dumps(self.to_dict(), allow_nan=False)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The record that `to_dict` wrote.

        Raises:
            InputError: a field is unknown or its value not allowed.
        """
        known = {f.name for f in dataclasses.fields(cls)}
        unknown = sorted(set(data) - known)
        if unknown:
            raise InputError(f"{cls.__name__} has the fields {sorted(known)}, got also {unknown}; remove them")
        return cls(**data)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The record that `to_json` wrote."""
        return cls.from_dict(json.loads(text))


@dataclass(frozen=True, slots=True)
class Box(_Record):
    """One object that a detector found, or that is known to be in the image.

    Args:
        label: the detector's name for the object.
        score: the detector's score in [0, 1].
        xyxy: x1, y1, x2, y2 in pixels of the original image, x to the right, y down;
            None when the evidence is a tag without geometry.
        phrase: index of the phrase for which it was found, in the list of phrases given to the detector.
    """

    label: str
    score: float
    xyxy: XYXY | None = None
    phrase: int | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.score <= 1.0:
            raise InputError(f"Box.score must be in [0, 1], got {self.score} for {self.label!r}; rescale it first")
        if self.xyxy is not None:
            object.__setattr__(self, "xyxy", tuple(float(v) for v in self.xyxy))


@dataclass(frozen=True, slots=True)
class Claim(_Record):
    """One statement of an answer about the image.

    Args:
        kind: "existence" (a dog), "count" (two dogs), "attribute" (a red car), "relation" (a cup on a table),
            "text" (a sign that reads STOP) or "answer" (Yes, to a question).
        phrase: the words of the answer, `text[start:end]`.
        name: canonical name of the object, lower case and singular ("dog").
        start, end: character span of `phrase` in the answer.
        sentence: index of the sentence, from 0.
        polarity: "denied" for "there is no dog".
        modality: "asserted", or the way in which the text does not assert it: "hedged" (possibly a dog), "disjunctive"
            (a heron or pelican), "irrealis" (waiting for a bus), "depicted" (a statue of a dog), "question", or
            "restricted" ("no other dog", which denies only some).
        count: the number claimed, for kind "count", read as `bound` says.
        bound: "exact", "at_least", "at_most" or "about".
        attribute: the property claimed, for kind "attribute".
        relation, other: the relation claimed, and the index of its other party in the list of claims.
        alternatives: other names, any of which makes the claim true ("a heron or pelican").
        source_rule: name of the extraction rule that made the claim.
        category: the COCO category that covers `name` ("man" -> "person"), or None.
        subject: index, in the list of claims, of the existence claim that this claim is about; not for kind
            "existence".
        trigger: character span of the word that makes the claim: the numeral, adjective or preposition.
        same_as: index of the earlier existence claim about the same object ("A dog ... The dog ...").
        written_box: box written in the answer, x1, y1, x2, y2 as fractions of the image's width and height.
        other_name: canonical name of the other party of a relation, or of the object on which words are written.
    """

    kind: Kind
    phrase: str
    name: str
    start: int
    end: int
    sentence: int = 0
    polarity: Polarity = "asserted"
    modality: Modality = "asserted"
    count: int | None = None
    bound: Literal["exact", "at_least", "at_most", "about"] = "exact"
    attribute: str | None = None
    relation: str | None = None
    other: int | None = None
    alternatives: tuple[str, ...] = ()
    source_rule: str = ""
    category: str | None = None
    subject: int | None = None
    trigger: tuple[int, int] | None = None
    same_as: int | None = None
    written_box: XYXY | None = None
    other_name: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise InputError(f"Claim.kind must be one of {_KINDS}, got {self.kind!r}; choose one")
        if not 0 <= self.start < self.end:
            raise InputError(f"Claim span must satisfy 0 <= start < end, got {self.start}:{self.end}; correct the span")
        object.__setattr__(self, "alternatives", tuple(self.alternatives))
        for name in ("trigger", "written_box"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def title(self) -> str:
        """The claim in a few words for a list: its parts, where the words of the answer hold other things as well.

        >>> Claim("attribute", "cat are sleeping", "cat", 12, 28, attribute="sleeping").title
        'cat: sleeping'
        >>> Claim("relation", "cat are sleeping on a couch", "cat", 12, 39, relation="on", other_name="couch").title
        'cat on couch'
        """
        if self.relation is not None and self.other_name is not None:
            return f"{self.name} {self.relation} {self.other_name}"
        return self.phrase if self.attribute is None else f"{self.name}: {self.attribute}"


@dataclass(frozen=True, slots=True)
class Verdict(_Record):
    """The judgement of one claim.

    Args:
        claim: index of the claim in the answer's list of claims.
        decision: "supported", "contradicted", "unsure" (examined, but undecided) or "unverifiable"
            (outside what the expert can judge, or the expert failed: see `reason`).
        confidence: confidence in `decision`, in [0, 1].
        calibrated: True if `confidence` was fitted on labelled data; False if it is the expert's raw score.
        evidence: detected boxes on which the decision rests.
        expert: name of the detector or property expert that judged.
        reason: the decision in words.
        error: True if the expert failed on this image.
        replacement: the true property or number ("blue", "2") for a contradicted one, where it is known.
        asked: False if no expert was asked, because none covers the claim or the text does not assert it; see `reason`.
    """

    claim: int
    decision: Decision
    confidence: float = 0.0
    calibrated: bool = False
    evidence: tuple[Box, ...] = ()
    expert: str = ""
    reason: str = ""
    error: bool = False
    replacement: str | None = None
    asked: bool = True

    def __post_init__(self) -> None:
        if self.decision not in _DECISIONS:
            raise InputError(f"Verdict.decision must be one of {_DECISIONS}, got {self.decision!r}; choose one")
        boxes = tuple(b if isinstance(b, Box) else Box.from_dict(b) for b in self.evidence)
        object.__setattr__(self, "evidence", boxes)


@dataclass(frozen=True, slots=True)
class Edit(_Record):
    """One replacement in the draft: `draft[start:end] == before` becomes `after`.

    Edits of one answer are sorted and do not overlap; together they turn the draft into the text.

    Args:
        start, end: character span in the draft.
        before, after: the words at this span, and their replacement.
        verdicts: indices of the verdicts that caused the edit, in the answer's list of verdicts.
        reason: the cause in words.
        decision: "edited", or "flagged" for contradicted words that stay unchanged (`after == before`), because no edit
            would have left a grammatical and true text; or "addition" for an object that an expert found and the draft
            left out or hedged.
        evidence: boxes on which an addition rests.
    """

    start: int
    end: int
    before: str
    after: str
    verdicts: tuple[int, ...] = ()
    reason: str = ""
    decision: EditDecision = "edited"
    evidence: tuple[Box, ...] = ()

    def __post_init__(self) -> None:
        boxes = tuple(box if isinstance(box, Box) else Box.from_dict(box) for box in self.evidence)
        object.__setattr__(self, "evidence", boxes)
        if self.decision not in _EDIT_DECISIONS:
            raise InputError(f"Edit.decision must be one of {_EDIT_DECISIONS}, got {self.decision!r}; choose one")
        if self.decision == "flagged" and self.before != self.after:
            raise InputError(
                f"a flagged edit leaves the words as they are, got {self.before!r} -> {self.after!r}; "
                "use the decision 'edited' for a change"
            )
        object.__setattr__(self, "verdicts", tuple(self.verdicts))


def apply_edits(draft: str, edits: Sequence[Edit]) -> str:
    """Apply `edits` to `draft`.

    >>> apply_edits("a dog and a cat", [Edit(5, 15, " and a cat", "")])
    'a dog'
    """
    pieces, end = [], 0
    for edit in edits:
        if edit.start < end or draft[edit.start : edit.end] != edit.before:
            raise InputError(
                f"edits must be sorted, must not overlap and must match the draft; {edit.before!r} is not at "
                f"{edit.start}:{edit.end}"
            )
        pieces += [draft[end : edit.start], edit.after]
        end = edit.end
    return "".join([*pieces, draft[end:]])


_R = TypeVar("_R", bound=_Record)


def _records(items: Sequence[_R | Mapping[str, Any]], cls: type[_R]) -> tuple[_R, ...]:
    return tuple(cls.from_dict(item) if isinstance(item, Mapping) else item for item in items)


@dataclass(frozen=True)
class Answer(_Record):
    """An answer and everything that was checked in it.

    Args:
        draft: the answer as the model wrote it.
        text: the corrected answer; equal to `draft` when nothing was edited.
        question: the prompt, when known.
        claims, verdicts, edits: results of the check; a verdict names its claim by index, an edit names its verdicts.
        timings: seconds per stage.
        settings: everything that reproduces the answer: model, decoding, detector, thresholds, seed, versions.
        thinking: text that a reasoning model wrote before its answer, unchanged.
        thoughts: `thinking` checked like an answer, if `audit_thinking` was set; else None.
        image: the image, for `draw` and `save`; never written to JSON.
    """

    draft: str
    text: str
    question: str | None = None
    claims: tuple[Claim, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    edits: tuple[Edit, ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    thinking: str = ""
    thoughts: Answer | None = None
    image: ImageOrKey = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "claims", _records(self.claims, Claim))
        object.__setattr__(self, "verdicts", _records(self.verdicts, Verdict))
        object.__setattr__(self, "edits", _records(self.edits, Edit))
        if isinstance(self.thoughts, Mapping):
            object.__setattr__(self, "thoughts", Answer.from_dict(self.thoughts))

    @property
    def checked(self) -> bool:
        """Whether an expert judged at least one claim; False where all experts failed or cover none of the claims.

        >>> Answer("A dog.", "A dog.").checked
        False
        """
        return any(verdict.decision != "unverifiable" for verdict in self.verdicts)

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON values, without the image; fields on thinking are left out if there was none."""
        data = dataclasses.asdict(dataclasses.replace(self, image=None, thoughts=None))
        del data["image"], data["thoughts"]
        if not self.thinking:
            del data["thinking"]
        if self.thoughts is not None:
            data["thoughts"] = self.thoughts.to_dict()
        return data

    def draw(self, image: ImageSource | None = None) -> Image:
        """The image with the boxes of the evidence, coloured by verdict; see `rendering.draw`."""
        from halluguard import rendering

        return rendering.draw(self, image)

    def to_html(self, image: ImageSource | None = None) -> str:
        """A piece of HTML: the image with its boxes, the draft with its claims, the correction."""
        from halluguard import rendering

        return rendering.to_html(self, image)

    def save(self, path: str | Path, image: ImageSource | None = None) -> None:
        """Write a self-contained HTML page, or the record alone when `path` ends in `.json`.

        Raises:
            OutputError: the file cannot be written; no part of it is left behind.
        """
        from halluguard import io, rendering

        answer = self if image is None else dataclasses.replace(self, image=image)
        as_json = Path(path).suffix == ".json"
        text = self.to_json() if as_json else rendering.page([answer], title="An answer, checked")
        io.write_text(path, text if _encodable(text) else text.encode("utf-8", "replace").decode("utf-8"))

    def _repr_html_(self) -> str | None:
        return None if self.image is None else self.to_html()


class Detector(Protocol):
    """A detector of named objects; see `halluguard.detectors` for the recipe.

    Attributes:
        name: name and revision of the detector, as they appear in verdicts.
        needs_image: False for a detector with known answers, which gets keys in place of images.
    """

    name: str
    needs_image: bool

    def covers(self, phrase: str) -> bool:
        """Whether the detector can judge `phrase`. Other phrases are unverifiable, never absent."""
        ...

    def detect(self, images: Sequence[ImageOrKey], phrases: Sequence[Sequence[str]]) -> list[list[Box]]:
        """Find the phrases of each image.

        Args:
            images: B upright RGB images (PIL) of any size; or keys, for a detector that needs no image.
            phrases: B lists of phrases.

        Returns:
            B lists of boxes in pixels of the original image; `Box.phrase` is the index into that image's phrases.
            Everything above the detector's own minimum score is returned; the caller applies thresholds.

        Raises:
            ExpertError: the detector failed. It never returns an empty list instead.
        """
        ...


def check_detector(detector: object) -> None:
    """Raise a SettingsError if `detector` is not a detector; the message says how to make one of it.

    >>> check_detector({"1.jpg": ["dog"]})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    halluguard.errors.SettingsError: detector must be a detector, got a dict; for known objects wrap it: ...
    """
    missing = [name for name in ("name", "needs_image", "covers", "detect") if not hasattr(detector, name)]
    if not missing:
        return
    if isinstance(detector, str | Path):
        advice = f"load it: halluguard.detectors.checkpoints.load_detector({str(detector)!r})"
    elif isinstance(detector, Mapping):
        advice = "for known objects wrap it: halluguard.detectors.KnownObjects(...)"
    elif isinstance(detector, tuple):
        advice = "for a model and its processor: halluguard.detectors.zero_shot.ZeroShotDetector(model, processor)"
    else:
        advice = f"it lacks {', '.join(missing)}; see halluguard.detectors for the recipe"
    raise SettingsError(f"detector must be a detector, got a {type(detector).__name__}; {advice}")


@dataclass(frozen=True, slots=True)
class Question(_Record):
    """One property to judge in an image: of an object ("a red car"), or between two ("a cup on the table").

    Args:
        kind: "attribute" or "relation".
        name: name of the object.
        value: the attribute ("red") or the relation ("left of").
        box: place of the object; None, which means the whole image, where it is not known.
        other_name, other: name and box of the other party of a relation.
    """

    kind: Literal["attribute", "relation"]
    name: str
    value: str
    box: Box | None = None
    other_name: str | None = None
    other: Box | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("attribute", "relation"):
            raise InputError(f"Question.kind must be 'attribute' or 'relation', got {self.kind!r}; choose one")
        if self.kind == "relation" and self.other_name is None:
            raise InputError(f"a relation has two parties, got only {self.name!r} for {self.value!r}; give other_name")
        for name in ("box", "other"):
            if isinstance(getattr(self, name), Mapping):
                object.__setattr__(self, name, Box.from_dict(getattr(self, name)))


class PropertyExpert(Protocol):
    """An expert on attributes and relations of the objects that a detector found.

    Attributes:
        name: name and revision of the expert, as they appear in verdicts.
        needs_image: False for an expert that reads boxes alone; images may then be None.
    """

    name: str
    needs_image: bool

    def covers(self, question: Question) -> bool:
        """Whether the expert can judge `question`. Other questions are unverifiable, never false."""
        ...

    def judge(self, images: Sequence[ImageOrKey], questions: Sequence[Sequence[Question]]) -> list[list[float | None]]:
        """Judge the questions of each image.

        Args:
            images: B upright RGB images (PIL) of any size.
            questions: B lists of questions, their boxes in pixels of the image.

        Returns:
            B lists with one entry per question: its probability in [0, 1], or None for "could not tell".

        Raises:
            ExpertError: the expert failed. It never returns a "no" instead.
        """
        ...


class TextReader(Protocol):
    """An expert that reads the words written in an image, on signs, screens, documents and clothes.

    Attributes:
        name: name and revision of the reader, as they appear in verdicts.
        needs_image: True, unless it knows the words of each image beforehand.
    """

    name: str
    needs_image: bool

    def read(self, images: Sequence[ImageOrKey]) -> list[list[Box]]:
        """Read all legible lines of each image.

        Args:
            images: B upright RGB images (PIL) of any size.

        Returns:
            B lists of boxes, one per line from top to bottom: the label is the text of the line, the score the
            confidence of the reading, in [0, 1].

        Raises:
            ExpertError: the reader failed. It never returns an empty list instead.
        """
        ...
