"""Every format reads the same rows, streams them in order, and writes them back in its own schema."""

import csv
import gzip
import io
import json
import tarfile

import pytest

from halluguard.auditing import inputs
from halluguard.auditing.fields import step_into, with_texts
from halluguard.auditing.inputs import Decision
from halluguard.auditing.source import open_source
from halluguard.errors import InputError, SettingsError

ROWS = [
    {"image_id": 1, "caption": 'A dog, "Rex",\non a bench.', "source": "né"},
    {"image_id": 2, "caption": "Two people {ride} horses [slowly].", "source": "web"},
    {"image_id": 3, "caption": "There is a \\ and a 犬.", "source": "web"},
]
PNG = b"\x89PNG not really"


def jsonl(path):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS), encoding="utf-8")


def bom_crlf_jsonl(path):
    path.write_bytes(b"\xef\xbb\xbf" + b"\r\n\r\n".join(json.dumps(row).encode() for row in ROWS))


def utf16_jsonl(path):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS), encoding="utf-16")


def gzipped_jsonl(path):
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in ROWS).encode()))


def json_array(path):
    path.write_text(json.dumps(ROWS, indent=1, ensure_ascii=False), encoding="utf-8")


def compact_array(path):
    path.write_text(json.dumps(ROWS, separators=(",", ":")), encoding="utf-8")


def concatenated_objects(path):
    path.write_text("".join(json.dumps(row, indent=4) for row in ROWS), encoding="utf-8")


def comma_separated(path):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ROWS[0])
        writer.writeheader()
        writer.writerows(ROWS)


def tab_separated(path):
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, ROWS[0], delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(ROWS)


def parquet_file(path):
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=2)


def arrow_file(path):
    import pyarrow as pa

    table = pa.Table.from_pylist(ROWS)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def saved_dataset(path):
    import pyarrow as pa

    path.mkdir()
    (path / "state.json").write_text("{}", encoding="utf-8")
    table = pa.Table.from_pylist(ROWS)
    with (
        pa.OSFile(str(path / "data-00000-of-00001.arrow"), "wb") as file,
        pa.ipc.new_stream(file, table.schema) as writer,
    ):
        writer.write_table(table)


def coco_captions(path):
    images = [{"id": row["image_id"], "file_name": f"{row['image_id']:012d}.jpg"} for row in ROWS]
    path.write_text(json.dumps({"info": {}, "images": images, "annotations": ROWS}), encoding="utf-8")


def webdataset(path, texts="json"):
    with tarfile.open(path, "w") as tar:
        for row in ROWS:
            key = f"{row['image_id']:05d}"
            text = json.dumps(row).encode() if texts == "json" else row["caption"].encode()
            for suffix, data in (("png", PNG), (texts, text)):
                member = tarfile.TarInfo(f"{key}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


WRITERS = [
    (jsonl, "c.jsonl"),
    (jsonl, "c"),
    (bom_crlf_jsonl, "c.jsonl"),
    (utf16_jsonl, "c.jsonl"),
    (gzipped_jsonl, "c.jsonl.gz"),
    (json_array, "c.json"),
    (compact_array, "c.json"),
    (concatenated_objects, "c.json"),
    (comma_separated, "c.csv"),
    (tab_separated, "c.tsv"),
    (parquet_file, "c.parquet"),
    (arrow_file, "c.arrow"),
    (saved_dataset, "folder"),
    (coco_captions, "c.json"),
    (webdataset, "c.tar"),
]
ids = [f"{writer.__name__}-{name}" for writer, name in WRITERS]


@pytest.mark.parametrize(("write", "name"), WRITERS, ids=ids)
def test_every_format_gives_the_same_captions_in_order(write, name, tmp_path):
    write(tmp_path / name)
    rows = list(open_source(tmp_path / name, {}).rows())
    assert [row.caption for row in rows] == [row["caption"] for row in ROWS]
    assert not any(row.code for row in rows), [row.reason for row in rows]
    assert [row.index for row in rows] == [0, 1, 2]


@pytest.mark.parametrize(("write", "name"), WRITERS, ids=ids)
def test_an_export_differs_only_where_it_should(write, name, tmp_path):
    """The middle caption replaced, the last row left out; everything else comes back as it was."""
    write(tmp_path / name)
    source = open_source(tmp_path / name, {})
    module = inputs.get_format(source.format)
    decisions = [Decision(True, None), Decision(True, "New words."), Decision(False, None)]
    target = tmp_path / f"out-{name}"
    with target.open("wb") as out:
        module.export(source.path, source.encoding, out, source.keys.caption, decisions)
    before = [item.fields for item in module.read(source.path)]
    after = [item.fields for item in module.read(target)]
    assert after == [before[0], with_texts(before[1], {source.keys.caption: "New words."})]


def test_a_webdataset_carries_its_pictures(tmp_path):
    webdataset(tmp_path / "c.tar", texts="txt")
    rows = list(open_source(tmp_path / "c.tar", {}).rows())
    assert [row.image_bytes for row in rows] == [PNG] * 3
    assert [row.image for row in rows] == ["00001.png", "00002.png", "00003.png"]


def test_a_dataset_whose_pictures_are_absolute_paths_is_read(tmp_path):
    """The form in which `datasets` writes an image column of files on this machine."""
    import pyarrow as pa
    from PIL import Image
    from pyarrow import parquet

    from halluguard.auditing import audit

    photos = tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (8, 8)).save(photos / "a.png")
    rows = [{"image": {"bytes": None, "path": str(photos / "a.png")}, "text": "A dog."}]
    path = tmp_path / "rows.parquet"
    parquet.write_table(pa.Table.from_pylist(rows), path)
    assert audit(path, tmp_path / "run", detector=lambda image, phrases: [], images=photos)["audited"] == 1


