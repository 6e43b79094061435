"""Several detectors in one audit, the price of their silence, what captions leave out, and completed exports."""

import json

import pytest
from PIL import Image
from pyarrow import parquet

from halluguard.auditing import AuditConfig, audit
from halluguard.auditing.run_folder import read_parts
from halluguard.auditing.vocabularies import read_vocabulary
from halluguard.cli.app import app
from halluguard.errors import InputError, SettingsError
from halluguard.records import Box
from halluguard.vocabulary import COCO

ROWS = [
    {"image": "a", "caption": "A dog and a cat sit on a couch."},
    {"image": "b", "caption": "A kite."},
    {"image": "c", "caption": "A man rides a horse."},
]
DETR = {"a": ["dog", "couch", "cup"], "b": ["dog"], "c": ["person", "horse", "dog"]}
RAM = {"a": ["cat"], "b": ["dog"], "c": ["person"]}


@pytest.fixture
def files(tmp_path):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (tmp_path / "detr.json").write_text(json.dumps(DETR))
    (tmp_path / "ram.json").write_text(json.dumps(RAM))
    return tmp_path


def command(files, *options):
    from typer.testing import CliRunner

    done = CliRunner().invoke(
        app, ["audit", str(files / "rows.jsonl"), "--out", str(files / "out"), *map(str, options)]
    )
    claims = parquet.read_table(files / "out" / "claims.parquet").to_pylist()
    return done, {(row["image"], row["name"]): row for row in claims if row["kind"] == "existence"}


def test_two_lists_vote_and_are_named_by_their_files(files):
    lists = ("--objects", files / "detr.json", "--objects", files / "ram.json")
    _, claims = command(files, *lists, "--no-exhaustive")
    assert claims["a", "cat"]["decision"] == "supported"
    assert claims["a", "cat"]["expert"] == "objects:ram.json"
    assert claims["b", "kite"]["decision"] == "contradicted", "two that are silent say more than one"
    assert "objects:detr.json" in claims["b", "kite"]["reason"]
    _, claims = command(files, "--objects", files / "ram.json", "--no-exhaustive", "--force-new")
    assert claims["b", "kite"]["decision"] == "unsure"
    _, claims = command(files, *lists, "--agree", "all", "--force-new")
    assert claims["a", "cat"]["decision"] == "contradicted"


def test_recall_is_stated_on_the_command_line(files):
    objects = ("--objects", files / "ram.json")
    _, claims = command(files, *objects, "--recall", "0.9", "--recall", "kite=0.5")
    assert claims["b", "kite"]["decision"] == "unsure"
    assert claims["a", "dog"]["decision"] == "contradicted"
    (files / "recall.json").write_text('{"": 0.5, "dog": 0.9}')
    _, claims = command(files, "--objects", f"{files / 'ram.json'},recall={files / 'recall.json'}", "--force-new")
    assert claims["b", "kite"]["decision"] == "unsure"
    assert claims["a", "dog"]["decision"] == "contradicted"
    done, _ = command(files, *objects, "--recall", "7", "--force-new")
    assert isinstance(done.exception, SettingsError)


def test_what_captions_leave_out_is_counted_and_added(files):
    export = files / "out.jsonl"
    options = ("--complete", "--export", export, "--filter", "flagged == 0", "--max-omission-rate", "0.1")
    done, _ = command(files, "--objects", files / "detr.json", *options)
    assert done.exit_code == 1, "a gate failed"
    captions = [json.loads(line)["caption"] for line in export.read_text().splitlines()]
    assert captions == ["A dog sits on a couch. There is also a cup.", "A man rides a horse. There is also a dog."]
    summary = json.loads((files / "out" / "summary.json").read_text())
    assert summary["by_label"]["dog"]["omitted"] == 2
    assert summary["rates"]["omission_rate"]["value"] == 0.428571
    assert summary["rates"]["omission_rate"]["n"] == 7
    assert "Objects found and left out" in (files / "out" / "report.html").read_text()


def test_a_caption_of_which_nothing_would_be_left_is_flagged_and_never_replaced(files):
    export = files / "out.jsonl"
    audit(files / "rows.jsonl", files / "out", detector=f"objects:{files / 'detr.json'}", export=export)
    assert [json.loads(line)["caption"] for line in export.read_text().splitlines()][1] == "A kite."
    row = list(read_parts(files / "out"))[1]
    assert row["corrected"] == "A kite."
    assert {edit["decision"] for edit in row["edits"]} == {"flagged"}


class Sees:
    """Finds a kite in every image, and nothing else."""

    name, needs_image, names = "sees", True, ("kite", "dog")

    def covers(self, phrase):
        return phrase in self.names

    def detect(self, images, phrases):
        assert all(isinstance(image, Image.Image) for image in images)
        return [[Box("kite", 0.9, (0, 0, 4, 4), row.index("kite"))] if "kite" in row else [] for row in phrases]


def test_a_detector_of_images_and_a_list_work_side_by_side(files):
    from halluguard.detectors import Ensemble, KnownObjects

    (files / "images").mkdir()
    for name, colour in zip("abc", ("red", "green", "blue"), strict=True):
        Image.new("RGB", (32, 32), colour).save(files / "images" / f"{name}.png")
    both = Ensemble([Sees(), KnownObjects(DETR, exhaustive=False)], "any", mixed=True)
    config = AuditConfig(files / "rows.jsonl", files / "out", detector=both, images=files / "images")
    audit(config)
    rows = parquet.read_table(files / "out" / "claims.parquet").to_pylist()
    found = {(row["image"], row["name"]): row["decision"] for row in rows if row["kind"] == "existence"}
    assert found["b", "kite"] == "supported"
    assert found["a", "dog"] == "supported"
    assert found["a", "cat"] == "unsure"


def test_vocabularies_are_named_or_read_from_files(tmp_path):
    assert read_vocabulary("coco") == COCO
    assert set(COCO) < set(read_vocabulary("common"))
    (tmp_path / "names.txt").write_text("# mine\nLizards\n\nred panda\n")
    assert read_vocabulary(str(tmp_path / "names.txt")) == ("lizard", "red panda")
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(InputError, match="one per line"):
        read_vocabulary(str(tmp_path / "empty.txt"))
    with pytest.raises(SettingsError, match="file of names"):
        read_vocabulary("lvis2")
