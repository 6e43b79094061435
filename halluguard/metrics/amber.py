"""Compute AMBER: captions and yes/no questions on 1004 images (Wang et al., 2023, arXiv 2311.07397; inference.py).

Captions ("generative"), micro averages over all of them; lower is better, except for Cover:
    CHAIR = hallucinated nouns / nouns considered         Hal = captions with any of these / captions
    Cover = truth objects named / truth objects           Cog = annotated lures named / annotated lures
Questions ("discriminative"), where the positive class is *no*:
    acc, precision = right no / answers no, recall = right no / questions whose truth is no, f1
Together: score = (100 - CHAIR + F1) / 2, in percent.

A noun is considered when relation.json contains it. It is not a hallucination when it is a truth object, an associate
of one, or has a similarity above 0.8 with one of these. The official similarity is that of spaCy's en_core_web_lg;
smaller pipelines give other scores. Nouns keep their original case, so a capitalised word seldom counts.

Every denominator of the official code starts at 0.001; here values are exact fractions and 0/0 is 0.
`details["official"]` holds the figures as the official code prints them, with these offsets and its rounded F1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import eq
from typing import Literal

import numpy as np

from halluguard.errors import InputError, SettingsError
from halluguard.metrics import wordnet
from halluguard.metrics.final_answers import Forms, check_forms, final_answer
from halluguard.metrics.ground_truth import ById
from halluguard.metrics.pope_parsers import modern
from halluguard.metrics.score import JsonObject, Score, from_counts
from halluguard.metrics.stats import Totals, ratio, warn_undefined

SAFE_WORDS = ("orange", "snack", "line", "camera", "light", "shoe", "sign", "range", "individual")
"""Nouns that never count as hallucinations (safe_words.txt); they stay in CHAIR's denominator."""

_GENERATIVE = ("nouns", "hallucinated", "truth", "covered", "lures", "lured", "responses", "hallucinating")
_DIMENSIONS = {
    "discriminative-attribute-state": "state",
    "discriminative-attribute-number": "number",
    "discriminative-attribute-action": "action",
    "discriminative-hallucination": "existence",
}
_ANSWERS = ("questions", "right", "truly_no", "right_no", "said_no")


@dataclass(frozen=True)
class Lexicon:
    """AMBER's word lists.

    Args:
        associates: content of relation.json: object -> words that may stand for it.
        safe: words of safe_words.txt.
    """

    associates: Mapping[str, Sequence[str]]
    safe: Sequence[str] = SAFE_WORDS

    def __post_init__(self) -> None:
        if not isinstance(self.associates, Mapping) or not all(map(_is_list_of_names, self.associates.values())):
            raise InputError("relation.json must map objects to lists of words, got another form; use AMBER's own file")

    def associates_of(self, word: str) -> Sequence[str]:
        """Words that may stand for an annotated object."""
        if word not in self.associates:
            raise InputError(f"relation.json must hold every annotated object, it lacks {word!r}; use AMBER's own file")
        return self.associates[word]

    @property
    def known(self) -> frozenset[str]:
        """The nouns that are considered: all objects and associates."""
        return frozenset(self.associates) | {w for words in self.associates.values() for w in words}


class _Objects:
    """The annotated objects of an image, the words that stand for them, and the objects named so far."""

    def __init__(self, names: Sequence[str], lexicon: Lexicon) -> None:
        self.reached = [False] * len(names)
        self.words = [(w, i) for i, name in enumerate(names) for w in lexicon.associates_of(name)]
        self.words += [(name, i) for i, name in enumerate(names)]

    def reach(self, fits: Callable[[str], bool]) -> bool:
        """Mark the object of the first fitting word as named."""
        for word, i in self.words:
            if fits(word):
                self.reached[i] = True
                return True
        return False


def judge_nouns(
    nouns: Sequence[str],
    truth: Sequence[str],
    lures: Sequence[str],
    lexicon: Lexicon,
    similar: Callable[[str, str], bool],
) -> tuple[list[str], int, int]:
    """Judge one caption.

    Args:
        nouns: nouns of the caption in base form, only those in `lexicon.known`.
        truth: the annotation's `truth`, the objects in the image.
        lures: the annotation's `hallu`, objects that models tend to invent.
        lexicon: AMBER's word lists.
        similar: (word, word) -> True if they have nearly the same meaning.

    Returns:
        The hallucinated nouns, and the numbers of truth objects and of lures that the nouns name.
    """
    right, wrong = _Objects(truth, lexicon), _Objects(lures, lexicon)
    hallucinated = []
    for noun in nouns:
        same, alike = partial(eq, noun), partial(similar, noun)
        if noun in lexicon.safe or right.reach(same):
            continue
        wrong.reach(same)
        wrong.reach(alike)
        if not right.reach(alike):
            hallucinated.append(noun)
    return hallucinated, sum(right.reached), sum(wrong.reached)


