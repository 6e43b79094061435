"""Write the tables of a run from its finished parts in one pass.

captions.jsonl     one line per caption: claims, verdicts with their evidence, edits
captions.parquet   one row per caption: counts by decision, shares of letters and nouns read, the corrected text
claims.jsonl, claims.parquet    one row per claim: span, kind, name, decision, confidence, boxes, reason
skipped.jsonl      the rows that could not be checked, with the reason
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from halluguard.auditing.outputs.shift import ShiftWatch
from halluguard.auditing.outputs.summary import DECISIONS, Tally
from halluguard.auditing.run_folder import parts_of
from halluguard.correction.claims.coverage import Coverage
from halluguard.correction.kinds import KINDS
from halluguard.io import JsonObject, json_line, replacing

if TYPE_CHECKING:
    import pyarrow as pa

_VALUE_FIELDS = [kind.field for kind in KINDS.values() if kind.field]

ROW_GROUP = 50_000
"""Rows in a row group of Parquet, which are held in memory."""


def write_tables(run: Path, out: Path, watch: ShiftWatch | None = None) -> Tally:
    """Write the tables of the parts in the folder `run` into the folder `out`, and add everything up.

    Args:
        run, out: the folders.
        watch: watches for a shift, under a policy.
    """
    tally = Tally()
    tally.watch = watch
    with contextlib.ExitStack() as stack:
        names = ("captions.jsonl", "claims.jsonl", "skipped.jsonl")
        captions, claims, skipped = (stack.enter_context(replacing(out / name)) for name in names)
        caption_table = stack.enter_context(Table(out / "captions.parquet", CAPTION_COLUMNS))
        claim_table = stack.enter_context(Table(out / "claims.parquet", _CLAIM_COLUMNS))
        for part in parts_of(run):
            with part.open(encoding="utf-8") as file:
                for line in file:
                    row = json.loads(line)
                    tally.add(row)
                    captions.write(line)
                    caption_table.add(caption_row(row))
                    if row["code"] != "ok":
                        kept = {key: row[key] for key in ("index", "id", "image", "code", "reason", "caption")}
                        skipped.write(json_line(kept))
                    for claim in claim_rows(row):
                        claims.write(json_line(claim))
                        claim_table.add(claim)
    return tally


def caption_row(row: JsonObject) -> JsonObject:
    """One caption as a flat row, for tables and filters."""
    decisions = Counter(verdict["decision"] for verdict in row["verdicts"])
    flagged = sum(edit.get("decision") == "flagged" for edit in row["edits"])
    additions = sum(edit.get("decision") == "addition" for edit in row["edits"])
    omitted = row.get("omitted")
    covered = Coverage(**row["coverage"]) if row.get("coverage") else None  # of a skipped row, nothing was read
    return {
        "index": row["index"],
        "id": writable(row["id"]),
        "image": writable(row["image"]),
        "code": row["code"],
        "reason": writable(row["reason"]),
        **{decision: decisions[decision] for decision in DECISIONS},
        "claims": len(row["claims"]),
        "edits": len(row["edits"]) - flagged - additions,
        "flagged": flagged,
        "additions": additions,
        "omitted": len(omitted or ()),
        "omitted_names": ", ".join(one["name"] for one in omitted or ()),
        "words": len(row["caption"].split()),
        "words_kept": len(row["corrected"].split()),
        "text_read": round(covered.text, 6) if covered else 0.0,
        "nouns_read": round(covered.named, 6) if covered else 0.0,
        "question": writable(row["question"] or "") or None,
        "caption": writable(row["caption"]),
        "corrected": writable(row["corrected"]),
    }


def writable(text: str) -> str:
    """The text with half surrogate pairs, which no table can hold, as escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def claim_rows(row: JsonObject) -> Iterator[JsonObject]:
    """The claims of one caption as flat rows, in order."""
    for verdict in row["verdicts"]:
        claim = row["claims"][verdict["claim"]]
        trigger = claim.get("trigger") or (None, None)
        yield {
            "index": row["index"],
            "id": writable(row["id"]),
            "image": writable(row["image"]),
            "claim": verdict["claim"],
            "kind": claim["kind"],
            "name": claim["name"],
            "category": claim.get("category"),
            "phrase": claim["phrase"],
            "start": claim["start"],
            "end": claim["end"],
            "sentence": claim.get("sentence", 0),
            "trigger_start": trigger[0],
            "trigger_end": trigger[1],
            "polarity": claim.get("polarity", "asserted"),
            "modality": claim.get("modality", "asserted"),
            "count": None,  # for its place before the bound; set below
            "bound": claim.get("bound", "exact") if claim["kind"] == "count" else None,
            **{field: claim.get(field) for field in _VALUE_FIELDS},
            "subject": claim.get("subject"),
            "other": claim.get("other"),
            "source_rule": claim.get("source_rule", ""),
            "decision": verdict["decision"],
            "confidence": verdict.get("confidence", 0.0),
            "calibrated": verdict.get("calibrated", False),
            "expert": verdict.get("expert", ""),
            "reason": verdict.get("reason", ""),
            "boxes": [
                {"label": box["label"], "score": box["score"], "xyxy": box.get("xyxy")}
                for box in verdict.get("evidence", ())
            ],
        }


