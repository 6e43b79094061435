"""Choose absent objects that resemble the errors of captions, which are harder for a detector than random ones.

random          every absent row
co-occurring    in each image, the absent labels that most often occur with the labels that are present
claims          the absent rows whose label is named by a caption of the image: real errors of a model
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal

from halluguard.calibration.labelled_rows import Scored
from halluguard.metrics.chair import mentions

Negatives = Literal["random", "co-occurring", "claims"]
PER_IMAGE = 5
"""Number of co-occurring labels that are taken per image."""


def absent_rows(
    rows: Sequence[Scored], claims: Mapping[str, Sequence[str]] | None = None
) -> dict[Negatives, list[Scored]]:
    """The absent rows of each kind.

    Args:
        rows: labelled rows with scores.
        claims: image -> captions; without them there are no rows of the kind "claims".
    """
    absent = [row for row in rows if not row.present]
    kinds: dict[Negatives, list[Scored]] = {"random": absent, "co-occurring": _co_occurring(rows)}
    if claims is not None:
        named = {
            image: {m.category for text in texts for m in mentions(text, "fixed")[0]} for image, texts in claims.items()
        }
        kinds["claims"] = [row for row in absent if row.label in named.get(row.image, ())]
    return kinds


def _co_occurring(rows: Sequence[Scored]) -> list[Scored]:
    present: dict[str, list[str]] = defaultdict(list)
    absent: dict[str, list[Scored]] = defaultdict(list)
    for row in rows:
        if row.present:
            present[row.image].append(row.label)
        else:
            absent[row.image].append(row)
    together: Counter[tuple[str, str]] = Counter()
    for labels in present.values():
        together.update((one, other) for one in labels for other in labels if one != other)
    alone = Counter(label for labels in present.values() for label in labels)
    picked: list[Scored] = []
    for image, candidates in absent.items():
        weights = {
            row.label: sum(together[there, row.label] / alone[there] for there in present[image]) for row in candidates
        }
        likely = sorted(
            (row for row in candidates if weights[row.label]), key=lambda row: (-weights[row.label], row.label)
        )
        picked += likely[:PER_IMAGE]
    return picked
