"""Hostile captions and images: each row gets its code, the run goes on, nothing outside the folder is opened."""

import builtins
import importlib.util
import io
import socket
from pathlib import Path

import pytest

from halluguard import Box
from halluguard.auditing import audit
from halluguard.auditing.image_store import ImageFolder
from halluguard.auditing.outputs.report import write_report
from halluguard.auditing.run_folder import read_parts

_SPEC = importlib.util.spec_from_file_location("hostile", Path(__file__).with_name("hostile.py"))
hostile = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(hostile)


class Sees:
    """An expert that finds dogs everywhere, and keeps what it was shown."""

    name, needs_image, thresholds = "sees", True, (0.5, 0.3)

    def __init__(self):
        self.shown = []

    def covers(self, phrase):
        return True

    def detect(self, images, phrases):
        self.shown += [image.size for image in images]
        assert all(image.mode == "RGB" for image in images)
        return [[Box("dog", 0.9, (0, 0, 1, 1), words.index("dog"))] if "dog" in words else [] for words in phrases]


@pytest.fixture
def opened(monkeypatch):
    """Every path that is opened for reading, and no network."""
    seen = []

    def watched(function):
        def call(file, mode="r", *args, **kwargs):
            if isinstance(file, str | Path) and "r" in mode:
                seen.append(Path(file).resolve())
            return function(file, mode, *args, **kwargs)

        return call

    def refused(*args, **kwargs):
        raise AssertionError("the network was asked for")

    monkeypatch.setattr(builtins, "open", watched(builtins.open))
    monkeypatch.setattr(io, "open", watched(io.open))
    monkeypatch.setattr(socket.socket, "connect", refused)
    return seen


def test_every_hostile_row_gets_its_code(tmp_path, opened):
    captions, codes = hostile.build(tmp_path)
    expert = Sees()
    opened.clear()
    summary = audit(
        captions, tmp_path / "out", detector=expert, images=tmp_path / "images", export=tmp_path / "c.jsonl"
    )
    rows = list(read_parts(tmp_path / "out"))
    wrong = [
        (row["image"][:60], row["caption"][:40], row["code"], code)
        for row, code in zip(rows, codes, strict=True)
        if row["code"] != code
    ]
    assert not wrong
    assert summary["rows"] == len(codes)
    assert all(len(row["reason"]) > 10 for row in rows if row["code"] != "ok")
    pictures = [p for p in opened if p.suffix in (".png", ".jpg", ".tif", ".gif", ".webp") or p.name == "secret.png"]
    assert pictures
    assert all(p.is_relative_to(tmp_path / "images") for p in pictures), "something outside the folder was read"
    assert (40, 60) in expert.shown, "the turned picture is shown upright"
    assert len((tmp_path / "c.jsonl").read_bytes().split(b"\n")) == len(codes) + 1, "the export keeps every row"


def test_the_report_of_hostile_rows_runs_no_script_of_theirs(tmp_path):
    captions, codes = hostile.build(tmp_path)
    audit(captions, tmp_path / "out", detector=Sees(), images=tmp_path / "images")
    page = write_report(tmp_path / "out", ImageFolder(tmp_path / "images"), samples=2 * len(codes)).read_text()
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "Content-Security-Policy" in page
