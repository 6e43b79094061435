"""Mentions, corrections and CHAIR on published captions.

    python benchmarks/correction.py FILE... --objects OBJECTS --json OUT

A captions file has one row per line, {"image_id": 226988, "caption": "The image features a woman sitting ..."};
OBJECTS is JSON, plain or gzipped, image id -> names of the objects there. Three tables are printed with their sizes:

    mentions   existence claims with a COCO category against the words that the rules of CHAIR find (`metrics/chair.py`,
               equal to the official code). Mentions are matched in reading order within a caption (longest common
               subsequence of categories), objects as sets per caption.
    known      every caption corrected with the image's objects as the expert; CHAIR before and after, with intervals.
    noisy      the same with an expert that is often wrong: it scores each image and label once, and scores of present
               and absent labels overlap. A share `--tpr` of the present and `--fpr` of the absent ones score `--high`
               or more; below `--low` a claim is contradicted.

The known expert shares its truth with the score: it measures the editing, not any detector.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from halluguard.correction import correct_many
from halluguard.correction.claims import extract_many
from halluguard.correction.text import parse_many
from halluguard.correction.verification import Thresholds
from halluguard.detectors.precomputed import KnownObjects
from halluguard.metrics import chair
from halluguard.metrics.ground_truth import read_objects
from halluguard.metrics.reading import read_captions
from halluguard.records import Answer, Box
from halluguard.vocabulary import category

Captions = Sequence[tuple[Any, str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("captions", type=Path, nargs="+", help="files of captions")
    parser.add_argument("--objects", type=Path, required=True, help="JSON, plain or gzipped: image id -> object names")
    parser.add_argument(
        "--only", choices=["mentions", "known", "noisy"], action="append", help="parts to run [all three]"
    )
    parser.add_argument("--limit", type=int, help="number of captions of a file to use, from the first on")
    parser.add_argument(
        "--tpr", type=float, default=0.8, help="chance that the noisy detector finds an object that is there [0.8]"
    )
    parser.add_argument("--fpr", type=float, default=0.1, help="chance that it finds one that is not there [0.1]")
    parser.add_argument("--high", type=float, default=0.5, help="score from which the noisy detector supports [0.5]")
    parser.add_argument("--low", type=float, default=0.25, help="score below which it contradicts [0.25]")
    parser.add_argument("--seed", type=int, default=0, help="seed of the noisy detector [0]")
    parser.add_argument(
        "--style", choices=("delete", "drop"), default="delete", help="style of the corrections [delete]"
    )
    parser.add_argument("--show", type=int, default=0, help="number of differing captions to print per table")
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    args = parser.parse_args()
    objects = read_objects(args.objects)
    tables = args.only or ["mentions", "known", "noisy"]
    results: dict[str, Any] = {"settings": {k: str(v) for k, v in vars(args).items()}}
    for path in args.captions:
        captions = list(read_captions(path))[: args.limit]
        tables_of_file = results[path.name] = {}
        if "mentions" in tables:
            tables_of_file["mentions"] = mentions(captions, args.show)
        if "known" in tables:
            tables_of_file["known"] = corrected(captions, objects, KnownObjects(objects), None, args)
        if "noisy" in tables:
            limits = Thresholds(args.high, args.low)
            noisy = NoisyExpert(objects, args.tpr, args.fpr, args.high, args.seed)
            tables_of_file["noisy"] = corrected(captions, objects, noisy, limits, args)
        print(json.dumps({path.name: tables_of_file}, indent=1), flush=True)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


# -- mentions ----------------------------------------------------------------------------------------------------------


def mentions(captions: Captions, show: int = 0) -> dict[str, Any]:
    """Mentions and object sets read here against CHAIR's words."""
    both, ours, theirs, sets = 0, 0, 0, Counter[str]()
    missed, added = Counter[str](), Counter[str]()
    missed_words, added_names = Counter[str](), Counter[str]()
    for (_, text), claims in zip(captions, extract_many(text for _, text in captions), strict=True):
        mine = [c for c in claims if c.kind == "existence" and c.category]  # type: ignore[union-attr]
        official = chair.mentions(text)[0]
        here, there = [c.category or "" for c in mine], [m.category for m in official]
        for kind, i, j, k, n in SequenceMatcher(None, here, there, autojunk=False).get_opcodes():
            if kind != "equal":
                added_names.update(c.name for c in mine[i:j])
                missed_words.update(m.word for m in official[k:n])
        both, ours, theirs = both + common(here, there), ours + len(here), theirs + len(there)
        sets.update(both=len({*here} & {*there}), here=len({*here}), there=len({*there}))
        missed += Counter(there) - Counter(here)
        added += Counter(here) - Counter(there)
        if here != there and show > 0:
            show -= 1
            print(f"only here {Counter(here) - Counter(there)}, only there {Counter(there) - Counter(here)}\n{text}\n")
    precision, recall = sets["both"] / sets["here"], sets["both"] / sets["there"]
    return {
        "captions": len(captions),
        "official": theirs,
        "precision": round(both / ours, 4),
        "recall": round(both / theirs, 4),
        "set_precision": round(precision, 4),
        "set_recall": round(recall, 4),
        "set_f1": round(2 * precision * recall / (precision + recall), 4),
        "missed": dict(missed.most_common(8)),
        "added": dict(added.most_common(8)),
        "missed_words": dict(missed_words.most_common(20)),
        "added_names": dict(added_names.most_common(20)),
    }


