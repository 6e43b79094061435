"""Compute CCEval: a judge model lists the objects of long captions of Visual Genome images (arXiv 2310.01779).

    CHAIRi = hallucinated objects / objects of the caption      CHAIRs = captions with any of these / captions
    coverage = 1 - uncovered objects / objects of the image     words, objects = means per caption

Compare two runs at equal length and number of objects; `words` and `objects_per_caption` show both. The judge gets
three prompts per caption: its objects, those that are not in the image, and the image's objects that are not in the
caption. It replies to each with one list in square brackets. [Words in brackets] in the caption itself count as objects
too: the model marked them as imagined.

Differences from the official script: the truth is matched by image id, not by position. A reply without a list is an
error that shows the reply; in the official script it counts as an empty list, that is, no objects and no hallucination.
CHAIR is computed; in the official script both branches compute coverage.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from halluguard.errors import ExpertError, InputError
from halluguard.metrics.ground_truth import ById, ImageId
from halluguard.metrics.score import Score, from_counts
from halluguard.metrics.stats import Totals, ratio, warn_undefined

Judge = Callable[[str], str]

_COUNTS = ("captions", "hallucinated_captions", "objects", "hallucinated", "truth", "uncovered", "words")
_LIST = re.compile(r"\[(.*?)\]")

OBJECTS = "List the physical objects named in this text, singular, each once, as [a, b, c].\nText: {caption}\nObjects:"
HALLUCINATED = (
    "List those of the named objects that are not among the objects of the image, counting synonyms and kinds as the "
    "same, as [a, b, c], or [] for none.\nNamed: {named}\nIn the image: {truth}\nNot in the image:"
)
UNCOVERED = (
    "List those of the objects of the image that are not among the named objects, counting synonyms and kinds as the "
    "same, as [a, b, c], or [] for none.\nIn the image: {truth}\nNamed: {named}\nNot named:"
)


def read_list(reply: object) -> list[str]:
    """The items of the first list in square brackets of a reply. The list must be on one line.

    Raises:
        ExpertError: the reply has no list; an empty one is never assumed.
    """
    match = _LIST.search(reply) if isinstance(reply, str) else None
    if match is None:
        raise ExpertError(f"a judge must reply with a list in square brackets, got {str(reply)[:80]!r}; ask it again")
    return [item.strip(" '\"") for item in match[1].split(",") if item.strip(" '\"")]


def _among(word: str, words: Sequence[str]) -> bool:
    return word.casefold() in {w.casefold() for w in words}


def values(totals: Totals) -> dict[str, np.ndarray]:
    """Fractions, and the mean numbers of words and objects per caption."""
    return {
        "CHAIRs": ratio(totals["hallucinated_captions"], totals["captions"]),
        "CHAIRi": ratio(totals["hallucinated"], totals["objects"]),
        "coverage": ratio(totals["truth"] - totals["uncovered"], totals["truth"]),
        "words": ratio(totals["words"], totals["captions"]),
        "objects_per_caption": ratio(totals["objects"], totals["captions"]),
    }


def score(
    captions: Iterable[tuple[ImageId, str]],
    objects: ById[Sequence[str]],
    judge: Judge,
    *,
    judge_name: str,
    seed: int = 0,
    resamples: int = 1000,
) -> Score:
    """Score captions.

    Args:
        captions: (image id, caption) pairs.
        objects: image id -> names of the objects in the image.
        judge: prompt -> reply. An exception that it raises is not caught.
        judge_name: name of the judge, for the signature.
        seed: seed of the bootstrap.
        resamples: number of bootstrap samples; 0 leaves the intervals out.

    Raises:
        InputError: no captions, an image that is not in `objects`, or a second caption of an image.
        ExpertError: a reply of the judge has no list.
    """
    truths = {str(key): list(names) for key, names in objects.items()}
    columns: dict[str, list[int]] = {name: [] for name in _COUNTS}
    per_caption: dict[str, dict[str, list[str]]] = {}
    unlisted: list[str] = []
    for image_id, caption in captions:
        key = str(image_id)
        if key not in truths or key in per_caption:
            problem = "a second caption" if key in per_caption else "no objects on record"
            raise InputError(
                f"every image needs its objects and one caption, got {problem} for {key}; correct the files"
            )
        truth = truths[key]
        bracketed = [word.strip() for word in _LIST.findall(caption) if word.strip()]
        named = list(dict.fromkeys(read_list(judge(OBJECTS.format(caption=caption))) + bracketed))
        listed = {"named": ", ".join(named), "truth": ", ".join(truth)}
        wrong = read_list(judge(HALLUCINATED.format(**listed))) if named else []
        missed = read_list(judge(UNCOVERED.format(**listed))) if truth else []
        unlisted += [w for w in wrong if not _among(w, named)] + [m for m in missed if not _among(m, truth)]
        wrong, missed = [w for w in wrong if _among(w, named)], [m for m in missed if _among(m, truth)]
        per_caption[key] = {"named": named, "hallucinated": wrong, "uncovered": missed}
        row = (1, bool(wrong), len(named), len(wrong), len(truth), len(missed), len(caption.split()))
        for name, count in zip(_COUNTS, row, strict=True):
            columns[name].append(int(count))
    if not per_caption:
        raise InputError("CCEval needs at least one caption, got none; is the file empty?")
    warnings = [] if sum(columns["objects"]) else [warn_undefined(["CHAIRi"], "no object is named")]
    if unlisted:
        warnings.append(
            f"{len(unlisted)} words of the judge were not in the list it chose from: {', '.join(unlisted[:5])}"
        )
    return from_counts(
        "cceval",
        values,
        list(per_caption),
        columns,
        {"judge": judge_name},
        seed=seed,
        resamples=resamples,
        warnings=warnings,
        details={"per_caption": per_caption},
    )
