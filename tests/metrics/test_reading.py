"""Files as people have them: every published form is read, and every broken one ends in a sentence."""

import contextlib
import gzip
import json
import time
import tracemalloc

import pytest

from halluguard.errors import InputError
from halluguard.metrics import chair, mme, pope, reading
from halluguard.metrics.amber import Lexicon, generative
from halluguard.metrics.ground_truth import coco_objects, image_key, read_objects
from halluguard.metrics.reading import read_captions, read_rows
from halluguard.metrics.score import Score, compare
from halluguard.metrics.vocabulary import load_vocabulary

QUESTIONS = [
    pope.Question("1", "42", "Is there a dog in the image?", "yes"),
    pope.Question("2", "42", "Is there a cat in the image?", "no"),
]


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


# --- the column of the model -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "row",
    [
        {"question_id": 1, "answer": "Yes"},
        {"question_id": 1, "prompt": "Is there a dog?", "text": "Yes", "model_id": "llava"},  # LLaVA
        {
            "index": 1,
            "question": "Is there a dog?",
            "answer": "No",
            "prediction": "Yes",
        },  # VLMEvalKit: answer is the truth
        {"question_id": 1, "response": "Yes"},
        {
            "question_id": 1,
            "image": "42",
            "text": "Is there a dog?",
            "label": "no",
            "answer": "Yes",
        },  # joined with questions
        {"id": 1, "messages": [{"role": "user", "content": "No?"}, {"role": "assistant", "content": "Yes"}]},
        {"id": 1, "conversations": [{"from": "human", "value": "No?"}, {"from": "gpt", "value": "Yes"}]},
        {"id": 1, "messages": [{"role": "assistant", "content": [{"type": "text", "text": "Yes"}]}]},
    ],
)
def test_the_answer_is_the_models_in_every_published_form(write_lines, row):
    assert pope.read_answers(write_lines([row])) == {"1": "Yes"}


def test_a_question_file_given_as_answers_is_refused(write_lines):
    """Its questions would be scored as answers, and "Is there a dog?" counts as yes."""
    path = write_lines([{"question_id": 1, "image": "42", "text": "Is there a dog?", "label": "yes"}])
    with pytest.raises(InputError, match="is this the question file"):
        pope.read_answers(path)
    assert pope.read_answers(path, answer_key="text") == {"1": "Is there a dog?"}


def test_several_turns_of_the_assistant_are_not_guessed(write_lines):
    turns = [{"role": "assistant", "content": text} for text in ("A dog.", "A cat.")]
    with pytest.raises(InputError, match="one turn of the assistant, got 2"):
        list(read_captions(write_lines([{"image": 1, "messages": turns}])))


@pytest.mark.parametrize(
    "suffix", ["", " Please answer yes or no.", "\nAnswer the question using a single word or phrase."]
)
def test_answers_in_order_may_repeat_their_question_with_more_words(write_lines, suffix):
    rows = [{"question": q.text + suffix, "answer": "Yes"} for q in QUESTIONS]
    assert pope.read_answers(write_lines(rows), QUESTIONS) == {"1": "Yes", "2": "Yes"}
    with pytest.raises(InputError, match="but question is"):
        pope.read_answers(write_lines(rows[::-1]), QUESTIONS)


def test_captions_under_other_names(write_lines):
    assert list(read_captions(write_lines([{"image_id": 42, "text": "A dog."}]))) == [(42, "A dog.")]
    assert list(read_captions(write_lines([{"image": "a.jpg", "text": "Describe it.", "answer": "A dog."}]))) == [
        ("a.jpg", "A dog.")
    ]
    path = write_lines([{"question_id": 7, "said": "A dog.", "caption": "Reference."}])
    assert list(read_captions(path, caption_key="said", image_key="question_id")) == [(7, "A dog.")]


def test_tables_are_read_by_their_header(tmp_path):
    table = write(
        tmp_path / "run.tsv",
        'index\tquestion\tanswer\tprediction\n1\tA dog?\tNo\t"Yes,\nthere is"\n2\tA cat?\tNo\tNo\n',
    )
    assert pope.read_answers(table) == {"1": "Yes,\nthere is", "2": "No"}
    table = write(tmp_path / "mme.csv", "category,image,question,answer,prediction\nexistence,1,A dog?,Yes,No\n")
    assert mme.read_rows_of(table) == [mme.Row("existence", "1", "A dog?", "yes", "No")]
    with pytest.raises(InputError, match="save it as"):
        list(read_rows(write(tmp_path / "run.xls", b"PK\x03\x04")))


@pytest.mark.parametrize(
    "name",
    [
        42,
        42.0,
        "42",
        "42.0",
        "000000000042.jpg",
        "COCO_val2014_000000000042.jpg",
        "val2014/COCO_val2014_000000000042.jpg",
    ],
)
def test_ids_that_mean_one_image_meet(name):
    """pandas turns a column of ids into floats, and lists of files have folders."""
    assert image_key(name) == "42"
    assert image_key("photos/42.jpg") == "photos/42.jpg", "a number of one's own in a folder is no COCO id"


# --- broken files ------------------------------------------------------------------------------------------------

DEEP = "[" * 100_000
BROKEN = [
    b"\xff\xfe\x00\xd8",
    b"\xc3\x28",
    b"\x00" * 100,
    gzip.compress(b'{"question_id": 1, "answer": "Yes"}\n' * 1000, mtime=0)[:60],
    b"\x1f\x8b\x08\x00broken",
    DEEP,
    '{"a": ' + DEEP,
    "{\n" + '"a": ' + DEEP,
    "9" * 5000,
    "null",
    "[null]",
    '"text"',
    '{"question_id": null, "answer": "Yes"}',
    '{"question_id": [1], "answer": "Yes"}',
    '{"question_id": 1, "answer": null}',
    '{"question_id": 1, "messages": [null, 3, {"role": "assistant"}]}',
    '{"image_id": {"a": 1}, "caption": "A dog."}',
    '{"image_id": 42, "caption": ["A dog."]}',
]


