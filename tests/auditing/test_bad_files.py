"""Files that attack: each costs its own rows, or is refused in a sentence; nothing is cut, and work grows in step."""

import csv
import gzip
import io
import json
import tarfile
import time

import pyarrow as pa
import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from halluguard import columns, json_stream
from halluguard import io as files
from halluguard.auditing import audit, inputs
from halluguard.auditing.inputs import Decision, columnar, delimited, json_values, jsonl, webdataset
from halluguard.auditing.run_folder import read_parts
from halluguard.auditing.source import open_source
from halluguard.cli import app
from halluguard.errors import InputError
from halluguard.io import open_text
from halluguard.json_stream import split_objects


def run(path, objects_file, out, *options):
    """Exit code and output of an audit by the command line."""
    done = CliRunner().invoke(
        app, ["audit", str(path), "--objects", str(objects_file), "--out", str(out), *map(str, options)]
    )
    assert done.exception is None or isinstance(done.exception, SystemExit | InputError), repr(done.exception)
    return done.exception or done.exit_code


def codes(path, keys=None):
    return [row.code for row in open_source(path, keys or {}).rows()]


# --- rows that are too long ------------------------------------------------------------------------------------


def write_tar(path, members):
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


LONG = "x" * 5000
LONG_ROWS = {
    "c.jsonl": '{"image": "1", "caption": "A dog."}\n{"image": "1", "caption": "%s"}\n{"image": "1", "caption": "A cat."}\n',
    "c.json": '[{"image": "1", "caption": "A dog."}, {"image": "1", "caption": "%s"},\n{"image": "1", "caption": "A cat."}]',
    "c.csv": 'image,caption\n1,A dog.\n1,"%s"\n1,A cat.\n',
}
MODULES = {"c.jsonl": jsonl, "c.json": json_values, "c.csv": delimited}


