"""Files that attack their reader: each ends in rows, in a named problem, or in a sentence, soon and in little memory."""

import gzip
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from halluguard import InputError
from halluguard.tuning import reading
from halluguard.tuning.annotations import coco_items
from halluguard.tuning.preferences import ReadingReport, read_preferences
from halluguard.tuning.splits import EvaluationImages

GOOD = {"image": "a.png", "question": "What is there?", "chosen": "A cup.", "rejected": "A fork."}


@pytest.fixture
def folder(tmp_path):
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png")
    return tmp_path


def read(path):
    report = ReadingReport()
    return list(read_preferences(path, images=path.parent, report=report, missing_share=1.0)), report


def lines(folder, *texts):
    path = folder / "rows.jsonl"
    path.write_bytes(b"\n".join(text if isinstance(text, bytes) else text.encode() for text in texts))
    return path


BAD_LINES = {
    "half a surrogate in the answer": json.dumps(GOOD | {"chosen": "A \ud83d cup."}),
    "half a surrogate in the prompt": json.dumps(GOOD | {"question": "What \udc00?"}),
    "half a surrogate in the name": json.dumps(GOOD | {"image": "\ud800.png"}),
    "a name of a megabyte": json.dumps(GOOD | {"image": "a" * 1_000_000}),
    "a null byte in the name": json.dumps(GOOD | {"image": "a\x00.png"}),
    "deep": "[" * 100_000,
    "deep inside": json.dumps(GOOD)[:-1] + ', "x": ' + "[" * 900 + "]" * 900 + "}",
    "not UTF-8": b'{"question": "\xff\xfe"}',
    "numbers": json.dumps(GOOD | {"chosen": 1, "rejected": 2.5}),
    "nulls": json.dumps(dict.fromkeys(GOOD)),
    "lists": json.dumps({key: [] for key in GOOD}),
    "objects": json.dumps({key: {} for key in GOOD}),
    "a number of a thousand digits": '{"question": ' + "9" * 5000 + "}",
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_costs_only_itself(folder, name):
    rows, report = read(lines(folder, json.dumps(GOOD), BAD_LINES[name], json.dumps(GOOD | {"chosen": "A cat."})))
    assert len(rows) == 2
    assert len(report.problems) + len(report.missing) + report.duplicates == 1


def test_a_parquet_string_that_is_not_utf8_costs_only_its_row(folder):
    raw = pa.array([b"A cup.", b"\xff\xfe", b"A cat."], pa.binary())
    texts = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    columns = {key: pa.array([GOOD[key]] * 3) for key in GOOD} | {"chosen": texts}
    parquet.write_table(pa.table(columns), folder / "rows.parquet")
    rows, report = read(folder / "rows.parquet")
    assert [row.chosen for row in rows] == ["A cup.", "A cat."]
    assert report.problems[0][0] == "row 2"


@pytest.mark.parametrize("make", ["truncated gzip", "gzip of nothing", "folder", "pipe", "device", "text", "name"])
def test_what_is_no_file_of_rows_is_said_in_a_sentence(folder, make):
    path = folder / "rows"
    if make == "truncated gzip":
        path.write_bytes(gzip.compress("\n".join([json.dumps(GOOD)] * 10_000).encode())[:-50])
    elif make == "gzip of nothing":
        path.write_bytes(gzip.compress(b""))
    elif make == "folder":
        path.mkdir()
    elif make == "pipe":
        os.mkfifo(path)
    elif make == "device":
        path = Path("/dev/zero")
    elif make == "text":
        path.write_text("\ufeff hello")
    else:
        path = folder / ("a" * 5000)
    for reader in (read, lambda path: list(coco_items(path, folder)), EvaluationImages.read):
        if make == "text" and reader == EvaluationImages.read:
            continue
        with pytest.raises(InputError) as caught:
            reader(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("body", ['"\n' * 400_000, '{"a": "' + "x" * 8_000_000, '"' * 400_000, "{" * 400_000])
def test_arrays_are_read_in_linear_time(folder, body):
    (folder / "rows.json").write_text("[" + body)
    started = time.process_time()
    with pytest.raises(InputError):
        read(folder / "rows.json")
    assert time.process_time() - started < 20


@pytest.mark.parametrize("form", ["array", "lines", "Parquet"])
def test_an_entry_of_very_many_values_costs_only_itself(folder, form, monkeypatch):
    monkeypatch.setattr(reading, "MAX_ENTRY_MEMORY", 100_000)
    rows = [GOOD | {"x": []}, GOOD | {"x": [[]] * 3_000}, GOOD | {"question": "Which cup?", "x": []}]
    entries = list(map(json.dumps, rows))
    if form == "Parquet":
        path = folder / "rows.parquet"
        parquet.write_table(
            pa.Table.from_pylist(
                rows, pa.schema([*((k, pa.string()) for k in GOOD), ("x", pa.list_(pa.list_(pa.int8())))])
            ),
            path,
        )
    else:
        path = lines(folder, "[" + ",\n".join(entries) + "]") if form == "array" else lines(folder, *entries)
    rows, report = read(path)
    assert len(rows) == 2
    ((_, reason),) = report.problems
    assert "100,000 bytes of memory" in reason


def test_a_file_that_is_read_whole_has_a_limit(folder, monkeypatch):
    monkeypatch.setattr(reading, "MAX_WHOLE", 1000)
    (folder / "coco.json").write_text(json.dumps({"images": [], "annotations": [], "categories": [], "x": "a" * 2000}))
    with pytest.raises(InputError, match="at most 1,000 bytes"):
        list(coco_items(folder / "coco.json", folder))


BOMB = """
import resource, sys
from halluguard.tuning.preferences import ReadingReport, read_preferences
from halluguard.errors import InputError
report = ReadingReport()
try:
    list(read_preferences(sys.argv[1], images=".", report=report))
except InputError as error:
    print("SAID", error)
print("PEAK", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("head", [b'{"question": "', b'[{"question": "', b'{"a": {"b": "'])
def test_a_compressed_bomb_stays_small(tmp_path, head):
    """Three gigabytes in one line."""
    with gzip.open(tmp_path / "bomb.gz", "wb", compresslevel=1) as file:
        file.write(head)
        for _ in range(3000):
            file.write(b"x" * 1_000_000)
    root = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-c", BOMB, str(tmp_path / "bomb.gz")],
        capture_output=True, text=True, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, timeout=120, check=False,
    )  # fmt: skip
    assert "SAID" in run.stdout, run.stderr[-500:]
    assert int(run.stdout.rsplit("PEAK", 1)[1]) < 1500


COCO = {
    "images": [{"id": 1, "file_name": "a.png", "width": 8, "height": 8}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 4, 4]}],
    "categories": [{"id": 1, "name": "dog"}],
}


@pytest.mark.parametrize(
    "change",
    [
        {"images": None}, {"images": [None]}, {"images": [{"id": 1}]}, {"images": [{"id": {}, "file_name": "a"}]},
        {"images": [{"id": 1, "file_name": "../../etc/passwd"}]}, {"images": [{"id": 1, "file_name": "/etc/passwd"}]},
        {"images": [{"id": 1, "file_name": 7}]},
        {"images": [{"id": 1, "file_name": "a.png", "width": None, "height": 1}]},
        {"annotations": 5}, {"annotations": [None]}, {"annotations": ["x"]}, {"annotations": [{"image_id": 1}]},
        {"annotations": [{"image_id": 1, "category_id": 1, "bbox": None}]},
        {"annotations": [{"image_id": 1, "category_id": 1, "bbox": ["a", "b", "c", "d"]}]},
        {"annotations": [{"image_id": 1, "category_id": 9, "bbox": [0, 0, 1, 1]}]},
        {"annotations": [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "attributes": 3}]},
        {"categories": [{"name": "dog"}]}, {"categories": [{"id": [], "name": "dog"}]}, {"categories": "dog"},
    ],
)  # fmt: skip
def test_a_bad_coco_file_is_said_in_a_sentence(folder, change):
    (folder / "coco.json").write_text(json.dumps(COCO | change))
    with pytest.raises(InputError) as caught:
        list(coco_items(folder / "coco.json", folder))
    assert "\n" not in str(caught.value)


def test_category_ids_written_as_text_are_the_same_ids(folder):
    change = {"annotations": [COCO["annotations"][0] | {"category_id": "1", "image_id": "1"}]}
    (folder / "coco.json").write_text(json.dumps(COCO | change))
    (item,) = coco_items(folder / "coco.json", folder)
    assert item.names == ("dog",)
