"""Score captions against reference captions: the share of captions with a word that the references do not support.

    halluguard eval open --captions FILE --references REFERENCES --json OUT
    halluguard eval open --captions FILE --references REFERENCES --detections NAMES --json OUT

FILE: JSON lines, CSV or TSV with image_id and caption. REFERENCES: JSON, image id -> captions that people wrote. NAMES:
JSON, image id -> names that a detector found. All may be compressed. Needs the extra `wordnet` and nltk's data.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

from halluguard.errors import InputError
from halluguard.evaluation.running import heading, scoring_options
from halluguard.metrics import open_vocabulary
from halluguard.metrics.reading import read_captions, read_json
from halluguard.printing import show

COLUMNS = ("captions", "words")


def options_parser() -> argparse.ArgumentParser:
    parser = scoring_options(__doc__)
    parser.add_argument("--captions", type=Path, required=True, help="captions to score")
    parser.add_argument("--references", type=Path, required=True, help="JSON file, image id -> reference captions")
    parser.add_argument("--detections", type=Path, help="JSON file, image id -> names that a detector found")
    parser.add_argument(
        "--threshold",
        type=float,
        help="word score, in (0, 1), from which a word counts as hallucinated [the fitted one]",
    )
    parser.add_argument("--caption-key", help="name of the field with the caption [caption, prediction, ...]")
    parser.add_argument("--image-key", help="name of the field with the image id [image_id, image]")
    return parser


def run(given: argparse.Namespace) -> None:
    captions = islice(read_captions(given.captions, given.caption_key, given.image_key), given.limit)
    result = open_vocabulary.score(
        captions,
        read_texts(given.references),
        detections=read_texts(given.detections) if given.detections else None,
        threshold=given.threshold,
        ground_truth=given.references.name.split(".")[0],
        seed=given.seed,
        resamples=given.resamples,
    )
    show("\n".join(result.lines()))
    show(heading("captions", COLUMNS))
    show(result.markdown_row(given.captions.name, COLUMNS))
    result.save(given.json)


def read_texts(path: Path) -> dict[str, list[str]]:
    """Texts by image id.

    Raises:
        InputError: the file does not map image ids to lists of texts.
    """
    record = read_json(path)
    if not isinstance(record, Mapping):
        raise InputError(
            f"{path} must be a JSON object, image id -> list of texts, got {type(record).__name__}; correct the file"
        )
    for image, texts in record.items():
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise InputError(
                f"{path}: the value of image {image!r} must be a list of texts, got {str(texts)[:60]!r}; "
                "correct the file"
            )
    return dict(record)