@pytest.mark.parametrize("name", LONG_ROWS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_row_over_the_limit_is_skipped_and_left_out_of_the_export(
    name, encoding, tmp_path, objects_file, read_lines, monkeypatch
):
    """The export had the first 16 MiB of it, which is no row at all."""
    monkeypatch.setattr(MODULES[name], "MAX_ROW", 1000)
    (tmp_path / name).write_text(LONG_ROWS[name] % LONG, encoding=encoding)
    summary = audit(
        tmp_path / name, tmp_path / "out", detector=f"objects:{objects_file}", export=tmp_path / f"export-{name}"
    )
    assert (summary["rows"], summary["skipped"]) == (3, {"unreadable-row": 1})
    (skipped,) = read_lines(tmp_path / "out" / "skipped.jsonl")
    assert skipped["index"] == 1
    assert "the export leaves the row out" in skipped["reason"]
    exported = open_source(tmp_path / f"export-{name}", {})
    assert next(row.caption for row in exported.rows()) == "A dog."
    assert len(list(exported.rows())) == 2
    assert "xxxx" not in (tmp_path / f"export-{name}").read_text(encoding="utf-8")


def test_a_quote_that_is_never_closed_costs_one_row_of_a_csv_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(delimited, "MAX_ROW", 1000)
    (tmp_path / "c.csv").write_text('image,caption\n1,"A dog\n' + "1,x\n" * 1000, encoding="utf-8")
    found = codes(tmp_path / "c.csv")
    assert found[0] == "unreadable-row"
    assert found[-1] == ""


def test_many_cells_and_many_lines_are_bounded_too(tmp_path, monkeypatch):
    monkeypatch.setattr(delimited, "MAX_ROW", 1000)
    (tmp_path / "c.csv").write_text("image,caption\n1,A dog.\n1" + ",1" * 2000 + "\n1,A cat.\n" + '1,"a\n","a\n' * 500)
    assert codes(tmp_path / "c.csv")[:4] == ["", "unreadable-row", "", "unreadable-row"]


@pytest.mark.parametrize("length", [200_000, 300_000])
def test_a_long_header_is_read(length, tmp_path):
    """csv's own limit is 131,072 characters: a traceback."""
    (tmp_path / "c.csv").write_text(f"image,caption,{'x' * length}\n1,A dog.,2\n")
    (row,) = open_source(tmp_path / "c.csv", {}).rows()
    assert row.caption == "A dog."


def test_a_header_over_several_lines_is_one_header(tmp_path):
    (tmp_path / "c.csv").write_text('image,caption,"of\nwhat"\n1,A dog.,2\n')
    source = open_source(tmp_path / "c.csv", {})
    assert [row.caption for row in source.rows()] == ["A dog."]
    with (tmp_path / "out.csv").open("wb") as out:
        delimited.export(source.path, None, out, "caption", [inputs.Decision(True, "A cat.")])
    assert next(csv.reader((tmp_path / "out.csv").open())) == ["image", "caption", "of\nwhat"]


@pytest.mark.parametrize("header", ['image,"caption\n1,2\n', "x" * 2000 + "\n1\n"])
def test_a_header_that_is_none_is_refused(header, tmp_path, monkeypatch):
    monkeypatch.setattr(delimited, "MAX_ROW", 1000)
    (tmp_path / "c.csv").write_text(header)
    with pytest.raises(InputError, match="header"):
        open_source(tmp_path / "c.csv", {})


def test_captions_and_names_that_are_too_long_are_skipped_and_not_held(tmp_path, objects_file, read_lines):
    rows = [
        {"image": "1", "caption": "A dog. " * 100_000},
        {"image": "1" * 20_000, "caption": "A dog."},
        {"image": "1", "caption": "A dog.", "question": "What? " * 100_000},
        {"image": "1", "caption": "A dog.", "id": "7" * 20_000},
    ]
    rows = [{"id": "x", "question": "What?"} | row for row in rows]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    summary = audit(
        tmp_path / "c.jsonl", tmp_path / "out", detector=f"objects:{objects_file}", export=tmp_path / "e.jsonl"
    )
    assert summary["skipped"] == {"caption": 2, "unreadable-row": 2}
    assert all(len(json.dumps(row)) < 450_000 for row in read_parts(tmp_path / "out"))
    assert read_lines(tmp_path / "e.jsonl") == rows, "the export has them whole"


# --- compressed files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["c.jsonl.gz", "c.json.gz", "c.csv.gz", "c.tar.gz"])
@pytest.mark.parametrize("kept", [0.3, 0.9, 0.999])
def test_a_truncated_gzip_is_said_in_a_sentence(name, kept, tmp_path):
    row = '{"image": "%d", "caption": "A dog."}'
    text = {
        "c.jsonl.gz": "".join(row % i + "\n" for i in range(20_000)),
        "c.json.gz": "[" + ",\n".join(row % i for i in range(20_000)) + "]",
        "c.csv.gz": "image,caption\n" + "".join(f"{i},A dog.\n" for i in range(20_000)),
    }.get(name, "").encode()
    if name == "c.tar.gz":
        write_tar(tmp_path / "c.tar", [(f"{i}.txt", b"A dog.") for i in range(1000)])
        text = (tmp_path / "c.tar").read_bytes()
    data = gzip.compress(text)
    (tmp_path / name).write_bytes(data[: int(len(data) * kept)])
    if name == "c.tar.gz":
        assert codes(tmp_path / name)[-1] == "unreadable-row"
        return
    with pytest.raises(InputError, match=name) as caught:
        codes(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_file_that_unpacks_without_end_is_refused(tmp_path, objects_file, monkeypatch):
    monkeypatch.setattr(files, "MAX_UNPACKED", 100_000)
    line = b'{"image": "1", "caption": "' + b"x" * 10_000_000 + b'"}\n'
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(b'{"image": "1", "caption": "A dog."}\n' + line))
    result = run(tmp_path / "c.jsonl.gz", objects_file, tmp_path / "out")
    assert isinstance(result, InputError)
    assert "unpacks to at most 100 times its size" in str(result)


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
@pytest.mark.parametrize("name", ["c.jsonl", "c.json", "c.csv", "c.tar"])
def test_an_export_is_compressed_as_its_name_says(name, ending, tmp_path, objects_file):
    if name == "c.tar":
        write_tar(tmp_path / name, [("1.txt", b"A dog and a cat."), ("2.txt", b"Two people ride horses.")])
    else:
        text = LONG_ROWS[name] % "A bird."
        (tmp_path / name).write_text(text)
    target = tmp_path / f"export-{name}{ending}"
    audit(tmp_path / name, tmp_path / "out", detector=f"objects:{objects_file}", export=target)
    magic = {"": b"", ".gz": b"\x1f\x8b", ".zst": b"\x28\xb5\x2f\xfd"}[ending]
    assert target.read_bytes().startswith(magic)
    again = open_source(target, {})
    assert again.format == open_source(tmp_path / name, {}).format
    assert len(list(again.rows())) == len(list(open_source(tmp_path / name, {}).rows()))


# --- text that is none -----------------------------------------------------------------------------------------


def test_half_a_surrogate_pair_costs_one_row(tmp_path, objects_file, read_lines):
    (tmp_path / "images").mkdir()
    lines = [
        '{"image": "\\ud800.png", "caption": "A dog."}',
        '{"image": "1", "caption": "A \\udfff dog."}',
        '{"image": "1", "caption": "A dog.", "id": "\\ud834"}',
        '{"image": "1", "caption": "A dog and a cat.", "question": "What \\udc00 is it?"}',
        '{"image": "1", "caption": "A dog and a cat.", "other": "\\udc00"}',
    ]
    (tmp_path / "c.jsonl").write_text("\n".join(lines))
    options = ("--export", tmp_path / "e.jsonl", "--report", "--images", tmp_path / "images", "--max-errors", 9)
    assert run(tmp_path / "c.jsonl", objects_file, tmp_path / "out", *options) == 0
    rows = list(read_parts(tmp_path / "out"))
    assert len(rows) == 5
    assert len(read_lines(tmp_path / "e.jsonl")) == 5
    assert parquet.read_table(tmp_path / "out" / "captions.parquet").num_rows == 5


def test_an_image_whose_name_is_no_text_is_skipped(tmp_path):
    from PIL import Image

    from halluguard import Box

    class Sees:
        name, needs_image = "sees", True

        def covers(self, phrase):
            return True

        def detect(self, images, phrases):
            return [[Box("dog", 0.9, (0, 0, 1, 1), 0)] for _ in images]

    (tmp_path / "images").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "good.png")
    (tmp_path / "c.jsonl").write_text(
        '{"image": "\\ud800.png", "caption": "A dog."}\n{"image": "good.png", "caption": "A dog."}\n'
    )
    summary = audit(tmp_path / "c.jsonl", tmp_path / "out", detector=Sees(), images=tmp_path / "images")
    assert summary["skipped"] == {"image": 1}


