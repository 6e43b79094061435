"""Golden entries of every form (synthetic text, the published keys), and every way a file can be broken."""

import gzip
import json

import pytest
from PIL import Image

from halluguard import InputError
from halluguard.tuning.preferences import FORMATS, FormatOptions, ReadingReport, read_preferences
from halluguard.tuning.preferences.messages import untemplated
from halluguard.tuning.rows import InstructionRow, PreferenceRow, RatedRow

Q, GOOD, BAD = "What is on the table?", "A cup is on the table.", "A fork is on the table."


def said(who, text):
    return {"from": who, "value": text}


def rated(faithful, helpful, text):
    scores = {"Visual Faithfulness": faithful, "Helpfulness": helpful, "Ethical Considerations": "5"}
    return {
        "model": "m",
        "response": text,
        "annotations": {k: {"Rating": v, "Rationale": ""} for k, v in scores.items()},
    }


# form -> (entry, what of the row must come out)
GOLDEN = {
    "RLHF-V": (
        {
            "ds_name": "RLHF-V",
            "image": "a.png",
            "text": json.dumps({"question": Q, "chosen": GOOD, "rejected": BAD}),
            "origin_dataset": "COCO",
            "origin_split": json.dumps({"model": "m", "type": "detailed_description"}),
            "idx": 1,
            "image_path": "a.png",
        },
        {"kind": "detailed_description", "license": "CC BY-NC 4.0", "minimal_edit": True},
    ),
    "RLAIF-V": (
        {
            "ds_name": "R",
            "image": "a.png",
            "question": Q,
            "chosen": GOOD,
            "rejected": BAD,
            "origin_dataset": "COCO",
            "idx": 1,
        },
        {"kind": "COCO", "license": "CC BY-NC 4.0", "minimal_edit": False},
    ),
    "LLaVA-RLHF": (
        {
            "image": "a.png",
            "conversations": [
                said("human", "<image>\nIs there a cup?"),
                said("gpt", "Yes."),
                said("human", Q),
                said("gpt", "replaced"),
            ],
            "output_1": said("llava", BAD),
            "output_2": said("llava", GOOD),
            "preference": 2,
        },
        {"history": (("Is there a cup?", "Yes."),), "license": "unknown"},
    ),
    "VLFeedback": (
        {"id": "1", "prompt": Q, "img_path": "a.png", "completions": [rated("5", "4", GOOD), rated("2", "4", BAD)]},
        {},
    ),
    "POVID": (
        {
            "id": "1",
            "image": "a.png",
            "conversations": [said("human", f"<image>\n{Q}"), said("gpt", GOOD)],
            "rejected_conversations": [said("human", f"<image>\n{Q}"), said("gpt", BAD)],
        },
        {},
    ),
    "mDPO": (
        {
            "img_path": "a.png",
            "prompt": f"A chat between a user and an assistant. USER: <image>\n{Q} ASSISTANT:",
            "chosen": GOOD + "</s>",
            "rejected": BAD,
        },
        {},
    ),
    "MM-RLHF": ({"prompt": Q, "chosen": GOOD, "rejected": BAD, "image": "a.png"}, {}),
    "HACL": (
        {"image": "a.png", "text": GOOD, "dataset_name": "d", "task_type": "t", "Hallucination caption": BAD},
        {"kind": "caption", "prompt": None},
    ),
    "LURE": ({"image_id": "a.png", "caption": GOOD, "h_caption": BAD}, {"kind": "caption", "prompt": None}),
    "HA-DPO": (
        {"image_id": "a.png", "question": Q, "answer": BAD, "chosen": GOOD, "reject": BAD, "correct": False},
        {"kind": "yes/no"},
    ),
}


TOOLS = {"TRL", "LLaMA-Factory", "ms-swift", "conversations"}
"""Formats of training tools, tested in test_chats.py."""


@pytest.fixture
def folder(tmp_path):
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png")
    return tmp_path


def written(folder, entries, name="data.jsonl"):
    """JSON Lines; a string stands for itself."""
    path = folder / name
    path.write_text("\n".join(e if isinstance(e, str) else json.dumps(e) for e in entries) + "\n", encoding="utf-8")
    return path


def read(path, folder, **settings):
    report = ReadingReport()
    return list(read_preferences(path, images=folder, report=report, **settings)), report


@pytest.mark.parametrize("form", GOLDEN)
def test_every_form_becomes_the_same_row(form, folder):
    entry, expected = GOLDEN[form]
    (row,), report = read(written(folder, [entry]), folder)
    assert isinstance(row, PreferenceRow)
    assert (row.chosen, row.rejected) == (GOOD, BAD)
    assert row.images == (folder / "a.png",)
    assert (row.source, report.format, report.rows) == (form, form, 1)
    assert row.image_id == "a.png"
    expected = {"prompt": Q, **expected}
    for name, value in expected.items():
        assert value is None or getattr(row, name) == value, name


def test_the_golden_entries_cover_every_form_of_pairs():
    assert {form.name for form in FORMATS} - set(GOLDEN) == {"LRV-Instruction", "thumbs", *TOOLS}