def items_of(annotations: Iterable[JsonObject]) -> dict[int, JsonObject]:
    """Annotations by id.

    Raises:
        InputError: an annotation lacks a field or has another form.
    """
    items = {}
    if not isinstance(annotations, Iterable):
        raise InputError(f"annotations must be a list, got {annotations!r}; use AMBER's annotations.json")
    for item in annotations:
        if not isinstance(item, Mapping) or not {"id", "type", "truth"} <= set(item):
            shown = sorted(item) if isinstance(item, Mapping) else item
            raise InputError(f"an annotation needs id, type and truth, got {shown}; use AMBER's annotations.json")
        names = [item["truth"], item.get("hallu", [])] if item["type"] == "generative" else []
        if not str(item["id"]).isdecimal() or not all(_is_list_of_names(value) for value in names):
            raise InputError(
                f"an annotation needs a number as id and lists of names as truth and hallu, got {str(item)[:120]}; use "
                "AMBER's annotations.json"
            )
        items[int(item["id"])] = item
    return items


def _is_list_of_names(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(v, str) for v in value)


def _responses(responses: ById[str], items: Mapping[int, JsonObject], generative: bool) -> dict[int, str]:
    chosen = {}
    for key, text in responses.items():
        if not str(key).isdecimal() or int(key) not in items:
            raise InputError(f"a response must answer an annotated item, got id {key!r}; check the files")
        if not isinstance(text, str):
            raise InputError(f"a response must be a string, got {type(text).__name__} for id {key}; correct the file")
        if (items[int(key)]["type"] == "generative") == generative:
            chosen[int(key)] = text
    if not chosen:
        kind = "generative" if generative else "discriminative"
        raise InputError(f"there must be at least one {kind} response, got none of {len(responses)}; check the files")
    return chosen


def generative(
    responses: ById[str],
    annotations: Iterable[JsonObject],
    lexicon: Lexicon,
    *,
    similarity: Callable[[str, str], float] | None,
    similarity_name: str = "none",
    threshold: float = 0.8,
    nouns: Callable[[str], Sequence[str]] = wordnet.nouns,
    seed: int = 0,
    resamples: int = 1000,
) -> Score:
    """Score captions.

    Args:
        responses: item id -> caption; answers to questions are ignored, see `discriminative`.
        annotations: rows of annotations.json.
        lexicon: AMBER's word lists.
        similarity: (word, word) -> number in [-1, 1]; None means that only equal words are similar.
        similarity_name: name of the similarity, for the signature.
        threshold: two words are similar when their similarity is above this.
        nouns: caption -> nouns in base form; by default nltk's, as in the official code.
        seed: seed of the bootstrap.
        resamples: number of bootstrap samples; 0 leaves the intervals out.

    Raises:
        InputError: an unknown id, no caption, or an annotated object that the lexicon lacks.
        MissingExtraError: nltk or its data are missing.
    """
    items = items_of(annotations)
    chosen = _responses(responses, items, generative=True)
    known = lexicon.known
    cache: dict[tuple[str, str], bool] = {}

    def similar(a: str, b: str) -> bool:
        if similarity is None:
            return False
        if (a, b) not in cache:
            cache[a, b] = similarity(a, b) > threshold
        return cache[a, b]

    columns: dict[str, list[int]] = {name: [] for name in _GENERATIVE}
    details = []
    for number, text in chosen.items():
        item = items[number]
        considered = [noun for noun in nouns(text) if noun in known]
        wrong, covered, lured = judge_nouns(considered, item["truth"], item.get("hallu", []), lexicon, similar)
        row = (
            len(considered),
            len(wrong),
            len(item["truth"]),
            covered,
            len(item.get("hallu", [])),
            lured,
            1,
            bool(wrong),
        )
        for name, count in zip(_GENERATIVE, row, strict=True):
            columns[name].append(int(count))
        details.append([number, considered, wrong])
    result = from_counts(
        "amber",
        values,
        list(chosen),
        columns,
        {"task": "generative", "similarity": f"{similarity_name}>{threshold}"},
        seed=seed,
        resamples=resamples,
        warnings=[warn_undefined(["CHAIR"], "no noun is considered")] if not sum(columns["nouns"]) else [],
        details={"per_caption": details},
    )
    c = {name: sum(column) for name, column in columns.items()}
    printed = {
        "CHAIR": round(c["hallucinated"] / (c["nouns"] + 0.001) * 100, 1),
        "Cover": round(c["covered"] / (c["truth"] + 0.001) * 100, 1),
        "Hal": round(100 - (c["responses"] - c["hallucinating"]) / (c["responses"] + 0.001) * 100, 1),
        "Cog": round(c["lured"] / (c["lures"] + 0.001) * 100, 1),
    }
    return _with_official(result, printed)


