"""Read and write COCO captions: one object with "images" and "annotations". The file is read whole."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from halluguard.auditing.fields import with_texts
from halluguard.auditing.inputs import Decision, Item, text_writer
from halluguard.errors import InputError
from halluguard.io import read_json, text_encoding

NAME = "COCO captions"
ORDER = 5
_FIRST_KEY = re.compile(r'\s*\ufeff?\{\s*"(info|licenses|images|annotations|type|categories)"\s*:')


def recognises(path: Path, head: bytes) -> bool:
    if path.name.removesuffix(".gz").endswith((".jsonl", ".ndjson")):
        return False
    text = head.decode(text_encoding(head), "replace")
    return bool(_FIRST_KEY.match(text)) and ('"images"' in text or '"annotations"' in text)


def read(path: Path, encoding: str | None = None, columns: Collection[str] | None = None) -> Iterator[Item]:
    """The annotations, each with the "file_name" of its image."""
    document = _document(path, encoding)
    images = document.get("images")
    names = {
        image.get("id"): image.get("file_name")
        for image in (images if isinstance(images, list) else ())
        if isinstance(image, dict) and isinstance(image.get("id"), str | int | float)
    }
    for annotation in document["annotations"]:
        if not isinstance(annotation, dict):
            yield Item(None, json.dumps(annotation), f"expected an annotation, got a {type(annotation).__name__}")
            continue
        image = annotation.get("image_id")
        name = names.get(image) if isinstance(image, str | int | float) else None
        yield Item(annotation | ({"file_name": name} if isinstance(name, str) else {}))


def export(path: Path, encoding: str | None, out: BinaryIO, key: str, decisions: Iterable[Decision]) -> None:
    """Write the document with new captions, without the annotations that the decisions leave out."""
    document = _document(path, encoding)
    document["annotations"] = [
        with_texts(annotation, decision.texts(key)) if isinstance(annotation, dict) else annotation
        for annotation, decision in zip(document["annotations"], decisions, strict=True)
        if decision.keep
    ]
    with text_writer(out) as text:
        json.dump(document, text)


def _document(path: Path, encoding: str | None) -> dict[str, Any]:
    document = read_json(path, encoding)
    if not isinstance(document, dict) or not isinstance(document.get("annotations"), list):
        raise InputError(f"expected COCO captions with a list of annotations in {str(path)!r}; check the file")
    return document
