"""What a benchmark gives: values with intervals, a signature that says how they were made, and JSON in and out."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from halluguard._version import __version__
from halluguard.errors import InputError
from halluguard.metrics.stats import Metric, bootstrap, paired, totals

_FIELDS = ("metric", "settings", "values", "intervals", "counts", "per_image", "warnings", "details")


@dataclass(frozen=True)
class Score:
    """One run on one benchmark.

    Args:
        metric: name of the module that defines it ("chair", "pope", "amber", "mme").
        settings: what decides the numbers: protocol or parser, ground truth, split, n, seed.
        values: fractions in [0, 1] unless the metric says otherwise.
        intervals: value -> (low, high), bootstrap 95 % over images.
        counts: the totals the values are made of.
        per_image: `image_id` and one column per count, in one order.
        warnings: what a reader must know: 0/0, set-asides.
        details: what belongs to one metric only, such as the words found in each caption.
    """

    metric: str
    settings: Mapping[str, Any]
    values: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    counts: Mapping[str, int | float] = field(default_factory=dict)
    per_image: Mapping[str, Sequence[Any]] = field(default_factory=dict, repr=False)
    warnings: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def signature(self) -> str:
        """How the numbers were made, in one line.

        >>> Score("chair", {"protocol": "pattern", "n": 500, "version": "0.1.0"}, {}).signature
        'chair|protocol:pattern|n:500|version:0.1.0'
        """
        return "|".join([self.metric, *(f"{name}:{value}" for name, value in self.settings.items())])

    def __getitem__(self, name: str) -> float:
        return self.values[name]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; the values also stand at the top, by name, and so do the counts and the details."""
        record = {name: getattr(self, name) for name in _FIELDS}
        record["intervals"] = {name: list(pair) for name, pair in self.intervals.items()}
        record["warnings"] = list(self.warnings)
        top = {**self.counts, **self.values, **self.details}
        record.pop("details")
        return {"metric": self.metric, "signature": self.signature, **top, **record, "details": list(self.details)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote.

        Raises:
            InputError: a field is missing.
        """
        missing = [name for name in _FIELDS if name not in data]
        if missing:
            raise InputError(f"a score needs the fields {list(_FIELDS)}, got none of {missing}; write it with to_dict")
        fields = {name: data[name] for name in _FIELDS}
        fields["intervals"] = {name: (pair[0], pair[1]) for name, pair in data["intervals"].items()}
        fields["warnings"] = tuple(data["warnings"])
        fields["details"] = {name: data[name] for name in data["details"]}
        return cls(**fields)

    def save(self, path: str | Path, **streamed: Iterable[Any]) -> None:
        """Write JSON that `Score.load` and another run's comparison read.

        Args:
            streamed: further details, written row by row and never held whole.
        """
        record = self.to_dict()
        record["details"] += streamed
        with open(path, "w", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False, allow_nan=False)[:-1])
            for name, rows in streamed.items():
                file.write(f",\n{json.dumps(name)}: [")
                for i, row in enumerate(rows):
                    file.write(f"{',' if i else ''}\n{json.dumps(row, ensure_ascii=False, allow_nan=False)}")
                file.write("]")
            file.write("}\n")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"a score must be a JSON file written by a benchmark, got {path} ({error})") from error
        return cls.from_dict(data)

    def lines(self, percent: bool = True) -> list[str]:
        """The values with their intervals, one a line, then the signature."""
        shown = []
        for name, value in self.values.items():
            scale = 100 if percent and abs(value) <= 1 else 1
            low, high = self.intervals.get(name, (value, value))
            span = f"  [{scale * low:.1f}, {scale * high:.1f}]" if name in self.intervals else ""
            shown.append(f"{name:<12} {scale * value:6.1f}{span}")
        return [*shown, *(f"warning: {w}" for w in self.warnings), self.signature]

    def markdown_row(self, label: str, names: Sequence[str]) -> str:
        """`| label | value [low, high] | ... | signature |`, values in percent."""
        cells = [label]
        for name in names:
            low, high = self.intervals.get(name, (self.values[name],) * 2)
            cells.append(f"{100 * self.values[name]:.1f} [{100 * low:.1f}, {100 * high:.1f}]")
        signature = self.signature.replace("|", "\\|")  # a bar ends a cell, in code too
        return f"| {' | '.join(cells)} | `{signature}` |"


def from_counts(
    metric: str,
    values: Metric,
    image_ids: Sequence[Any],
    columns: Mapping[str, Sequence[Any]],
    settings: Mapping[str, Any],
    *,
    seed: int = 0,
    resamples: int = 1000,
    warnings: Sequence[str] = (),
    details: Mapping[str, Any] | None = None,
) -> Score:
    """Make a score of per-image counts: totals, values, intervals.

    Args:
        values: totals -> values.
        image_ids: one per row of `columns`; rows are put in the order of the ids before resampling, so that the
            interval does not depend on the order of the file.
        resamples: bootstrap size; 0 leaves the intervals out.
    """
    order = sorted(range(len(image_ids)), key=lambda i: str(image_ids[i]))
    ordered = {name: [column[i] for i in order] for name, column in columns.items()}
    sums = totals(ordered)
    return Score(
        metric=metric,
        settings={**settings, "n": len(image_ids), "seed": seed, "version": __version__},
        values={name: float(value) for name, value in values(sums).items()},
        intervals=bootstrap(ordered, values, seed=seed, resamples=resamples) if resamples else {},
        counts={name: int(value) if float(value).is_integer() else float(value) for name, value in sums.items()},
        per_image={"image_id": list(image_ids), **{name: list(column) for name, column in columns.items()}},
        warnings=tuple(warnings),
        details=details or {},
    )


def compare(first: Score, second: Score, *, seed: int = 0, resamples: int = 1000) -> dict[str, dict[str, Any]]:
    """Paired comparison of two runs on the same images, `second` minus `first`; see `stats.paired`.

    Raises:
        InputError: different metrics, settings that decide the numbers differ, or different images.
    """
    if first.metric != second.metric:
        raise InputError(f"two runs of one metric can be compared, got {first.metric!r} and {second.metric!r}")
    decisive = {
        k for k in {*first.settings, *second.settings} if k not in ("seed", "version", "run", "sham", "matched")
    }
    differ = sorted(k for k in decisive if first.settings.get(k) != second.settings.get(k))
    if differ:
        told = "; ".join(f"{k}: {first.settings.get(k)!r} and {second.settings.get(k)!r}" for k in differ)
        raise InputError(f"runs scored in the same way can be compared, got {told}; score both alike")
    rows = [{image: i for i, image in enumerate(s.per_image["image_id"])} for s in (first, second)]
    only = sorted(set(rows[0]) ^ set(rows[1]), key=str)
    if only:
        raise InputError(f"the runs must cover the same images, {len(only)} are in one only, such as {only[0]!r}")
    images = sorted(rows[0], key=str)
    names = [name for name in first.per_image if name != "image_id"]
    columns = [
        {name: [s.per_image[name][row[image]] for image in images] for name in names}
        for s, row in zip((first, second), rows, strict=True)
    ]
    module = importlib.import_module(f"halluguard.metrics.{first.metric}")
    return paired(columns[0], columns[1], module.values, seed=seed, resamples=resamples)