def bad_strings():
    """Three strings of which the second is not UTF-8."""
    offsets = pa.py_buffer(b"".join(n.to_bytes(4, "little") for n in (0, 6, 9, 15)))
    return pa.Array.from_buffers(pa.string(), 3, [None, offsets, pa.py_buffer(b"A dog.\xff\xfe\xffA cat.")])


@pytest.mark.parametrize("kind", ["parquet", "arrow", "stream", "nested", "nested-arrow"])
def test_one_string_that_is_not_utf8_costs_one_row_of_a_table(kind, tmp_path, objects_file):
    captions = bad_strings()
    if "nested" in kind:
        captions = pa.StructArray.from_arrays([captions], ["caption"])
    table = pa.table({"image": pa.array(["1", "1", "1"]), "json" if "nested" in kind else "caption": captions})
    path = tmp_path / "c.parquet"
    if kind in ("parquet", "nested"):
        parquet.write_table(table, path)
    else:
        new = pa.ipc.new_stream if kind == "stream" else pa.ipc.new_file
        with pa.OSFile(str(path), "wb") as file, new(file, table.schema) as writer:
            writer.write_table(table)
    assert codes(path) == ["", "unreadable-row", ""]
    audit(path, tmp_path / "out", detector=f"objects:{objects_file}", export=tmp_path / "e.parquet")
    assert parquet.read_table(tmp_path / "e.parquet").num_rows == 3


