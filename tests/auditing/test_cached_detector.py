"""A detector is called once per image and phrase, a failure stays with its image, and neighbours change nothing."""

import contextlib
import json
import socket
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from halluguard import Box
from halluguard.auditing import audit
from halluguard.auditing.cached_detector import CachedDetector
from halluguard.auditing.caption_rows import Row
from halluguard.auditing.config import AuditConfig
from halluguard.auditing.detection_store import DetectionStore
from halluguard.auditing.engines.ray import _check_cluster, _check_reachable, packed, unpacked
from halluguard.auditing.image_store import ImageFolder, ImageStore
from halluguard.auditing.run_folder import read_parts
from halluguard.errors import ExpertError, SettingsError


class Expert:
    """Find a dog in every image; keep the calls, and fail on chosen images."""

    needs_image, thresholds = True, (0.5, 0.3)

    def __init__(self, name="expert", fails=lambda images: None):
        self.name, self.fails, self.calls = name, fails, []

    def covers(self, phrase):
        return True

    def detect(self, images, phrases):
        self.calls.append([(image.size, tuple(words)) for image, words in zip(images, phrases, strict=True)])
        error = self.fails(images)
        if error is not None:
            raise error
        return [[Box("dog", 0.9, (0, 0, 5, 5), words.index("dog"))] if "dog" in words else [] for words in phrases]

    def shown(self):
        return [size for call in self.calls for size, _ in call]


