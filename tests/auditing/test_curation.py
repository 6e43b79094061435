"""An audit for Label Studio and FiftyOne: every box and word in its place, as the tools themselves read the files."""

import json

import pytest
from PIL import Image
from typer.testing import CliRunner

from halluguard.auditing import audit
from halluguard.auditing.image_store import ImageFolder
from halluguard.auditing.outputs.curation import export_run, labelling_interface
from halluguard.cli import app
from halluguard.errors import InputError, SettingsError

CAPTIONS = ["A dog and a cat.", "A dog <b>& a cat</b>.", "A bench."]


@pytest.fixture
def folder(tmp_path):
    """Three captions of two images; one image is lost, and the other turned by its EXIF orientation."""
    photos = tmp_path / "photos"
    (photos / "a b").mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored on its side: upright it is 100 wide and 200 high
    Image.new("RGB", (200, 100), "teal").save(photos / "a b" / "1.jpg", exif=exif)
    boxes = [
        {"image": "a b/1.jpg", "label": "dog", "xyxy": [10, 20, 60, 120], "score": 0.9},
        {"image": "a b/1.jpg", "label": "cat", "xyxy": [1, 1, 2, 2], "score": 0.01},
        {"image": "lost.jpg", "label": "bench", "xyxy": [1, 1, 2, 2], "score": 0.9},
    ]
    (tmp_path / "boxes.jsonl").write_text("".join(json.dumps(box) + "\n" for box in boxes))
    images = ["a b/1.jpg", "a b/1.jpg", "lost.jpg"]
    rows = [{"image": image, "caption": text} for image, text in zip(images, CAPTIONS, strict=True)]
    (tmp_path / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    audit(tmp_path / "captions.jsonl", tmp_path / "out", detector=f"precomputed:{tmp_path / 'boxes.jsonl'},recall=0.95")
    return tmp_path


def exported(folder, to):
    out = folder / f"{to}.json"
    counts = export_run(folder / "out", to, ImageFolder(folder / "photos"), out)
    assert counts == (2, 1), "two captions are written, that of the lost image is not"
    return json.loads(out.read_text(encoding="utf-8"))


def test_tasks_hold_boxes_in_percent_words_by_place_and_the_correction(folder):
    first, second = exported(folder, "labelstudio")
    assert first["data"]["image"] == "/data/local-files/?d=a%20b/1.jpg"
    assert second["data"]["caption"] == CAPTIONS[1]
    (prediction,) = first["predictions"]
    of_type = {}
    for result in prediction["result"]:
        of_type.setdefault(result["type"], []).append(result)
    box = next(one for one in of_type["rectanglelabels"] if one["score"] == 0.9)
    assert (box["original_width"], box["original_height"]) == (100, 200)
    assert [box["value"][name] for name in ("x", "y", "width", "height")] == [10, 10, 50, 50]
    words = {one["value"]["text"]: one["value"] for one in of_type["labels"]}
    assert words["dog"]["labels"] == ["supported"]
    assert words["cat"]["labels"] == ["contradicted"]
    assert all(CAPTIONS[0][value["start"] : value["end"]] == text for text, value in words.items())
    assert of_type["textarea"][0]["value"]["text"] == ["A dog."]
    ids = [result["id"] for result in prediction["result"]]
    assert len(ids) == len(set(ids))


def test_label_studio_itself_accepts_the_tasks(folder):
    interface = pytest.importorskip("label_studio_sdk.label_interface", reason="label-studio-sdk is not installed")
    tasks = exported(folder, "labelstudio")
    config = (folder / "labelstudio.config.xml").read_text(encoding="utf-8")
    assert config == labelling_interface()
    reader = interface.LabelInterface(config)
    for task in tasks:
        assert reader.validate_task(task)
        assert reader.validate_prediction(task["predictions"][0])


def test_detections_are_in_fractions_with_verdict_and_caption(folder):
    document = exported(folder, "fiftyone")
    assert list(document["labels"]) == ["a b/1"], "FiftyOne knows an image by its path without the suffix"
    dogs = [one for one in document["labels"]["a b/1"] if one["confidence"] == 0.9]
    assert [one["bounding_box"] for one in dogs] == [[0.1, 0.1, 0.5, 0.5]] * 2
    assert [one["attributes"]["caption"] for one in dogs] == CAPTIONS[:2]
    assert {one["attributes"]["decision"] for one in dogs} == {"supported"}
    assert all(0 <= value <= 1 for one in document["labels"]["a b/1"] for value in one["bounding_box"])


def test_fiftyone_itself_reads_the_labels(folder):
    fiftyone = pytest.importorskip("fiftyone", reason="fiftyone is not installed")
    exported(folder, "fiftyone")
    dataset = fiftyone.Dataset.from_dir(
        dataset_type=fiftyone.types.FiftyOneImageDetectionDataset,
        data_path=str(folder / "photos"),
        labels_path=str(folder / "fiftyone.json"),
    )
    (sample,) = dataset
    assert sample.filepath.endswith("1.jpg")
    assert {one["decision"] for one in sample.ground_truth.detections} == {"supported", "contradicted"}


def test_images_that_differ_by_their_suffix_alone_are_refused_for_fiftyone(folder):
    Image.new("RGB", (10, 10)).save(folder / "photos" / "a b" / "1.png")
    rows = [{"image": name, "caption": "A dog."} for name in ("a b/1.jpg", "a b/1.png")]
    (folder / "two.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "objects.json").write_text(json.dumps({"a b/1.jpg": ["dog"], "a b/1.png": ["dog"]}))
    audit(folder / "two.jsonl", folder / "two", detector=f"objects:{folder / 'objects.json'}")
    with pytest.raises(InputError, match="rename one"):
        export_run(folder / "two", "fiftyone", ImageFolder(folder / "photos"), folder / "two.json")


def test_what_cannot_be_exported_is_refused_in_a_sentence(folder):
    images = ImageFolder(folder / "photos")
    with pytest.raises(SettingsError, match="labelstudio, fiftyone"):
        export_run(folder / "out", "cvat", images, folder / "x.json")
    with pytest.raises(InputError, match="finished run"):
        export_run(folder / "photos", "fiftyone", images, folder / "x.json")
    (folder / "x.config.xml").write_text("mine")
    with pytest.raises(SettingsError, match="exists"):
        export_run(folder / "out", "labelstudio", images, folder / "x.json")
    assert (folder / "x.config.xml").read_text() == "mine"
    assert not (folder / "x.json").exists()


def test_the_command_says_what_it_wrote(folder):
    words = ["export", folder / "out", "--to", "labelstudio", "--images", folder / "photos", "--out", folder / "t.json"]
    done = CliRunner().invoke(app, [*map(str, words), "--image-prefix", "https://images.example/"])
    assert done.exit_code == 0, done.output
    assert "2 captions written" in done.output
    assert "1 left out" in done.output
    assert json.loads((folder / "t.json").read_text())[0]["data"]["image"] == "https://images.example/a%20b/1.jpg"
