"""Write the report of a run: one page with rates, labels and sample captions that opens from a file.

    write_report(Path("audited"), ImageFolder(Path("photos")), samples=200)      ->  audited/report.html

The page is made from the run folder (`summary.json`, the parts) and from the images, which are embedded as small
copies. It holds no times and no paths, loads nothing from the network, and shows all text escaped. Half of the samples
are the captions with the most contradictions. Some of the others show objects that no sample has yet, rare ones first,
and the rest is drawn at random. So the page shows wrong, rare and usual captions. Its size does not grow with the run.
"""

from __future__ import annotations

import heapq
import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL.Image import Image

from halluguard import rendering
from halluguard.auditing.caption_rows import Row
from halluguard.auditing.image_store import ImageFolder
from halluguard.auditing.outputs.summary import Rate
from halluguard.auditing.part_lines import read_row
from halluguard.auditing.pipeline import Checked, from_dict
from halluguard.auditing.run_folder import part_lines
from halluguard.errors import ImageError, InputError, SettingsError
from halluguard.images import load_image
from halluguard.io import JsonObject, read_json, write_text
from halluguard.records import Answer

SAMPLES = 200
SKIPPED = 50
"""Most skipped rows that are shown."""
REJECTED = 1000
"""Most captions with a contradicted claim that are listed."""
PER_LABEL = 2
"""Number of samples kept per label while the rows are read."""
LABELS = 500
"""Most labels that are shown."""
THUMBNAIL = 360
"""Longer side of an embedded image, in pixels."""


@dataclass(frozen=True)
class Sample:
    """One caption on the page, with the fields for the page's filters.

    Args:
        card: values for the template.
        id: name of its row.
        index: position of the row in the input.
        why: reason for its choice: "worst", "object" or "random".
        decisions, kinds, labels: those of its claims, each once.
        omitted: labels of objects that the caption leaves out.
        judged: the claims that a person may accept or dispute.
        shared: id of the page element whose image this sample reuses; "" if it embeds its own.
    """

    card: rendering.Card
    id: str
    index: int
    why: str
    decisions: tuple[str, ...]
    kinds: tuple[str, ...]
    labels: tuple[str, ...]
    omitted: tuple[str, ...]
    judged: tuple[JudgedClaim, ...]
    shared: str = ""


@dataclass(frozen=True)
class JudgedClaim:
    """A claim whose verdict a person may accept or dispute; `claim` is its index in the row."""

    claim: int
    phrase: str
    decision: str


@dataclass
class _Draw:
    """Choose the rows to show, in one pass and constant memory. The same file and seed give the same rows."""

    samples: int
    seed: int
    worst: list[tuple[int, int, str]] = field(default_factory=list)
    drawn: list[tuple[int, str]] = field(default_factory=list)
    skipped: list[JsonObject] = field(default_factory=list)
    rejected: list[JsonObject] = field(default_factory=list)
    of_label: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    label_counts: Counter[str] = field(default_factory=Counter)
    seen: int = 0

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    def add(self, line: str) -> None:
        row = read_row(line)
        if row["code"] != "ok":
            if len(self.skipped) < SKIPPED:
                self.skipped.append(row)
            return
        contradicted = sum(verdict["decision"] == "contradicted" for verdict in row["verdicts"])
        if contradicted and len(self.rejected) < REJECTED:
            self.rejected.append(_rejection(row))
        for label in _labels(row):
            self.label_counts[label] += 1
            kept = self.of_label.setdefault(label, [])
            if len(kept) < PER_LABEL and len(self.of_label) <= LABELS:
                kept.append((row["index"], line))
        if contradicted:
            heapq.heappush(self.worst, (contradicted, -row["index"], line))
            if len(self.worst) > (self.samples + 1) // 2:
                heapq.heappop(self.worst)
        # Algorithm R: row k replaces one of the drawn rows with probability samples / k.
        if len(self.drawn) < self.samples:
            self.drawn.append((row["index"], line))
        elif (place := self.rng.randint(0, self.seen)) < self.samples:
            self.drawn[place] = (row["index"], line)
        self.seen += 1

    def chosen(self) -> Iterator[tuple[str, Checked]]:
        """(reason, row) of each sample: the worst, then rows with objects not shown yet, then random ones."""
        worst = sorted(self.worst, reverse=True)
        shown = {-index for _, index, _ in worst}
        for _, _, line in worst:
            yield "worst", from_dict(read_row(line))
        of_objects = self._of_objects(shown, {label for _, _, line in worst for label in _labels(read_row(line))})
        for _, line in sorted(of_objects):
            yield "object", from_dict(read_row(line))
        shown |= {index for index, _ in of_objects}
        others = [(index, line) for index, line in self.drawn if index not in shown]
        kept = self.rng.sample(others, min(len(others), self.samples - len(worst) - len(of_objects)))
        for _, line in sorted(kept):
            yield "random", from_dict(read_row(line))

    def _of_objects(self, shown: set[int], labels: set[str]) -> list[tuple[int, str]]:
        """Rows with objects that no shown row has, the rarest first; at most half of the remaining samples."""
        rows: list[tuple[int, str]] = []
        for label, _ in sorted(self.label_counts.items(), key=lambda pair: (pair[1], pair[0])):
            if len(rows) >= (self.samples - len(shown)) // 2:
                break
            fresh = next(((i, line) for i, line in self.of_label.get(label, ()) if i not in shown), None)
            if label not in labels and fresh is not None and fresh not in rows:
                rows.append(fresh)
                labels |= set(_labels(read_row(fresh[1])))
        return rows