@pytest.fixture
def folder(tmp_path):
    """Images 0.png to 11.png, each of its own width, and three captions about each."""
    (tmp_path / "images").mkdir()
    for i in range(12):
        picture = Image.fromarray(np.full((10, 10 + i, 3), 9 * i, dtype=np.uint8))
        picture.save(tmp_path / "images" / f"{i}.png")
    rows = [{"image": f"{i}.png", "caption": text} for i in range(12) for text in ("A dog.", "A dog, a cat.", "A cat.")]
    (tmp_path / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def audited(folder, expert, out="out", **options):
    return audit(folder / "captions.jsonl", folder / out, detector=expert, images=folder / "images", **options)


def test_the_captions_of_a_picture_share_one_look(folder):
    expert = Expert()
    assert audited(folder, expert)["audited"] == 36
    assert sorted(expert.shown()) == [(10 + i, 10) for i in range(12)]
    again = Expert()
    audited(folder, again)
    assert again.calls == [], "a finished run is not checked again"


def test_a_cache_answers_for_another_run_and_not_for_another_expert(folder):
    def audited_with_cache(expert, out):
        config = AuditConfig(
            *(folder / "captions.jsonl", folder / out),
            detector=expert,
            images=folder / "images",
            cache=folder / "c.sqlite",
        )
        return audit(config)

    first, second, other = Expert(), Expert(), Expert("another")
    results = [audited_with_cache(expert, f"out{i}") for i, expert in enumerate((first, second, other))]
    assert (len(first.shown()), len(second.shown()), len(other.shown())) == (12, 0, 12)
    assert results[0] == results[1]


def test_one_bad_picture_costs_its_own_rows_and_is_tried_again(folder, read_lines):
    bad = Expert(fails=lambda images: ValueError("no") if any(i.size == (13, 10) for i in images) else None)
    assert audited(folder, bad)["skipped"] == {"expert": 3}
    skipped = read_lines(folder / "out" / "skipped.jsonl")
    assert {row["image"] for row in skipped} == {"3.png"}
    assert "ValueError: no" in skipped[0]["reason"]
    mended = Expert()
    assert audited(folder, mended)["skipped"] == {}
    assert mended.shown() == [(13, 10)]
    whole = Expert()
    audited(folder, whole, "whole")
    for name in ("parts/part-000000.jsonl", "claims.parquet", "summary.json"):
        assert (folder / "out" / name).read_bytes() == (folder / "whole" / name).read_bytes()


def test_an_unreadable_image_holds_no_other_in_memory(folder):
    """Its error is kept until the rows are finished; the frames of its traceback would hold the batch."""
    (folder / "images" / "1.png").write_bytes(b"no image")
    alive = []

    class Watching(Expert):
        def detect(self, images, phrases):
            alive.extend(map(weakref.ref, images))
            return super().detect(images, phrases)

    images = ImageStore(ImageFolder(folder / "images"))
    cached = CachedDetector(Watching(), DetectionStore(None, "expert"), images, batch_size=4)
    stored = images.identify([Row(i, "A dog.", f"{i}.png") for i in range(3)])
    cached.begin(stored)
    cached.detect(stored, [["dog"]] * 3)
    assert list(cached.unreadable) == [stored[1].key]
    assert len(alive) == 2
    assert not any(image() for image in alive)


def test_no_image_is_decoded_ahead_while_a_large_one_is_held(folder, monkeypatch):
    monkeypatch.setattr("halluguard.auditing.image_store.PIXELS_AHEAD", 200)
    images = ImageStore(ImageFolder(folder / "images"))
    stored = images.identify([Row(i, "A dog.", f"{i}.png") for i in (11, 0, 1)])
    assert [image.pixels for image in stored] == [210, 100, 110]
    assert [image.weight <= 200 for image in stored] == [False, True, True]  # with their files
    images.expect(stored)
    images.open(stored[0])
    assert not images._decoding
    images.open(stored[1])
    assert list(images._decoding) == [stored[2].key]


def test_no_image_of_a_large_file_is_decoded_ahead(folder):
    images = ImageStore(ImageFolder(folder / "images"))
    (file,) = images.identify([Row(0, "A dog.", "0.png")])
    (inside,) = images.identify([Row(0, "A dog.", "0.png", image_bytes=(folder / "images" / "0.png").read_bytes())])
    assert file.file_size == inside.file_size == (folder / "images" / "0.png").stat().st_size
    images.expect([replace(file, file_size=200_000_000), file])
    assert not images._decoding


def test_out_of_memory_halves_the_batch_and_nothing_is_lost(folder):
    small = Expert(fails=lambda images: MemoryError() if len(images) > 2 else None)
    assert audited(folder, small)["skipped"] == {}
    assert max(len(call) for call in small.calls[3:]) <= 2, "the smaller batch is kept"


def test_an_expert_that_fails_on_everything_ends_the_run(folder):
    with pytest.raises(ExpertError, match="10 images in a row"):
        audited(folder, Expert(fails=lambda images: RuntimeError("CUDA error: device lost")))


@pytest.mark.parametrize("batch", [1, 3])
def test_order_and_batch_size_change_no_verdict(folder, batch):
    audited(folder, Expert())
    lines = (folder / "captions.jsonl").read_text().splitlines(keepends=True)
    (folder / "turned.jsonl").write_text("".join(reversed(lines)))
    turned = AuditConfig(
        *(folder / "turned.jsonl", folder / "turned"), detector=Expert(), images=folder / "images", batch_size=batch
    )
    audit(turned)

    def verdicts(out):
        return {(row["image"], row["caption"]): row["verdicts"] for row in read_parts(folder / out)}

    assert verdicts("turned") == verdicts("out")


def test_a_damaged_cache_is_begun_anew(tmp_path):
    path = tmp_path / "cache.sqlite"
    path.write_bytes(b"no database" * 1000)
    cache = DetectionStore(path, "x")
    cache.put({"p": {"dog": (Box("dog", 0.5, (1, 2, 3, 4)),), "cat": ()}}, {"p": (7, 8)})
    assert cache.get("p", ["dog", "cat", "cow"]) == {"dog": (Box("dog", 0.5, (1, 2, 3, 4)),), "cat": ()}
    assert cache.size("p") == (7, 8)
    cache._file.execute("UPDATE detections SET boxes = '[]' WHERE phrase = 'dog'")
    assert "dog" not in cache.get("p", ["dog"]), "a record whose checksum is wrong is missing"


def test_functions_and_pictures_in_memory_can_be_audited(tmp_path):
    rows = [{"image": Image.new("RGB", (9, 9), c), "question": "What is there?"} for c in ("red", "blue")]
    summary = audit(
        rows,
        tmp_path / "out",
        detector=lambda picture, phrases: [Box("dog", 1.0, (0, 0, 1, 1))] if picture.getpixel((0, 0))[0] else [],
        captioner=lambda picture, question: "There is a dog.",
    )
    assert summary["audited"] == 2
    found = list(read_parts(tmp_path / "out"))
    assert [row["verdicts"][0]["decision"] for row in found] == ["supported", "contradicted"]


def test_rows_travel_whole():
    rows = [Row(3, "a", "b", "c\ud800\u2028\n", "d", b"\x00\xff"), Row(4, "", code="no-image", reason="x")]
    assert list(unpacked(packed(rows))) == rows


@pytest.mark.slow
def test_ray_gives_what_one_process_gives(folder):
    """Two actors and the sandbox of one process: equal bytes."""
    pytest.importorskip("ray")
    objects = folder / "objects.json"
    objects.write_text(json.dumps({f"{i}.png": ["dog"] for i in range(12)}))
    for engine in ("local", "ray"):
        audit(
            AuditConfig(
                *(folder / "captions.jsonl", folder / engine),
                detector=f"objects:{objects}",
                part_rows=8,
                engine=engine,
                workers=2,
            )
        )
    for name in ("parts/part-000000.jsonl", "claims.parquet", "summary.json"):
        assert (folder / "local" / name).read_bytes() == (folder / "ray" / name).read_bytes()


def test_a_ray_address_where_nobody_answers_is_told_soon(monkeypatch):
    """A port that accepts and stays silent; Ray would try for minutes."""
    monkeypatch.setattr("halluguard.auditing.engines.ray.REACH_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        for prefix in ("", "ray://"):
            with pytest.raises(ExpertError, match="no Ray cluster answers"):
                _check_reachable(f"{prefix}127.0.0.1:{server.getsockname()[1]}")


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes(3) + b"\4" + bytes(5), b"x" * 70_000])
@pytest.mark.parametrize("closes", [True, False])
def test_a_ray_address_where_another_server_answers_is_told_soon(answer, closes, monkeypatch):
    """HTTP/1, HTTP/2 without gRPC, and anything else; Ray would try for minutes."""
    monkeypatch.setattr("halluguard.auditing.engines.ray.REACH_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as thread:
        accepted = thread.submit(answering, server, answer, closes)
        with pytest.raises(ExpertError, match="no Ray cluster answers"):
            _check_reachable(f"127.0.0.1:{server.getsockname()[1]}")
        accepted.result().close()


def test_a_grpc_server_is_left_to_ray():
    answer = bytes(3) + b"\4" + bytes(5) + b"\0\0\x21\1\4\0\0\0\1\x88@\x0ccontent-type\x10application/grpc"
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as thread:
        accepted = thread.submit(answering, server, answer, False)
        _check_reachable(f"127.0.0.1:{server.getsockname()[1]}")
        accepted.result().close()


def answering(server, answer, closes):
    connection, _ = server.accept()
    connection.recv(4096)
    with contextlib.suppress(OSError):
        connection.sendall(answer)
    if closes:
        connection.close()
    return connection


@pytest.mark.parametrize(
    ("connecting", "reason"),
    [("import time; time.sleep(60)", "within 0.5 seconds"), ("raise SystemExit('first\\nthe cause')", ": the cause")],
)
def test_a_host_that_answers_and_is_no_ray_cluster_is_told_soon(connecting, reason, monkeypatch):
    monkeypatch.setattr("halluguard.auditing.engines.ray._CONNECT", connecting)
    monkeypatch.setattr("halluguard.auditing.engines.ray.CONNECT_SECONDS", 0.5 if "sleep" in connecting else 30)
    with pytest.raises(ExpertError, match=f"no Ray cluster answers at 'host:1' ?{reason}"):
        _check_cluster("host:1")


@pytest.mark.parametrize("address", ["nonsense", "host:", "host:0", "host:99999", "host:x"])
def test_a_ray_address_that_is_none_is_refused(address):
    with pytest.raises(SettingsError, match=r"Ray address|port"):
        _check_reachable(address)


def test_a_dead_host_is_told_without_ray():
    with pytest.raises(ExpertError, match="no Ray cluster answers"):
        _check_reachable("127.0.0.1:1")