def test_a_dataset_that_holds_its_pictures(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    rows = [{"image": {"bytes": PNG, "path": "a.png"}, "text": "A dog."}]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "c.parquet")
    (row,) = open_source(tmp_path / "c.parquet", {}).rows()
    assert (row.image_bytes, row.image, row.caption) == (PNG, "a.png", "A dog.")


def test_instruction_data_are_read_by_their_first_answer(tmp_path):
    row = {
        "id": "x1",
        "image": "coco/1.jpg",
        "conversations": [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A dog."}],
    }
    (tmp_path / "c.json").write_text(json.dumps([row]), encoding="utf-8")
    source = open_source(tmp_path / "c.json", {})
    (found,) = source.rows()
    assert (found.id, found.image, found.question, found.caption) == ("x1", "coco/1.jpg", "What is it?", "A dog.")
    changed = with_texts(row, {source.keys.caption: "A cat."})
    assert step_into(changed, "conversations.1.value") == "A cat."
    assert row["conversations"][1]["value"] == "A dog.", "the input's own row is not touched"


def test_broken_objects_cost_only_themselves(tmp_path):
    text = '[{"image_id": 1, "caption": "A dog."}, {"image_id": 2, "caption": "A cat" oops}, 7, "x", {"image_id": 3, "caption": "A cow."}]'
    (tmp_path / "c.json").write_text(text, encoding="utf-8")
    rows = list(open_source(tmp_path / "c.json", {}).rows())
    assert [row.code for row in rows] == ["", "unreadable-row", "unreadable-row", ""]
    assert rows[-1].caption == "A cow."


def test_a_string_that_never_ends_does_not_swallow_the_next_object(tmp_path):
    text = '{"image_id": 1, "caption": "A dog}\n{"image_id": 2, "caption": "A cat."}\n{"image_id": 3, "caption": "A."}'
    (tmp_path / "c.json").write_text('{\n"image_id": 0, "caption": "first"}\n' + text, encoding="utf-8")
    rows = list(open_source(tmp_path / "c.json", {}).rows())
    assert [row.caption for row in rows if not row.code] == ["first", "A cat.", "A."]
    assert sum(row.code == "unreadable-row" for row in rows) == 1


def test_objects_longer_than_one_read_are_whole(tmp_path, monkeypatch):
    from halluguard.auditing.inputs import json_values

    monkeypatch.setattr(json_values, "_PIECE", 7)
    json_array(tmp_path / "c.json")
    assert [item.fields for item in json_values.read(tmp_path / "c.json")] == ROWS


def test_a_broken_tar_gives_what_came_before_and_says_so(tmp_path):
    webdataset(tmp_path / "c.tar")
    data = (tmp_path / "c.tar").read_bytes()
    (tmp_path / "c.tar").write_bytes(data[: 512 * 7 + 100])
    rows = list(open_source(tmp_path / "c.tar", {}).rows())
    assert rows[0].code == ""
    assert rows[-1].code == "unreadable-row"
    assert "cannot be read to its end" in rows[-1].reason


def test_links_and_devices_in_a_tar_are_left_alone(tmp_path):
    with tarfile.open(tmp_path / "c.tar", "w") as tar:
        for name, kind in (("0.jpg", tarfile.SYMTYPE), ("1.jpg", tarfile.FIFOTYPE), ("../2.jpg", tarfile.REGTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
            text = tarfile.TarInfo(name.replace("jpg", "txt"))
            text.size = 6
            tar.addfile(text, io.BytesIO(b"A dog."))
    rows = list(open_source(tmp_path / "c.tar", {"image": "image"}).rows())
    assert [row.code for row in rows] == ["no-image", "no-image", ""]
    assert rows[2].image_bytes == b"", "a member's name leads nowhere: its bytes are taken from the tar"


@pytest.mark.parametrize(
    ("caption", "exported"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("@SUM(1)", "'@SUM(1)"),
        ("+1", "'+1"),
        ("-1+cmd", "'-1+cmd"),
        ("- a dog", "- a dog"),
        ("A dog = a cat", "A dog = a cat"),
    ],
)
def test_a_csv_export_runs_no_formula(caption, exported, tmp_path):
    with (tmp_path / "c.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["image_id", "caption"], ["-5", caption]])
    source = open_source(tmp_path / "c.csv", {})
    module = inputs.get_format(source.format)
    with (tmp_path / "out.csv").open("wb") as out:
        module.export(source.path, None, out, "caption", [Decision(True, None)])
    assert list(csv.reader((tmp_path / "out.csv").open(encoding="utf-8"))) == [
        ["image_id", "caption"],
        ["-5", exported],
    ]


def test_csv_records_that_do_not_fit_the_header_are_skipped(tmp_path):
    (tmp_path / "c.csv").write_bytes(b'image_id,caption\n1,"A dog."\n2\n3,a,b\n4,"x"y\n5,\xff\n6,A cat.\n')
    rows = list(open_source(tmp_path / "c.csv", {}).rows())
    assert [row.code for row in rows] == ["", *["unreadable-row"] * 4, ""]


@pytest.mark.parametrize("content", [b"", b"  \n ", b"\x00\x01\x02 nothing known"], ids=["empty", "blank", "binary"])
def test_what_is_no_captions_file_is_refused_in_one_sentence(content, tmp_path):
    (tmp_path / "c.bin").write_bytes(content)
    with pytest.raises(InputError, match="expected captions"):
        open_source(tmp_path / "c.bin", {})


def test_splits_of_a_dataset_are_named_in_the_refusal(tmp_path):
    saved_dataset(tmp_path / "train")
    (tmp_path / "dataset_dict.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match=r"splits \['train'\]"):
        open_source(tmp_path, {})


def test_named_keys_win_and_wrong_ones_are_refused(tmp_path):
    jsonl(tmp_path / "c.jsonl")
    source = open_source(tmp_path / "c.jsonl", {"caption": "source", "id": "image_id"})
    assert next((row.id, row.caption) for row in source.rows()) == ("1", "né")
    with pytest.raises(SettingsError, match="nothing_such"):
        open_source(tmp_path / "c.jsonl", {"caption": "nothing_such"})
    (tmp_path / "d.jsonl").write_text('{"a": 1}\n', encoding="utf-8")
    with pytest.raises(InputError, match="--caption-key"):
        open_source(tmp_path / "d.jsonl", {})


def test_any_encoding_by_name(tmp_path):
    (tmp_path / "c.jsonl").write_bytes('{"image_id": 1, "caption": "Ein Bär."}\n'.encode("latin-1"))
    (row,) = open_source(tmp_path / "c.jsonl", {}, "latin-1").rows()
    assert row.caption == "Ein Bär."


def test_an_overlong_line_is_skipped_and_the_next_one_read(tmp_path, monkeypatch):
    from halluguard.auditing.inputs import jsonl as module

    monkeypatch.setattr(module, "MAX_ROW", 100)
    (tmp_path / "c.jsonl").write_text('{"caption": "' + "x" * 500 + '"}\n{"caption": "A dog."}\n', encoding="utf-8")
    items = list(module.read(tmp_path / "c.jsonl"))
    assert [bool(item.problem) for item in items] == [True, False]