def test_offsets_that_lead_outside_an_arrow_file_are_refused(tmp_path):
    """Reading them would read other memory of the process."""
    offsets = pa.py_buffer(b"".join(n.to_bytes(4, "little") for n in (0, 900_000_000, 3, 15)))
    captions = pa.Array.from_buffers(pa.string(), 3, [None, offsets, pa.py_buffer(b"A dog.123A cat.")])
    table = pa.table({"image": ["1"] * 3, "caption": captions})
    with pa.OSFile(str(tmp_path / "c.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(InputError, match="as Parquet or Arrow"):
        open_source(tmp_path / "c.arrow", {})


def test_a_value_that_python_cannot_hold_costs_one_row_of_a_table(tmp_path):
    times = pa.array([1, 2**62 + 1, 3], pa.timestamp("ns"))
    dates = pa.array([1, 10**17, 3], pa.int64()).cast(pa.timestamp("ms"), safe=False)
    table = pa.table({"image": ["1"] * 3, "caption": ["A dog."] * 3, "when": dates, "then": times})
    parquet.write_table(table, tmp_path / "c.parquet")
    assert codes(tmp_path / "c.parquet").count("") >= 1


def test_a_table_that_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(columns, "MAX_UNPACKED", 100_000)
    table = pa.table({"image": ["1"], "caption": ["x" * 10_000_000]})
    parquet.write_table(table, tmp_path / "c.parquet", compression="zstd")
    with pytest.raises(InputError, match="unpack to at most 100 times"):
        open_source(tmp_path / "c.parquet", {})


@pytest.mark.parametrize("kind", [pa.string_view(), pa.list_(pa.string_view()), pa.dictionary(pa.int8(), pa.string())])
def test_rows_are_left_out_of_the_export_of_a_table_of_any_type(kind, tmp_path):
    plain = ["x", "y", None] if not pa.types.is_list(kind) else [["x"], [], None]
    table = pa.table({"image": ["1", "2", "3"], "caption": ["A dog."] * 3, "other": pa.array(plain, kind)})
    parquet.write_table(table, tmp_path / "c.parquet")
    decisions = [Decision(True), Decision(False), Decision(True, "A cat.")]
    with (tmp_path / "out.parquet").open("wb") as out:
        columnar.export(tmp_path / "c.parquet", None, out, "caption", decisions)
    exported = parquet.read_table(tmp_path / "out.parquet")
    assert exported["other"].to_pylist() == [plain[0], plain[2]]
    assert exported["caption"].to_pylist() == ["A dog.", "A cat."]


def test_a_row_of_a_table_over_the_limit_is_skipped(tmp_path, monkeypatch):
    monkeypatch.setattr(columnar, "MAX_ROW_WITH_IMAGE", 100_000)
    table = pa.table({"image": ["1"] * 3, "caption": ["A dog.", "x" * 200_000, "A cat."]})
    parquet.write_table(table, tmp_path / "c.parquet")
    assert codes(tmp_path / "c.parquet") == ["", "unreadable-row", ""]


# --- nesting and ids -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        '{"images": [], "annotations": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"images": [{"id": [1], "file_name": "a"}, {"id": {}}], "annotations": [{"image_id": [1], "caption": "A dog."}]}',
        '{"images": {}, "annotations": [{"image_id": {"a": 1}, "caption": "A dog."}, 7, null]}',
        '{"images": 7, "annotations": [{"image_id": 1, "caption": "A dog."}]}',
        '{"annotations": null}',
        '[{"image": "1", "caption": "A dog.", "z": '
        + "[" * 100_000
        + "]" * 100_000
        + '}, {"image": "1", "caption": "A"}]',
        '[{"image": 1e999, "caption": "A dog."}, {"image": 12345678901234567890123, "caption": "A dog."}]',
        "[" * 100_000,
        "{" * 100_000,
        '{"image": ' * 100_000,
    ],
    ids=[
        "deep",
        "ids that are lists",
        "images that are none",
        "a number",
        "null",
        "deep row",
        "numbers",
        "[",
        "{",
        "{:",
    ],
)
def test_json_that_is_odd_is_read_or_refused_in_a_sentence(text, tmp_path, objects_file):
    (tmp_path / "c.json").write_text(text)
    run(tmp_path / "c.json", objects_file, tmp_path / "out")


def test_a_coco_file_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_JSON", 1_000_000)
    (tmp_path / "c.json").write_text('{"images": [], "annotations": [' + "{}," * 500_000 + "{}]}")
    with pytest.raises(InputError, match="bytes of memory"):
        open_source(tmp_path / "c.json", {})


