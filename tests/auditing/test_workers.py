"""Rows checked in several processes give the bytes of one process, whatever ends early."""

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from halluguard.auditing import AuditConfig, audit
from halluguard.auditing.outputs.merging import merge_shards
from halluguard.auditing.outputs.summary import Tally
from halluguard.auditing.outputs.tables import Table, arrow_schema, write_tables
from halluguard.auditing.processes import Processes
from halluguard.auditing.run import run, write_extras
from halluguard.auditing.source import open_source
from halluguard.auditing.workers import ROWS_PER_WORKER, usable_cores, worker_count
from halluguard.correction import languages
from halluguard.detectors.specs import from_spec
from halluguard.errors import ExpertError, InputError, SettingsError


def outputs(folder):
    """Every output with its bytes; the lock and the cache are none."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(files) if "cache" not in path.name}


def written(folder):
    """Settings of a run over captions in a folder: 300 rows, of which two are skipped."""
    rows = [{"image_id": i % 7, "caption": f"A dog and {i} cats sit near a car."} for i in range(300)]
    rows[150] = {"image_id": 1, "caption": ""}
    rows[151] = {"image_id": 99, "caption": "A dog."}
    (folder / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "o.json").write_text(json.dumps({str(i): ["dog", "car"][: i % 3] for i in range(7)}))
    return AuditConfig(folder / "c.jsonl", folder / "one", detector=f"objects:{folder / 'o.json'}", part_rows=200)


@pytest.fixture
def config(tmp_path):
    return written(tmp_path)


def finished(config, out, progress=lambda counts: None, **settings):
    """The outputs of a run in the folder `out`."""
    config = replace(config, out=config.out.with_name(out), **settings)
    config = replace(config, export=config.out / "export.jsonl", coco_detections=config.out / "boxes.json", report=True)
    source = open_source(config.captions, {})
    run(config, source, progress)
    write_extras(config, source)
    return {name: data for name, data in outputs(config.out).items() if name != ".written.json"}


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    """Settings of a run, and its outputs from one process."""
    config = written(tmp_path_factory.mktemp("one-process"))
    return config, finished(config, "one", workers=1)


def test_two_workers_give_the_bytes_of_one_process_and_count_all_rows(one_process):
    config, expected = one_process
    counted = []
    assert finished(config, "two", counted.append, workers=2) == expected
    assert sum(counts["rows"] for counts in counted) == 300
    assert sum(counts["skipped"] for counts in counted) == 2


@pytest.fixture(scope="module")
def shards(one_process, tmp_path_factory):
    """Four finished shards, and the outputs of a run without shards."""
    config, expected = one_process
    folder = tmp_path_factory.mktemp("shards")
    for i in range(4):
        audit(replace(config, out=folder / f"shard-{i}", shard=(i, 4), workers=1))
    extras = {"export.jsonl", "boxes.json", "report.html"}
    return sorted(folder.iterdir()), {name: data for name, data in expected.items() if name not in extras}


def test_shards_merge_to_the_bytes_of_one_process_and_no_row_is_parsed(shards, tmp_path, monkeypatch):
    folders, expected = shards
    monkeypatch.setattr("halluguard.auditing.outputs.tables.read_row", None)
    merge_shards(folders, tmp_path / "merged")
    assert outputs(tmp_path / "merged") == expected


@pytest.mark.parametrize("damaged", ["tally.json.zst", "claims.parquet", "captions.parquet", "skipped.jsonl"])
def test_shards_whose_sums_or_tables_are_damaged_are_read_again(shards, tmp_path, damaged):
    folders, expected = shards
    copies = [shutil.copytree(folder, tmp_path / folder.name) for folder in folders]
    (copies[2] / damaged).write_bytes((copies[2] / damaged).read_bytes()[:-1])
    merge_shards(copies, tmp_path / "merged")
    assert outputs(tmp_path / "merged") == expected


@pytest.mark.slow
def test_processes_merge_to_the_same_bytes(shards, tmp_path, monkeypatch):
    folders, expected = shards
    monkeypatch.setattr("halluguard.auditing.outputs.merging.ROWS_FOR_WORKERS", 1)
    merge_shards(folders, tmp_path / "merged", workers=2)
    assert outputs(tmp_path / "merged") == expected


@pytest.mark.slow
def test_processes_write_the_tables_that_one_process_writes(one_process, tmp_path):
    config, expected = one_process
    run_folder = config.out.with_name("one")
    tally = write_tables(run_folder, tmp_path, workers=2)
    assert (tmp_path / "claims.parquet").read_bytes() == expected["claims.parquet"]
    assert (tmp_path / "captions.parquet").read_bytes() == expected["captions.parquet"]
    assert Tally.from_dict(json.loads(json.dumps(tally.to_dict()))).summary({}) == tally.summary({})


def test_a_table_has_the_same_bytes_however_its_rows_come(monkeypatch, tmp_path):
    monkeypatch.setattr("halluguard.auditing.outputs.tables.ROW_GROUP", 10)
    columns = {"index": "int64", "id": "string", "boxes": "boxes"}
    box = {"label": "dog", "score": 0.5, "xyxy": [0.0, 1.0, 2.0, 3.0]}
    rows = [{"index": i, "id": str(i) if i % 3 else None, "boxes": [box] * (i % 3)} for i in range(45)]
    whole = pa.Table.from_pylist(rows, schema=arrow_schema(columns))
    for size in (1, 7, 10, 25, 45):
        with Table(tmp_path / f"{size}.parquet", columns) as table:
            for start in range(0, 45, size):
                table.add(whole.slice(start, size))
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


@pytest.mark.slow
def test_ray_gives_the_bytes_of_one_process(one_process):
    pytest.importorskip("ray")
    config, expected = one_process
    assert finished(config, "ray", workers=2, engine="ray") == expected


def test_workers_are_used_where_rows_are_many(config, monkeypatch):
    monkeypatch.setattr("halluguard.auditing.workers.usable_cores", lambda: 8)
    detector = from_spec(config.detector)

    def count(rows, **settings):
        config.captions.write_text(json.dumps({"image_id": 1, "caption": "A dog."}) + "\n")
        config.captions.write_text(config.captions.read_text() * rows)
        return worker_count(replace(config, **settings), open_source(config.captions, {}), detector)

    assert count(10) == 1
    assert count(3 * ROWS_PER_WORKER) == 3
    assert count(100 * ROWS_PER_WORKER) == 8
    assert count(10, workers=5) == 5
    assert count(100 * ROWS_PER_WORKER, detector=detector) == 1, "only this process has the object"


def test_an_object_cannot_be_shared_by_workers(config):
    with pytest.raises(SettingsError, match="by its name"):
        audit(replace(config, detector=from_spec(config.detector), workers=2))


EXTRACTOR = """
from halluguard.records import Claim, Edit


