"""The report of a run: one page that opens from a file, with rates, labels, and samples to look at.

    write_report(Path("audited"), ImageFolder(Path("photos")), samples=200)      ->  audited/report.html

The page is made from the run folder alone (`summary.json`, `captions.jsonl`) and from the pictures, which are embedded
as small copies. It holds no times and no paths, asks the network for nothing, and shows all text escaped. Half of the
samples are the captions with the most contradictions, half are drawn at random, so that both what is wrong and what is
usual can be seen.
"""

from __future__ import annotations

import heapq
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from halluguard import rendering
from halluguard.auditing.image_store import ImageFolder
from halluguard.auditing.pipeline import Checked, from_dict
from halluguard.errors import ImageError, InputError, SettingsError
from halluguard.images import load_image
from halluguard.io import write_text
from halluguard.records import Answer

SAMPLES = 200
SKIPPED = 50
"""Skipped rows that are shown, at most."""
THUMBNAIL = 360
"""Longer side of an embedded picture, in pixels."""


@dataclass(frozen=True)
class Sample:
    """One caption on the page: `why` is "worst" or "random"; the rest is what filters look at."""

    card: rendering.Card
    id: str
    why: str
    contradicted: int
    decisions: tuple[str, ...]
    kinds: tuple[str, ...]
    labels: tuple[str, ...]


@dataclass
class _Draw:
    """The rows to show, chosen in one pass and in flat memory: the same file and seed give the same rows."""

    samples: int
    seed: int
    worst: list[tuple[int, int, str]] = field(default_factory=list)
    drawn: list[tuple[int, str]] = field(default_factory=list)
    skipped: list[Mapping[str, Any]] = field(default_factory=list)
    seen: int = 0

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    def add(self, line: str) -> None:
        row = json.loads(line)
        if row["code"] != "ok":
            if len(self.skipped) < SKIPPED:
                self.skipped.append(row)
            return
        wrong = sum(verdict["decision"] == "contradicted" for verdict in row["verdicts"])
        if wrong:
            heapq.heappush(self.worst, (wrong, -row["index"], line))
            if len(self.worst) > (self.samples + 1) // 2:
                heapq.heappop(self.worst)
        # Algorithm R: row k replaces one of the drawn with chance samples / k.
        if len(self.drawn) < self.samples:
            self.drawn.append((row["index"], line))
        elif (place := self.rng.randint(0, self.seen)) < self.samples:
            self.drawn[place] = (row["index"], line)
        self.seen += 1

    def chosen(self) -> Iterator[tuple[str, Checked]]:
        """(why, row): the worst first, then random ones until the samples are full, each row once."""
        worst = sorted(self.worst, reverse=True)
        shown = {-index for _, index, _ in worst}
        for _, _, line in worst:
            yield "worst", from_dict(json.loads(line))
        others = [(index, line) for index, line in self.drawn if index not in shown]
        kept = self.rng.sample(others, min(len(others), self.samples - len(worst)))
        for _, line in sorted(kept):
            yield "random", from_dict(json.loads(line))


def write_report(
    run: Path,
    pictures: ImageFolder | None = None,
    *,
    samples: int = SAMPLES,
    seed: int = 0,
    title: str = "Caption audit",
) -> Path:
    """Write `report.html` into a run folder and return its path.

    Args:
        run: the folder of a finished run.
        pictures: where the pictures are; without them, or for a picture that cannot be opened, a card has text only.
        samples: captions shown, at least 0; half of them the worst, at most.
        seed: of the random half.
        title: heading of the page.

    Raises:
        InputError: the folder holds no finished run. OutputError: the page cannot be written.
    """
    if samples < 0:
        raise SettingsError(f"samples must be at least 0, got {samples}; 200 make a page of about 3 MB")
    summary = _read_summary(run)
    draw = _Draw(samples, seed)
    try:
        with (run / "captions.jsonl").open(encoding="utf-8") as file:
            for line in file:
                draw.add(line)
    except OSError as error:
        raise InputError(f"expected a finished run in {str(run)!r}, cannot read its captions ({error})") from error
    limits = summary["settings"].get("thresholds") or {}
    shown = [_sample(why, checked, pictures, limits) for why, checked in draw.chosen()]
    page = rendering.render(
        "report.html.jinja",
        title=title,
        summary=summary,
        tiles=_tiles(summary),
        marks=rendering.MARKS,
        kinds=[_counted(name, row) for name, row in summary["by_kind"].items()],
        labels=_labels(summary["by_label"]),
        label_count=len(summary["by_label"]),
        samples=shown,
        skipped=[{key: row[key] for key in ("id", "image", "code", "reason")} for row in draw.skipped],
        settings=_settings(summary["settings"]),
        report_style=rendering.source("report.css"),
        script=rendering.source("report.js"),
        script_hash=rendering.script_hash("report.js"),
    )
    target = run / "report.html"
    write_text(target, [page])
    return target