def discriminative(
    responses: ById[str],
    annotations: Iterable[JsonObject],
    *,
    reading: Literal["exact", "first-word", "modern"] = "exact",
    forms: Forms = "final",
    seed: int = 0,
    resamples: int = 1000,
) -> Score:
    """Score yes/no answers, overall and by dimension: state, number, action, existence, relation.

    Args:
        responses: item id -> answer; captions are ignored, see `generative`.
        annotations: rows of annotations.json.
        reading: "exact", the official one, accepts only "Yes" and "No", so that "Yes." is wrong; "first-word" accepts
            the first word in any case; "modern" is ours, see `pope_parsers`. An unreadable answer is wrong, and counted
            as `unread`.
        forms: "final" first removes reasoning, boxes, JSON and emphasis, see `final_answers`; "raw" does not, which the
            signature states.
        seed: seed of the bootstrap.
        resamples: number of bootstrap samples; 0 leaves the intervals out.
    """
    if reading not in ("exact", "first-word", "modern"):
        raise SettingsError(f"reading must be 'exact', 'first-word' or 'modern', got {reading!r}; choose one")
    check_forms(forms)
    items = items_of(annotations)
    chosen = _responses(responses, items, generative=False)
    dimensions = [*_DIMENSIONS.values(), "relation"]
    names = [*(f"{d}.{count}" for d in dimensions for count in _ANSWERS), "unread"]
    columns: dict[str, list[int]] = {name: [] for name in names}
    for number, answer in chosen.items():
        truth = str(items[number]["truth"]).lower()
        if truth not in ("yes", "no"):
            raise InputError(
                f"the truth of question {number} must be yes or no, got {items[number]['truth']!r}; correct the file"
            )
        item_dimension = _DIMENSIONS.get(items[number]["type"], "relation")
        answer = final_answer(answer) if forms == "final" else answer
        if reading == "modern":
            answer = modern(answer).capitalize()
        elif reading == "first-word":
            word = re.match(r"\W*(yes|no)\b", answer, re.IGNORECASE)
            answer = word[1].capitalize() if word else answer
        right = answer == truth.capitalize()
        counted = dict(zip(_ANSWERS, (1, right, truth == "no", right and truth == "no", answer == "No"), strict=True))
        for name in names:
            dimension, _, count = name.partition(".")
            columns[name].append(int(counted[count]) if dimension == item_dimension else 0)
        columns["unread"][-1] = int(answer not in ("Yes", "No"))
    result = from_counts(
        "amber",
        values,
        list(chosen),
        columns,
        {"task": "discriminative", "reading": reading, **({"forms": forms} if forms == "raw" else {})},
        seed=seed,
        resamples=resamples,
    )
    c = {name: sum(column) for name, column in columns.items()}
    groups = {"all": (dimensions, 0.001), "attribute": (dimensions[:3], 0.003)}
    groups |= {dimension: ([dimension], 0.001) for dimension in dimensions}
    printed = {}
    for label, (parts, start) in groups.items():
        counts = {count: sum(c[f"{d}.{count}"] for d in parts) for count in _ANSWERS}
        printed[label] = _printed(counts, start, 0.001 if label == "existence" else 0.0001)
    return _with_official(result, printed)


def _printed(counts: Mapping[str, int], start: float, extra: float) -> dict[str, float]:
    """The four figures as the official code prints them; its denominators begin at `start`."""
    precision = round(counts["right_no"] / (counts["said_no"] + start) * 100, 1)
    recall = round(counts["right_no"] / (counts["truly_no"] + start) * 100, 1)
    f1 = round(2 * (precision / 100) * (recall / 100) / (precision / 100 + recall / 100 + extra) * 100, 1)
    accuracy = round(counts["right"] / (counts["questions"] + start) * 100, 1)
    return {"accuracy": accuracy, "precision": precision, "recall": recall, "f1": f1}


def _with_official(result: Score, printed: Mapping[str, object]) -> Score:
    return replace(result, details={**result.details, "official": printed})


def values(totals: Totals) -> dict[str, np.ndarray]:
    """AMBER's values from totals, as fractions: the values of captions or of questions, according to the totals."""
    if "nouns" in totals:
        return {
            "CHAIR": ratio(totals["hallucinated"], totals["nouns"]),
            "Cover": ratio(totals["covered"], totals["truth"]),
            "Hal": ratio(totals["hallucinating"], totals["responses"]),
            "Cog": ratio(totals["lured"], totals["lures"]),
        }
    fractions: dict[str, np.ndarray] = {}
    dimensions = [*_DIMENSIONS.values(), "relation"]
    for prefix, parts in {"": dimensions, **{f"{d}.": [d] for d in dimensions}}.items():
        total = {count: sum(totals[f"{d}.{count}"] for d in parts) for count in _ANSWERS}
        precision = ratio(total["right_no"], total["said_no"])
        recall = ratio(total["right_no"], total["truly_no"])
        fractions |= {
            f"{prefix}acc": ratio(total["right"], total["questions"]),
            f"{prefix}precision": precision,
            f"{prefix}recall": recall,
            f"{prefix}f1": ratio(2 * precision * recall, precision + recall),
        }
    return fractions


def amber_score(captions: Score, questions: Score) -> float:
    """(100 - CHAIR + F1) / 2, in percent, from the scores of the captions and of the questions."""
    return (100 - 100 * captions["CHAIR"] + 100 * questions["f1"]) / 2
