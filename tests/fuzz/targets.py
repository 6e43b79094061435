"""The targets of the fuzz: every reader of files, the document reader, and the pages that show text.

A target takes bytes. It may refuse them with a `HalluguardError`; anything else that it raises is a bug.
"""

import gzip
import html.parser
import io
import json
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from PIL import Image
from pyarrow import parquet

from halluguard import rendering
from halluguard.auditing import gates, image_store, thresholds
from halluguard.auditing.inputs import Decision, get_format
from halluguard.auditing.source import open_source
from halluguard.calibration.labelled_rows import read_rows as read_labelled_rows
from halluguard.correction.text.blocks import read_blocks
from halluguard.detectors.box_files import KnownBoxes
from halluguard.detectors.specs import known_objects
from halluguard.errors import HalluguardError
from halluguard.images import load_image
from halluguard.io import iter_json_lines, read_json, read_text
from halluguard.metrics.ground_truth import read_objects
from halluguard.metrics.reading import read_captions
from halluguard.metrics.reading import read_rows as read_metric_rows
from halluguard.records import Answer
from halluguard.tuning.preferences import read_preferences
from halluguard.tuning.reading import read_entries


@dataclass(frozen=True)
class Target:
    """Something that reads bytes.

    Args:
        run: what is fuzzed.
        seeds: good inputs, which are mutated.
    """

    run: Callable[[bytes], object]
    seeds: tuple[bytes, ...]


def from_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    """A function of bytes from one that reads the file `name`."""

    def run(data: bytes) -> object:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(data)
            return read(path)

    return run


def read_and_export(path: Path) -> None:
    """Every row keeps its place in both directions: the export of all rows has as many."""
    source = open_source(path, {})
    rows = list(source.rows())
    items = list(get_format(source.format).read(path))
    assert [row.index for row in rows] == list(range(len(items)))
    captions = [None if row.code else "A dog." if row.index % 2 else None for row in rows]
    decisions = [Decision(item.raw is not None, text) for item, text in zip(items, captions, strict=True)]
    with path.with_name("out").open("wb") as out:
        get_format(source.format).export(path, None, out, source.keys.caption, decisions)


def document(data: bytes) -> None:
    """Blocks lie inside the text and inside each other."""
    text = data.decode("utf-8", "replace")
    tree = read_blocks(text)
    for block in tree.leaves():
        assert 0 <= block.start <= block.end <= len(text)


class _Tags(html.parser.HTMLParser):
    def handle_starttag(self, tag, attributes):
        assert tag not in ("script", "iframe", "object", "embed", "base", "form", "link"), tag
        names = {name for name, _ in attributes}
        assert not any(name.startswith("on") for name in names), names
        links = [value or "" for name, value in attributes if name in ("src", "href", "action")]
        assert all(link.startswith(("data:image/", "#")) for link in links), links


def page(data: bytes) -> None:
    """No text of an answer becomes a tag, a handler or an address."""
    text = data.decode("utf-8", "surrogateescape")
    answer = Answer(draft=text, text=text[::-1], question=text, image=Image.new("RGB", (4, 4)))
    _Tags().feed(rendering.page([answer], title=text, lead=text, notes=[text], captions=[text]))


ROWS = [{"image_id": i, "caption": f'A "dog" {{{i}}}, né.', "id": f"x{i}"} for i in range(4)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
COCO = json.dumps(
    {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 9, "height": 9}],
        "categories": [{"id": 18, "name": "dog"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 18, "bbox": [1, 2, 3, 4], "caption": "A dog."}],
    }
).encode()
CSV = b'image,caption,x\n1,"A ""dog"",\non",2\n2,A cat.,3\n'
BOXES = b"image,label,score,x1,y1,x2,y2\na.jpg,dog,0.9,1,2,3,4\n"
CHATS = json.dumps(
    [{"image": "1", "messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "A dog."}]}]
).encode()
PREFERENCES = b'{"image": "1.jpg", "question": "Is there a dog?", "chosen": "Yes.", "rejected": "No."}\n' * 3
MARKDOWN = '# Toys\n\n1. **Kite:** It is red.\n2. A `dog` [x](u)\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```json\n[{"a": 1}]\n```\n<think>x</think> “q” *e*'.encode()


def _table(arrow: bool) -> bytes:
    table, sink = pa.Table.from_pylist(ROWS), io.BytesIO()
    if arrow:
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    else:
        parquet.write_table(table, sink)
    return sink.getvalue()


def _tar() -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        for name, data in (("0.jpg", b"x"), ("0.txt", b"A dog."), ("1.jpg", b"x"), ("1.json", LINES.split(b"\n")[0])):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return sink.getvalue()


def _image(kind: str) -> bytes:
    sink = io.BytesIO()
    Image.effect_noise((16, 12), 90).save(sink, kind)
    return sink.getvalue()


TARGETS = {
    "captions": Target(
        from_file("captions", read_and_export),
        (
            LINES,
            b"[" + LINES.replace(b"\n", b",\n") + b"{}]",
            CSV,
            COCO,
            CHATS,
            _table(False),
            _tar(),
            gzip.compress(LINES),
        ),
    ),
    "arrow": Target(from_file("c.arrow", read_and_export), (_table(True),)),
    "json": Target(from_file("x.json", lambda path: (read_json(path), read_text(path))), (COCO, gzip.compress(COCO))),
    "json-lines": Target(from_file("x.jsonl", lambda path: list(iter_json_lines(path))), (LINES,)),
    "metric-rows": Target(from_file("x.jsonl", lambda path: list(read_metric_rows(path))), (LINES, CHATS, CSV)),
    "metric-captions": Target(from_file("x.json", lambda path: list(read_captions(path))), (LINES, COCO)),
    "objects": Target(from_file("o.json", known_objects), (b'{"1": ["dog", "cat"], "2": []}',)),
    "ground-truth": Target(from_file("o.json", read_objects), (b'{"1": ["dog", "cat"], "2": []}',)),
    "boxes": Target(from_file("b.csv", KnownBoxes.from_rows), (BOXES,)),
    "coco-boxes": Target(from_file("b.json", KnownBoxes.from_coco), (COCO,)),
    "entries": Target(from_file("e.json", lambda path: list(read_entries(path))), (LINES, COCO, CHATS, _table(False))),
    "preferences": Target(from_file("p.jsonl", lambda path: list(read_preferences(path))), (PREFERENCES, CHATS)),
    "labelled-rows": Target(from_file("l.csv", read_labelled_rows), (b"image,phrase,present\na.jpg,cat,true\n", COCO)),
    "thresholds": Target(
        from_file("t.json", thresholds.read_thresholds), (b'{"high": 0.4, "labels": {"dog": [0.3, 0.1]}}',)
    ),
    "calibration": Target(from_file("t.json", thresholds.read_calibration), (b'{"version": 1, "detector": "x"}',)),
    "names": Target(from_file("n.csv", image_store.read_names), (b"1,a.jpg\n2,b.jpg\n", b'{"1": "a.jpg"}')),
    "summary": Target(from_file("s.json", gates.read_summary), (b'{"schema": 1, "rates": {}, "claims": {}}',)),
    "image": Target(load_image, tuple(map(_image, ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")))),
    "document": Target(document, (MARKDOWN, b"A dog. <box>(1,2),(3,4)</box>", LINES)),
    "page": Target(page, (MARKDOWN, b"<script>alert(1)</script>\"'><img src=x onerror=y>", LINES)),
}

__all__ = ["TARGETS", "HalluguardError", "Target"]
