"""A run that is killed and run again gives the bytes of one that was not, wherever it was killed."""

import csv
import gzip
import hashlib
import io
import json
import os
import random
import signal
import tarfile
import time

import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

from halluguard import sandbox
from halluguard.auditing import audit
from halluguard.auditing.config import AuditConfig
from halluguard.correction.text import pipeline
from halluguard.detectors.specs import from_spec


def outputs(folder):
    """Every output with its digest; the lock and the cache are none."""
    files = [p for p in folder.rglob("*") if p.is_file() and p.name != ".lock" and "cache" not in p.name]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(files)}


def in_a_child(work):
    """Do it in a forked process, which has the models loaded already, and return its id."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:  # the parent sees the exit status
            os._exit(1)
        os._exit(0)
    return child


def killed_and_continued(settings, folder, kills, seed, name="captions.jsonl"):
    """Kill runs at random moments, `kills` times; each is continued until it ends, and then the next begins.

    Returns the outputs of a run that nobody killed, and of each run that was.
    """

    def audited(out):
        audit(AuditConfig(folder / name, folder / out, export=folder / out / f"export-{name}", **settings))

    audited("whole")
    started = time.perf_counter()
    os.waitpid(in_a_child(lambda: audited("timed")), 0)
    lasts = time.perf_counter() - started
    draw, died, ended = random.Random(seed), 0, []
    while died < kills:
        out = f"killed-{len(ended)}"
        child = in_a_child(lambda out=out: audited(out))
        time.sleep(draw.uniform(0, lasts))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        died += os.WIFSIGNALED(status)
        assert status in (0, signal.SIGKILL), "a continued run failed"
        if not os.WIFSIGNALED(status):
            ended.append(outputs(folder / out))
    audited(f"killed-{len(ended)}")
    return outputs(folder / "whole"), [*ended, outputs(folder / f"killed-{len(ended)}")]


def test_killed_three_times_with_known_objects(tmp_path):
    captions = tmp_path / "captions.jsonl"
    rows = [{"image_id": i % 7, "caption": f"A dog and {i} cats sit on a bench near a car."} for i in range(120)]
    captions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    objects = tmp_path / "objects.json"
    objects.write_text(json.dumps({str(i): ["dog", "car"][: i % 3] for i in range(7)}))
    pipeline()
    whole, killed = killed_and_continued({"detector": f"objects:{objects}", "part_rows": 20}, tmp_path, 3, seed=0)
    assert all(one == whole for one in killed)


ROWS = [{"image_id": i % 7, "caption": f"A dog and {i} cats sit on a bench near a car."} for i in range(60)]


def as_lines(path):
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt") as file:
        file.write("".join(json.dumps(row) + "\n" for row in ROWS))


def as_array(path):
    path.write_text(json.dumps(ROWS, indent=1))


def as_coco(path):
    path.write_text(json.dumps({"images": [], "annotations": ROWS}))


def as_table(path):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ROWS[0])
        writer.writeheader()
        writer.writerows(ROWS)


def as_parquet(path):
    parquet.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=25)


def as_tar(path):
    with tarfile.open(path, "w") as tar:
        for i, row in enumerate(ROWS):
            data = json.dumps(row).encode()
            member = tarfile.TarInfo(f"{i:03}.json")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


FORMATS = {
    "c.jsonl": as_lines,
    "c.jsonl.gz": as_lines,
    "c.json": as_array,
    "coco.json": as_coco,
    "c.csv": as_table,
    "c.parquet": as_parquet,
    "c.tar": as_tar,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_killed_ten_times_in_every_format(name, tmp_path, capsys):
    """Tables, report and export alike; seventy kills over all."""
    FORMATS[name](tmp_path / name)
    objects = tmp_path / "objects.json"
    objects.write_text(json.dumps({str(i): ["dog", "car"][: i % 3] for i in range(7)}))
    pipeline()
    settings = {"detector": f"objects:{objects}", "part_rows": 7}
    if name.endswith(".tar"):
        settings |= {"caption_key": "json.caption", "image_key": "json.image_id"}
    whole, killed = killed_and_continued(settings, tmp_path, 10, seed=2, name=name)
    with capsys.disabled():
        print(f"\n{name}: killed 10 times over {len(killed)} runs, {len(whole)} files each")
    assert any(file.startswith("export-") for file in whole)
    different = [sorted(file for file, _ in set(one.items()) ^ set(whole.items())) for one in killed if one != whole]
    assert not different


@pytest.mark.slow
def test_killed_twenty_times_with_an_expert_that_looks(tmp_path, capsys):
    """Also with half-written cache files: what is in the cache is exact, and what is not is looked at again."""
    captions = tmp_path / "captions.jsonl"
    with captions.open("w") as file:
        for i, sample in enumerate(sandbox.scenes(60) * 2):
            caption = f"There is a {sample.names[0]} and a dog. A cat sits {'near' if i % 2 else 'on'} a table."
            file.write(json.dumps({"image": f"{sample.image_id}.webp", "caption": caption}) + "\n")
    torch.set_num_threads(1)  # a forked child waits for ever for threads that only its parent has
    pipeline()
    expert = from_spec("sandbox")
    settings = {"detector": expert, "images": sandbox.TEST_SCENES, "part_rows": 15}
    whole, killed = killed_and_continued(settings, tmp_path, 20, seed=1)
    with capsys.disabled():
        print(f"\nkilled 20 times over {len(killed)} runs; {len(whole)} output files each, compared byte for byte")
    assert all(one == whole for one in killed)
