"""Write the tables of a run from its finished parts. Each part is read once; several processes read many parts.

captions.parquet   one row per caption: counts by decision, shares of letters and nouns read, the corrected text
claims.parquet     one row per claim: span, kind, name, decision, confidence, boxes, reason
skipped.jsonl      the rows that could not be checked, with the reason
captions.jsonl, claims.jsonl    on request: the rows of the parts, and the rows of claims.parquet
"""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from halluguard.auditing.outputs.shift import ShiftWatch
from halluguard.auditing.outputs.summary import DECISIONS, Tally
from halluguard.auditing.part_lines import read_row
from halluguard.auditing.processes import Processes, idle
from halluguard.auditing.run_folder import JSON_LINES, open_part, parts_of, read_parts
from halluguard.correction.claims.coverage import Coverage
from halluguard.correction.kinds import KINDS
from halluguard.io import JsonObject, json_line, replacing
from halluguard.lean_imports import import_pyarrow

if TYPE_CHECKING:
    import pyarrow as pa

_VALUE_FIELDS = [kind.field for kind in KINDS.values() if kind.field]

ROW_GROUP = 50_000
"""Number of rows in a Parquet row group; that many are held in memory."""
_AT_ONCE = 1000
"""Number of rows that are parsed before they become columns."""


@dataclass(frozen=True)
class Tabulated:
    """Rows in the form of columns: captions and claims, with the tally and the lines of skipped rows."""

    tally: Tally
    captions: pa.Table
    claims: pa.Table
    skipped: list[str]


def write_tables(run: Path, out: Path, watch: ShiftWatch | None = None, workers: int = 1) -> Tally:
    """Write the tables of the parts in the folder `run` into the folder `out`, and add everything up.

    Args:
        run, out: the folders.
        watch: watch for shifts of a run with a policy; one process then reads all rows in order.
        workers: number of processes that read parts.
    """
    tally = Tally()
    tally.watch = watch
    with contextlib.ExitStack() as stack:
        skipped = stack.enter_context(replacing(out / "skipped.jsonl"))
        captions = stack.enter_context(Table(out / "captions.parquet", CAPTION_COLUMNS))
        claims = stack.enter_context(Table(out / "claims.parquet", CLAIM_COLUMNS))
        parts = parts_of(run)
        if workers > 1 and watch is None and len(parts) > 1:
            pool = stack.enter_context(Processes([idle] * min(workers, len(parts))))
            pieces: Iterable[list[Tabulated]] = pool.map(_tabulated_part, parts)
        else:
            pieces = ([piece] for part in parts for piece in _tabulated(part, watch))
        for piece in itertools.chain.from_iterable(pieces):
            tally.merge(piece.tally)
            captions.add(piece.captions)
            claims.add(piece.claims)
            skipped.writelines(piece.skipped)
    return tally


def _tabulated_part(part: Path) -> list[Tabulated]:
    return list(_tabulated(part))


def _tabulated(part: Path, watch: ShiftWatch | None = None) -> Iterator[Tabulated]:
    """Yield the rows of a part, some at a time."""
    pa = import_pyarrow()
    caption_schema, claim_schema = arrow_schema(CAPTION_COLUMNS), arrow_schema(CLAIM_COLUMNS)
    with open_part(part) as file:
        while lines := list(itertools.islice(file, _AT_ONCE)):
            rows, tally = [read_row(line) for line in lines], Tally()
            tally.watch = watch
            for row in rows:
                tally.add(row)
            claims = [claim for row in rows for claim in claim_rows(row)]
            yield Tabulated(
                tally,
                pa.Table.from_pylist([caption_row(row) for row in rows], schema=caption_schema),
                pa.Table.from_pylist(claims, schema=claim_schema),
                [json_line({key: row[key] for key in _SKIPPED_FIELDS}) for row in rows if row["code"] != "ok"],
            )