@pytest.mark.parametrize("form", GOLDEN)
def test_forms_are_told_by_keys_not_by_names(form, folder):
    entry, _ = GOLDEN[form]
    recognised = [f.name for f in FORMATS if f.recognises(entry)]
    assert recognised[0] == form
    assert read(written(folder, [entry], "HA-DPO_POVID.json"), folder)[1].format == form


@pytest.mark.parametrize("container", ["array", "indented", "gzip", "parquet"])
def test_containers_are_told_by_content(container, folder):
    entries = [GOLDEN["RLAIF-V"][0] | {"chosen": f"{GOOD} {{{i}}}"} for i in range(3)]
    path = folder / "data.bin"
    if container == "parquet":
        import pyarrow as pa
        from pyarrow import parquet

        parquet.write_table(pa.Table.from_pylist(entries), path)
    elif container == "gzip":
        path.write_bytes(gzip.compress("\n".join(map(json.dumps, entries)).encode()))
    else:
        path.write_text(json.dumps(entries, indent=2 if container == "indented" else None))
    rows, _ = read(path, folder)
    assert [row.chosen for row in rows] == [f"{GOOD} {{{i}}}" for i in range(3)]


def test_images_inside_a_parquet_file_need_no_folder(folder):
    import pyarrow as pa
    from pyarrow import parquet

    image = {"bytes": (folder / "a.png").read_bytes(), "path": "a.png"}
    parquet.write_table(pa.Table.from_pylist([GOLDEN["RLAIF-V"][0] | {"image": image}]), folder / "d.parquet")
    (row,) = read_preferences(folder / "d.parquet", open_images=True)
    assert row.to_conversation()["images"][0].size == (8, 8)
    assert row.image_id == "a.png"


def test_vlfeedback_as_datasets_writes_it(folder):
    """The list of completions became a mapping of lists, its annotations too, or a list of them."""
    ratings = {k: {"Rating": ["5", "2"], "Rationale": ["", ""]} for k in ("Visual Faithfulness", "Helpfulness")}
    lists = {"annotations": ratings, "model": ["m", "n"], "response": [GOOD, BAD]}
    mixed = lists | {"annotations": [c["annotations"] for c in (rated("5", "5", ""), rated("2", "2", ""))]}
    for completions in (lists, mixed):
        (row,), _ = read(written(folder, [GOLDEN["VLFeedback"][0] | {"completions": completions}]), folder)
        assert (row.chosen, row.rejected) == (GOOD, BAD)


def test_vlfeedback_pairs_on_faithfulness_and_counts_the_rest(folder):
    completions = [rated("5", "2", "one"), rated("3", "4", "two"), rated("3", "1", "three"), rated("N/A", "5", "four")]
    rows, report = read(written(folder, [GOLDEN["VLFeedback"][0] | {"completions": completions}]), folder)
    assert [(row.chosen, row.rejected) for row in rows] == [("one", "three")]
    assert sum(report.skipped.values()) == 3
    assert any("less helpful" in reason for reason in report.skipped)


def test_hadpo_descriptions_are_a_mapping_of_lists(folder):
    data = {
        "a.png": {"chosen": [GOOD, "x"], "rejected": [BAD, "y"]},
        "b.png": {"chosen": ["x"], "rejected": ["y", "z"]},
    }
    for indent in (None, 2):
        path = folder / "desc.json"
        path.write_text(json.dumps(data, indent=indent))
        rows, report = read(path, folder)
        assert [(row.image_id, row.chosen, row.rejected) for row in rows] == [("a.png", GOOD, BAD), ("a.png", "x", "y")]
        assert report.problems[0][0] == "entry 2 ('b.png')"


def test_hadpo_questions_can_be_narrowed_to_mistakes(folder):
    entry = GOLDEN["HA-DPO"][0]
    path = written(folder, [entry, entry | {"correct": True, "question": "Else?"}])
    assert len(read(path, folder)[0]) == 2
    rows, report = read(path, folder, options=FormatOptions(only_wrong=True))
    assert len(rows) == 1
    assert report.skipped.total() == 1


def test_lrv_becomes_instructions_and_loses_what_leaks(folder):
    entry = {"image_id": "7", "question": "Is there a dog?", "answer": "No, there is no dog.", "task": "negative"}
    leak = entry | {"answer": "There is no mention of a dog."}
    rows, report = read(written(folder, [entry, leak]), {"7": folder / "a.png"})
    assert [type(row) for row in rows] == [InstructionRow]
    assert rows[0].kind == "negative"
    assert report.skipped.total() == 1


def test_thumbs_become_ratings(folder):
    entries = [
        {"image": "a.png", "prompt": Q, "completion": GOOD, "label": True},
        {"prompt": Q, "answer": BAD, "label": False},
    ]
    rows, _ = read(written(folder, entries), folder)
    assert [(type(r), r.completion, r.label, len(r.images)) for r in rows] == [
        (RatedRow, GOOD, True, 1),
        (RatedRow, BAD, False, 0),
    ]


