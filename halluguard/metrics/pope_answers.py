"""Read files of answers to POPE's questions: with ids, in the questions' order, or with the right answers.

Some files hold several question sets: lmms-eval's log of POPE holds all three, and VLMEvalKit's table names under
`category` every set to which a question belongs ("adversarial,popular"). Such a file is read one set at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from halluguard.errors import InputError
from halluguard.metrics.pope_questions import Question, question_key, yes_or_no
from halluguard.metrics.reading import ANSWER_KEYS, answer_field, answer_keys, field, read_rows, text_field
from halluguard.metrics.score import JsonObject


def read_answers(
    path: str | Path,
    questions: Sequence[Question] | None = None,
    answer_key: str | None = None,
    category: str | None = None,
) -> dict[str, str]:
    """Read an answer file: question_id, and the answer under one of `reading.ANSWER_KEYS` or in a chat.

    Args:
        path: the file, in a form that `reading.read_rows` reads.
        questions: pass them only for a file without ids, such as RUCAIBox's example. Row n then answers question n, and
            if the row repeats its question, the text must contain the question's words.
        answer_key: name of the field with the answer.
        category: the question set to read, of a file that holds several.

    Returns:
        question id -> answer.

    Raises:
        InputError: see `reading.read_rows`; or a field is missing, an answer is not a string, an id comes twice, no
            row is of the category, or a file without ids does not fit the questions.
    """
    by_id: dict[str, str] = {}
    sets: Counter[str] = Counter()
    for position, (number, row) in enumerate(_rows(path, category, sets)):
        answer = _answer(path, number, row, answer_key)
        if questions is None:
            key = question_key(field(path, number, row, "question_id", "index", "id"), f"{path}, line {number}")
        else:
            if position >= len(questions):
                raise InputError(
                    f"{path}, line {number}: more answers than the {len(questions)} questions; check the files"
                )
            question = questions[position]
            repeated = row.get("question", row.get("prompt", question.text))
            if " ".join(question.text.split()) not in " ".join(str(repeated).split()):
                raise InputError(
                    f"{path}, line {number}: answers {repeated!r}, but question is {question.text!r}; "
                    "check the order of the file"
                )
            key = question.question_id
        if key in by_id:
            several = f" of {_named(sets)}; read one of them as `category`" if len(sets) > 1 else ""
            raise InputError(f"{path}, line {number}: a second answer to question {key}{several or '; remove one'}")
        by_id[key] = answer
    return by_id


def read_labelled(
    path: str | Path, category: str | None = None, answer_key: str | None = None
) -> tuple[list[Question], dict[str, str]]:
    """Read answers that are stored with the right answer, as in lmms-eval's logs and VLMEvalKit's tables.

    The right answer is under label, gt or, if there is a prediction, answer. A row without an image counts as an image
    of its own, so that intervals are over questions.

    Args:
        path, answer_key: as for `read_answers`.
        category: the question set to read, of a file that holds several.

    Returns:
        The questions, and question id -> answer.

    Raises:
        InputError: as for `read_answers`; or a right answer is missing, or is not yes or no, or the file holds several
            question sets and `category` is None.
    """
    questions: list[Question] = []
    answers: dict[str, str] = {}
    sets: Counter[str] = Counter()
    for number, row in _rows(path, category, sets):
        key = question_key(field(path, number, row, "doc_id", "question_id", "index", "id"), f"{path}, line {number}")
        if key in answers:
            raise InputError(f"{path}, line {number}: a second answer to question {key}; remove one")
        answers[key] = _answer(path, number, row, answer_key)
        truth = ("answer",) if "prediction" in row else ()
        label = yes_or_no(text_field(path, number, row, "label", "gt", *truth), f"{path}, line {number}")
        image = next((row[name] for name in ("image", "image_source", "image_path") if row.get(name)), key)
        questions.append(Question(key, str(image), str(row.get("question", row.get("text", ""))), label))
    if category is None and len(sets) > 1:
        raise InputError(f"{path} holds answers to {_named(sets)}; read one of them as `category`")
    return questions, answers


def read_margins(path: str | Path) -> dict[str, float]:
    """Read the margins in an answer file: question id -> `margin`, for the rows that have both.

    Raises:
        InputError: see `reading.read_rows`; or a margin is not a number; names the line.
    """
    margins: dict[str, float] = {}
    for number, row in read_rows(path):
        if row.get("margin") is None or "question_id" not in row:
            continue
        key = question_key(row["question_id"], f"{path}, line {number}")
        try:
            margins[key] = float(row["margin"])
        except (TypeError, ValueError, OverflowError):
            raise InputError(
                f"{path}, line {number}: margin must be a number, got {row['margin']!r}; correct it"
            ) from None
    return margins


def _answer(path: str | Path, number: int, row: JsonObject, answer_key: str | None) -> str:
    if answer_key is None and "label" in row and "text" in row and not {*ANSWER_KEYS} & {*row} - {"text"}:
        raise InputError(
            f"{path}, line {number}: expected an answer, got a question with its label; is this the question file? "
            "Name the field of the answers otherwise"
        )
    return answer_field(path, number, row, answer_keys(answer_key))


def _rows(path: str | Path, category: str | None, sets: Counter[str]) -> Iterator[tuple[int, JsonObject]]:
    """Yield the rows of one question set, or all rows; `sets` counts the sets of all rows."""
    for number, row in read_rows(path):
        named = row.get("category")
        names = [name.strip() for name in named.split(",")] if isinstance(named, str) else []
        sets.update(names)
        if category is None or category in names:
            yield number, row
    if category is not None and category not in sets:
        raise InputError(
            f"{path} has no row of the category {category!r}, got {_named(sets) if sets else 'none'}; "
            "choose one of these"
        )


def _named(sets: Counter[str]) -> str:
    """The question sets and their numbers of rows, in words."""
    return f"{len(sets)} question sets ({', '.join(f'{name} {count}' for name, count in sorted(sets.items())[:8])})"
