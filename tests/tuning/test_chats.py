"""Rows of TRL, LLaMA-Factory, ms-swift and conversations: read with their images, or refused aloud."""

import json

import pytest
from PIL import Image

from halluguard import SettingsError
from halluguard.tuning.preferences import ReadingReport, read_preferences
from halluguard.tuning.rows import InstructionRow, PreferenceRow, RatedRow

Q, GOOD, BAD = "Is there a dog in the image?", "No.", "Yes."
USER = [{"role": "user", "content": Q}]
PARTS = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": Q}]}]
NAMED = [{"role": "user", "content": [{"type": "image", "image": "a.png"}, {"type": "text", "text": Q}]}]
LINKED = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a.png"}}, *PARTS[0]["content"][1:]]}]
HUMAN = [{"from": "human", "value": f"<image>{Q}"}]
A, B = ([{"role": "assistant", "content": text}] for text in (GOOD, BAD))

PAIRS = {
    "TRL texts": {"images": ["a.png"], "prompt": Q, "chosen": GOOD, "rejected": BAD},
    "TRL messages": {"images": ["a.png"], "prompt": USER, "chosen": A, "rejected": B},
    "TRL parts": {"images": ["a.png"], "prompt": PARTS, "chosen": A, "rejected": B},
    "TRL single image": {"image": "a.png", "prompt": PARTS, "chosen": A, "rejected": B},
    "TRL implicit prompt": {"images": ["a.png"], "chosen": [*USER, *A], "rejected": [*USER, *B]},
    "TRL struct of datasets": {
        "images": [{"bytes": None, "path": "a.png"}],
        "prompt": USER,
        "chosen": A,
        "rejected": B,
    },
    "named in the parts": {"prompt": NAMED, "chosen": A, "rejected": B},
    "linked in the parts": {"prompt": LINKED, "chosen": A, "rejected": B},
    "ms-swift": {"messages": [*USER, *A], "rejected_response": BAD, "images": ["a.png"]},
    "ms-swift messages": {"messages": [*USER, *A], "rejected_messages": [*USER, *B], "images": ["a.png"]},
    "ms-swift queries": {"query": Q, "response": GOOD, "rejected_response": BAD, "images": "a.png"},
    "LLaMA-Factory": {
        "conversations": HUMAN,
        "chosen": {"from": "gpt", "value": GOOD},
        "rejected": {"from": "gpt", "value": BAD},
        "images": ["a.png"],
    },
    "LLaMA-Factory Alpaca": {"instruction": Q, "input": "", "chosen": GOOD, "rejected": BAD, "images": ["a.png"]},
}


@pytest.fixture
def folder(tmp_path):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8), "red").save(tmp_path / name)
    return tmp_path


def read(folder, *entries, **settings):
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, entries)))
    report = ReadingReport()
    return list(read_preferences(folder / "rows.jsonl", images=folder, report=report, **settings)), report


@pytest.mark.parametrize("form", PAIRS)
def test_a_pair_keeps_its_image(folder, form):
    (row,), report = read(folder, PAIRS[form])
    assert isinstance(row, PreferenceRow)
    assert (row.prompt, row.chosen, row.rejected) == (Q, GOOD, BAD)
    assert row.images == (folder / "a.png",), "trained on text alone, silently"
    assert row.image_id == "a.png"
    assert not report.problems
    assert row.source == report.format


@pytest.mark.parametrize("form", PAIRS)
def test_a_pair_in_a_parquet_file_is_the_same(folder, form):
    """Arrow gives every turn all keys of every other, and structs their missing members."""
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.Table.from_pylist([PAIRS[form]]), folder / "rows.parquet")
    (row,) = read_preferences(folder / "rows.parquet", images=folder)
    assert (row.prompt, row.chosen, row.rejected, row.images) == (Q, GOOD, BAD, (folder / "a.png",))


def test_several_images_stay_in_order(folder):
    entry = PAIRS["TRL texts"] | {"images": ["b.png", "a.png"]}
    (row,), _ = read(folder, entry)
    assert row.images == (folder / "b.png", folder / "a.png")


def test_rejected_images_are_negative_images(folder):
    (row,), _ = read(folder, PAIRS["ms-swift"] | {"rejected_images": ["b.png"]})
    assert row.negative_images == (folder / "b.png",)