class Finnish:
    def extract(self, text, question=None):
        words = [(text.find(word), word, name) for word, name in (("koira", "dog"), ("kissa", "cat")) if word in text]
        return [Claim("existence", word, name, at, at + len(word), category=name) for at, word, name in words]

    def correct(self, text, claims, verdicts):
        wrong = [i for i, verdict in enumerate(verdicts) if verdict.decision == "contradicted"]
        return [Edit(0, len(text), text, "", tuple(wrong), "")] if wrong else []
"""
FINNISH = (
    "Kuvassa koira istuu ikkunan vieressä olevalla sohvalla ja katselee ulos.",
    "Kuvassa kissa istuu ikkunan vieressä olevalla sohvalla ja katselee ulos.",
)


def test_workers_have_the_extractors_that_a_program_registered(config, tmp_path, monkeypatch):
    (tmp_path / "finnish_extractor.py").write_text(EXTRACTOR)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(languages, "_REGISTERED", {})
    languages.register("fi", importlib.import_module("finnish_extractor").Finnish, "finnish 1")
    rows = [{"image_id": 1, "caption": f"A dog sits here.\n\n{FINNISH[i % 2]}"} for i in range(300)]
    config.captions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    expected = finished(config, "one", workers=1)
    assert finished(config, "two", workers=2) == expected
    corrected = [json.loads(line)["caption"] for line in expected["export.jsonl"].decode().splitlines()]
    assert corrected[0] == rows[0]["caption"], "the dog is there"
    assert corrected[1] == "A dog sits here.", "no cat was found"
    languages._loaded.cache_clear()


def test_an_extractor_that_workers_cannot_import_is_refused_in_a_sentence(config, monkeypatch):
    monkeypatch.setattr(languages, "_REGISTERED", {})
    languages.register("fi", lambda: None, "finnish 1")
    monkeypatch.setattr("halluguard.auditing.workers.usable_cores", lambda: 8)
    assert worker_count(replace(config, workers="auto"), None, from_spec(config.detector)) == 1
    with pytest.raises(SettingsError, match="register a function of a module"):
        audit(replace(config, workers=2))
    languages._loaded.cache_clear()


def test_the_error_of_a_worker_is_raised_here_and_the_same_run_can_continue(config, monkeypatch):
    """The detector's file is gone when the workers look for it."""
    objects = config.out.with_name("o.json")

    def removed(*arguments):
        objects.rename(objects.with_suffix(".gone"))

    monkeypatch.setattr("halluguard.auditing.run.finished_parts", lambda folder: removed() or {})
    with pytest.raises(InputError, match=r"o\.json"):
        audit(replace(config, workers=2))
    monkeypatch.undo()
    objects.with_suffix(".gone").rename(objects)
    assert audit(replace(config, workers=1))["audited"] == 298