class Table:
    """A Parquet file that is written row by row in constant memory and appears when it is whole."""

    def __init__(self, path: Path, columns: Mapping[str, str]) -> None:
        self.path, self.columns = path, columns
        self._rows: list[JsonObject] = []
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Table:
        from pyarrow import parquet

        self.schema = _schema(self.columns)
        file = self._stack.enter_context(replacing(self.path, "wb"))
        self._writer = self._stack.enter_context(parquet.ParquetWriter(file, self.schema, compression="zstd"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
        self._stack.__exit__(kind, error, trace)

    def add(self, row: JsonObject) -> None:
        self._rows.append(row)
        if len(self._rows) >= ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        import pyarrow

        if self._rows:
            self._writer.write_table(pyarrow.Table.from_pylist(self._rows, schema=self.schema))
            self._rows = []


# Columns by name, with the Parquet type of each. What a kind of claim says has a column: a number, attribute, relation.
CAPTION_COLUMNS = {
    "index": "int64",
    **dict.fromkeys(("id", "image", "code", "reason"), "string"),
    **dict.fromkeys((*DECISIONS, "claims", "edits", "flagged", "additions", "omitted"), "int32"),
    "omitted_names": "string",
    **dict.fromkeys(("words", "words_kept"), "int32"),
    **dict.fromkeys(("text_read", "nouns_read"), "float64"),
    **dict.fromkeys(("question", "caption", "corrected"), "string"),
}
_CLAIM_COLUMNS = {
    "index": "int64",
    **dict.fromkeys(("id", "image"), "string"),
    "claim": "int32",
    **dict.fromkeys(("kind", "name", "category", "phrase"), "string"),
    **dict.fromkeys(("start", "end", "sentence", "trigger_start", "trigger_end"), "int32"),
    **dict.fromkeys(("polarity", "modality"), "string"),
    "count": "int64",
    "bound": "string",
    **{field: "string" for field in _VALUE_FIELDS if field != "count"},
    **dict.fromkeys(("subject", "other"), "int32"),
    **dict.fromkeys(("source_rule", "decision"), "string"),
    "confidence": "float64",
    "calibrated": "bool",
    **dict.fromkeys(("expert", "reason"), "string"),
    "boxes": "boxes",
}


def _schema(columns: Mapping[str, str]) -> pa.Schema:
    import pyarrow as pa

    box = pa.struct([("label", pa.string()), ("score", pa.float64()), ("xyxy", pa.list_(pa.float64()))])
    return pa.schema(
        [(name, pa.list_(box) if kind == "boxes" else pa.type_for_alias(kind)) for name, kind in columns.items()]
    )
