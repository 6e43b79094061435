"""Score AMBER: captions and yes/no questions.

    halluguard eval amber --responses FILE --amber DATA --json OUT
    halluguard eval amber --model sandbox --json OUT
    halluguard eval amber --model NAME --images FOLDER --amber DATA --json OUT

DATA: the data folder of junyangwang0410/AMBER (annotations.json, relation.json, safe_words.txt, query/query_all.json).
FILE: JSON or JSON lines with id and response. Captions need nltk and its data (extra wordnet). Words are compared by
the similarity of spaCy's en_core_web_lg, as in the official code, unless --similarity names another pipeline or none. A
model's responses are kept beside OUT; run the command again to resume. OUT holds the score of the captions,
OUT.questions.json that of the questions. The sandbox model writes a caption of every scene and answers two questions
about objects. AMBER's nouns are single words, so the sandbox's "traffic light" is never counted as named. Intervals
resample items, because annotations.json does not name images.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Literal

from halluguard import io
from halluguard.errors import InputError
from halluguard.evaluation.running import add_answer_options, add_model_options, load, load_images, options, resume
from halluguard.metrics import amber
from halluguard.metrics.ground_truth import image_key
from halluguard.metrics.pope import ask as question_for
from halluguard.metrics.reading import answer_field, answer_keys, field, read_json, read_rows
from halluguard.metrics.score import JsonObject, Score
from halluguard.printing import show

CAPTIONS = ("CHAIR", "Cover", "Hal", "Cog")
QUESTIONS = ("acc", "precision", "recall", "f1")


def options_parser() -> argparse.ArgumentParser:
    parser, _ = options(__doc__, "responses")
    parser.add_argument("--amber", type=Path, help="data folder of AMBER; not needed for the sandbox")
    parser.add_argument("--similarity", default=None, help="spaCy pipeline with word vectors, or none [en_core_web_lg]")
    parser.add_argument(
        "--reading",
        choices=["exact", "first-word", "modern"],
        help="rule that reads answers [exact; sandbox: first-word]",
    )
    add_answer_options(parser)
    add_model_options(parser, max_new_tokens=512, batch_size=8)
    return parser


def run(given: argparse.Namespace) -> None:
    sandbox = given.model == "sandbox" and not given.amber
    if sandbox:
        annotations, queries, lexicon = sandbox_items()
    elif given.amber:
        annotations = read_json(given.amber / "annotations.json")
        queries = read_json(given.amber / "query" / "query_all.json") if given.model else []
        safe = io.read_text(given.amber / "safe_words.txt").split()
        lexicon = amber.Lexicon(read_json(given.amber / "relation.json"), safe)
    else:
        raise InputError("AMBER needs its annotations; name its data folder with --amber")
    name = given.similarity or ("none" if sandbox else "en_core_web_lg")
    reading: Literal["exact", "first-word", "modern"] = given.reading or ("first-word" if sandbox else "exact")
    responses = responded(given, queries) if given.model else read_responses(given.responses, given.answer_key)
    if given.limit:
        responses = dict(list(responses.items())[: given.limit])
    kinds = {str(key): item["type"] == "generative" for key, item in amber.items_of(annotations).items()}
    how = {"seed": given.seed, "resamples": given.resamples}
    scores: dict[str, Score] = {}
    if any(kinds.get(key, False) for key in responses):
        similarity = None if name == "none" else similar(name)
        scores["captions"] = amber.generative(
            responses, annotations, lexicon, similarity=similarity, similarity_name=name, **how
        )
    if not all(kinds.get(key, True) for key in responses):
        scores["questions"] = amber.discriminative(responses, annotations, reading=reading, forms=given.forms, **how)
        always = dict.fromkeys((key for key in responses if not kinds[key]), "No")
        scores["baseline: always no"] = amber.discriminative(
            always, annotations, reading=reading, forms=given.forms, **how
        )
    if not scores:
        raise InputError("no response answers an annotated item; check that the ids are AMBER's")
    report(scores, given)


def report(scores: dict[str, Score], given: argparse.Namespace) -> None:
    for label, score in scores.items():
        columns = CAPTIONS if label == "captions" else QUESTIONS
        shown = [line for line in score.lines() if line.split()[0] in columns or "|" in line or "warning" in line]
        show(f"\n{label}", *shown)
        show(f"\n| {label} | {' | '.join(columns)} | signature |\n|{'---|' * (len(columns) + 2)}")
        show(score.markdown_row(str(given.model or given.responses.name), columns))
    if "captions" in scores and "questions" in scores:
        show(f"\nAMBER score {amber.amber_score(scores['captions'], scores['questions']):.1f}")
    first, *others = [score for label, score in scores.items() if not label.startswith("baseline")]
    first.save(given.json)
    for other in others:
        other.save(given.json.with_suffix(".questions.json"))


def similar(pipeline: str) -> Callable[[str, str], float]:
    """spaCy's similarity of two words; each word is parsed once."""
    import spacy

    try:
        nlp = spacy.load(pipeline)
    except OSError as error:
        raise InputError(
            f"AMBER compares words with spaCy's {pipeline}, which is not installed; install it with: python -m spacy "
            f"download {pipeline}, or choose --similarity none, which gives other scores"
        ) from error
    if not nlp.vocab.vectors.shape[0]:
        raise InputError(f"the pipeline {pipeline} has no word vectors, so it cannot compare words; use a _lg pipeline")
    read = lru_cache(maxsize=None)(nlp)
    return lambda a, b: float(read(a).similarity(read(b)))


