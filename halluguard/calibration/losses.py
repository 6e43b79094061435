"""Count losses per image: compare the released captions of a run with the objects that are in the image.

    chair_s           1 if a released caption names an object that is not there           undefined if none is released
    chair_i           share of the released object words that name such an object         undefined if none is released
    wrong_additions   1 if a released caption names such an object and its draft does not  undefined if none is released
    lost              share of the drafts' true objects that no released caption names    undefined if none was named
    withheld          1 if no caption of the image is released
    words_lost        share of the drafts' words that are not released

The unit is the image, or the group that the user names: all its captions give one loss. The mean over the images on
which a loss is defined estimates the mean over such new images: "of the images whose captions are released, ...".
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from halluguard.calibration.outcomes import Outcome
from halluguard.metrics.chair import CaptionScore, ChairScorer

NAN = math.nan
Losses = dict[str, np.ndarray]
"""Loss -> one number per image, NaN where it is not defined."""


class LossCounter:
    """Count the losses of the same captions at several settings.

    Args:
        scorer: scorer that reads object words and holds the truth.
        images: N keys of the captions' images, as in the truth.
        groups: N names of the units; default the images.
        plain: N drafts, by which lost objects and words are counted.
    """

    def __init__(
        self, scorer: ChairScorer, images: Sequence[str], plain: Sequence[str], groups: Sequence[str] | None = None
    ) -> None:
        self.scorer, self.images, self.plain = scorer, images, plain
        self.units = list(dict.fromkeys(groups or images))
        place = {unit: i for i, unit in enumerate(self.units)}
        self.members: list[list[int]] = [[] for _ in self.units]
        for i, unit in enumerate(groups or images):
            self.members[place[unit]].append(i)
        self._scores: dict[tuple[int, str], CaptionScore] = {}

    def __call__(self, outcomes: Sequence[Outcome]) -> Losses:
        """The losses of one setting; they are undefined for an image if one of its captions could not be checked."""
        rows = [self._image([(i, outcomes[i]) for i in members]) for members in self.members]
        return {name: np.array([row[name] for row in rows]) for name in rows[0]}

    def _image(self, captions: Sequence[tuple[int, Outcome]]) -> dict[str, float]:
        released = [(i, outcome) for i, outcome in captions if not outcome.withheld]
        scores = [self._score(i, outcome.text) for i, outcome in released]
        wrong = sum(len(score.hallucinated) for score in scores)
        words = sum(len(score.mentions) for score in scores)
        added = any(
            {m.category for m in score.hallucinated} - _named(self._score(i, outcome.draft))
            for (i, outcome), score in zip(released, scores, strict=True)
        )
        kept = {i: _named(score) for (i, _), score in zip(released, scores, strict=True)}
        true = {i: self._true(i) for i, _ in captions}
        named = sum(map(len, true.values()))
        stayed = sum(len(objects & kept.get(i, frozenset())) for i, objects in true.items())
        before = sum(len(self.plain[i].split()) for i, _ in captions)
        after = sum(len(outcome.text.split()) for _, outcome in released)
        return {
            "chair_s": float(wrong > 0) if released else NAN,
            "chair_i": (wrong / words if words else 0.0) if released else NAN,
            "wrong_additions": float(added) if released else NAN,
            "lost": 1 - stayed / named if named else NAN,
            "withheld": float(not released),
            "words_lost": min(1.0, max(0.0, 1 - after / before)) if before else NAN,
        }

    def _true(self, caption: int) -> frozenset[str]:
        """The true objects that a draft names."""
        return _named(self._score(caption, self.plain[caption])) & self.scorer.truth.get(self.images[caption])

    def _score(self, caption: int, text: str) -> CaptionScore:
        key = (caption, text)
        if key not in self._scores:
            self._scores[key] = self.scorer.caption(self.images[caption], text)
        return self._scores[key]


def _named(score: CaptionScore) -> frozenset[str]:
    return frozenset(mention.category for mention in score.mentions)
