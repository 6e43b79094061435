"""Score captions against reference captions, with an open vocabulary and no language model.

Every content word (noun, number, colour, adjective, verb) gets the probability that an annotator would call it
hallucinated, given reference captions of the image and detections. A caption's score is that of its highest word. The
probability is a logistic function of the support by the references (`word_relations`), fitted by `python
benchmarks/open_vocabulary.py fit` on human labels; the weights are in `open_vocabulary.json`, with the data and the
threshold at which 15 % of clean captions are flagged.

The aim is that of ALOHa (Petryk et al. 2024, NAACL, arXiv 2404.02904), which asks a language model for the objects and
compares sentence embeddings. A word without support need not be wrong: five people who describe an image do not name
everything in it. With fewer than three references most words have no support.

Needs nltk with its WordNet, tagger and tokenizer (extra `wordnet`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np

from halluguard.errors import InputError, SettingsError
from halluguard.metrics.ground_truth import ById, ImageId, image_key
from halluguard.metrics.score import Score, from_counts
from halluguard.metrics.stats import Totals, ratio
from halluguard.metrics.word_relations import (
    COLOURS,
    NEAR,
    NUMBERS,
    Kind,
    all_forms,
    content_words,
    family,
    greatest_similarity,
    kinship,
    topic,
)

Features = dict[str, float]
"""Feature name -> value; a missing feature is 0."""


@dataclass(frozen=True)
class WordScore:
    """One word of a caption.

    Args:
        word: the word as written.
        kind: "noun", "number", "colour", "adjective" or "verb".
        score: probability in [0, 1] that it is hallucinated.
    """

    word: str
    kind: Kind
    score: float


@dataclass(frozen=True)
class Weights:
    """The fitted logistic function.

    Args:
        weights: feature name -> weight.
        intercept: log-odds of a word without features.
        threshold: score from which a caption or word counts as hallucinated.
    """

    weights: Mapping[str, float]
    intercept: float
    threshold: float

    def probability(self, features: Features) -> float:
        total = self.intercept + sum(self.weights.get(name, 0.0) * value for name, value in features.items())
        return 1 / (1 + math.exp(-total))


@cache
def fitted() -> Weights:
    """The weights that come with the package."""
    record = json.loads(resources.files(__package__).joinpath("open_vocabulary.json").read_text(encoding="utf-8"))
    return Weights(record["weights"], record["intercept"], record["threshold"])


def features(
    caption: str, references: Sequence[str], detections: Sequence[str] = ()
) -> list[tuple[Kind, str, Features]]:
    """(kind, word, features) of every content word of a caption, in order."""
    sources = [*references, *detections]
    forms = [all_forms(text) for text in sources]
    named: dict[str, int] = {}
    for words in forms:
        for word in words:
            named[word] = named.get(word, 0) + 1
    rows = []
    for kind, form, word in content_words(caption):
        of_word = _noun(form, named, len(sources)) if kind == "noun" else _other(kind, form, forms, named)
        rows.append((kind, word, {f"is {kind}": 1.0, **of_word}))
    return rows


def _noun(form: str, named: Mapping[str, int], sources: int) -> Features:
    kin = {word: kinship(form, word) for word in named}
    best = max(kin.values(), default=0.0)
    share = sum(named[word] for word, value in kin.items() if value) / sources
    if not best:
        best = greatest_similarity(form, frozenset(named))
    values = {"similarity": best, "near": float(best >= NEAR), "share": min(2.0, share)}
    return values if best >= NEAR else {**values, f"unsupported {topic(form)}": 1.0}


def _other(kind: Kind, form: str, forms: Sequence[frozenset[str]], named: Mapping[str, int]) -> Features:
    if kind == "number":
        return _number(NUMBERS[form], forms)
    share = named.get(form, 0) / len(forms)
    values = {f"{kind} share": min(1.0, share), f"{kind} unnamed": float(share == 0)}
    if kind == "colour":
        others = sum(count for word, count in named.items() if word in COLOURS and word != form)
        values["other colours"] = others / len(forms)
    elif kind == "verb":
        values["verb related"] = float(any(form in family(word) or word in family(form) for word in named))
    return values


def _number(number: int, forms: Sequence[frozenset[str]]) -> Features:
    counts = [{NUMBERS[word] for word in words if word in NUMBERS} for words in forms]
    share = sum(number in numbers for numbers in counts) / len(forms)
    others = sum(bool(numbers) and number not in numbers for numbers in counts) / len(forms)
    return {"number share": share, "number unnamed": float(share == 0), "other numbers": others}


def words(caption: str, references: Sequence[str], detections: Sequence[str] = ()) -> list[WordScore]:
    """Score every content word of a caption, in order.

    Args:
        caption: the caption.
        references: captions of the same image by people; at least one, unless there are detections.
        detections: names that a detector found in it.

    Raises:
        InputError: there is neither a reference nor a detection.
        MissingExtraError: nltk or its data are missing.
    """
    if not references and not detections:
        raise InputError("a caption needs at least one reference or detection of its image, got none; give one")
    model = fitted()
    return [
        WordScore(word, kind, model.probability(values))
        for kind, word, values in features(caption, references, detections)
    ]


def score(
    captions: Iterable[tuple[ImageId, str]],
    references: ById[Sequence[str]],
    *,
    detections: ById[Sequence[str]] | None = None,
    threshold: float | None = None,
    ground_truth: str = "given",
    seed: int = 0,
    resamples: int = 1000,
) -> Score:
    """Score captions. Values: shares of `captions` with a hallucinated word and of hallucinated `words`, and `length`.

    Args:
        captions: (image id, caption); several captions of one image are summed.
        references: image id -> captions by people; images without a scored caption are ignored.
        detections: image id -> names that a detector found.
        threshold: word score from which a word counts as hallucinated, in (0, 1); the fitted one by default.
        ground_truth: name of the references in the signature.
        seed: seed of the bootstrap.
        resamples: number of bootstrap samples; 0 leaves the intervals out.

    Raises:
        InputError: no caption, or an image without references and detections.
    """
    limit = fitted().threshold if threshold is None else threshold
    if not 0 < limit < 1:
        raise SettingsError(f"threshold must be between 0 and 1, got {limit}; leave it out for the fitted one")
    texts = {image_key(image): list(of_image) for image, of_image in references.items()}
    by_image = {image_key(image): list(names) for image, names in (detections or {}).items()}
    counts: dict[str, list[int]] = {}
    flagged = []
    for image, caption in captions:
        key = image_key(image)
        if not texts.get(key) and not by_image.get(key):
            raise InputError(f"image {key} has no reference; give its references, or leave its caption out")
        scored = words(caption, texts.get(key, []), by_image.get(key, []))
        wrong = [word.word for word in scored if word.score >= limit]
        of_image = counts.setdefault(key, [0] * 5)
        for i, value in enumerate((1, bool(wrong), len(scored), len(wrong), len(caption.split()))):
            of_image[i] += value
        flagged.append({"image_id": key, "caption": caption, "words": wrong})
    if not counts:
        raise InputError("expected at least one caption, got none; give one")
    columns = dict(zip(COLUMNS, zip(*counts.values(), strict=True), strict=True))
    settings = {"ground_truth": ground_truth, "threshold": round(limit, 4)}
    return from_counts(
        "open_vocabulary",
        values,
        list(counts),
        {name: list(map(float, column)) for name, column in columns.items()},
        settings,
        seed=seed,
        resamples=resamples,
        details={"flagged": flagged},
    )


COLUMNS = ("captions_scored", "captions_flagged", "words_scored", "words_flagged", "words_written")


def values(totals: Totals) -> dict[str, np.ndarray]:
    """The values of a score from its totals."""
    return {
        "captions": ratio(totals["captions_flagged"], totals["captions_scored"]),
        "words": ratio(totals["words_flagged"], totals["words_scored"]),
        "length": ratio(totals["words_written"], totals["captions_scored"]),
    }
