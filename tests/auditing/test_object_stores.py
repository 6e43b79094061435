"""Captions are read from object stores; what needs a file system is refused with advice."""

import gzip
import json
from pathlib import Path

import fsspec
import pytest

from halluguard.auditing import AuditConfig, audit
from halluguard.errors import InputError, SettingsError

ROWS = [{"id": str(i), "image": "1.jpg", "caption": "A dog and a cat."} for i in range(5)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


@pytest.fixture
def objects(tmp_path):
    (tmp_path / "o.json").write_text(json.dumps({"1.jpg": ["dog"]}))
    return f"objects:{tmp_path / 'o.json'}"


@pytest.fixture
def memory():
    store = fsspec.filesystem("memory")
    store.pipe("/bucket/captions.jsonl.gz", gzip.compress(LINES, mtime=0))
    yield store
    store.rm("/bucket", recursive=True)


def test_an_object_is_audited_as_the_file_would_be_and_a_run_continues(tmp_path, objects, memory):
    summary = audit("memory://bucket/captions.jsonl.gz", tmp_path / "out", detector=objects)
    assert (summary["audited"], summary["captions_edited"]) == (5, 5)
    (tmp_path / "local.jsonl").write_bytes(LINES)
    audit(tmp_path / "local.jsonl", tmp_path / "local", detector=objects)
    for name in ("claims.parquet", "captions.parquet", "parts/part-000000.jsonl"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "local" / name).read_bytes()
    assert audit("memory://bucket/captions.jsonl.gz", tmp_path / "out", detector=objects) == summary
    memory.pipe("/bucket/captions.jsonl.gz", gzip.compress(LINES[:60] + LINES[60:].replace(b"cat", b"car"), mtime=0))
    with pytest.raises(SettingsError, match="other settings"):
        audit("memory://bucket/captions.jsonl.gz", tmp_path / "out", detector=objects)


@pytest.mark.parametrize("field", ["out", "export", "cache", "coco_detections", "images"])
def test_what_needs_a_file_system_is_refused_with_advice(tmp_path, objects, field):
    paths = {"captions": tmp_path / "c.jsonl", "out": tmp_path / "out"} | {field: Path("s3://bucket/there")}
    with pytest.raises(SettingsError, match=r"got s3://bucket/there.*(copy it there|mount the store)"):
        audit(AuditConfig(**paths, detector=objects))


def test_what_is_not_there_is_an_error_of_the_input(tmp_path, objects, memory):
    with pytest.raises(InputError, match=r"cannot read memory://bucket/none\.jsonl: FileNotFoundError.*check"):
        audit("memory://bucket/none.jsonl", tmp_path / "out", detector=objects)
    with pytest.raises(InputError, match="no captions at 'unknown:/bucket/x'"):
        audit("unknown://bucket/x", tmp_path / "out", detector=objects)


def test_s3_is_read_through_a_local_server(tmp_path, objects, monkeypatch):
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    environment = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in (environment | {"AWS_ENDPOINT_URL": f"http://{host}:{port}"}).items():
        monkeypatch.setenv(name, value)
    try:
        store = fsspec.filesystem("s3")
        store.mkdir("bucket")
        store.pipe("bucket/captions.jsonl", LINES)
        assert audit("s3://bucket/captions.jsonl", tmp_path / "out", detector=objects)["audited"] == 5
        with pytest.raises(InputError, match=r"cannot read s3://bucket/none\.jsonl"):
            audit("s3://bucket/none.jsonl", tmp_path / "out", detector=objects)
    finally:
        server.stop()
