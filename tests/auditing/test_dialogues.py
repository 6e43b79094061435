"""Every answer of a dialogue is a text of its own, with the question before it, and the export puts each back."""

import base64
import json
import tarfile
from io import BytesIO

import pyarrow as pa
import pytest
from pyarrow import parquet

from halluguard.auditing import audit
from halluguard.auditing.config import AuditConfig
from halluguard.auditing.source import open_source
from halluguard.detectors.precomputed import KnownObjects

ANSWERS = ("There is a dog and a zebra.", "A dog sits near a giraffe.", "There is a dog.")
DOG = KnownObjects({"0.png": ["dog"]})
FIXED = ("There is a dog.", "A dog sits.", "There is a dog.")
QUESTIONS = ("What is there?", "Anything else?", "Sure?")


def turns(say, ask, answer):
    return [turn for q, a in zip(QUESTIONS, answer, strict=True) for turn in (ask(q), say(a))]


def messages(answer):
    return {
        "messages": turns(
            lambda a: {"role": "assistant", "content": a}, lambda q: {"role": "user", "content": q}, answer
        )
    }


def with_a_system_turn(answer):
    return {"messages": [{"role": "system", "content": "Be kind."}, *messages(answer)["messages"]]}


def parts(answer):
    """Hugging Face's content parts; an image stands in the first question."""

    def ask(question):
        image = [{"type": "image"}] if question == QUESTIONS[0] else []
        return {"role": "user", "content": [*image, {"type": "text", "text": question}]}

    return {"messages": turns(lambda a: {"role": "assistant", "content": [{"type": "text", "text": a}]}, ask, answer)}


def mixed(answer):
    """Parts in the first answer, a plain text in the others."""
    row = parts(answer)
    for turn in row["messages"][3:]:
        turn["content"] = turn["content"][0]["text"]
    return row


def sharegpt(answer):
    return {
        "conversations": turns(lambda a: {"from": "gpt", "value": a}, lambda q: {"from": "human", "value": q}, answer)
    }


def chatgpt(answer):
    return {
        "conversations": turns(
            lambda a: {"from": "chatgpt", "value": a}, lambda q: {"from": "user", "value": q}, answer
        )
    }


def cauldron(answer):
    return {"texts": [{"user": q, "assistant": a} for q, a in zip(QUESTIONS, answer, strict=True)]}


def pairs(answer):
    return {"qa_pairs": [{"question": q, "answer": a} for q, a in zip(QUESTIONS, answer, strict=True)]}


def columns(answer):
    """The form in which `datasets` stores a sequence of objects."""
    said = [text for pair in zip(QUESTIONS, answer, strict=True) for text in pair]
    return {"messages": {"role": ["user", "assistant"] * 3, "content": said}}


def history(answer):
    """The form in which LLaMA-Factory and ms-swift keep earlier turns."""
    past = [list(pair) for pair in zip(QUESTIONS[:2], answer[:2], strict=True)]
    return {"query": QUESTIONS[2], "response": answer[2], "history": past}


FORMS = [messages, with_a_system_turn, parts, mixed, sharegpt, chatgpt, cauldron, pairs, columns, history]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_every_answer_is_checked_with_its_question_and_put_back(form, tmp_path, read_lines):
    captions = tmp_path / "c.jsonl"
    captions.write_text("".join(json.dumps({"image": f"{i}.png", **form(ANSWERS)}) + "\n" for i in range(2)))
    rows = list(open_source(captions, {}).rows())
    assert [(row.caption, row.question) for row in rows] == list(zip(ANSWERS, QUESTIONS, strict=True)) * 2
    assert [row.index for row in rows] == list(range(6))
    assert [row.image for row in rows] == ["0.png"] * 3 + ["1.png"] * 3
    target = tmp_path / "out.jsonl"
    known = KnownObjects({f"{i}.png": ["dog"] for i in range(2)})
    summary = audit(captions, tmp_path / "run", detector=known, export=target)
    assert summary["rows"] == 6
    assert read_lines(target) == [{"image": f"{i}.png", **form(FIXED)} for i in range(2)]


def test_several_captions_of_one_image_are_checked_each(tmp_path, read_lines):
    captions = tmp_path / "c.jsonl"
    captions.write_text(json.dumps({"image": "0.png", "captions": list(ANSWERS)}) + "\n")
    audit(captions, tmp_path / "run", detector=DOG, export=tmp_path / "out.jsonl")
    assert read_lines(tmp_path / "out.jsonl") == [{"image": "0.png", "captions": list(FIXED)}]


@pytest.mark.parametrize("form", [messages, sharegpt, cauldron], ids=lambda form: form.__name__)
@pytest.mark.parametrize("name", ["c.json", "c.parquet", "c.tar"])
def test_other_formats_put_each_answer_back(form, name, tmp_path):
    path, target = tmp_path / name, tmp_path / f"out-{name}"
    row = {"image": "0.png", **form(ANSWERS)}
    if name.endswith(".parquet"):
        parquet.write_table(pa.Table.from_pylist([row]), path)
    elif name.endswith(".tar"):
        with tarfile.open(path, "w") as tar:
            data = json.dumps(row).encode()
            member = tarfile.TarInfo("0.json")
            member.size = len(data)
            tar.addfile(member, BytesIO(data))
    else:
        path.write_text(json.dumps([row], indent=2))
    known = KnownObjects({"0": ["dog"], "0.png": ["dog"]})
    summary = audit(path, tmp_path / "run", detector=known, export=target)
    assert summary["audited"] == 3
    if name.endswith(".parquet"):
        (after,) = parquet.read_table(target).to_pylist()
    elif name.endswith(".tar"):
        with tarfile.open(target) as tar:
            after = json.load(tar.extractfile("0.json"))
    else:
        (after,) = json.loads(target.read_text())
    assert after == {"image": "0.png", **form(FIXED)}


