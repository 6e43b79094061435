"""Rows checked in several processes give the bytes of one process, whatever ends early."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from halluguard.auditing import AuditConfig, audit
from halluguard.auditing.outputs.merging import merge_shards
from halluguard.auditing.processes import Processes
from halluguard.auditing.run import run, write_extras
from halluguard.auditing.source import open_source
from halluguard.auditing.workers import ROWS_PER_WORKER, usable_cores, worker_count
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


def test_shards_merge_to_the_bytes_of_one_process(one_process, tmp_path):
    config, expected = one_process
    shards = [tmp_path / f"shard-{i}" for i in range(4)]
    for i, shard in enumerate(shards):
        audit(replace(config, out=shard, shard=(i, 4), workers=1))
    merge_shards(shards, tmp_path / "merged")
    extras = {"export.jsonl", "boxes.json", "report.html"}
    assert outputs(tmp_path / "merged") == {name: data for name, data in expected.items() if name not in extras}


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
