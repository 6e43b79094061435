"""CCEval: long captions of Visual Genome images, objects read by a judge of yours (HallE-Control, arXiv 2310.01779).

    CHAIRi = hallucinated objects / objects of the caption      CHAIRs = captions with one at least / captions
    coverage = 1 - uncovered objects / objects of the image     words, objects = means a caption

Meant to be read at equal length and number of objects, which is why these stand beside. Three questions to the judge a
caption: its objects, those not in the image, and the image's objects not in the caption; each answered by one list in
square brackets. [Words in brackets] in the caption are objects too, marked by the model as imagined.

What differs from the official script: the truth is matched by image id, not by place; a reply without a list is an
error with the reply shown (there, an empty list: no objects, no hallucination); CHAIR can be had at all (there, both
branches compute coverage).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from halluguard.errors import ExpertError, InputError
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


def read_list(reply: Any) -> list[str]:
    """The first list in square brackets of a reply, on one line.

    Raises:
        ExpertError: there is none; an empty list is never guessed.
    """
    match = _LIST.search(reply) if isinstance(reply, str) else None
    if match is None:
        raise ExpertError(f"a judge must reply with a list in square brackets, got {str(reply)[:80]!r}; ask it again")
    return [item.strip(" '\"") for item in match[1].split(",") if item.strip(" '\"")]


def _among(word: str, words: Sequence[str]) -> bool:
    return word.casefold() in {w.casefold() for w in words}


def values(totals: Totals) -> dict[str, np.ndarray]:
    """Fractions, and mean words and objects of a caption."""
    return {
        "CHAIRs": ratio(totals["hallucinated_captions"], totals["captions"]),
        "CHAIRi": ratio(totals["hallucinated"], totals["objects"]),
        "coverage": ratio(totals["truth"] - totals["uncovered"], totals["truth"]),
        "words": ratio(totals["words"], totals["captions"]),
        "objects_per_caption": ratio(totals["objects"], totals["captions"]),
    }


def score(
    captions: Iterable[tuple[Any, str]],
    objects: Mapping[Any, Sequence[str]],
    judge: Judge,
    *,
    judge_name: str,
    seed: int = 0,
    resamples: int = 1000,
) -> Score:
    """Score captions.

    Args:
        captions: (image id, caption) pairs.
        objects: image id -> what is in the image.
        judge: prompt -> reply; its errors pass through.
        judge_name: for the signature.

    Raises:
        InputError: no captions, an image without objects on record, or a second caption of an image.
        ExpertError: a reply holds no list.
    """
    truths = {str(key): list(names) for key, names in objects.items()}
    columns: dict[str, list[int]] = {name: [] for name in _COUNTS}
    found: dict[str, dict[str, list[str]]] = {}
    beside: list[str] = []
    for image_id, caption in captions:
        key = str(image_id)
        if key not in truths or key in found:
            told = "a second caption" if key in found else "no objects on record"
            raise InputError(f"every image needs its objects and one caption, got {told} for {key}")
        truth = truths[key]
        bracketed = [word.strip() for word in _LIST.findall(caption) if word.strip()]
        named = list(dict.fromkeys(read_list(judge(OBJECTS.format(caption=caption))) + bracketed))
        listed = {"named": ", ".join(named), "truth": ", ".join(truth)}
        wrong = read_list(judge(HALLUCINATED.format(**listed))) if named else []
        missed = read_list(judge(UNCOVERED.format(**listed))) if truth else []
        beside += [w for w in wrong if not _among(w, named)] + [m for m in missed if not _among(m, truth)]
        wrong, missed = [w for w in wrong if _among(w, named)], [m for m in missed if _among(m, truth)]
        found[key] = {"named": named, "hallucinated": wrong, "uncovered": missed}
        row = (1, bool(wrong), len(named), len(wrong), len(truth), len(missed), len(caption.split()))
        for name, count in zip(_COUNTS, row, strict=True):
            columns[name].append(int(count))
    if not found:
        raise InputError("CCEval needs at least one caption, got none; is the file empty?")
    warnings = [] if sum(columns["objects"]) else [warn_undefined(["CHAIRi"], "no object is named")]
    if beside:
        warnings.append(f"{len(beside)} words of the judge were not in the list it chose from: {', '.join(beside[:5])}")
    return from_counts(
        "cceval",
        values,
        list(found),
        columns,
        {"judge": judge_name},
        seed=seed,
        resamples=resamples,
        warnings=warnings,
        details={"per_caption": found},
    )