def test_a_part_of_a_dialogue_leaves_its_other_answers_alone(tmp_path, read_lines):
    captions = tmp_path / "c.jsonl"
    captions.write_text(json.dumps({"image": "0.png", **messages(ANSWERS)}) + "\n")
    config = AuditConfig(captions, tmp_path / "run", detector=DOG, export=tmp_path / "out.jsonl", limit=1)
    audit(config)
    assert read_lines(tmp_path / "out.jsonl") == [{"image": "0.png", **messages((FIXED[0], *ANSWERS[1:]))}]


def test_a_dialogue_is_filtered_as_a_whole(tmp_path, read_lines):
    captions = tmp_path / "c.jsonl"
    rows = [{"image": "0.png", **messages(ANSWERS)}, {"image": "0.png", **messages(FIXED)}]
    captions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = AuditConfig(
        *(captions, tmp_path / "run"),
        detector=DOG,
        export=tmp_path / "out.jsonl",
        filter="contradicted == 0",
        part_rows=2,
    )
    audit(config)
    assert read_lines(tmp_path / "out.jsonl") == rows[1:]


def test_turns_without_words_are_no_rows_and_a_dialogue_without_an_answer_says_so(tmp_path):
    captions = tmp_path / "c.jsonl"
    call = {"role": "assistant", "content": None, "tool_calls": [{"name": "look"}]}
    rows = [
        {"image": "0.png", "messages": [messages(ANSWERS)["messages"][0], call, messages(ANSWERS)["messages"][1]]},
        {"image": "0.png", "messages": messages(ANSWERS)["messages"][:1]},
    ]
    captions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = list(open_source(captions, {}).rows())
    assert [(row.caption, row.code) for row in found] == [(ANSWERS[0], ""), ("", "no-caption")]


def image_part(kind, key, value):
    question = [{"type": kind, key: value}, {"type": "text", "text": QUESTIONS[0]}]
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": ANSWERS[0]}]
    return {"messages": turns}


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        *(("image", "image", "0.png"), ("image", "path", "0.png"), ("image", "url", "0.png")),
        *(("image_url", "image_url", {"url": "0.png"}), ("image_url", "image_url", "0.png")),
    ],
)
def test_an_image_inside_a_message_is_that_of_its_answer(kind, key, value, tmp_path, read_lines):
    captions, row = tmp_path / "c.jsonl", image_part(kind, key, value)
    captions.write_text(json.dumps(row) + "\n")
    audit(captions, tmp_path / "run", detector=DOG, export=tmp_path / "out.jsonl")
    row["messages"][1]["content"] = FIXED[0]
    assert read_lines(tmp_path / "out.jsonl") == [row]


def test_an_image_may_be_written_into_the_row(tmp_path):
    captions = tmp_path / "c.jsonl"
    data = base64.b64encode(b"bytes of an image").decode()
    captions.write_text(json.dumps(image_part("image_url", "image_url", {"url": f"data:image/png;base64,{data}"})))
    (row,) = open_source(captions, {}).rows()
    assert row.image_bytes == b"bytes of an image"
    assert row.code == ""


SEVERAL = {
    "a list of images": {"images": ["0.png", "1.png"], **messages(ANSWERS)},
    "a list as the image": {"image": ["0.png", "1.png"], "caption": ANSWERS[0]},
    "bytes": {"images": [{"bytes": "AAAA", "path": "0.png"}, {"bytes": "BBBB", "path": "1.png"}], "caption": "A dog."},
    "two parts": {
        "messages": [
            *image_part("image", "image", "0.png")["messages"],
            *image_part("image", "image", "1.png")["messages"],
        ]
    },
}


@pytest.mark.parametrize("row", SEVERAL.values(), ids=SEVERAL)
def test_a_text_about_several_images_is_never_judged_by_the_first(row, tmp_path, read_lines):
    """What only the second image shows would be cut as false."""
    captions = tmp_path / "c.jsonl"
    captions.write_text(json.dumps(row) + "\n")
    audit(captions, tmp_path / "run", detector=DOG, export=tmp_path / "out.jsonl")
    assert read_lines(tmp_path / "out.jsonl") == [row]
    assert {one["code"] for one in read_lines(tmp_path / "run" / "skipped.jsonl")} == {"several-images"}


@pytest.mark.parametrize("images", [["0.png"], ["0.png", "0.png"]])
def test_a_list_of_one_image_is_that_image(images, tmp_path):
    captions = tmp_path / "c.jsonl"
    captions.write_text(json.dumps({"image": images, "caption": ANSWERS[0]}) + "\n")
    assert [(row.image, row.code) for row in open_source(captions, {}).rows()] == [("0.png", "")]


def test_of_several_images_the_user_may_name_one(tmp_path):
    captions = tmp_path / "c.jsonl"
    captions.write_text(json.dumps({"images": ["1.png", "0.png"], "caption": ANSWERS[0]}) + "\n")
    assert [(row.image, row.code) for row in open_source(captions, {"image": "images.1"}).rows()] == [("0.png", "")]