def test_videos_and_ties_are_counted_not_lost(folder):
    video = GOLDEN["MM-RLHF"][0] | {"video": "v.mp4"}
    rows, report = read(written(folder, [GOLDEN["MM-RLHF"][0], video]), folder)
    assert (len(rows), report.skipped) == (1, {"a video": 1})
    rows, report = read(written(folder, [GOLDEN["LLaVA-RLHF"][0] | {"preference": 0}]), folder)
    assert (rows, report.skipped.total()) == ([], 1)


def test_malformed_entries_are_named_with_their_line(folder):
    entry = GOLDEN["RLAIF-V"][0]
    bad = [
        entry,
        '{"question": "cut off',
        entry | {"rejected": GOOD},
        entry | {"chosen": ""},
        entry | {"rejected": None},
        {"question": Q},
        "[1, 2]",
        entry,
    ]
    rows, report = read(written(folder, bad), folder)
    assert (len(rows), report.entries, report.duplicates) == (1, 8, 1)
    assert [place for place, _ in report.problems] == [f"line {n}" for n in (2, 3, 4, 5, 6, 7)]
    assert all("\n" not in reason for _, reason in report.problems)
    assert "must differ" in report.problems[1][1]
    assert "6 malformed: line 2" in str(report)


def test_a_malformed_object_in_an_array_costs_only_itself(folder):
    good = json.dumps(GOLDEN["RLAIF-V"][0])
    path = folder / "d.json"
    path.write_text(f'[{good},\n{{"question": nonsense}},\n{good.replace("cup", "cat")}]')
    rows, report = read(path, folder)
    assert len(rows) == 2
    assert report.problems[0][0] == "entry 2 (line 2)"


def test_few_missing_images_are_counted_many_are_an_error(folder):
    entry = GOLDEN["RLAIF-V"][0]
    few = [entry | {"idx": i, "chosen": f"{GOOD} {i}", "image": "a.png" if i else "gone.png"} for i in range(30)]
    rows, report = read(written(folder, few), folder)
    assert (len(rows), len(report.missing), report.missing[0][0]) == (29, 1, "line 1")
    with pytest.raises(InputError, match="1 of 30 rows are without their image"):
        read(written(folder, few), folder, missing_share=0.01)
    with pytest.raises(InputError, match="pass images="):
        list(read_preferences(written(folder, few)))
    many = [entry | {"chosen": f"{GOOD} {i}", "image": "gone.png"} for i in range(100_000)]
    report = ReadingReport()
    with pytest.raises(InputError, match="raise missing_share"):
        list(read_preferences(written(folder, many[:1000]), images=folder, report=report))
    assert report.entries <= 201, "a hopeless file is given up early"


def test_images_outside_the_folder_are_not_read(folder):
    entry = GOLDEN["RLAIF-V"][0] | {"image": "../../etc/passwd"}
    with pytest.raises(InputError, match="leads outside"):
        read(written(folder, [entry]), folder)


def test_unreadable_images_are_found_when_asked(folder):
    (folder / "a.png").write_bytes(b"no image")
    path = written(folder, [GOLDEN["RLAIF-V"][0]])
    assert len(read(path, folder)[0]) == 1
    with pytest.raises(InputError, match="without their image"):
        read(path, folder, open_images=True)


def test_a_licence_is_carried(folder):
    path = written(folder, [GOLDEN["POVID"][0] | {"license": "CC BY 4.0"}])
    assert read(path, folder)[0][0].license == "CC BY 4.0"
    assert read(path, folder, license="mine")[0][0].license == "mine"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "an empty file"),
        ("hello", "begins with 'h'"),
        ('{"a": 1}', "got line 1: no known format"),
        ("[]", "no entry"),
    ],
)
def test_files_that_are_no_preferences_are_refused(content, words, folder):
    (folder / "x").write_text(content)
    with pytest.raises(InputError, match=words):
        read(folder / "x", folder)


def test_a_missing_file_is_said_to_be_missing(folder):
    with pytest.raises(InputError, match="No such file"):
        read(folder / "none.json", folder)


@pytest.mark.parametrize(
    "rendered",
    [
        "A chat. USER: <image>\nWhat? ASSISTANT:",
        "<|im_start|>system\nBe nice<|im_end|>\n<|im_start|>user\n<image>\nWhat?<|im_end|>\n<|im_start|>assistant\n",
        "[INST] <image>\nWhat? [/INST]",
        "What?",
        "### Human: <image>\nWhat?\n### Assistant:",
    ],
)
def test_rendered_templates_are_stripped_to_the_question(rendered):
    assert untemplated(rendered) == "What?"


def test_two_questions_in_a_template_are_refused():
    with pytest.raises(InputError, match="template marks"):
        untemplated("USER: a ASSISTANT: b USER: c ASSISTANT:")


def test_rows_are_the_same_whatever_was_read_before(folder):
    entries = [GOLDEN["LURE"][0] | {"caption": f"{GOOD} {i}"} for i in range(5)]
    first, _ = read(written(folder, entries), folder)
    again, _ = read(written(folder, entries), folder)
    other, _ = read(written(folder, entries), folder, seed=1)
    assert first == again
    assert [r.seed for r in first] != [r.seed for r in other]
