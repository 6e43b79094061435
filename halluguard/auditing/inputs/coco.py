"""COCO captions: one object with "images" and "annotations", each annotation a caption of an image. Read whole."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from halluguard.auditing.inputs import Decision, Item, created, encoding_of, opened, replaced
from halluguard.errors import InputError

NAME = "COCO captions"
ORDER = 5
_FIRST_KEY = re.compile(r'\s*\ufeff?\{\s*"(info|licenses|images|annotations|type|categories)"\s*:')


def claims(path: Path, head: bytes) -> bool:
    if path.name.removesuffix(".gz").endswith((".jsonl", ".ndjson")):
        return False
    text = head.decode(encoding_of(head, None), "replace")
    return bool(_FIRST_KEY.match(text)) and ('"images"' in text or '"annotations"' in text)


def read(path: Path, encoding: str | None = None, columns: Any = None) -> Iterator[Item]:
    """The annotations, each with the "file_name" of its image."""
    document = _document(path, encoding)
    images = document.get("images") or []
    names = {image.get("id"): image.get("file_name") for image in images if isinstance(image, dict)}
    for annotation in document["annotations"]:
        if not isinstance(annotation, dict):
            yield Item(None, json.dumps(annotation), f"expected an annotation, got a {type(annotation).__name__}")
            continue
        name = names.get(annotation.get("image_id")) if _hashable(annotation.get("image_id")) else None
        yield Item(annotation | ({"file_name": name} if isinstance(name, str) else {}))


def export(path: Path, encoding: str | None, target: Path, key: str, decisions: Iterable[Decision]) -> None:
    """The same document with other captions, and without the annotations left out."""
    document = _document(path, encoding)
    document["annotations"] = [
        annotation if decision.caption is None else replaced(annotation, key, decision.caption)
        for annotation, decision in zip(document["annotations"], decisions, strict=True)
        if decision.keep
    ]
    with created(target) as out:
        json.dump(document, out)


def _document(path: Path, encoding: str | None) -> dict[str, Any]:
    try:
        with opened(path) as file:
            data = file.read()
        document = json.loads(data.decode(encoding_of(data, encoding)))
    except (OSError, EOFError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read {str(path)!r} as COCO captions: {error}; check the file") from error
    if not isinstance(document, dict) or not isinstance(document.get("annotations"), list):
        raise InputError(f"expected COCO captions with a list of annotations in {str(path)!r}; check the file")
    return document


def _hashable(value: Any) -> bool:
    return isinstance(value, str | int | float)