def read_responses(path: Path, answer_key: str | None = None) -> dict[str, str]:
    by_id: dict[str, str] = {}
    for number, row in read_rows(path):
        key = str(field(path, number, row, "id"))
        if key in by_id:
            raise InputError(f"{path}, line {number}: a second response to item {key}; remove one")
        by_id[key] = answer_field(path, number, row, answer_keys(answer_key))
    return by_id


def responded(given: argparse.Namespace, queries: list[JsonObject]) -> dict[str, str]:
    """The model's responses to the queries (id, image, query), by id."""
    for query in queries:
        if not isinstance(query, dict) or not {"id", "image", "query"} <= set(query):
            raise InputError(f"a query needs id, image and query, got {str(query)[:120]}; use AMBER's query_all.json")
    by_id = {str(query["id"]): query for query in queries[: given.limit]}
    images = load_images(given, [query["image"] for query in by_id.values()])
    path = given.json.with_suffix(".responses.jsonl")
    guard, settings = load(given)

    def ask(batch: list[str]) -> list[JsonObject]:
        shown = [images[image_key(by_id[key]["image"])] for key in batch]
        replies = guard.batch(shown, [by_id[key]["query"] for key in batch], max_new_tokens=given.max_new_tokens)
        return [{"id": key, "response": answer.text} for key, answer in zip(batch, replies, strict=True)]

    resume(path, "id", list(by_id), ask, given.batch_size, settings)
    return read_responses(path)


def sandbox_items() -> tuple[list[JsonObject], list[JsonObject], amber.Lexicon]:
    """AMBER's items for the sandbox's scenes: a caption, a question about an object, and one about an absent object."""
    from halluguard.sandbox import CATEGORIES, scenes

    samples = scenes()
    frequent = [name for name, _ in Counter(name for sample in samples for name in sample.names).most_common()]
    annotations: list[JsonObject] = []
    queries: list[JsonObject] = []

    def add(image: int, kind: str, query: str, truth: str | list[str], lures: list[str]) -> None:
        number = len(annotations) + 1
        annotations.append({"id": number, "type": kind, "truth": truth, "hallu": lures})
        queries.append({"id": number, "image": str(image), "query": query})

    for sample in samples:
        absent = [name for name in frequent if name not in sample.names][:3]
        add(sample.image_id, "generative", "Describe the image.", list(sample.names), absent)
        add(sample.image_id, "discriminative-hallucination", question_for(sample.names[0]), "yes", [])
        add(sample.image_id, "discriminative-hallucination", question_for(absent[0]), "no", [])
    return annotations, queries, amber.Lexicon({name: [] for name in CATEGORIES}, safe=())