@pytest.mark.parametrize(
    "entry",
    [
        {"prompt": USER, "completion": A, "images": ["a.png"]},
        {"prompt": Q, "completion": GOOD, "image": "a.png"},
        {"messages": [*USER, *A], "images": ["a.png"]},
        {"conversations": [*HUMAN, {"from": "gpt", "value": GOOD}], "image": "a.png"},
        {"instruction": Q, "output": GOOD, "images": ["a.png"]},
    ],
)
def test_conversations_become_instructions(folder, entry):
    (row,), _ = read(folder, entry)
    assert isinstance(row, InstructionRow)
    assert (row.prompt, row.completion, row.images) == (Q, GOOD, (folder / "a.png",))


@pytest.mark.parametrize(
    "entry",
    [
        {"prompt": USER, "completion": A, "label": True, "images": ["a.png"]},
        {"messages": [*USER, *A], "label": True, "images": ["a.png"]},
        {"messages": [*USER, *A], "kto_tag": True, "images": ["a.png"]},
    ],
)
def test_labels_make_ratings(folder, entry):
    (row,), _ = read(folder, entry)
    assert isinstance(row, RatedRow)
    assert (row.completion, row.label, row.images) == (GOOD, True, (folder / "a.png",))


def test_every_answer_of_a_conversation_is_learnt(folder):
    later = [{"role": "user", "content": "And a cat?"}, {"role": "assistant", "content": "Yes, a cat."}]
    system = [{"role": "system", "content": "Be brief."}]
    rows, _ = read(folder, {"messages": [*system, *USER, *A, *later], "images": ["a.png"]})
    assert [(row.prompt, row.completion) for row in rows] == [
        (f"Be brief.\n{Q}", GOOD),
        ("And a cat?", "Yes, a cat."),
    ]
    assert rows[1].history == ((f"Be brief.\n{Q}", GOOD),)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"prompt": Q, "chosen": GOOD, "rejected": BAD, "picture": "a.png"}, "'picture' seems to hold an image"),
        ({"prompt": Q, "chosen": GOOD, "rejected": BAD, "image_url": "a.png"}, "'image_url' seems to hold an image"),
        ({"question": Q, "chosen": GOOD, "rejected": BAD, "img": "a.png"}, "'img' seems to hold an image"),
        ({"prompt": f"<image>{Q}", "chosen": GOOD, "rejected": BAD}, "placeholder of an image"),
        (PAIRS["TRL texts"] | {"chosen": "An <image> of it."}, "an answer holds a placeholder"),
        ({"messages": [*USER, *A], "rejected_answer": BAD, "images": ["a.png"]}, "a rejected answer"),
        ({"messages": [*USER, {"role": "tool", "content": "7"}, *A], "images": ["a.png"]}, "'tool'"),
        ({"messages": [*USER, *USER], "images": ["a.png"]}, "expected human and gpt in turn"),
        ({"messages": USER, "images": ["a.png"]}, "expected an answer"),
        ({"messages": [None], "images": ["a.png"]}, "AttributeError"),
        ({"messages": [{"role": "user"}], "images": ["a.png"]}, "KeyError"),
        ({"chosen": [*USER, *A], "rejected": [*NAMED, *B, *NAMED, *B], "images": ["a.png"]}, "share their prompt"),
    ],
)
def test_a_row_that_would_lose_its_image_or_answer_is_refused(folder, entry, words):
    rows, report = read(folder, entry)
    assert not rows
    assert words in report.problems[0][1]


def test_videos_and_sounds_are_skipped_by_name(folder):
    rows, report = read(folder, PAIRS["TRL texts"], PAIRS["ms-swift"] | {"videos": ["a.mp4"], "rejected_response": BAD})
    assert len(rows) == 1
    rows, report = read(folder, PAIRS["ms-swift"], PAIRS["ms-swift"] | {"audios": ["a.wav"]})
    assert (len(rows), report.skipped) == (1, {"an audio": 1})


def test_keys_can_be_named(folder):
    entry = {"pic": "a.png", "data": {"q": Q}, "good": GOOD, "bad": BAD}
    keys = {"image": "pic", "prompt": "data.q", "chosen": "good", "rejected": "bad"}
    (row,), _ = read(folder, entry, keys=keys)
    assert (row.prompt, row.chosen, row.rejected, row.images) == (Q, GOOD, BAD, (folder / "a.png",))
    with pytest.raises(SettingsError, match="keys must name some of"):
        read(folder, entry, keys={"picture": "pic"})
    rows, report = read(folder, entry, {"pic": "a.png"}, keys=keys)
    assert (len(rows), report.problems[0][0]) == (1, "line 2")
