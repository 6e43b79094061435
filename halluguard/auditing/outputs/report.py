"""Write the report of a run: one page with rates, labels and sample captions that opens from a file.

    write_report(Path("audited"), ImageFolder(Path("photos")), samples=200)      ->  audited/report.html

The page is made from the run folder (`summary.json`, `captions.jsonl`) and from the images, which are embedded as small
copies. It holds no times and no paths, loads nothing from the network, and shows all text escaped. Half of the samples
are the captions with the most contradictions and half are drawn at random, to show both what is wrong and what is
usual.
"""

from __future__ import annotations

import heapq
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL.Image import Image

from halluguard import rendering
from halluguard.auditing.caption_rows import Row
from halluguard.auditing.image_store import ImageFolder
from halluguard.auditing.outputs.summary import Rate
from halluguard.auditing.pipeline import Checked, from_dict
from halluguard.errors import ImageError, InputError, SettingsError
from halluguard.images import load_image
from halluguard.io import JsonObject, open_text, read_json, write_text
from halluguard.records import Answer

SAMPLES = 200
SKIPPED = 50
"""Skipped rows that are shown, at most."""
LABELS = 500
"""Labels that are shown, at most."""
THUMBNAIL = 360
"""Longer side of an embedded image, in pixels."""


@dataclass(frozen=True)
class Sample:
    """One caption on the page, with what filters look at.

    Args:
        card: what the template shows.
        id: name of its row.
        why: "worst" or "random".
        decisions, kinds, labels: of its claims, each once.
    """

    card: rendering.Card
    id: str
    why: str
    decisions: tuple[str, ...]
    kinds: tuple[str, ...]
    labels: tuple[str, ...]


@dataclass
class _Draw:
    """The rows to show, chosen in one pass and constant memory. The same file and seed give the same rows."""

    samples: int
    seed: int
    worst: list[tuple[int, int, str]] = field(default_factory=list)
    drawn: list[tuple[int, str]] = field(default_factory=list)
    skipped: list[JsonObject] = field(default_factory=list)
    seen: int = 0

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    def add(self, line: str) -> None:
        row = json.loads(line)
        if row["code"] != "ok":
            if len(self.skipped) < SKIPPED:
                self.skipped.append(row)
            return
        contradicted = sum(verdict["decision"] == "contradicted" for verdict in row["verdicts"])
        if contradicted:
            heapq.heappush(self.worst, (contradicted, -row["index"], line))
            if len(self.worst) > (self.samples + 1) // 2:
                heapq.heappop(self.worst)
        # Algorithm R: row k replaces one of the drawn with probability samples / k.
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
    images: ImageFolder | None = None,
    *,
    samples: int = SAMPLES,
    seed: int = 0,
    title: str = "Caption audit",
) -> Path:
    """Write `report.html` into a run folder and return its path.

    Args:
        run: folder of a finished run.
        images: folder of the images. Without it, and for an image that cannot be opened, a card has text only.
        samples: number of captions shown, at least 0; at most half of them are the worst.
        seed: seed of the random half.
        title: heading of the page.

    Raises:
        InputError: the folder holds no finished run.
        OutputError: the page cannot be written.
    """
    if samples < 0:
        raise SettingsError(f"samples must be at least 0, got {samples}; 200 make a page of about 3 MB")
    summary = read_json(run / "summary.json") if (run / "summary.json").is_file() else None
    if summary is None or not (run / "captions.jsonl").is_file():
        raise InputError(f"expected a finished run in {str(run)!r}, found no summary.json; run the audit first")
    draw = _Draw(samples, seed)
    with open_text(run / "captions.jsonl", newline="\n") as file:
        for line in file:
            draw.add(line)
    thresholds = summary["settings"].get("thresholds") or {}
    page = rendering.render(
        "report.html.jinja",
        title=title,
        summary=summary,
        tiles=_tiles(summary),
        marks=rendering.MARKS,
        kinds=[_counts_line(name, counts) for name, counts in summary["by_kind"].items()],
        labels=_label_lines(summary["by_label"]),
        label_count=len(summary["by_label"]),
        samples=[_sample(why, checked, images, thresholds) for why, checked in draw.chosen()],
        skipped=[{key: row[key] for key in ("id", "image", "code", "reason")} for row in draw.skipped],
        settings=list(_flat_settings("", summary["settings"])),
        report_style=rendering.source("report.css"),
        script=rendering.source("report.js"),
        script_hash=rendering.script_hash("report.js"),
    )
    target = run / "report.html"
    write_text(target, page)
    return target