def test_a_row_that_would_fill_the_memory_is_skipped(tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "MAX_ROW_MEMORY", 1_000_000)
    row = '{"image": "1", "caption": "A dog.", "z": [' + "{}," * 50_000 + "1]}"
    (tmp_path / "c.jsonl").write_text('{"image": "1", "caption": "A dog."}\n' + row + "\n")
    assert codes(tmp_path / "c.jsonl") == ["", "unreadable-row"]


# --- tars ------------------------------------------------------------------------------------------------------


class Endless(io.RawIOBase):
    """Zeros, and how many of them were read."""

    def __init__(self):
        self.taken = 0

    def read(self, size=-1):
        self.taken += size
        return b"\0" * size


def test_members_that_nobody_reads_are_not_held(tmp_path, monkeypatch):
    """0.bin was read into memory with its sample."""
    with tarfile.open(tmp_path / "c.tar.gz", "w:gz") as tar:
        for name, size in (("0.txt", 6), ("0.bin", 20_000_000), ("1.txt", 6)):
            member = tarfile.TarInfo(name)
            member.size = size
            tar.addfile(member, Endless())
    held = []
    real = webdataset._contents
    monkeypatch.setattr(webdataset, "_contents", lambda tar, member: held.append(member.name) or real(tar, member))
    assert len(list(webdataset.read(tmp_path / "c.tar.gz"))) == 2
    assert held == ["0.txt", "1.txt"]


def test_a_member_over_the_limit_is_skipped_and_exported_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(webdataset, "MAX_ROW_WITH_IMAGE", 1000)
    members = [("0.jpg", b"\xff" * 5000), ("0.txt", b"A dog."), ("1.jpg", b"\xff"), ("1.txt", b"A dog.")]
    write_tar(tmp_path / "c.tar", members)
    assert codes(tmp_path / "c.tar") == ["unreadable-row", ""]
    with (tmp_path / "e.tar").open("wb") as out:
        webdataset.export(tmp_path / "c.tar", None, out, "txt", [inputs.Decision(True, None)] * 2)
    with tarfile.open(tmp_path / "e.tar") as tar:
        assert [(m.name, tar.extractfile(m).read()) for m in tar] == members


def test_a_member_that_stands_twice_costs_its_sample(tmp_path):
    """The last one was audited, and the first lost without a word."""
    write_tar(
        tmp_path / "c.tar",
        [("0.jpg", b"x"), ("0.txt", b"A dog."), ("0.txt", b"A horse."), ("1.jpg", b"x"), ("1.txt", b"A.")],
    )
    rows = list(open_source(tmp_path / "c.tar", {}).rows())
    assert [row.code for row in rows] == ["unreadable-row", ""]
    assert "occurs twice" in rows[0].reason


@pytest.mark.parametrize("extra", ["._0.jpg", "more/._0.txt", ".DS_Store", "README", "more/LICENSE"])
def test_what_is_no_member_of_a_sample_splits_none(extra, tmp_path):
    write_tar(tmp_path / "c.tar", [("0.jpg", b"x"), (extra, b"\0\5\26\7"), ("0.txt", b"A dog."), (extra, b"x")])
    (row,) = open_source(tmp_path / "c.tar", {}).rows()
    assert (row.image, row.caption) == ("0.jpg", "A dog.")


