"""Compute CHAIR: the share of objects in captions that are not in the image (Rohrbach et al., 2018, arXiv 1809.02156).

    CHAIRi = hallucinated mentions / mentions            CHAIRs = captions with any of these / captions
    recall = objects named and there / objects there     precision = objects named and there / objects named
    f1     = harmonic mean of precision and recall       length = mean tokens of a caption, punctuation included

All are micro averages over the file. A mention is a token, or two tokens read as one, that names one of 80 COCO
categories; it is hallucinated when the image's ground truth lacks the category. In CHAIRs, the whole caption counts as
one sentence. recall follows Maxlinn, length follows OPERA; precision and f1 follow PAI, over distinct objects.

The literature has three versions of it. They differ in how words get their base form, and how the ground truth was
made:

    protocol "pattern", ground truth made with pattern     the original, and the POPE paper
    protocol "wordnet", ground truth made with pattern     OPERA
    protocol "wordnet", ground truth made with WordNet     less-is-more, ONLY, RITUAL
    protocol "fixed"                                       ours, with the known mistakes corrected (`chair_fixed.py`)

"pattern" and "wordnet" give the results of LisaAnne/Hallucination, Maxlinn/CHAIR-metric-standalone and shikiw/OPERA,
word for word, with every quirk. Two things differ. An image without ground truth and a second caption of one image are
errors here; in those codes, the first silently makes every mention a hallucination. And 0/0 is 0 with a warning here;
those codes crash.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from halluguard.errors import InputError, SettingsError
from halluguard.metrics.chair_fixed import fixed_units
from halluguard.metrics.ground_truth import ById, GroundTruth, ImageId, image_key
from halluguard.metrics.score import Score, from_counts
from halluguard.metrics.singular import singularize
from halluguard.metrics.stats import Totals, ratio, warn_undefined
from halluguard.metrics.tokenizer import tokenize
from halluguard.metrics.vocabulary import Vocabulary, load_vocabulary
from halluguard.metrics.wordnet import lemmas

Protocol = Literal["pattern", "wordnet", "fixed"]

_COUNTS = (
    "captions",
    "hallucinated_captions",
    "object_mentions",
    "hallucinated_mentions",
    "named_objects",
    "recalled_gt_objects",
    "gt_objects",
    "tokens",
)


@dataclass(frozen=True, slots=True)
class Mention:
    """A word of a caption that names an object.

    Args:
        word: base form of the word ("woman", "hot dog").
        category: category that the word names ("person").
        index: index of its first token, counted as in the original: wrong after a dropped "seat" (a quirk that is
            kept).
    """

    word: str
    category: str
    index: int


@dataclass(frozen=True, slots=True)
class CaptionScore:
    """The score of one caption of an image.

    Args:
        image_id: see `ground_truth.image_key`.
        mentions: all mentions in the order of the caption, including repeats.
        hallucinated: the mentions whose category is not in the ground truth.
        named: number of distinct categories in the caption.
        recalled: number of distinct categories in both the caption and the image.
        present: number of distinct categories in the image.
        tokens: length of the caption after two-word units are joined, punctuation included.
    """

    image_id: str
    mentions: tuple[Mention, ...]
    hallucinated: tuple[Mention, ...]
    named: int
    recalled: int
    present: int
    tokens: int

    @property
    def per_caption(self) -> list[int | str | list[str] | list[list[str]]]:
        """[image id, categories in order of mention, [word, category] of each hallucinated mention]."""
        key = int(self.image_id) if self.image_id.isdecimal() else self.image_id
        wrong = [[m.word, m.category] for m in self.hallucinated]
        return [key, [m.category for m in self.mentions], wrong]


def _joined(tokens: list[str], vocabulary: Vocabulary) -> tuple[list[str], Sequence[int]]:
    """Join neighbours that are in `merges`, from the left; returns the units and the indices of their first tokens."""
    merges, firsts = vocabulary.merges, vocabulary.first_words
    if firsts.isdisjoint(tokens):
        return tokens, range(len(tokens))
    units: list[str] = []
    starts: list[int] = []
    i, last = 0, len(tokens) - 1
    while i <= last:
        unit, width = tokens[i], 1
        if unit in firsts and i < last:
            pair = merges.get(f"{unit} {tokens[i + 1]}")
            if pair is not None:
                unit, width = pair, 2
        units.append(unit)
        starts.append(i)
        i += width
    return units, starts


def mentions(
    caption: str, protocol: Protocol = "pattern", vocabulary: Vocabulary | None = None
) -> tuple[tuple[Mention, ...], int]:
    """The objects named in `caption`, and the length of the caption in tokens.

    >>> [(m.word, m.category) for m in mentions("A man's hot dogs next to the toilet seat and a bus.")[0]]
    [('man', 'person'), ('hot dog', 'hot dog'), ('toilet', 'toilet')]
    """
    vocabulary = vocabulary or load_vocabulary()
    text = caption.lower()
    starts: Sequence[int]
    if protocol == "fixed":
        units, starts = fixed_units(tokenize(text), vocabulary)
    elif protocol in ("pattern", "wordnet"):
        base = [singularize(token) for token in tokenize(text)] if protocol == "pattern" else lemmas(text)
        units, starts = _joined(base, vocabulary)
    else:
        raise SettingsError(f"protocol must be one of {get_args(Protocol)}, got {protocol!r}; choose one")
    length = len(units)
    # The seat of a toilet is not a chair. As in the original, `starts` keeps its length.
    if protocol != "fixed" and "seat" in units and "toilet" in units:
        units = [unit for unit in units if unit != "seat"]
    words = vocabulary.words
    return tuple(Mention(unit, words[unit], starts[i]) for i, unit in enumerate(units) if unit in words), length


class ChairScorer:
    """CHAIR of captions against one ground truth; `score` is the function for one file.

    Args:
        objects: image id -> names of the objects in the image, each a category or a synonym of one. A COCO number,
            the same number as a string, and the COCO file name ("COCO_val2014_000000310196.jpg") are one id.
        protocol: "pattern", "wordnet" or "fixed", see the module.
        ground_truth: name of `objects` in the signature; a digest of its content is added.
        vocabulary: words and categories to use instead of COCO's; see `vocabulary.load_vocabulary`.

    Raises:
        SettingsError: unknown protocol.
        InputError: an object is not a known category, or an image id is not a number or a name.
    """

    def __init__(
        self,
        objects: ById[Iterable[str]],
        protocol: Protocol = "pattern",
        *,
        ground_truth: str = "given",
        vocabulary: Vocabulary | None = None,
    ) -> None:
        if protocol not in get_args(Protocol):
            raise SettingsError(f"protocol must be one of {get_args(Protocol)}, got {protocol!r}; choose one")
        self.protocol = protocol
        self.vocabulary = vocabulary or load_vocabulary()
        self.truth = GroundTruth(objects, self.vocabulary, name=ground_truth)

    def caption(self, image_id: ImageId, caption: str) -> CaptionScore:
        """Score one caption.

        Raises:
            InputError: the image has no ground truth, or `caption` is not a string.
        """
        key = image_key(image_id)
        present = self.truth.get(key)
        if not isinstance(caption, str):
            raise InputError(f"a caption must be a string, got {type(caption).__name__} for image {key}; fix the file")
        mentioned, tokens = mentions(caption, self.protocol, self.vocabulary)
        named = {m.category for m in mentioned}
        wrong = tuple(m for m in mentioned if m.category not in present)
        return CaptionScore(key, mentioned, wrong, len(named), len(named & present), len(present), tokens)

    def score(
        self,
        captions: Iterable[tuple[ImageId, str]],
        *,
        seed: int = 0,
        resamples: int = 1000,
        split: str = "all",
        keep_captions: bool = True,
    ) -> Score:
        """CHAIR of a file of captions, one caption per image.

        Args:
            captions: (image id, caption) pairs; an iterator is read once.
            seed: seed of the bootstrap.
            resamples: number of bootstrap samples; 0 leaves the intervals out.
            split: name of the set of images, for the signature.
            keep_captions: True keeps the objects of each caption in `details["per_caption"]`. With False, a caption
                takes a few dozen bytes of memory, so that files of any length fit.

        Raises:
            InputError: no captions, an unknown image, a second caption of an image, a caption that is not a string.
        """
        scored = (self.caption(image_id, text) for image_id, text in captions)
        return self.total(scored, seed=seed, resamples=resamples, split=split, keep_captions=keep_captions)

    def total(
        self,
        scored: Iterable[CaptionScore],
        *,
        seed: int = 0,
        resamples: int = 1000,
        split: str = "all",
        keep_captions: bool = True,
        run: Mapping[str, object] | None = None,
    ) -> Score:
        """Score of captions that `caption` has scored one by one. Arguments as in `score`.

        Args:
            run: settings to add to the signature, such as the name of a baseline.
        """
        seen: dict[str, None] = {}
        rows = array("l")
        details = []
        for one in scored:
            if one.image_id in seen:
                raise InputError(f"every image may have one caption, got a second for {one.image_id}; remove one")
            seen[one.image_id] = None
            wrong = len(one.hallucinated)
            rows.extend((1, wrong > 0, len(one.mentions), wrong, one.named, one.recalled, one.present, one.tokens))
            if keep_captions:
                details.append(one.per_caption)
        if not seen:
            raise InputError("CHAIR needs at least one caption, got none; is the file empty?")
        table = np.asarray(rows).reshape(-1, len(_COUNTS))
        sums = dict(zip(_COUNTS, table.sum(axis=0), strict=True))
        empty = [name for name, of in _DENOMINATORS.items() if not sums[of]]
        return from_counts(
            "chair",
            values,
            list(seen),
            {name: table[:, i].tolist() for i, name in enumerate(_COUNTS)},
            {"protocol": self.protocol, "gt": self.truth.signature, "split": split, **(run or {})},
            seed=seed,
            resamples=resamples,
            warnings=[warn_undefined(empty, "no object is named, or no object is in the images")] if empty else [],
            details={"per_caption": details} if keep_captions else {},
        )

    def keep(self, scored: CaptionScore, kept: Sequence[int]) -> CaptionScore:
        """`scored` as if the caption held only the mentions with the indices `kept`."""
        left = tuple(scored.mentions[i] for i in sorted(kept))
        present = self.truth.get(scored.image_id)
        named = {m.category for m in left}
        wrong = tuple(m for m in left if m.category not in present)
        tokens = scored.tokens - len(scored.mentions) + len(left)
        return CaptionScore(scored.image_id, left, wrong, len(named), len(named & present), len(present), tokens)


_DENOMINATORS = {"CHAIRi": "object_mentions", "recall": "gt_objects", "precision": "named_objects"}


def values(totals: Totals) -> dict[str, np.ndarray]:
    """CHAIR's values from totals: fractions, and the mean length in tokens."""
    recall = ratio(totals["recalled_gt_objects"], totals["gt_objects"])
    precision = ratio(totals["recalled_gt_objects"], totals["named_objects"])
    return {
        "CHAIRs": ratio(totals["hallucinated_captions"], totals["captions"]),
        "CHAIRi": ratio(totals["hallucinated_mentions"], totals["object_mentions"]),
        "recall": recall,
        "precision": precision,
        "f1": ratio(2 * precision * recall, precision + recall),
        "length": ratio(totals["tokens"], totals["captions"]),
    }


def score(
    captions: Iterable[tuple[ImageId, str]],
    objects: ById[Iterable[str]],
    *,
    protocol: Protocol = "pattern",
    seed: int = 0,
    resamples: int = 1000,
    ground_truth: str = "given",
    split: str = "all",
    vocabulary: Vocabulary | None = None,
    keep_captions: bool = True,
) -> Score:
    """CHAIR of `captions`, (image id, caption) pairs, against `objects`, image id -> names.

    See `ChairScorer` and `ChairScorer.score` for the arguments and errors.

    >>> result = score([(1, "A dog on a couch."), (2, "Two cats.")], {1: ["dog"], 2: ["cat", "bed"]}, resamples=0)
    >>> result["CHAIRs"], round(result["CHAIRi"], 3), result.details["per_caption"][0]
    (0.5, 0.333, [1, ['dog', 'couch'], [['couch', 'couch']]])
    """
    scorer = ChairScorer(objects, protocol, ground_truth=ground_truth, vocabulary=vocabulary)
    return scorer.score(captions, seed=seed, resamples=resamples, split=split, keep_captions=keep_captions)
