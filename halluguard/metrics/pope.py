"""POPE: does the model say yes to things that are not there? (Li et al., 2023, arXiv 2305.10355)

Yes is the positive class. accuracy = right / questions; precision = TP / said yes; recall = TP / (label yes);
F1 their harmonic mean; yes-ratio = said yes / questions. AUC ranks the model's margins, logit(Yes) - logit(No): a
general lean towards yes moves accuracy and the yes-ratio, not the AUC.

Questions: every image with three or more objects gives its first three objects, each followed by an absent one:

    random        any object of the set that is absent and was not asked about yet
    popular       the most frequent such object, counted over images
    adversarial   such an object most often seen together with the k-th positive

as RUCAIBox/POPE builds them. What differs: its template replaces every "a" by "an" before a vowel, which also makes
"imange"; ours does not. Five programs in circulation read answers differently (`PARSERS`); "official" is POPE's own.
0/0 is 0 with a warning (there, a crash), ids are checked (there, the order is trusted).
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from halluguard.errors import InputError, SettingsError
from halluguard.metrics.score import Score, from_counts
from halluguard.metrics.stats import Totals, auc, mcnemar, ratio, warn_undefined

Kind = Literal["random", "popular", "adversarial"]
Parser = Literal["official", "opera", "vcd", "lmms-eval", "vlmevalkit"]
PARSERS: tuple[Parser, ...] = get_args(Parser)
TEMPLATE = "Is there a {} in the image?"
_COLUMNS = ("questions", "right", "TP", "FP", "TN", "FN", "said_yes", "label_yes", "neither")


@dataclass(frozen=True, slots=True)
class Question:
    """One question; `label` is "yes" or "no", `object` what is asked about, where known."""

    question_id: int
    image_id: Any
    text: str
    label: str
    object: str = ""

    def __post_init__(self) -> None:
        if self.label not in ("yes", "no"):
            raise InputError(f"the label of question {self.question_id} must be 'yes' or 'no', got {self.label!r}")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


# --- building -----------------------------------------------------------------------------------------------------


def build_questions(
    objects: Mapping[Any, Sequence[str]], kind: Kind, *, seed: int = 0, per_image: int = 3, template: str = TEMPLATE
) -> list[Question]:
    """POPE's questions for images whose objects are known.

    Args:
        objects: image id -> names of the objects there, in order; the first `per_image` become positives.
        kind: how absent objects are chosen.
        seed: of random choices ("random", and "adversarial" where nothing co-occurs).
        per_image: positives, and as many negatives; images with fewer objects give no questions.
        template: a sentence with "a {}"; the article follows the object's first letter.

    Returns:
        2 * per_image questions an image, labels alternating yes, no; ids from 1.

    Raises:
        SettingsError: unknown kind. InputError: no image has enough objects, or too few objects are absent.
    """
    if kind not in get_args(Kind):
        raise SettingsError(f"kind must be one of {get_args(Kind)}, got {kind!r}")
    images = {image: list(dict.fromkeys(names)) for image, names in objects.items()}
    images = {image: names for image, names in images.items() if len(names) >= per_image}
    if not images:
        raise InputError(f"expected an image with {per_image} objects or more, got none in {len(objects)} images")
    frequency = Counter(name for names in images.values() for name in names)
    beside: dict[str, Counter[str]] = {name: Counter() for name in frequency}
    for names in images.values():
        for name in names:
            beside[name].update(other for other in names if other != name)
    rng = random.Random(seed)
    built: list[Question] = []
    for image, names in images.items():
        asked: list[str] = []
        for positive in names[:per_image]:
            free = [name for name in frequency if name not in names and name not in asked]
            if not free:
                raise InputError(f"no absent object is left to ask about image {image!r}; the set needs more objects")
            negative = _negative(kind, positive, free, frequency, beside, rng)
            asked.append(negative)
            for name, label in ((positive, "yes"), (negative, "no")):
                built.append(Question(len(built) + 1, image, _asked(template, name), label, name))
    return built


def _negative(
    kind: Kind,
    positive: str,
    free: Sequence[str],
    frequency: Counter[str],
    beside: Mapping[str, Counter[str]],
    rng: random.Random,
) -> str:
    """`free` is in the order of first appearance, which decides ties as in the original."""
    if kind == "popular":
        return max(free, key=lambda name: frequency[name])
    if kind == "adversarial":
        allowed = set(free)
        together = (name for name, _ in beside[positive].most_common() if name in allowed)
        found = next(together, None)
        if found is not None:
            return found
    return rng.choice(free)


def _asked(template: str, name: str) -> str:
    vowel = name[:1].lower() in set("aeiou")
    return (template.replace("a {}", "an {}") if vowel else template).format(name)


# --- reading answers ----------------------------------------------------------------------------------------------


def parse(answer: str, parser: Parser = "official", *, label: str | None = None) -> str:
    """ "yes", "no" or "neither", as one of the programs in circulation reads it.

    Args:
        answer: the model's words.
        parser: "official" (POPE, LLaVA: first sentence, words No/no/not, everything else is yes), "opera" (OPERA, PAI,
            SID: whole answer, also "n't"), "vcd" (VCD, DeCo: looks for the label's own word, so it needs `label`),
            "lmms-eval" (the whole answer is the word), "vlmevalkit" (one of the two words, and not the other).

    >>> [parse("There isn't any dog, no.", parser) for parser in ("official", "lmms-eval", "vlmevalkit")]
    ['no', 'neither', 'no']
    """
    if not isinstance(answer, str):
        raise InputError(f"an answer must be text, got {answer!r}")
    if parser == "official":
        words = answer.split(".")[0].replace(",", "").split(" ")
        return "no" if {"No", "no", "not"} & set(words) else "yes"
    if parser == "opera":
        words = answer.replace(".", "").replace(",", "").split(" ")
        return "no" if any(w in ("No", "not", "no", "NO") or w.endswith("n't") for w in words) else "yes"
    if parser == "vcd":
        if label not in ("yes", "no"):
            raise SettingsError(f"the parser 'vcd' looks for the label's word; pass label='yes' or 'no', got {label!r}")
        other = "no" if label == "yes" else "yes"
        return label if label in answer.lower() else other
    if parser == "lmms-eval":
        word = answer.lower().strip()
        return word if word in ("yes", "no") else "neither"
    if parser == "vlmevalkit":
        words = _without_marks(answer).lower().split()
        return "neither" if ("yes" in words) == ("no" in words) else "yes" if "yes" in words else "no"
    raise SettingsError(f"parser must be one of {PARSERS}, got {parser!r}")


_MARKS = ';/[]"{}()=+\\_-><@`?,!'


def _without_marks(text: str) -> str:
    """VLMEvalKit's process_punctuation: marks at a word's edge vanish, others become blanks, full stops vanish."""
    comma = re.search(r"\d,\d", text) is not None
    bare = text
    for mark in _MARKS:
        at_edge = f"{mark} " in text or f" {mark}" in text or comma
        bare = bare.replace(mark, "" if at_edge else " ")
    return re.sub(r"\.(?!\d)", "", bare)


def _says_neither(answer: str) -> bool:
    """Neither word stands in the answer, whatever a parser makes of it."""
    return not {"yes", "no"} & set(re.findall(r"[a-z']+", answer.lower()))


# --- scoring ------------------------------------------------------------------------------------------------------


def values(totals: Totals) -> dict[str, np.ndarray]:
    """POPE of totals, as fractions."""
    precision = ratio(totals["TP"], totals["said_yes"])
    recall = ratio(totals["TP"], totals["label_yes"])
    return {
        "accuracy": ratio(totals["right"], totals["questions"]),
        "precision": precision,
        "recall": recall,
        "f1": ratio(2 * precision * recall, precision + recall),
        "yes_ratio": ratio(totals["said_yes"], totals["questions"]),
        "neither_ratio": ratio(totals["neither"], totals["questions"]),
    }


def score(
    questions: Sequence[Question],
    answers: Sequence[str] | Mapping[int, str],
    *,
    parser: Parser = "official",
    margins: Sequence[float] | Mapping[int, float] | None = None,
    seed: int = 0,
    resamples: int = 1000,
    split: str = "all",
) -> Score:
    """Score one answer per question.

    Args:
        questions: with distinct ids.
        answers: question id -> answer, or answers in the order of the questions.
        parser: which program's reading; see `parse`.
        margins: logit(Yes) - logit(No) of each question, in the same form as answers; adds "auc".
        resamples: bootstrap size over images; 0 leaves the intervals out.

    Returns:
        values accuracy, precision, recall, f1, yes_ratio, neither_ratio (and auc); counts TP, FP, TN, FN and more.

    Raises:
        InputError: doubled question ids, missing or surplus answers, an answer that is not text.
    """
    if parser not in PARSERS:
        raise SettingsError(f"parser must be one of {PARSERS}, got {parser!r}")
    said = _by_question(questions, answers, "answers")
    rows: dict[Any, Counter[str]] = {}
    right: dict[int, bool] = {}
    for question in questions:
        verdict = parse(said[question.question_id], parser, label=question.label)
        right[question.question_id] = verdict == question.label
        row = rows.setdefault(question.image_id, Counter())
        row.update(questions=1, said_yes=verdict == "yes", label_yes=question.label == "yes")
        row.update(right=verdict == question.label, neither=_says_neither(said[question.question_id]))
        row.update(TP=verdict == "yes" == question.label, FP=verdict == "yes" != question.label)
        row.update(TN=verdict == "no" == question.label, FN=verdict != "yes" == question.label)
    images = list(rows)
    columns = {name: [int(rows[image][name]) for image in images] for name in _COLUMNS}
    unclear = {"precision": sum(columns["said_yes"]), "recall": sum(columns["label_yes"])}
    empty = [name for name, total in unclear.items() if not total]
    result = from_counts(
        "pope",
        values,
        images,
        columns,
        {"parser": parser, "split": split, "questions": len(questions)},
        seed=seed,
        resamples=resamples,
        warnings=[warn_undefined([*empty, "f1"], "nothing is answered, or labelled, yes")] if empty else [],
        details={"right": {str(key): value for key, value in right.items()}},
    )
    if margins is None:
        return result
    margin = _by_question(questions, margins, "margins")
    point, interval = _auc(questions, [margin[q.question_id] for q in questions], images, seed, resamples)
    intervals = {**result.intervals, "auc": interval} if resamples else result.intervals
    return replace(result, values={**result.values, "auc": point}, intervals=intervals)


def _by_question(questions: Sequence[Question], given: Any, what: str) -> dict[int, Any]:
    ids = [question.question_id for question in questions]
    if not ids:
        raise InputError("expected questions, got none")
    doubled = [key for key, count in Counter(ids).items() if count > 1]
    if doubled:
        raise InputError(f"question ids must be distinct, {doubled[0]} comes {ids.count(doubled[0])} times")
    if isinstance(given, Mapping):
        missing, surplus = [key for key in ids if key not in given], sorted(set(given) - set(ids), key=str)
        if missing or surplus:
            raise InputError(
                f"expected {what} to exactly the {len(ids)} questions, {len(missing)} are missing {missing[:3]} and "
                f"{len(surplus)} belong to no question {surplus[:3]}; check that both files are of one split"
            )
        return dict(given)
    if len(given) != len(ids):
        raise InputError(f"expected {len(ids)} {what}, one per question, got {len(given)}; key them by question id")
    return dict(zip(ids, given, strict=True))


def _auc(
    questions: Sequence[Question], margins: Sequence[float], images: Sequence[Any], seed: int, resamples: int
) -> tuple[float, tuple[float, float]]:
    """AUC and its 95 % interval over images drawn with replacement."""
    labels = np.array([question.label == "yes" for question in questions])
    truth = labels.tolist()
    order = sorted(images, key=str)
    row = {image: i for i, image in enumerate(order)}
    owner = np.array([row[question.image_id] for question in questions])
    point = auc(truth, margins)
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(resamples):
        weights = np.bincount(rng.integers(0, len(order), len(order)), minlength=len(order))[owner]
        if weights[labels].sum() and weights[~labels].sum():
            drawn.append(auc(truth, margins, weights.tolist()))
    low, high = np.percentile(drawn, [2.5, 97.5]) if drawn else (point, point)
    return point, (float(low), float(high))


def mcnemar_test(first: Score, second: Score) -> dict[str, float]:
    """Exact McNemar test over the questions of two runs: how many only one of them answers rightly, and p."""
    a, b = first.details["right"], second.details["right"]
    if a.keys() != b.keys():
        raise InputError("two runs over the same questions can be compared, got different question ids")
    only_first = sum(a[key] and not b[key] for key in a)
    only_second = sum(b[key] and not a[key] for key in a)
    return {"only_first": only_first, "only_second": only_second, "p": mcnemar(only_first, only_second)}


# --- files --------------------------------------------------------------------------------------------------------


def read_questions(rows: Iterable[tuple[int, Mapping[str, Any]]]) -> list[Question]:
    """Questions from the rows of an official file: question_id, image, text, label; see `reading.read_rows`.

    Raises:
        InputError: a key is missing; names the line.
    """
    found = []
    for number, row in rows:
        missing = [key for key in ("question_id", "text", "label") if key not in row]
        if missing or not ("image" in row or "image_id" in row):
            raise InputError(f"line {number}: a question has question_id, image, text and label, got {sorted(row)}")
        image = row.get("image_id", row.get("image"))
        found.append(Question(int(row["question_id"]), image, str(row["text"]), str(row["label"]).lower()))
    return found