def _labels(row: JsonObject) -> list[str]:
    """The labels of a row's judged claims, each once."""
    claims = [row["claims"][verdict["claim"]] for verdict in row["verdicts"]]
    return sorted({claim.get("category") or claim["name"] for claim in claims})


def _rejection(row: JsonObject) -> JsonObject:
    """A caption with its contradicted claims and the reasons."""
    wrong = [verdict for verdict in row["verdicts"] if verdict["decision"] == "contradicted"]
    return {
        **{key: row[key] for key in ("index", "id", "image")},
        "phrases": list(dict.fromkeys(row["claims"][verdict["claim"]]["phrase"] for verdict in wrong)),
        "reasons": list(dict.fromkeys(verdict.get("reason", "") for verdict in wrong)),
    }


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
        images: folder of the images. Without a folder, or for an image that cannot be opened, a card has text only.
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
    if summary is None:
        raise InputError(f"expected a finished run in {str(run)!r}, found no summary.json; run the audit first")
    draw = _Draw(samples, seed)
    for line in part_lines(run):
        draw.add(line)
    thresholds = summary["settings"].get("thresholds") or {}
    shown = _sharing([_sample(why, checked, images, thresholds) for why, checked in draw.chosen()])
    page = rendering.render(
        "report.html.jinja",
        title=title,
        summary=summary,
        tiles=_tiles(summary),
        marks=rendering.MARKS,
        kinds=[_counts_line(name, counts) for name, counts in summary["by_kind"].items()],
        labels=_label_lines(summary["by_label"]),
        label_count=len(summary["by_label"]),
        samples=shown,
        shown={sample.index for sample in shown},
        rejected=draw.rejected,
        skipped=[{key: row[key] for key in ("index", "id", "image", "code", "reason")} for row in draw.skipped],
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
    none: Rate = {"value": None, "low": None, "high": None, "n": 0}
    existence: Rate = summary["by_kind"].get("existence", {"rate": none})["rate"]
    titles = {
        "caption_rate": ("Captions with a contradiction", "captions"),
        "verifiable": ("Claims that could be judged", "claims"),
        "omission_rate": ("Objects found and left out", "objects"),
        "text_read": ("Letters read", "letters"),
        "nouns_read": ("Nouns read", "nouns"),
        "unverifiable": ("Claims that no expert can judge", "claims"),
        "never_asked": ("Claims about which no expert was asked", "claims"),
    }
    return [
        Tile("Objects that are not there", percent(existence), _interval(existence, "judged existence claims")),
        *(
            Tile(title, percent(rates[name]), _interval(rates[name], of))
            for name, (title, of) in titles.items()
            if name in rates
        ),
        Tile("Captions corrected", f"{summary['captions_edited']:,}", f"of {summary['audited']:,} audited"),
        Tile("Words kept", kept, f"{words['after']:,} of {words['before']:,}"),
    ]


def percent(rate: Rate) -> str:
    """A rate in percent, or a dash if there were no cases."""
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
        omitted_value: the same share in [0, 1]; -1 where it cannot be computed.
    """

    name: str
    counts: Mapping[str, int]
    rate: str
    value: float | None
    low: float
    high: float
    omitted: str = "–"
    omitted_value: float = -1


def _counts_line(name: str, row: JsonObject) -> CountsLine:
    rate = row["rate"]
    counts = {decision: row[decision] for decision in rendering.MARKS}
    left_out: Rate | None = row.get("omission_rate")
    omitted, omitted_value = "–", -1.0
    if left_out is not None and left_out["value"] is not None:
        omitted, omitted_value = f"{percent(left_out)} of {left_out['n']:,}", left_out["value"]
    if rate["value"] is None:
        return CountsLine(name, counts, "–", None, 0, 0, omitted, omitted_value)
    value, low, high = (100 * rate[bound] for bound in ("value", "low", "high"))
    return CountsLine(name, counts, percent(rate), value, low, high, omitted, omitted_value)


def _label_lines(by_label: Mapping[str, JsonObject]) -> list[CountsLine]:
    """One line per label; labels with the most contradictions come first."""
    lines = [_counts_line(name, row) for name, row in by_label.items()]
    lines.sort(key=lambda line: (-line.counts["contradicted"], -line.counts["supported"], line.name))
    return lines[:LABELS]


def _flat_settings(prefix: str, value: object) -> Iterator[tuple[str, str]]:
    """(name, value as text) of the run's settings; nested names are joined by dots."""
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
        card=card,
        id=row.id,
        index=row.index,
        why=why,
        decisions=tuple(sorted({verdict.decision for verdict in checked.verdicts})),
        kinds=tuple(sorted({claim.kind for claim in claims})),
        labels=tuple(sorted({claim.category or claim.name for claim in claims})),
        omitted=tuple(sorted({omission.name for omission in checked.omitted or ()})),
        judged=tuple(
            JudgedClaim(verdict.claim, checked.claims[verdict.claim].phrase, verdict.decision)
            for verdict in checked.verdicts
            if verdict.decision in ("supported", "contradicted")
        ),
    )


def _sharing(samples: Sequence[Sample]) -> list[Sample]:
    """The samples; if an earlier sample embeds the same image, the later one refers to it."""
    first: dict[str, int] = {}
    shared = []
    for sample in samples:
        image = sample.card.image
        before = sample.index if image is None else first.setdefault(image, sample.index)
        shared.append(sample if before == sample.index else replace(sample, shared=f"row-{before}"))
    return shared


def _image(row: Row, images: ImageFolder | None) -> Image | None:
    if images is None or (images.root is None and row.image_bytes is None):
        return None
    try:
        return load_image(images.read(row))
    except ImageError:
        return None