def test_results_come_in_order_errors_as_what_they_are_and_a_kill_in_one_line():
    with Processes([os.getpid, os.getpid]) as processes:
        assert list(processes.map(abs, range(-9, 0))) == list(range(9, 0, -1))
        with pytest.raises(ZeroDivisionError):
            list(processes.map(divided_by_zero, [1]))
        with pytest.raises(ExpertError, match="worker process ended with exit status -9") as raised:
            list(processes.map(killed_by, [signal.SIGKILL]))
    assert "\n" not in str(raised.value)


def divided_by_zero(number):
    return number / 0


def killed_by(number):
    os.kill(os.getpid(), number)


_AUDIT = """
import sys
from pathlib import Path
from halluguard.auditing import AuditConfig, audit
folder = Path(sys.argv[1])
audit(AuditConfig(folder / "c.jsonl", folder / "out", detector=f"objects:{folder / 'o.json'}", part_rows=50, workers=2))
"""


def children(pid):
    """Process ids of the children of a process, whichever of its threads began them."""
    files = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for file in files for child in file.read_text().split()]


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="needs /proc")
@pytest.mark.parametrize("victim", ["parent", "worker", "interrupted"])
def test_a_killed_run_is_continued_to_the_same_bytes_and_leaves_no_worker(victim, config, tmp_path):
    """The script has no guard for its main module; it is killed after its first part."""
    script = tmp_path / "script.py"
    script.write_text(_AUDIT)
    config.captions.write_text(config.captions.read_text() * 10)
    config = replace(config, out=tmp_path / "out", part_rows=50)
    process = subprocess.Popen([sys.executable, script, tmp_path], stderr=subprocess.DEVNULL)
    while not list((tmp_path / "out" / "parts").glob("*.check")) and process.poll() is None:
        time.sleep(0.05)
    workers = children(process.pid)
    assert len(workers) == 2
    target, number = {
        "parent": (process.pid, signal.SIGKILL),
        "worker": (workers[0], signal.SIGKILL),
        "interrupted": (process.pid, signal.SIGINT),
    }[victim]
    os.kill(target, number)
    assert process.wait(60) != 0
    deadline = time.monotonic() + 20
    while any(os.path.exists(f"/proc/{worker}") for worker in workers):
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.05)
    audit(replace(config, workers=2))
    audit(replace(config, workers=1, out=tmp_path / "whole"))
    assert outputs(tmp_path / "out") == outputs(tmp_path / "whole")


def test_the_cores_are_those_of_the_container(monkeypatch, tmp_path):
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr("halluguard.auditing.workers._QUOTA", quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    for text, cores in (("200000 100000", 2), ("50000 100000", 1), ("150000 100000", 2), ("max 100000", 64)):
        quota.write_text(text)
        assert usable_cores() == cores
