"""Why one row got its verdicts, in the terminal: the caption, each claim with what the expert found, each edit.

halluguard explain audited 4217
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from halluguard.auditing.pipeline import Checked, from_dict
from halluguard.errors import InputError
from halluguard.records import Answer, Box, Claim
from halluguard.rendering import MARKS, pieces, visible

STYLES = {"supported": "green", "contradicted": "red", "unsure": "yellow", "unverifiable": "dim"}


def rows_named(run: Path, name: str) -> list[Checked]:
    """The rows of a run whose id, or image, is `name`; a row's place in the input is written "#12".

    Raises:
        InputError: the folder holds no finished run, or no row is called so.
    """
    found = list(_rows_named(run, name))
    if not found:
        raise InputError(
            f"no row of {str(run)!r} has the id or image {name!r}; see the column id of captions.parquet, or give a "
            "row's place in the input as '#12'"
        )
    return found


def _rows_named(run: Path, name: str) -> Iterator[Checked]:
    try:
        with (run / "captions.jsonl").open(encoding="utf-8") as file:
            for line in file:
                row = json.loads(line)
                if name in (row["id"], row["image"], f"#{row['index']}"):
                    yield from_dict(row)
    except OSError as error:
        raise InputError(f"expected a finished run in {str(run)!r}, cannot read its captions ({error})") from error


def explain(run: Path, name: str, console: Console | None = None) -> list[Checked]:
    """Print why; the rows come back."""
    console = console or Console()
    rows = rows_named(run, name)
    for checked in rows:
        _print(checked, console)
    return rows


def _print(checked: Checked, console: Console) -> None:
    row = checked.row
    console.print(Text(visible(f"{row.id} · image {row.image or '–'} · row {row.index}"), style="bold"))
    if row.question:
        console.print(Text(visible(f"asked: {row.question}"), style="dim"))
    if checked.code != "ok":
        console.print(Text(visible(f"skipped ({checked.code}): {checked.reason}"), style="red"))
        console.print(Text(visible(row.caption)))
        return
    console.print(_marked(checked))
    if checked.verdicts:
        console.print(_claims(checked))
    for edit in checked.edits:
        before, after = visible(edit.before), visible(edit.after)
        console.print(Text(f"{edit.start}:{edit.end} {before!r} -> {after!r}  {visible(edit.reason)}"))
    if checked.edits:
        console.print(Text("corrected: ", style="bold") + Text(visible(checked.corrected)))
    console.print()


def _marked(checked: Checked) -> Text:
    """The caption with its claims coloured by verdict and what was edited away struck through."""
    answer = Answer(
        checked.row.caption,
        checked.corrected,
        claims=checked.claims,
        verdicts=checked.verdicts,
        edits=checked.edits,
    )
    text = Text()
    for piece in pieces(answer):
        style = STYLES.get(piece.decision or "", "") + (" strike" if piece.removed else "")
        text.append(visible(piece.text), style=style.strip() or None)
    return text


def _claims(checked: Checked) -> Table:
    table = Table("claim", "kind", "verdict", "confidence", "found", "reason", box=None, pad_edge=False)
    for verdict in checked.verdicts:
        claim = checked.claims[verdict.claim]
        decision = Text(f"{MARKS[verdict.decision]} {verdict.decision}", style=STYLES[verdict.decision])
        table.add_row(
            Text(visible(claim.phrase)),
            _kind(claim),
            decision,
            f"{verdict.confidence:.2f}" + ("" if verdict.calibrated else " raw"),
            Text(visible("; ".join(_box(box) for box in verdict.evidence[:3])) or "–"),
            Text(visible(verdict.reason)),
        )
    return table


def _kind(claim: Claim) -> str:
    more = {"count": claim.count, "attribute": claim.attribute, "relation": claim.relation}.get(claim.kind)
    said = claim.kind if more is None else f"{claim.kind} {more}"
    return f"{said}, {claim.polarity}" if claim.polarity == "denied" else said


def _box(box: Box) -> str:
    where = "" if box.xyxy is None else " at " + ",".join(f"{v:.0f}" for v in box.xyxy)
    return f"{box.label} {box.score:.2f}{where}"
