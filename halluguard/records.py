"""The records that cross between layers: plain frozen dataclasses, JSON in and out, no torch.

Spans are exact, in characters of the original string: `text[claim.start:claim.end] == claim.phrase`.
"Could not tell" is a decision of its own and is never turned into absence. Every edit names its evidence.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, Self, get_args

from halluguard.errors import InputError

Kind = Literal["existence", "count", "attribute", "relation", "answer"]
Polarity = Literal["asserted", "denied"]
Modality = Literal["asserted", "hedged", "disjunctive", "irrealis", "depicted", "question"]
Decision = Literal["supported", "contradicted", "unsure", "unverifiable"]

XYXY = tuple[float, float, float, float]
"""x1, y1, x2, y2."""

DEFAULT_PROMPT = "Describe the image."
"""The prompt of everything that asks a model about an image without being given one."""


class _Record:
    """JSON in and out for a frozen dataclass."""

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)  # type: ignore[call-overload]

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        known = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        unknown = sorted(set(data) - known)
        if unknown:
            raise InputError(f"{cls.__name__} has the fields {sorted(known)}, got also {unknown}; remove them")
        return cls(**data)

    @classmethod
    def from_json(cls, text: str) -> Self:
        return cls.from_dict(json.loads(text))


@dataclass(frozen=True, slots=True)
class Box(_Record):
    """One thing an expert found, or knows to be there.

    Args:
        label: what the expert calls it.
        score: the expert's score in [0, 1].
        xyxy: x1, y1, x2, y2 in pixels of the original image, x to the right, y down;
            None when the evidence is a tag without geometry.
        phrase: index of the phrase it answers in the query given to the expert.
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
    """One thing an answer says about the picture.

    Args:
        kind: "existence" (a dog), "count" (two dogs), "attribute" (a red car), "relation" (a cup on a table)
            or "answer" (Yes, to a question).
        phrase: the words themselves, `text[start:end]`.
        name: the canonical name, lower case, singular ("dog").
        start, end: character span of `phrase` in the answer.
        sentence: index of the sentence, from 0.
        polarity: "denied" for "there is no dog".
        modality: "asserted", or how the text keeps its distance: "hedged" (possibly a dog), "disjunctive"
            (a heron or pelican), "irrealis" (waiting for a bus), "depicted" (a statue of a dog), "question".
        count: the number claimed, for kind "count"; `bound` says how to read it.
        bound: "exact", "at_least", "at_most" or "about".
        attribute: the property claimed, for kind "attribute".
        relation, other: the relation and the index (in the list of claims) of its other party.
        alternatives: other names, any of which makes the claim true ("a heron or pelican").
        source_rule: which extraction rule spoke, for reading diffs.
        category: the COCO category that covers `name` ("man" -> "person"), or None.
        subject: for every kind but "existence", the index (in the list of claims) of the existence claim it is about.
        trigger: character span of the words that make the claim: the numeral, the adjective, the preposition.
        same_as: index of the earlier existence claim that speaks of the same thing ("A dog ... The dog ...").
        written_box: x1, y1, x2, y2 that the answer itself gives, as fractions of the picture's width and height.
        other_name: what the other party of a relation is called.
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
        if self.kind not in get_args(Kind):
            raise InputError(f"Claim.kind must be one of {get_args(Kind)}, got {self.kind!r}")
        if not 0 <= self.start < self.end:
            raise InputError(f"Claim span must satisfy 0 <= start < end, got {self.start}:{self.end}")
        object.__setattr__(self, "alternatives", tuple(self.alternatives))
        for name in ("trigger", "written_box"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, tuple(getattr(self, name)))


@dataclass(frozen=True, slots=True)
class Verdict(_Record):
    """What an expert says of one claim.

    Args:
        claim: index of the claim in the answer's list of claims.
        decision: "supported", "contradicted", "unsure" (looked, could not tell) or "unverifiable"
            (outside what the expert can judge, or the expert failed: see `reason`).
        confidence: in [0, 1], that `decision` is right; see `calibrated`.
        calibrated: whether `confidence` was fitted on labelled data, or is the expert's raw score.
        evidence: the boxes that were found.
        expert: name of the expert that spoke.
        reason: the same in words.
        error: True when the expert failed on this image.
        replacement: what the expert found in place of a contradicted property or number ("blue", "2"), where clear.
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

    def __post_init__(self) -> None:
        if self.decision not in get_args(Decision):
            raise InputError(f"Verdict.decision must be one of {get_args(Decision)}, got {self.decision!r}")
        boxes = tuple(b if isinstance(b, Box) else Box.from_dict(b) for b in self.evidence)
        object.__setattr__(self, "evidence", boxes)


@dataclass(frozen=True, slots=True)
class Edit(_Record):
    """One replacement in the draft: `draft[start:end] == before` becomes `after`.

    Edits of one answer do not overlap and are sorted; applying them all to the draft gives the text.
    `verdicts` holds the indices (in the answer's list of verdicts) that caused it.
    """

    start: int
    end: int
    before: str
    after: str
    verdicts: tuple[int, ...] = ()
    reason: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "verdicts", tuple(self.verdicts))


