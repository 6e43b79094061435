"""Reading takes time in proportion to the file, in every form that is read."""

import csv
import gzip
import io
import json
import tarfile
import time

import pyarrow as pa
import pytest
from pyarrow import parquet

from halluguard.auditing.source import open_source
from halluguard.metrics.reading import read_rows

ROWS = 3000
_CAPTION = 'A man says "hello, {world}", and a dog\nsits on [a] bench near the "car. ' * 6


def rows(count):
    return [{"image_id": i, "caption": f"{i} {_CAPTION}", "id": i} for i in range(count)]


def lines(path, count):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(count)))


def lines_gz(path, count):
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows(count)).encode()))


def array(path, count):
    path.write_text(json.dumps(rows(count), indent=1))


def array_on_one_line(path, count):
    path.write_text(json.dumps(rows(count)))


def concatenated(path, count):
    """The form of POPE's published captions: pretty-printed objects, one after another."""
    path.write_text("\n".join(json.dumps(row, indent=4) for row in rows(count)))


def coco(path, count):
    path.write_text(json.dumps({"images": [], "annotations": rows(count)}))


def table(path, count):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["image_id", "caption", "id"])
        writer.writeheader()
        writer.writerows(rows(count))


def columns(path, count):
    parquet.write_table(pa.Table.from_pylist(rows(count)), path, row_group_size=500)


def tar(path, count):
    with tarfile.open(path, "w") as archive:
        for i, row in enumerate(rows(count)):
            data = json.dumps(row).encode()
            member = tarfile.TarInfo(f"{i:06}.json")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


FORMS = {
    "c.jsonl": lines,
    "c.jsonl.gz": lines_gz,
    "array.json": array,
    "line.json": array_on_one_line,
    "concatenated.json": concatenated,
    "coco.json": coco,
    "c.csv": table,
    "c.parquet": columns,
    "c.tar": tar,
}


def seconds(work, tries=3):
    """The least CPU time of a few tries."""
    times = []
    for _ in range(tries):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)


def ratio(read, write, path):
    """Time of a file with twice the rows, as a multiple."""
    times = []
    for count in (ROWS, 2 * ROWS):
        write(path, count)
        times.append(seconds(lambda count=count: read(path, count)))
    return times[1] / times[0]


def captions_of(path, count):
    keys = {"caption": "json.caption", "image": "json.image_id"} if path.suffix == ".tar" else {}
    assert sum(not row.code for row in open_source(path, keys).rows()) == count


def metric_rows(path, count):
    assert sum(1 for _ in read_rows(path)) == count


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMS)
def test_twice_the_captions_take_twice_the_time(name, tmp_path):
    ratios = (ratio(captions_of, FORMS[name], tmp_path / name) for _ in range(5))
    assert any(one <= 2.2 for one in ratios)  # a busy machine may slow one measurement, not five


@pytest.mark.slow
@pytest.mark.parametrize("name", ["c.jsonl", "c.jsonl.gz", "array.json", "line.json", "concatenated.json", "c.csv"])
def test_twice_the_answers_of_a_benchmark_take_twice_the_time(name, tmp_path):
    ratios = (ratio(metric_rows, FORMS[name], tmp_path / name) for _ in range(5))
    assert any(one <= 2.2 for one in ratios)