@pytest.mark.parametrize("content", BROKEN, ids=lambda content: str(content[:20]))
@pytest.mark.parametrize("name", ["file.jsonl", "file.json", "file.csv", "file.tsv.gz"])
def test_a_broken_file_ends_in_a_sentence(tmp_path, name, content):
    path = write(tmp_path / name, content)
    for read in (
        pope.read_answers,
        pope.read_margins,
        pope.read_questions,
        mme.read_rows_of,
        load_vocabulary,
        Score.load,
        lambda path: chair.score(read_captions(path), {42: ["dog"]}, resamples=0),
        lambda path: chair.ChairScorer(read_objects(path)),
    ):
        with contextlib.suppress(InputError):  # anything else is a traceback for the user
            read(path)


@pytest.mark.parametrize("margin", ["much", [1.0], {"yes": 1}])
def test_a_margin_that_is_no_number_is_told(write_lines, margin):
    with pytest.raises(InputError, match="line 1: margin must be a number"):
        pope.read_margins(write_lines([{"question_id": 1, "answer": "Yes", "margin": margin}]))


def test_rows_without_a_margin_are_left_out(write_lines):
    rows = [{"question_id": 1, "margin": None}, {"question_id": "2", "margin": 1.5}, {"margin": 3}]
    assert pope.read_margins(write_lines(rows)) == {"2": 1.5}


@pytest.mark.parametrize(
    "objects", [{"42": None}, {"42": [None]}, {"42": [["dog"]]}, {"42": 3}, {"": ["dog"]}, [], None]
)
def test_objects_with_nulls_are_told(tmp_path, objects):
    path = write(tmp_path / "objects.json", json.dumps(objects))
    with pytest.raises(InputError):
        chair.ChairScorer(read_objects(path))


@pytest.mark.parametrize(
    ("instances", "captions"),
    [
        (None, {}),
        ([], []),
        ({"categories": None, "annotations": []}, {"images": [], "annotations": []}),
        ({"categories": [], "annotations": [{"image_id": 1, "category_id": 9}]}, {"images": [], "annotations": []}),
        (
            {"categories": [], "annotations": []},
            {"images": [{"id": 1}], "annotations": [{"image_id": 1, "caption": None}]},
        ),
        ({"categories": [], "annotations": []}, {"images": [{"id": 1}, {"id": "a"}], "annotations": []}),
        ({"categories": [], "annotations": []}, {"images": [{"id": []}], "annotations": []}),
    ],
)
def test_broken_annotations_of_coco_are_told(tmp_path, instances, captions):
    write(tmp_path / "instances_x.json", json.dumps(instances))
    write(tmp_path / "captions_x.json", json.dumps(captions))
    with pytest.raises(InputError):
        coco_objects(tmp_path, lambda text: text.lower().split(), sets=["x"])


@pytest.mark.parametrize(
    "annotations",
    [None, [None], [{"id": "a", "type": "generative", "truth": []}], [{"id": 1, "type": "generative", "truth": None}]],
)
def test_broken_annotations_of_amber_are_told(annotations):
    with pytest.raises(InputError):
        generative({1: "dog"}, annotations, Lexicon({"dog": []}), similarity=None, nouns=str.split, resamples=0)
    with pytest.raises(InputError, match="must map objects to lists of words"):
        Lexicon({"dog": None})


@pytest.mark.parametrize("field", ["settings", "values", "intervals", "counts", "per_image", "warnings", "details"])
def test_a_saved_score_with_a_null_is_told(tmp_path, field):
    data = chair.score([(1, "A dog.")], {1: ["dog"]}, resamples=0).to_dict()
    path = write(tmp_path / "score.json", json.dumps({**data, field: None}))
    with pytest.raises(InputError, match="score"):
        compare(Score.load(path), Score.load(path), resamples=10)


def test_half_a_surrogate_pair_is_saved_and_read_again(tmp_path):
    name = "photo\ud83d"
    score = chair.score([(name, "A dog.")], {name: ["dog"]}, resamples=0)
    score.save(tmp_path / "score.json")
    assert Score.load(tmp_path / "score.json").per_image["image_id"] == [name]


# --- bounds ------------------------------------------------------------------------------------------------------


def test_objects_over_several_lines_are_read_in_linear_time(tmp_path):
    """POPE's captions are objects one after another; counting lines from the start of the file took quadratic time."""

    def seconds(count):
        row = json.dumps({"image_id": 1, "caption": "A dog on a couch. " * 10}, indent=2) + "\n"
        path = write(tmp_path / f"{count}.json", row * count)
        started = time.process_time()
        assert sum(1 for _ in read_rows(path)) == count
        return time.process_time() - started

    seconds(100)
    assert seconds(32_000) < 40 * max(seconds(2_000), 0.005), "sixteen times the rows"


def test_a_line_and_a_file_have_a_limit(tmp_path, monkeypatch):
    """A few megabytes of gzip unpack to a line of gigabytes; it is never held whole."""
    path = tmp_path / "bomb.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(64):
            file.write(b"[" + b" " * 2**20)
    monkeypatch.setattr(reading, "LIMIT", 2**20)
    tracemalloc.start()
    for read in (lambda p: list(read_rows(p)), reading.read_json, read_objects):
        with pytest.raises(InputError, match=r"at most|may have"):
            read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * 2**20