def test_a_sparse_member_and_a_long_header_fill_nothing(tmp_path):
    """A sparse member says that it has terabytes; attributes are read into memory by tarfile itself."""
    write_tar(tmp_path / "c.tar", [("0.jpg", b"x"), ("0.txt", b"A dog.")])
    with tarfile.open(tmp_path / "d.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("0.txt")
        member.pax_headers = {"comment": "x" * 3_000_000}
        tar.addfile(member)
    assert codes(tmp_path / "c.tar") == [""]
    with pytest.raises(InputError, match="none of the first rows could be read"):
        open_source(tmp_path / "d.tar", {})


def test_names_of_columns_in_a_message_are_bounded(tmp_path):
    (tmp_path / "c.csv").write_text("image,caption" + ",a" * 100_000 + "\n")
    with pytest.raises(InputError) as refused:
        open_source(tmp_path / "c.csv", {})
    assert len(str(refused.value)) < 1000
    (tmp_path / "c.jsonl").write_text(json.dumps({f"k{i}": i for i in range(10_000)}) + "\n")
    with pytest.raises(InputError) as refused:
        open_source(tmp_path / "c.jsonl", {})
    assert len(str(refused.value)) < 3000


def test_a_member_of_a_terabyte_that_is_not_there_ends_the_tar_at_once(tmp_path):
    write_tar(tmp_path / "c.tar", [("0.jpg", b"x"), ("0.txt", b"A dog.")])
    huge = tarfile.TarInfo("1.bin")
    huge.size = 10**12
    whole = (tmp_path / "c.tar").read_bytes().rstrip(b"\0")
    (tmp_path / "d.tar").write_bytes(whole + b"\0" * (-len(whole) % 512) + huge.tobuf())
    started = time.process_time()
    assert codes(tmp_path / "d.tar")[0] == ""
    assert time.process_time() - started < 5


@pytest.mark.parametrize("cut", range(512, 512 * 12, 700))
def test_a_tar_cut_anywhere_exports_what_is_whole(cut, tmp_path, objects_file):
    write_tar(tmp_path / "w.tar", [x for i in range(3) for x in ((f"{i}.jpg", b"x" * 900), (f"{i}.txt", b"A dog."))])
    (tmp_path / "c.tar").write_bytes((tmp_path / "w.tar").read_bytes()[:cut])
    source_rows = len(list(webdataset.read(tmp_path / "c.tar")))
    with (tmp_path / "e.tar").open("wb") as out:
        webdataset.export(tmp_path / "c.tar", None, out, "txt", [inputs.Decision(True, None)] * source_rows)
    with tarfile.open(tmp_path / "e.tar") as tar:
        for member in tar:
            assert len(tar.extractfile(member).read()) == member.size


# --- work grows in step with the file --------------------------------------------------------------------------


def splitting_work(text, monkeypatch):
    """Characters that the patterns run over while a text is split."""
    work = 0

    class Pattern:
        def __init__(self, pattern):
            self.pattern = pattern

        def match(self, text, *span):
            return self._counted(self.pattern.match(text, *span), text, *span)

        def _counted(self, token, text, start, end=None):
            nonlocal work
            work += (token.end() if token else min(end or len(text), len(text))) - start
            return token

    for name in ("_BRACES", "_BRACES_OR_STRING", "_REST_OF_STRING"):
        monkeypatch.setattr(json_stream, name, Pattern(getattr(json_stream, name)))
    for _ in split_objects((text[i : i + 1000] for i in range(0, len(text), 1000)), 10**6):
        pass
    monkeypatch.undo()
    return work


@pytest.mark.parametrize(
    "unit",
    ['"', '"\n', '\\"', '"a\n"', "{}", "{", "}", '{"a": "b"}', '{"a": "b\n', '{"a": "\\', "[", ",", '"{\n}'],
)
def test_splitting_json_looks_at_each_character_twice_at_most(unit, monkeypatch):
    """An array of lone quotes was read once per quote: quadratic."""
    for count in (3000, 6000):
        text = '[{"caption": ' + unit * count
        assert splitting_work(text, monkeypatch) <= 2 * len(text) + 2


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_where_a_text_is_cut_makes_no_difference(size):
    text = '[{"a": "}{\\"", "b": {"c": "x\\\\"}}, 7, "s", {"a": "open\n"}, {broken}, {"e": "\\u00e9"}] {"f": 1}{"g": 2}'
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    assert list(split_objects(pieces, 1000)) == list(split_objects([text], 1000))


def test_after_an_object_over_the_limit_the_next_is_read():
    long = '{"a": "' + "x{" * 500 + '", "b": {"c": "' + "}" * 500 + '"}}'
    for size in (1, 7, 10_000):
        text = f'[{long}, {{"b": 1}}, {long}{{"c": 2}}]'
        pieces = [text[i : i + size] for i in range(0, len(text), size)]
        assert [text for _, text in split_objects(pieces, 100)] == [None, '{"b": 1}', None, '{"c": 2}']


@pytest.mark.parametrize("name", ["c.jsonl", "c.json", "c.csv", "c.tar", "concatenated.json"])
def test_twice_the_file_is_twice_the_reads(name, tmp_path, monkeypatch):
    """Bytes that a reader takes from the file, for n rows and for 2n."""
    taken = []
    for rows in (2000, 4000):
        row = '{"image": "%d", "caption": "A dog."}'
        if name == "c.tar":
            write_tar(tmp_path / name, [(f"{i}.txt", b"A dog.") for i in range(rows)])
        else:
            text = {
                "c.jsonl": "".join(row % i + "\n" for i in range(rows)),
                "c.json": "[" + ",".join(row % i for i in range(rows)) + "]",
                "concatenated.json": "".join((row % i).replace("{", "{\n") for i in range(rows)),
                "c.csv": "image,caption\n" + "".join(f"{i},A dog.\n" for i in range(rows)),
            }[name]
            (tmp_path / name).write_text(text)
        source = open_source(tmp_path / name, {})
        assert sum(1 for _ in source.rows()) == rows
        taken.append(reads_of(source, monkeypatch))
    assert taken[1] <= 2.2 * taken[0]


def reads_of(source, monkeypatch):
    taken = []
    real = files.open_binary

    class Counting(io.RawIOBase):
        def __init__(self, path):
            self.file = real(path)

        def readable(self):
            return True

        def readinto(self, buffer):
            taken.append(self.file.readinto(buffer))
            return taken[-1]

    for module in (files, jsonl, webdataset):
        monkeypatch.setattr(module, "open_binary", lambda path: io.BufferedReader(Counting(path)))
    list(source.items())
    monkeypatch.undo()
    assert sum(taken) >= source.path.stat().st_size
    return sum(taken)


# --- which column ----------------------------------------------------------------------------------------------

ASSISTANT = "A dog on a couch."
CHATS = [
    {"image": "1", "messages": [{"role": "system", "content": "You see."}, {"role": "user", "content": "Describe the cat."}, {"role": "assistant", "content": ASSISTANT}]},
    {"image": "1", "messages": [{"role": "user", "content": "Describe the cat."}, {"role": "assistant", "content": ASSISTANT}]},
    {"image": "1", "messages": [{"role": "user", "content": "Describe the cat."}, {"role": "assistant", "content": ASSISTANT}, {"role": "user", "content": "More?"}, {"role": "assistant", "content": "No."}]},
    {"image": "1", "conversations": [{"from": "system", "value": "You see."}, {"from": "human", "value": "<image>\nDescribe the cat."}, {"from": "gpt", "value": ASSISTANT}]},
    {"image": "1", "conversations": [{"from": "gpt", "value": ASSISTANT}, {"from": "human", "value": "Describe the cat."}]},
    {"image": "1", "messages": [{"role": "user", "content": [{"type": "image", "image": "1"}, {"type": "text", "text": "Describe the cat."}]}, {"role": "assistant", "content": [{"type": "text", "text": ASSISTANT}]}]},
    {"image": "1", "text": "Describe the cat.", "answer": ASSISTANT, "label": "no", "question_id": 1},
    {"image": "1", "text": "Describe the cat.", "response": ASSISTANT},
    {"image": "1", "prompt": "Describe the cat.", "text": ASSISTANT, "answer_id": "x", "model_id": "llava"},
    {"image": "1", "question": "Describe the cat.", "answer": "A horse.", "prediction": ASSISTANT, "index": 1},
    {"image": "1", "question": "Describe the cat.", "answer": "A horse.", "text": ASSISTANT},
    {"image": "1", "question": "Describe the cat.", "answer": ASSISTANT},
    {"image": "1", "instruction": "Describe the cat.", "input": "", "output": ASSISTANT},
]  # fmt: skip


@pytest.mark.parametrize("row", CHATS, ids=range(len(CHATS)))
def test_the_models_own_words_are_audited(row, tmp_path):
    """A system turn moved the answer by one place, and the user's question was audited and rewritten."""
    (tmp_path / "c.json").write_text(json.dumps([row]))
    source = open_source(tmp_path / "c.json", {})
    read, *_ = source.rows()
    assert (read.caption, read.question) == (ASSISTANT, "Describe the cat.")
    with (tmp_path / "e.json").open("wb") as out:
        json_values.export(source.path, None, out, source.keys.caption, [inputs.Decision(True, "New.")])
    with open_text(tmp_path / "e.json") as file:
        exported = file.read()
    assert exported.count("New.") == 1
    assert ASSISTANT not in exported
    assert "Describe the cat." in exported


def test_rows_with_and_without_a_system_turn_stand_in_one_file(tmp_path):
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in CHATS[:3]))
    assert [row.caption for row in open_source(tmp_path / "c.jsonl", {}).rows()] == [*[ASSISTANT] * 3, "No."]


