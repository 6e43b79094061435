"""Write checked rows as lines of a part, with each repeated value of a row written once, and read them back.

    {"index":0, ..., "claims":[{"name":"camera","start":101,"end":107}, ...],
     "verdicts":[{"decision":"supported","evidence":[0],"expert":0,"reason":[0,"person","1.00"]}, ...],
     "experts":["objects:known.json"],"reasons":["found '{}' at {}"],"boxes":[{"label":"person","score":1.0}]}

An expert is written as its index in the row's `experts`, a box as its index in the row's `boxes`. A reason is an index
into the row's `reasons`, or a list of an index and the values for each `{}` of that text. Left out is what the rest of
the row tells: the corrected caption where nothing was changed, the words of a claim, which stand at its place in the
caption, its kind where it is "existence", and the index of the claim in verdicts that are in the order of the claims.
"""

from __future__ import annotations

import json
import re

from halluguard.errors import InputError
from halluguard.io import JsonObject, json_line

_ARGUMENT = re.compile(r"'([^']*)'|\d+(?:\.\d+)?")
_INDEX = re.compile(r'\{"index":(\d+),')
_PLACE = "{}"
OK_CODE = '"code":"ok"'
"""Text that is in the line of every row that was not skipped."""


def to_line(row: JsonObject) -> str:
    """The line of a checked row, which has the form of `pipeline.to_dict`."""
    experts: dict[str, int] = {}
    reasons: dict[str, int] = {}
    boxes: dict[str, int] = {}
    of_text: dict[str, JsonObject] = {}

    def lean(record: JsonObject) -> JsonObject:
        record = dict(record)
        if "evidence" in record:
            texts = [repr(box) for box in record["evidence"]]
            of_text.update(zip(texts, record["evidence"], strict=True))
            record["evidence"] = [boxes.setdefault(text, len(boxes)) for text in texts]
        if "expert" in record:
            record["expert"] = experts.setdefault(record["expert"], len(experts))
        if "reason" in record:
            text, arguments = _template(record["reason"])
            code = reasons.setdefault(text, len(reasons))
            record["reason"] = [code, *arguments] if arguments else code
        return record

    fields = row | {name: [lean(record) for record in row[name]] for name in ("verdicts", "edits")}
    for i, verdict in enumerate(fields["verdicts"]):
        if verdict.get("claim") == i:
            del verdict["claim"]
    if "claims" in row:
        fields["claims"] = [_lean_claim(claim, row["caption"]) for claim in row["claims"]]
    if fields["corrected"] == fields["caption"]:
        del fields["corrected"]
    repeated = {"experts": list(experts), "reasons": list(reasons), "boxes": [of_text[text] for text in boxes]}
    return json_line(fields | {name: values for name, values in repeated.items() if values}, spaces=False)


def _lean_claim(claim: JsonObject, caption: str) -> JsonObject:
    """A claim without its words, which stand in the caption, and without the usual kind."""
    claim = dict(claim)
    if claim.get("phrase") == caption[claim["start"] : claim["end"]]:
        del claim["phrase"]
    if claim["kind"] == "existence":
        del claim["kind"]
    return claim


def _whole_claim(claim: JsonObject, caption: str) -> JsonObject:
    """The claim from which `_lean_claim` made a lean one, its fields in the published order."""
    phrase = claim.pop("phrase", None)
    words = caption[claim["start"] : claim["end"]] if phrase is None else phrase
    return {"kind": claim.pop("kind", "existence"), "phrase": words, **claim}


def read_row(line: str) -> JsonObject:
    """The row from which `to_line` made a line.

    Raises:
        InputError: the line was written by another version.

    >>> row = {"index": 0, "code": "ok", "caption": "A cat.", "corrected": "A cat.", "edits": [],
    ...     "claims": [{"kind": "existence", "phrase": "cat", "name": "cat", "start": 2, "end": 5}], "verdicts": [
    ...     {"claim": 0, "decision": "supported", "expert": "known", "reason": "found 'cat' at 1.00"}]}
    >>> print(to_line(row), end="")  # doctest: +ELLIPSIS
    {"index":0,...,"expert":0,"reason":[0,"cat","1.00"]}],"experts":["known"],"reasons":["found '{}' at {}"]}
    >>> read_row(to_line(row)) == row
    True
    """
    stored: JsonObject = json.loads(line)
    experts, reasons, boxes = stored.pop("experts", ()), stored.pop("reasons", ()), stored.pop("boxes", ())
    try:
        if "claims" in stored:
            stored["claims"] = [_whole_claim(claim, stored["caption"]) for claim in stored["claims"]]
        stored["verdicts"] = [
            verdict if "claim" in verdict else {"claim": i, **verdict} for i, verdict in enumerate(stored["verdicts"])
        ]
        for record in (*stored["verdicts"], *stored["edits"]):
            if "expert" in record:
                record["expert"] = experts[record["expert"]]
            if "reason" in record:
                record["reason"] = _text(record["reason"], reasons)
            if "evidence" in record:
                record["evidence"] = [dict(boxes[i]) for i in record["evidence"]]
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise InputError(
            f"expected a row as this version writes it, got {line[:60]!r}; audit the file again"
        ) from error
    if "corrected" in stored:
        return stored
    row: JsonObject = {}
    for name, value in stored.items():  # fields in the published order
        row[name] = value
        if name == "caption":
            row["corrected"] = value
    return row


def index_of(line: str) -> int:
    """The index of a line's row, read without the rest of the line.

    Raises:
        ValueError: it is not a line of a part.
    """
    match = _INDEX.match(line)
    if match is None:
        raise ValueError(f"expected the line of a part, got {line[:40]!r}")
    return int(match.group(1))


def _template(reason: str) -> tuple[str, list[str]]:
    """A reason with `{}` in place of quotations and numbers, and those values; unchanged if it has braces itself."""
    if "{" in reason:
        return reason, []
    arguments: list[str] = []

    def place(match: re.Match[str]) -> str:
        quoted: str | None = match.group(1)
        arguments.append(match.group() if quoted is None else quoted)
        return _PLACE if quoted is None else f"'{_PLACE}'"

    return _ARGUMENT.sub(place, reason), arguments


def _text(stored: int | list[int | str], reasons: list[str]) -> str:
    if isinstance(stored, int):
        return reasons[stored]
    code, *arguments = stored
    first, *others = reasons[int(code)].split(_PLACE)
    return first + "".join(f"{argument}{text}" for argument, text in zip(arguments, others, strict=True))
