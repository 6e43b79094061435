"""RapidOCR reads drawn words; an audit judges quotations with it, from the cache."""

import json

import pytest
from PIL import Image, ImageDraw, ImageFont

from halluguard.auditing import AuditConfig, audit
from halluguard.auditing.run_folder import read_parts
from halluguard.errors import SettingsError

pytest.importorskip("rapidocr")
pytest.importorskip("onnxruntime")

from halluguard.detectors.ocr import WrittenWords


def sign(*lines, size=(360, 200)):
    image = Image.new("RGB", size, "#9db4c0")
    draw = ImageDraw.Draw(image)
    draw.rectangle((20, 20, size[0] - 20, size[1] - 20), fill="white")
    for i, text in enumerate(lines):
        draw.text((40, 40 + 60 * i), text, fill="black", font=ImageFont.load_default(40))
    return image


@pytest.fixture(scope="module")
def reader():
    return WrittenWords()


def test_lines_are_read_from_top_to_bottom_with_their_places(reader):
    top, bottom = reader.read([sign("MAIN STREET", "Exit 24")])[0]
    assert (top.label.upper().replace(" ", ""), bottom.label.replace(" ", "")) == ("MAINSTREET", "Exit24")
    assert top.xyxy[1] < bottom.xyxy[1]
    assert 20 <= top.xyxy[0] <= 45
    assert top.score > 0.8


@pytest.mark.parametrize("size", [(1, 1), (31, 400), (2000, 40)])
def test_an_empty_or_odd_image_has_no_words(reader, size):
    assert reader.read([Image.new("RGB", size, "white")]) == [[]]


def test_wrong_settings_are_refused():
    with pytest.raises(SettingsError):
        WrittenWords(least=2)
    with pytest.raises(SettingsError):
        WrittenWords(threads=0)


def test_an_audit_judges_quotations_and_keeps_the_lines(tmp_path, monkeypatch):
    (tmp_path / "images").mkdir()
    sign("MAIN STREET").save(tmp_path / "images" / "a.png")
    captions = ['A sign that says "Main Street".', 'A sign that says "Elm Avenue".']
    rows = [json.dumps({"image": "a.png", "caption": caption}) + "\n" for caption in captions]
    (tmp_path / "captions.jsonl").write_text("".join(rows))
    (tmp_path / "objects.json").write_text('{"a.png": ["dog"]}')

    def run(name):
        config = AuditConfig(
            tmp_path / "captions.jsonl",
            tmp_path / name,
            detector=f"objects:{tmp_path / 'objects.json'}",
            images=tmp_path / "images",
            ocr=True,
            cache=tmp_path / "cache.sqlite",
        )
        audit(config)
        return list(read_parts(tmp_path / name))

    first = run("one")
    decisions = [
        [verdict["decision"] for verdict in row["verdicts"] if row["claims"][verdict["claim"]]["kind"] == "text"]
        for row in first
    ]
    assert decisions == [["supported"], ["contradicted"]]
    monkeypatch.setattr(WrittenWords, "read", lambda self, images: pytest.fail("the cache was not used"))
    assert run("two") == first
