"""Files: compression by content, errors in one sentence, and writes that are whole or not at all."""

import gzip
import json
import os

import pyarrow as pa
import pytest

from halluguard import io
from halluguard.auditing.image_store import read_names
from halluguard.calibration.labelled_rows import read_rows, read_truth
from halluguard.errors import InputError, OutputError

TEXT = "né 犬\nsecond\n"


def zstd(data):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as out:
        out.write(data)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("compress", [bytes, gzip.compress, zstd], ids=["plain", "gzip", "zstd"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_text_is_read_whatever_its_compression_and_byte_order_mark(compress, encoding, tmp_path):
    path = tmp_path / "any.name"
    path.write_bytes(compress(TEXT.encode(encoding)))
    assert io.read_text(path) == TEXT
    with io.open_text(path, newline="\n") as file:
        assert list(file) == TEXT.splitlines(keepends=True)


@pytest.mark.parametrize("compress", [bytes, gzip.compress, zstd], ids=["plain", "gzip", "zstd"])
def test_json_is_read_whatever_its_compression(compress, tmp_path):
    path = tmp_path / "c"
    path.write_bytes(compress(b'{"a": [1, 2]}\n\n{"a": 3}\n'))
    assert list(io.iter_json_lines(path)) == [(1, {"a": [1, 2]}), (3, {"a": 3})]
    path.write_bytes(compress(b'\xef\xbb\xbf{"a": [1, 2]}'))
    assert io.read_json(path) == {"a": [1, 2]}


@pytest.mark.parametrize(
    "content",
    [
        b"{broken",
        b"\xff\xff\xff",
        gzip.compress(b"[" + b"1," * 5000 + b"1]")[:-12],
        gzip.compress(os.urandom(5000))[:2500],
        gzip.compress(b"[1]")[:12] + b"\xff\xff\xff\xff",
        zstd(b"[" + b"1," * 5000 + b"1]")[:-4],
        b"[" * 200_000,
        b'{"a": 1' + b"0" * 5000 + b"}",
        b"",
    ],
    ids=["broken", "no text", "short gzip", "cut gzip", "bad gzip", "cut zstd", "deep", "long number", "empty"],
)
def test_a_bad_file_gives_one_sentence(content, tmp_path):
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.json") as caught:
        io.read_json(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("compress", [gzip.compress, zstd], ids=["gzip", "zstd"])
def test_a_file_that_unpacks_to_much_more_than_its_size_is_refused(compress, tmp_path, monkeypatch):
    monkeypatch.setattr(io, "MAX_UNPACKED", 1_000_000)
    path = tmp_path / "bomb"
    path.write_bytes(compress(b"{}\n" * 1_000_000))
    for read in (io.read_text, io.read_json, lambda path: list(io.iter_json_lines(path))):
        with pytest.raises(InputError, match="bomb"):
            read(path)
    pieces = []
    with io.open_binary(path) as file, pytest.raises(InputError, match="unpacks to at most 100 times its size"):
        pieces.extend(iter(lambda: file.read(10_000), b""))
    assert sum(map(len, pieces)) <= 1_000_000, "no more is unpacked than the limit"


@pytest.mark.parametrize("read", [io.read_text, io.read_json, io.file_hash, io.is_compressed, io.open_text])
@pytest.mark.parametrize("name", ["pipe", "/dev/zero"])
def test_a_device_without_end_and_a_pipe_without_writer_are_refused_at_once(name, read, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="expected a file, got a pipe or device"):
        read(tmp_path / name)


@pytest.mark.parametrize(
    "text", ["[" + "{}," * 400_000 + "1]", "[" + "[]," * 400_000 + "1]", "[" + '"a",' * 400_000 + "1]"]
)
def test_json_that_takes_much_more_memory_than_its_text_is_refused(text, tmp_path, monkeypatch):
    monkeypatch.setattr(io, "MAX_JSON", 1_000_000)
    path = tmp_path / "bomb.json.gz"
    path.write_bytes(gzip.compress(text.encode()))
    with pytest.raises(InputError, match=r"takes at most 1,000,000 bytes of memory.*bomb\.json\.gz"):
        io.read_json(path)


@pytest.mark.parametrize("read", [read_rows, read_truth, read_names, io.read_json])
def test_every_file_of_one_value_has_the_limit_of_memory(read, tmp_path, monkeypatch):
    monkeypatch.setattr(io, "MAX_JSON", 1_000_000)
    monkeypatch.setattr(io, "MAX_JSON_RATIO", 1)
    path = tmp_path / "values.json"
    path.write_text('{"a": [' + "[]," * 20_000 + "[]]}")
    with pytest.raises(InputError, match=r"memory.*values\.json|values\.json.*memory"):
        read(path)


@pytest.mark.parametrize("text", ["[[], {}, 1]", b"[[], {}, 1]"])
def test_the_memory_of_a_value_is_estimated_before_it_is_parsed(text):
    assert io.parse_json(text, 1_000) == [[], {}, 1]
    with pytest.raises(ValueError, match="more than 200 bytes of memory"):
        io.parse_json(text, 200)


def test_a_json_line_over_the_limit_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(io, "MAX_LINE", 100)
    (tmp_path / "c.jsonl").write_text("{}\n" + '"' + "x" * 200 + '"\n')
    with pytest.raises(InputError, match=r"c\.jsonl, line 2: expected at most 100 characters"):
        list(io.iter_json_lines(tmp_path / "c.jsonl"))


def test_a_missing_file_and_a_folder_give_one_sentence(tmp_path):
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(InputError, match="cannot read"):
            io.read_json(path)


def test_a_bad_line_is_named(tmp_path):
    (tmp_path / "c.jsonl").write_text("{}\n\n{oops\n")
    with pytest.raises(InputError, match=r"c\.jsonl, line 3: expected a JSON value, got '{oops'"):
        list(io.iter_json_lines(tmp_path / "c.jsonl"))


@pytest.mark.parametrize("name", ["c.txt", "c.txt.gz", "c.txt.zst"])
def test_what_is_written_is_read_again_and_equal_content_gives_equal_bytes(name, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        io.write_text(tmp_path / folder / name, TEXT)
    assert io.read_text(tmp_path / "a" / name) == TEXT
    first = (tmp_path / "a" / name).read_bytes()
    assert first == (tmp_path / "b" / name).read_bytes()
    assert first.startswith({"txt": "né".encode(), "gz": io.GZIP, "zst": io.ZSTD}[name.rpartition(".")[2]])
    with io.replacing(tmp_path / "a" / name, "wb") as file:
        file.write(b"bytes")
    assert io.read_text(tmp_path / "a" / name) == "bytes"


@pytest.mark.parametrize("name", ["c.txt", "c.txt.gz", "c.txt.zst"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(name, tmp_path):
    io.write_text(tmp_path / name, "old")
    with pytest.raises(TypeError), io.replacing(tmp_path / name) as file:
        file.writelines(["new", 7])
    assert io.read_text(tmp_path / name) == "old"
    assert os.listdir(tmp_path) == [name]


def test_what_a_killed_write_left_is_removed_and_nothing_else(tmp_path):
    (tmp_path / ".mine.tmp").write_text("kept")
    child = os.fork()
    if child == 0:
        with io.replacing(tmp_path / "c.txt") as file:
            file.write("half")
            os._exit(0)
    os.waitpid(child, 0)
    assert len(os.listdir(tmp_path)) == 2
    io.remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == [".mine.tmp"]


def test_a_link_is_replaced_and_what_it_leads_to_is_not_touched(tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "c.txt").symlink_to(tmp_path / "victim")
    io.write_text(tmp_path / "c.txt", "new")
    assert (tmp_path / "victim").read_text() == "precious"
    assert (tmp_path / "c.txt").read_text() == "new"
    assert not (tmp_path / "c.txt").is_symlink()


def test_a_device_is_written_to_and_not_replaced():
    io.write_text(os.devnull, "gone")
    assert not os.path.isfile(os.devnull)


def test_a_folder_that_cannot_be_written_says_what_to_do(tmp_path):
    with pytest.raises(OutputError, match="free space or choose another folder"):
        io.write_text(tmp_path / "no" / "c.txt", "x")


def test_a_file_in_the_place_of_a_folder_is_not_called_a_full_disk(tmp_path):
    (tmp_path / "ok.csv").write_text("a,b")
    with pytest.raises(OutputError, match="a file stands where a folder is made: name another folder"):
        io.write_text(tmp_path / "ok.csv" / "c.txt", "x")


def test_a_line_holds_no_line_end_of_any_reader():
    value = {"a": "x\u2028y\x85z\u2029", "b": "half \ud800 pair"}
    line = io.json_line(value)
    assert len(line.splitlines()) == 1
    assert json.loads(line.encode()) == value


def test_equal_content_has_one_hash(tmp_path):
    for name, text in (("a", "x"), ("b", "x"), ("c", "y")):
        (tmp_path / name).write_text(text)
    assert io.file_hash(tmp_path / "a") == io.file_hash(tmp_path / "b") != io.file_hash(tmp_path / "c")
    assert len(io.file_hash(tmp_path / "a")) == 32


def test_a_row_of_very_many_cells_is_refused_before_they_are_held(tmp_path):
    wide = tmp_path / "wide.csv"
    wide.write_text("image,phrase\na.png,dog" + ",x" * io.MAX_CELLS + "\n")
    rows = io.iter_rows(wide)
    with pytest.raises(InputError, match="rows of at most 100,000 cells"):
        list(rows)


def test_the_width_of_characters_counts_before_a_text_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(io, "MAX_TEXT", 1000)
    narrow, wide = tmp_path / "narrow.txt", tmp_path / "wide.txt"
    narrow.write_text("x" * 900)
    wide.write_text("x" * 900 + "\U0001f415")
    assert len(io.read_text(narrow)) == 900
    with pytest.raises(InputError, match="text that takes at most 1,000 bytes"):
        io.read_text(wide)


def test_a_table_is_read_row_by_row_and_keeps_line_breaks_in_cells(tmp_path):
    table = tmp_path / "labels.tsv"
    table.write_text('image\tphrase\tnote\n\na.png\tdog\t"two\nlines"\nb.png\tcat\nc.png\tcup\tx\ttoo many\n')
    assert [row for _, row in io.iter_rows(table)] == [
        {"image": "a.png", "phrase": "dog", "note": "two\nlines"},
        {"image": "b.png", "phrase": "cat", "note": None},
        {"image": "c.png", "phrase": "cup", "note": "x"},
    ]
