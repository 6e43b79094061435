"""Print the reasons for the verdicts of a row: its caption, each claim with its evidence, each edit.

halluguard explain audited 4217
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from halluguard.auditing.part_lines import index_of, read_row
from halluguard.auditing.pipeline import Checked, from_dict
from halluguard.auditing.run_folder import SUMMARY, part_lines
from halluguard.correction.kinds import KINDS
from halluguard.errors import InputError
from halluguard.io import parsing
from halluguard.records import Answer, Box, Claim
from halluguard.rendering import MARKS, pieces, visible

STYLES = {"supported": "green", "contradicted": "red", "unsure": "yellow", "unverifiable": "dim"}


def find_rows(run: Path, name: str) -> list[Checked]:
    """The rows of a run whose id or image is `name`; "#12" is the row with index 12.

    Raises:
        InputError: the folder holds no finished run, or no row has that name.
    """
    rows = list(_matching(run, name))
    if not rows:
        raise InputError(
            f"no row of {str(run)!r} has the id or image {name!r}; see the column id of captions.parquet, or give a "
            "row's place in the input as '#12'"
        )
    return rows


def _matching(run: Path, name: str) -> Iterator[Checked]:
    if not (run / SUMMARY).is_file():
        raise InputError(f"expected a finished run in {str(run)!r}, found no {SUMMARY}; run the audit first")
    with parsing(run, "the rows of a finished run"):
        for line in part_lines(run):
            if name.isascii() and json.dumps(name)[1:-1] not in line and name != f"#{index_of(line)}":
                continue
            row = read_row(line)
            if name in (row["id"], row["image"], f"#{row['index']}"):
                yield from_dict(row)


def explain_rows(run: Path, name: str) -> list[Checked]:
    """Print the reasons for the verdicts of the rows with that name, and return the rows."""
    console = Console()
    rows = find_rows(run, name)
    for checked in rows:
        with parsing(run, "the rows of a finished run"):
            _print(checked, console)
    return rows


def _print(checked: Checked, console: Console) -> None:
    row = checked.row
    console.print(Text(visible(f"{row.id} · image {row.image or '–'} · row {row.index}"), style="bold"))
    if row.question:
        console.print(Text(visible(f"question: {row.question}"), style="dim"))
    if checked.code != "ok":
        console.print(Text(visible(f"skipped ({checked.code}): {checked.reason}"), style="red"))
        console.print(Text(visible(row.caption)))
        return
    console.print(_marked_caption(checked))
    if checked.verdicts:
        console.print(_claims_table(checked))
    if (covered := checked.coverage) is not None:
        read = f"read: {covered.text:.0%} of its letters, {covered.named:.0%} of its {covered.nouns} nouns"
        console.print(Text(read, style="dim"))
    if unasked := [checked.claims[verdict.claim].phrase for verdict in checked.verdicts if not verdict.asked]:
        names = visible(", ".join(dict.fromkeys(unasked)))
        console.print(Text(f"never asked: {len(unasked)} of {len(checked.verdicts)} claims ({names})", style="dim"))
    for edit in checked.edits:
        before, after = visible(edit.before), visible(edit.after)
        if edit.decision == "flagged":
            console.print(Text(f"{edit.start}:{edit.end} {before!r} flagged  {visible(edit.reason)}", style="yellow"))
            continue
        console.print(Text(f"{edit.start}:{edit.end} {before!r} -> {after!r}  {visible(edit.reason)}"))
    if checked.corrected != checked.row.caption:
        console.print(Text("corrected: ", style="bold") + Text(visible(checked.corrected)))
    console.print()


def _marked_caption(checked: Checked) -> Text:
    """The caption with its claims coloured by verdict and removed text struck through."""
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


def _claims_table(checked: Checked) -> Table:
    table = Table("claim", "kind", "verdict", "confidence", "evidence", "reason", box=None, pad_edge=False)
    for verdict in checked.verdicts:
        claim = checked.claims[verdict.claim]
        table.add_row(
            Text(visible(claim.phrase)),
            _kind(claim),
            Text(f"{MARKS[verdict.decision]} {verdict.decision}", style=STYLES[verdict.decision]),
            f"{verdict.confidence:.2f}" + ("" if verdict.calibrated else " raw"),
            Text(visible("; ".join(_box(box) for box in verdict.evidence[:3])) or "–"),
            Text(visible(verdict.reason)),
        )
    return table


def _kind(claim: Claim) -> str:
    value = KINDS[claim.kind].value(claim)
    text = claim.kind if value is None else f"{claim.kind} {value}"
    return f"{text}, {claim.polarity}" if claim.polarity == "denied" else text


def _box(box: Box) -> str:
    corners = "" if box.xyxy is None else " at " + ",".join(f"{value:.0f}" for value in box.xyxy)
    return f"{box.label} {box.score:.2f}{corners}"
