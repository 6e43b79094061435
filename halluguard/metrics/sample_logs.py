"""Read the sample logs of lmms-eval (`*_samples_*.jsonl`, written with --log_samples) as files of answers.

A row has one of three forms, according to the release:

    doc_id, doc, target, arguments, resps, filtered_resps, ...   the benchmark's own row under "doc"
    doc_id, input, target, filtered_resps, resps, ...            without "doc"; the prompt under "input"
    one of these with a dictionary for each metric, such as pope_accuracy: {"question_id", "prediction", ...}

Each becomes a row of an answer file: the fields of the benchmark's own row, or of the first metric that has a question
id, with `doc_id`, the question, the target as `label` and the response as `prediction`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from halluguard.errors import InputError

_RESPONSES = ("filtered_resps", "resps")


def unfolded(path: str | Path, number: int, row: dict[str, Any]) -> dict[str, Any]:
    """Convert a row of a sample log to a row of an answer file; any other row is returned unchanged.

    Raises:
        InputError: the sample has no response, or several responses.

    >>> row = {"doc_id": 4, "doc": {"question_id": "7", "answer": "yes"}, "target": "yes", "filtered_resps": [" Yes"]}
    >>> unfolded("log.jsonl", 1, row)
    {'label': 'yes', 'question_id': '7', 'answer': 'yes', 'doc_id': 4, 'prediction': ' Yes'}
    """
    responses = next((row[name] for name in _RESPONSES if name in row), None)
    if "doc_id" not in row or responses is None:
        return row
    metrics = (value for value in row.values() if isinstance(value, dict) and "question_id" in value)
    own = row["doc"] if isinstance(row.get("doc"), dict) else next(metrics, {})
    prompt, target = _prompt(row.get("input")), row.get("target")
    return {
        **({"question": prompt} if prompt else {}),
        **({"label": target} if isinstance(target, str) else {}),
        # the caption of a benchmark is its reference, never the model's caption
        **{"reference" if name == "caption" else name: value for name, value in own.items()},
        "doc_id": row["doc_id"],
        "prediction": _response(path, number, responses),
    }


def _prompt(value: object) -> str:
    """The prompt: the text itself, or the first text of the request's arguments."""
    first = value[0] if isinstance(value, list) and value else value
    return first if isinstance(first, str) else ""


def _response(path: str | Path, number: int, value: object) -> str:
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, str):
        return value
    got = f"{len(value)} of them" if isinstance(value, list) else repr(value)[:60]
    raise InputError(f"{path}, line {number}: a sample must have one response, got {got}; log one response per sample")