_SKIPPED_FIELDS = ("index", "id", "image", "code", "reason", "caption")


def write_json_lines(run: Path, *, wanted: bool, compact: bool = False) -> None:
    """Write the rows and claims of a run as JSON Lines too, or remove the files of an earlier call.

    Args:
        run: the folder of a run.
        wanted: True to write the files, False to remove them.
        compact: True to compress them with Zstandard.
    """
    names = [f"{name}.jsonl{'.zst' if compact else ''}" for name in ("captions", "claims")]
    for name in JSON_LINES:
        if not wanted or name not in names:
            (run / name).unlink(missing_ok=True)
    if wanted:
        with replacing(run / names[0]) as captions, replacing(run / names[1]) as claims:
            for row in read_parts(run):
                captions.write(json_line(row))
                claims.writelines(map(json_line, claim_rows(row)))


def caption_row(row: JsonObject) -> JsonObject:
    """One caption as a flat row, for tables and filters."""
    decisions = Counter(verdict["decision"] for verdict in row["verdicts"])
    flagged = sum(edit.get("decision") == "flagged" for edit in row["edits"])
    additions = sum(edit.get("decision") == "addition" for edit in row["edits"])
    omitted = row.get("omitted")
    covered = Coverage(**row["coverage"]) if row.get("coverage") else None  # nothing of a skipped row was read
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
    """The text with lone surrogates, which no table can hold, written as escapes."""
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
            "count": None,  # set below; here for its position before the bound
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
    """A Parquet file that is written piece by piece in constant memory, and appears when it is complete.

    Its bytes do not depend on how its rows are divided into pieces.
    """

    def __init__(self, path: Path, columns: Mapping[str, str]) -> None:
        self.path, self.columns = path, columns
        self._pieces: list[pa.Table] = []
        self._rows = 0
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Table:
        from pyarrow import parquet

        file = self._stack.enter_context(replacing(self.path, "wb"))
        schema = arrow_schema(self.columns)
        self._writer = self._stack.enter_context(parquet.ParquetWriter(file, schema, compression="zstd"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._rows:
            self._write(self._joined())
        self._stack.__exit__(kind, error, trace)

    def add(self, piece: pa.Table) -> None:
        """Append rows."""
        self._pieces.append(piece)
        self._rows += piece.num_rows
        if self._rows >= ROW_GROUP:
            joined = self._joined()
            whole = self._rows - self._rows % ROW_GROUP
            for start in range(0, whole, ROW_GROUP):
                self._write(joined.slice(start, ROW_GROUP))
            self._pieces, self._rows = [joined.slice(whole)], self._rows - whole

    def _joined(self) -> pa.Table:
        import pyarrow as pa

        return pa.concat_tables(self._pieces)

    def _write(self, rows: pa.Table) -> None:
        self._writer.write_table(rows.combine_chunks())


# Name -> Parquet type of each column. The content of each kind of claim has a column: count, attribute, relation.
CAPTION_COLUMNS = {
    "index": "int64",
    **dict.fromkeys(("id", "image", "code", "reason"), "string"),
    **dict.fromkeys((*DECISIONS, "claims", "edits", "flagged", "additions", "omitted"), "int32"),
    "omitted_names": "string",
    **dict.fromkeys(("words", "words_kept"), "int32"),
    **dict.fromkeys(("text_read", "nouns_read"), "float64"),
    **dict.fromkeys(("question", "caption", "corrected"), "string"),
}
CLAIM_COLUMNS = {
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


def arrow_schema(columns: Mapping[str, str]) -> pa.Schema:
    """The Arrow schema of columns."""
    import pyarrow as pa

    box = pa.struct([("label", pa.string()), ("score", pa.float64()), ("xyxy", pa.list_(pa.float64()))])
    return pa.schema(
        [(name, pa.list_(box) if kind == "boxes" else pa.type_for_alias(kind)) for name, kind in columns.items()]
    )