@dataclass(frozen=True)
class Tile:
    """A number at the top of the page: its name, its value, and a note on how to read it."""

    name: str
    value: str
    note: str


def _tiles(summary: JsonObject) -> list[Tile]:
    rates, words = summary["rates"], summary["words"]
    kept = f"{100 * words['after'] / words['before']:.1f} %" if words["before"] else "–"
    titles = {
        "hallucination_rate": ("Hallucination rate", "claims"),
        "caption_rate": ("Captions with a contradiction", "captions"),
        "verifiable": ("Claims that could be judged", "claims"),
        "omission_rate": ("Objects found and left out", "objects"),
    }
    return [
        *(
            Tile(title, percent(rates[name]), _interval(rates[name], of))
            for name, (title, of) in titles.items()
            if name in rates
        ),
        Tile("Captions corrected", f"{summary['captions_edited']:,}", f"of {summary['audited']:,} audited"),
        Tile("Words kept", kept, f"{words['after']:,} of {words['before']:,}"),
    ]


def percent(rate: Rate) -> str:
    """A rate in percent, or a dash where there was nothing to count."""
    return "–" if rate["value"] is None else f"{100 * rate['value']:.1f} %"


def _interval(rate: Rate, of: str) -> str:
    if rate["low"] is None or rate["high"] is None:
        return f"no {of} to count"
    return f"{100 * rate['low']:.1f} to {100 * rate['high']:.1f} %, of {rate['n']:,} {of}"


@dataclass(frozen=True)
class CountsLine:
    """A row of a table of counts; `value`, `low` and `high` are percent, `value` is None where nothing was judged.

    Args:
        omitted: share of the images with the object whose caption leaves it out, in words.
    """

    name: str
    counts: Mapping[str, int]
    rate: str
    value: float | None
    low: float
    high: float
    omitted: str = "–"


def _counts_line(name: str, row: JsonObject) -> CountsLine:
    rate = row["rate"]
    counts = {decision: row[decision] for decision in rendering.MARKS}
    left_out = row.get("omission_rate")
    omitted = "–" if not left_out or left_out["value"] is None else f"{percent(left_out)} of {left_out['n']:,}"
    if rate["value"] is None:
        return CountsLine(name, counts, "–", None, 0, 0, omitted)
    value, low, high = (100 * rate[bound] for bound in ("value", "low", "high"))
    return CountsLine(name, counts, percent(rate), value, low, high, omitted)


def _label_lines(by_label: Mapping[str, JsonObject]) -> list[CountsLine]:
    """One line per label, those contradicted most often first."""
    lines = [_counts_line(name, row) for name, row in by_label.items()]
    lines.sort(key=lambda line: (-line.counts["contradicted"], -line.counts["supported"], line.name))
    return lines[:LABELS]


def _flat_settings(prefix: str, value: object) -> Iterator[tuple[str, str]]:
    """The settings of the run as name and text, nested names joined by dots."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flat_settings(f"{prefix}.{name}" if prefix else str(name), inner)
    else:
        yield prefix, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _sample(why: str, checked: Checked, images: ImageFolder | None, thresholds: JsonObject) -> Sample:
    row = checked.row
    answer = Answer(
        draft=row.caption,
        text=checked.corrected,
        question=row.question,
        claims=checked.claims,
        verdicts=checked.verdicts,
        edits=checked.edits,
        settings={"thresholds": thresholds},
        image=_image(row, images),
    )
    name = f"{row.id} · {row.image}" if row.image and row.image != row.id else row.id
    card = rendering.card(answer, caption=name, longest=THUMBNAIL, needed=False)
    claims = [checked.claims[verdict.claim] for verdict in checked.verdicts]
    return Sample(
        card=replace(card, edits=list(dict.fromkeys(card.edits))),
        id=row.id,
        why=why,
        decisions=tuple(sorted({verdict.decision for verdict in checked.verdicts})),
        kinds=tuple(sorted({claim.kind for claim in claims})),
        labels=tuple(sorted({claim.category or claim.name for claim in claims})),
    )


def _image(row: Row, images: ImageFolder | None) -> Image | None:
    if images is None or (images.root is None and row.image_bytes is None):
        return None
    try:
        return load_image(images.read(row))
    except ImageError:
        return None