def test_a_dialogue_without_an_answer_is_refused(tmp_path):
    (tmp_path / "c.json").write_text(
        json.dumps([{"image": "1", "messages": [{"role": "user", "content": "A dog?"}] * 2}])
    )
    with pytest.raises(InputError, match="--caption-key"):
        open_source(tmp_path / "c.json", {})


@pytest.mark.parametrize("image", [42, "42", 42.0])
def test_numbers_as_ids_are_names(image, tmp_path):
    """pandas makes floats of a column of ids with a gap."""
    (tmp_path / "c.jsonl").write_text(json.dumps({"image_id": image, "caption": "A dog."}) + "\n")
    (row,) = open_source(tmp_path / "c.jsonl", {}).rows()
    assert row.image == "42"
    parquet.write_table(pa.table({"image_id": [image], "caption": ["A dog."]}), tmp_path / "c.parquet")
    (row,) = open_source(tmp_path / "c.parquet", {}).rows()
    assert row.image == "42"


# --- columns that unpack to more than they are -----------------------------------------------------------------


def write_arrow(path, table, codec, kind):
    options = pa.ipc.IpcWriteOptions(compression=codec)
    with getattr(pa.ipc, f"new_{kind}")(str(path), table.schema, options=options) as writer:
        writer.write_table(table)