def common(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for x in a:
        above = row
        row = [0]
        for j, y in enumerate(b):
            row.append(above[j] + 1 if x == y else max(above[j + 1], row[j]))
    return row[-1]


# -- rewriting ---------------------------------------------------------------------------------------------------------


class NoisyExpert:
    """Knows the objects of each image but is often wrong: one score per image and label, overlapping as a detector's.

    Scores are u^k for u uniform in (0, 1), with k such that P(u^k >= at) is `tpr` for what is there and `fpr` for what
    is not: a present label may score low and an absent one high.
    """

    needs_image = False

    def __init__(self, objects: Mapping[Any, Sequence[str]], tpr: float, fpr: float, at: float, seed: int = 0) -> None:
        self.objects = {str(key): frozenset(names) for key, names in objects.items()}
        self.powers = {True: _power(tpr, at), False: _power(fpr, at)}
        self.seed = seed
        self.name = f"noisy:{tpr}/{fpr}@{at}"

    def covers(self, phrase: str) -> bool:
        return category(phrase) == phrase

    def detect(self, images: Sequence[Any], phrases: Sequence[Sequence[str]]) -> list[list[Box]]:
        return [
            [Box(word, self._score(str(image), word), phrase=i) for i, word in enumerate(words)]
            for image, words in zip(images, phrases, strict=True)
        ]

    def _score(self, image: str, label: str) -> float:
        draw = random.Random(f"{self.seed}/{image}/{label}").random()
        return draw ** self.powers[label in self.objects[image]]


def _power(rate: float, at: float) -> float:
    """k with P(u^k >= at) = rate, that is (1 - rate) = at^(1/k)."""
    return math.log(at) / math.log(1 - rate)


def corrected(captions: Captions, objects: Mapping[Any, Any], expert: Any, limits: Any, args: Any) -> dict[str, Any]:
    """CHAIR before and after correction, objects and words kept, broken sentences."""
    scorer = chair.ChairScorer(objects)
    keys = [key for key, _ in captions]

    def correct(texts: Sequence[str]) -> list[Answer]:
        return list(correct_many(texts, [str(key) for key in keys], expert, thresholds=limits, style=args.style))

    answers = correct([text for _, text in captions])
    before = scorer.score(zip(keys, (a.draft for a in answers), strict=True), seed=args.seed)
    after = scorer.score(zip(keys, (a.text for a in answers), strict=True), seed=args.seed)
    again = correct([a.text for a in answers])
    named = [{m.category for m in chair.mentions(a.draft)[0]} for a in answers]
    kept = [{m.category for m in chair.mentions(a.text)[0]} for a in answers]
    there = [scorer.truth.get(str(key)) for key in keys]
    true = sum(len(n & t) for n, t in zip(named, there, strict=True))
    still = sum(len(n & k & t) for n, k, t in zip(named, kept, there, strict=True))
    words = [(len(a.draft.split()), len(a.text.split())) for a in answers]
    verbless = [s for a in answers for s in without_verb(a)]
    unstable = [(a.text, b.text) for a, b in zip(answers, again, strict=True) if a.text != b.text]
    if args.show:
        lost = [(n & t - k, a) for n, k, t, a in zip(named, kept, there, answers, strict=True) if n & t - k]
        shown(answers, after, lost, verbless, unstable, args.show)
    return {
        "captions": len(captions),
        "CHAIRs": [_with_interval(before, "CHAIRs"), _with_interval(after, "CHAIRs")],
        "CHAIRi": [_with_interval(before, "CHAIRi"), _with_interval(after, "CHAIRi")],
        "recall": [_with_interval(before, "recall"), _with_interval(after, "recall")],
        "true_objects_kept": round(still / true, 4),
        "words_kept": round(sum(b for _, b in words) / sum(a for a, _ in words), 4),
        "verbless_sentences": len(verbless),
        "changed_by_a_second_pass": len(unstable),
        "captions_edited": sum(a.text != a.draft for a in answers),
    }


def _with_interval(score: Any, name: str) -> str:
    low, high = score.intervals[name]
    return f"{score[name]:.4f} [{low:.4f}, {high:.4f}]"


_VERB = ("VB", "MD")


def without_verb(answer: Answer) -> list[str]:
    """Sentences of the corrected text that have no verb and do not stand in the draft."""
    if answer.text == answer.draft:
        return []
    (parse,) = parse_many([answer.text])
    sentences = []
    for first, end in parse.sentences:
        sentence = parse.span(first, end - 1)
        worded = any(word.isalpha() for word in parse.words[first:end])
        if worded and sentence not in answer.draft and not any(t[:2] in _VERB for t in parse.tags[first:end]):
            sentences.append(sentence)
    return sentences


def shown(
    answers: Sequence[Answer],
    after: Any,
    lost: Sequence[Any],
    verbless: Sequence[str],
    unstable: Sequence[Any],
    most: int,
) -> None:
    """Print captions still wrong, objects lost, sentences without a verb, texts that a second pass changes."""
    left = [(a, row) for a, row in zip(answers, after.details["per_caption"], strict=True) if row[2]]
    for answer, row in left[:most]:
        print(f"still wrong {row[2]}\n  {answer.draft}\n  {answer.text}\n")
    for names, answer in lost[:most]:
        print(f"lost {sorted(names)}\n  {answer.draft}\n  {answer.text}\n")
    for sentence in verbless[:most]:
        print(f"no verb: {sentence}")
    for once, twice in unstable[:most]:
        print(f"second pass:\n  {once}\n  {twice}\n")


if __name__ == "__main__":
    main()