def _read_summary(run: Path) -> dict[str, Any]:
    try:
        return json.loads((run / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"expected a finished run in {str(run)!r}, cannot read its summary.json ({error}); run the audit first"
        ) from error


@dataclass(frozen=True)
class Tile:
    """A number at the top of the page: what, how much, and the sentence that says how to read it."""

    name: str
    value: str
    note: str


def _tiles(summary: Mapping[str, Any]) -> list[Tile]:
    rates, words = summary["rates"], summary["words"]
    kept = f"{100 * words['after'] / words['before']:.1f} %" if words["before"] else "–"
    return [
        Tile("Hallucination rate", percent(rates["hallucination_rate"]), _span(rates["hallucination_rate"], "claims")),
        Tile("Captions with a contradiction", percent(rates["caption_rate"]), _span(rates["caption_rate"], "captions")),
        Tile("Claims that could be judged", percent(rates["verifiable"]), _span(rates["verifiable"], "claims")),
        Tile("Captions corrected", f"{summary['captions_edited']:,}", f"of {summary['audited']:,} audited"),
        Tile("Words kept", kept, f"{words['after']:,} of {words['before']:,}"),
    ]


def percent(rate: Mapping[str, Any]) -> str:
    """A rate of the summary in percent, or a dash where there was nothing to count."""
    return "–" if rate["value"] is None else f"{100 * rate['value']:.1f} %"


def _span(rate: Mapping[str, Any], of: str) -> str:
    if rate["value"] is None:
        return f"no {of} to count"
    return f"{100 * rate['low']:.1f} to {100 * rate['high']:.1f} %, of {rate['n']:,} {of}"


@dataclass(frozen=True)
class Line:
    """A row of a table of counts; `low` and `high` are percent, None where nothing was judged."""

    name: str
    counts: Mapping[str, int]
    rate: str
    value: float | None
    low: float
    high: float


def _counted(name: str, row: Mapping[str, Any]) -> Line:
    rate = row["rate"]
    counts = {decision: row[decision] for decision in rendering.MARKS}
    if rate["value"] is None:
        return Line(name, counts, "–", None, 0, 0)
    return Line(name, counts, percent(rate), 100 * rate["value"], 100 * rate["low"], 100 * rate["high"])


def _labels(by_label: Mapping[str, Mapping[str, Any]], most: int = 500) -> list[Line]:
    """One line a label, those contradicted most often first."""
    lines = [_counted(name, row) for name, row in by_label.items()]
    lines.sort(key=lambda line: (-line.counts["contradicted"], -line.counts["supported"], line.name))
    return lines[:most]


def _settings(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The settings of the run as name and text, nested ones flattened with dots."""

    def flat(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
        if isinstance(value, Mapping):
            for name, inner in value.items():
                yield from flat(f"{prefix}.{name}" if prefix else str(name), inner)
        else:
            yield prefix, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    return list(flat("", settings))


def _sample(why: str, checked: Checked, pictures: ImageFolder | None, limits: Mapping[str, Any]) -> Sample:
    row = checked.row
    answer = Answer(
        draft=row.caption,
        text=checked.corrected,
        question=row.question,
        claims=checked.claims,
        verdicts=checked.verdicts,
        edits=checked.edits,
        settings={"thresholds": limits},
        image=_picture(row, pictures),
    )
    name = f"{row.id} · {row.image}" if row.image and row.image != row.id else row.id
    card = rendering.card(answer, caption=name, longest=THUMBNAIL, needed=False)
    judged = [(checked.claims[verdict.claim], verdict.decision) for verdict in checked.verdicts]
    return Sample(
        card=replace(card, edits=_distinct(card.edits)),
        id=row.id,
        why=why,
        contradicted=sum(decision == "contradicted" for _, decision in judged),
        decisions=tuple(sorted({decision for _, decision in judged})),
        kinds=tuple(sorted({claim.kind for claim, _ in judged})),
        labels=tuple(sorted({claim.category or claim.name for claim, _ in judged})),
    )


def _distinct(texts: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def _picture(row: Any, pictures: ImageFolder | None) -> Any:
    if pictures is None or (pictures.root is None and row.image_bytes is None):
        return None
    try:
        return load_image(pictures.read(row))
    except ImageError:
        return None