@pytest.mark.parametrize("kind", ["file", "stream"])
@pytest.mark.parametrize("codec", ["zstd", "lz4"])
@pytest.mark.parametrize("dictionary", [False, True])
def test_a_compressed_arrow_file_is_measured_before_it_is_unpacked(dictionary, codec, kind, tmp_path, monkeypatch):
    captions = pa.array(["x" * 50_000, "A dog."])
    table = pa.table({"image": ["1", "1"], "caption": captions.dictionary_encode() if dictionary else captions})
    write_arrow(tmp_path / "c.arrow", table, codec, kind)
    assert [row.caption for row in open_source(tmp_path / "c.arrow", {}).rows()] == ["x" * 50_000, "A dog."]
    monkeypatch.setattr(columnar, "MAX_UNPACKED", 40_000)
    with pytest.raises(InputError, match="40,000 bytes"):
        open_source(tmp_path / "c.arrow", {})


@pytest.mark.parametrize("name", ["c.parquet", "c.arrow"])
def test_a_large_value_that_stands_in_every_row_is_not_held_once_for_each(name, tmp_path, monkeypatch):
    monkeypatch.setattr(columnar, "MAX_ROW_WITH_IMAGE", 100_000)
    captions = pa.DictionaryArray.from_arrays(pa.array([0] * 50, pa.int32()), pa.array(["x" * 60_000]))
    table = pa.table({"image": ["1"] * 50, "caption": captions})
    if name.endswith(".parquet"):
        parquet.write_table(table, tmp_path / name)
    else:
        write_arrow(tmp_path / name, table, None, "file")
    sizes = [len(batch) for batch in columnar._batches(tmp_path / name)]
    rows = list(columnar.read(tmp_path / name))
    assert len(rows) == 50
    assert all(row.fields["caption"] == "x" * 60_000 for row in rows)
    if name.endswith(".parquet"):
        assert max(sizes) == 1
    assert columnar.python_size(table.column("caption").chunk(0)) >= 50 * 60_000
    assert columnar.python_size(table.column("caption").chunk(0).slice(3, 1)) < 61_000


def test_a_list_of_millions_of_numbers_costs_its_row(tmp_path, monkeypatch):
    monkeypatch.setattr(columnar, "MAX_ROW_WITH_IMAGE", 100_000)
    rows = {"image": ["1", "1"], "caption": ["A dog."] * 2, "x": [[0] * 5_000, [0]], "y": [{"a": [0]}, {"a": [0] * 3}]}
    parquet.write_table(pa.table(rows | {"x": pa.array(rows["x"], pa.list_(pa.int8()))}), tmp_path / "c.parquet")
    first, second = columnar.read(tmp_path / "c.parquet")
    assert "100,000 bytes" in first.problem
    assert second.fields["caption"] == "A dog."
