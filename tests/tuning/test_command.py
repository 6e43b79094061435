"""`halluguard train`: a file in, an adapter out, and one sentence for what is wrong."""

import json

import pytest
from typer.testing import CliRunner

pytest.importorskip("trl")

from halluguard import InputError, sandbox
from halluguard.cli import app
from halluguard.cli.train import rows_from


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eight scenes as images, as preference pairs, and as COCO's instances."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "images").mkdir()
    pairs, coco = [], {"images": [], "annotations": [], "categories": []}
    numbers: dict[str, int] = {}
    for sample in sandbox.scenes(8):
        name = f"{sample.image_id}.png"
        sample.image.save(folder / "images" / name)
        true, false = f"There is a {sample.names[0]}.", "There is a zebra on a surfboard."
        pairs.append({"image": name, "question": "Describe the image.", "chosen": true, "rejected": false})
        coco["images"].append({"id": sample.image_id, "file_name": name, "width": 112, "height": 112})
        for thing in sample.objects:
            x1, y1, x2, y2 = map(float, thing.box)
            coco["annotations"].append(
                {
                    "id": len(coco["annotations"]) + 1,
                    "image_id": sample.image_id,
                    "category_id": numbers.setdefault(thing.name, len(numbers) + 1),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "iscrowd": 0,
                }
            )
    coco["categories"] = [{"id": number, "name": name} for name, number in numbers.items()]
    (folder / "pairs.jsonl").write_text("\n".join(json.dumps(pair) for pair in pairs))
    (folder / "instances.json").write_text(json.dumps(coco))
    return folder


def test_a_file_of_pairs_becomes_an_adapter_and_a_merged_model(folder, tmp_path):
    config = tmp_path / "settings.json"
    config.write_text(json.dumps({"images": str(folder / "images"), "negatives": "crop", "batch_size": 2}))
    command = ["train", str(folder / "pairs.jsonl"), "--model", "sandbox", "--config", str(config)]
    command += ["--out", str(tmp_path / "a"), "--merge", str(tmp_path / "m"), "--device", "cpu", "--batch-size", "4"]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0
    facts = json.loads(result.stdout)
    assert facts == json.loads((tmp_path / "a" / "training.json").read_text())
    assert (facts["rows"], facts["steps"]) == (8, 2), "the flag must win over the file"
    assert facts["licenses"] == ["CC BY-NC 4.0"]
    assert (tmp_path / "a" / "adapter_model.safetensors").exists()
    assert "CC BY-NC 4.0" in (tmp_path / "m" / "README.md").read_text()


def test_annotations_become_balanced_questions(folder):
    rows, told = rows_from(folder / "instances.json", folder / "images", coco=True)
    kinds = {row.kind for row in rows}
    assert {"erased", "control", "swap-positive", "swap-negative"} <= kinds
    assert "8 annotated images" in told[0]


def test_plain_learns_the_chosen_answers(folder):
    rows, _ = rows_from(folder / "pairs.jsonl", folder / "images", plain=True)
    assert all(row.completion.startswith("There is a") for row in rows)


def test_negatives_are_drawn_on_request(folder):
    rows, _ = rows_from(folder / "pairs.jsonl", folder / "images", negatives=["crop", "noise"])
    assert all(len(row.negative_images) == 1 for row in rows)


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"learning_rat": 1}, "learning_rat"), ([1], "expected an object of settings"), (None, "cannot read")],
)
def test_a_config_that_cannot_be_meant_is_refused(tmp_path, settings, words):
    config = tmp_path / "c.json"
    config.write_text("{" if settings is None else json.dumps(settings))
    command = ["train", "x", "--model", "sandbox", "--out", str(tmp_path), "--config", str(config)]
    with pytest.raises(InputError, match=words):
        CliRunner().invoke(app, command, catch_exceptions=False)


def test_missing_images_are_counted_and_named(folder):
    with pytest.raises(InputError, match="8 of 8 rows are without their image"):
        rows_from(folder / "pairs.jsonl", None)
    with pytest.raises(InputError, match="--images"):
        rows_from(folder / "instances.json", None, coco=True)