def apply_edits(draft: str, edits: Sequence[Edit]) -> str:
    """Replay `edits` on `draft`.

    >>> apply_edits("a dog and a cat", [Edit(5, 15, " and a cat", "")])
    'a dog'
    """
    text, at = [], 0
    for edit in edits:
        if edit.start < at or draft[edit.start : edit.end] != edit.before:
            raise InputError(
                f"edits must be sorted, apart, and match the draft; {edit.before!r} is not at {edit.start}:{edit.end}"
            )
        text += [draft[at : edit.start], edit.after]
        at = edit.end
    return "".join([*text, draft[at:]])


@dataclass(frozen=True)
class Answer(_Record):
    """An answer with everything that was checked in it.

    Args:
        draft: what the model said.
        text: the corrected answer; equal to `draft` when nothing was edited.
        question: what was asked, when known.
        claims, verdicts, edits: the evidence; verdicts and edits point into claims and verdicts by index.
        timings: seconds by stage.
        settings: what reproduces it (model, decoding, detector, thresholds, seed, versions).
        image: the picture itself (PIL), for `draw` and `save`; never written to JSON.
    """

    draft: str
    text: str
    question: str | None = None
    claims: tuple[Claim, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    edits: tuple[Edit, ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    image: Any = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        def tupled(items: Sequence[Any], cls: type[Any]) -> tuple[Any, ...]:
            return tuple(i if isinstance(i, cls) else cls.from_dict(i) for i in items)

        object.__setattr__(self, "claims", tupled(self.claims, Claim))
        object.__setattr__(self, "verdicts", tupled(self.verdicts, Verdict))
        object.__setattr__(self, "edits", tupled(self.edits, Edit))

    def to_dict(self) -> dict[str, Any]:
        data = dataclasses.asdict(dataclasses.replace(self, image=None))
        del data["image"]
        return data

    def draw(self, image: Any = None) -> Any:
        """The picture with the evidence boxed, coloured by verdict (PIL); see `rendering.draw`."""
        from halluguard import rendering

        return rendering.draw(self, image)

    def to_html(self, image: Any = None) -> str:
        """A piece of HTML: the picture with its boxes, the draft with its claims, the correction."""
        from halluguard import rendering

        return rendering.to_html(self, image)

    def save(self, path: Any, image: Any = None) -> None:
        """Write a self-contained HTML page, or the record alone when `path` ends in `.json`."""
        from pathlib import Path

        from halluguard import rendering

        shown = self if image is None else dataclasses.replace(self, image=image)
        target = Path(path)
        text = self.to_json() if target.suffix == ".json" else rendering.page([shown], title="An answer, checked")
        target.write_text(text, encoding="utf-8")

    def _repr_html_(self) -> str | None:
        return None if self.image is None else self.to_html()


class Detector(Protocol):
    """An expert that finds named things in pictures.

    `name` says which expert speaks, with its revision. `needs_image` is False for an expert that knows the
    answers beforehand; images may then be None.
    """

    name: str
    needs_image: bool

    def covers(self, phrase: str) -> bool:
        """Whether this expert can judge `phrase`; what it does not cover is unverifiable, never absent."""
        ...

    def detect(self, images: Sequence[Any], phrases: Sequence[Sequence[str]]) -> list[list[Box]]:
        """Find each image's phrases.

        Args:
            images: B RGB pictures (PIL), upright, any size; or keys the expert knows when it needs no image.
            phrases: B lists of phrases.

        Returns:
            B lists of boxes in pixels of the original image; `Box.phrase` is the index into that image's
            phrases. Everything above the expert's own floor is returned: thresholds are the caller's.

        Raises:
            ExpertError: the expert could not look (never an empty list instead).
        """
        ...


@dataclass(frozen=True, slots=True)
class Question(_Record):
    """One property to be judged in a picture: of a thing ("a red car"), or between two ("a cup on the table").

    Args:
        kind: "attribute" or "relation".
        name: what the thing is called.
        value: the attribute ("red") or the relation ("left of").
        box: where the thing is; None when it is not known, and then the whole picture is asked.
        other_name, other: the other party of a relation and where it is.
    """

    kind: Literal["attribute", "relation"]
    name: str
    value: str
    box: Box | None = None
    other_name: str | None = None
    other: Box | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("attribute", "relation"):
            raise InputError(f"Question.kind must be 'attribute' or 'relation', got {self.kind!r}")
        if self.kind == "relation" and self.other_name is None:
            raise InputError(f"a relation has two parties, got only {self.name!r} for {self.value!r}; give other_name")
        for name in ("box", "other"):
            if isinstance(getattr(self, name), Mapping):
                object.__setattr__(self, name, Box.from_dict(getattr(self, name)))


class PropertyExpert(Protocol):
    """An expert that judges attributes and relations of things that a detector has found.

    `name` says which expert speaks, with its revision. `needs_image` is False for one that reads boxes alone; images
    may then be None.
    """

    name: str
    needs_image: bool

    def covers(self, question: Question) -> bool:
        """Whether this expert can judge such a question; what it does not cover is unverifiable, never false."""
        ...

    def judge(self, images: Sequence[Any], questions: Sequence[Sequence[Question]]) -> list[list[float | None]]:
        """Judge each image's questions.

        Args:
            images: B RGB pictures (PIL), upright, any size.
            questions: B lists of questions, their boxes in pixels of the image.

        Returns:
            B lists with one entry per question: the probability in [0, 1] that it is so, or None for "could not tell".

        Raises:
            ExpertError: the expert could not look (never a "no" instead).
        """
        ...
