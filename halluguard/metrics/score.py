"""Hold the score of a benchmark: values with intervals, a signature with the settings behind them, JSON in and out."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, cast

from halluguard import io
from halluguard._version import __version__
from halluguard.errors import InputError
from halluguard.metrics.stats import Change, Metric, bootstrap, paired, totals

JsonObject = dict[str, Any]
"""An object of a JSON file, as `json` reads it."""

_FIELDS = ("metric", "settings", "values", "intervals", "counts", "per_image", "warnings", "details")
# Settings that may differ between two runs that are compared.
_NOT_DECISIVE = ("seed", "version", "run", "baseline", "matched")


@dataclass(frozen=True)
class Score:
    """One run on one benchmark.

    Args:
        metric: name of the module that defines the metric ("chair", "pope", "amber", "mme").
        settings: everything that decides the numbers: protocol or parser, ground truth, split, n, seed.
        values: value name -> fraction in [0, 1], unless the metric documents another range.
        intervals: value name -> (low, high), the 95 % bootstrap interval over images.
        counts: count name -> total over images. The values are computed from these.
        per_image: `image_id` and one column per count, all in the same order of images.
        warnings: sentences that a reader of the values must see, such as which value is 0/0.
        details: results of this metric only, such as the objects named in each caption.
    """

    metric: str
    settings: Mapping[str, object]
    values: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    counts: Mapping[str, int | float] = field(default_factory=dict)
    per_image: Mapping[str, Sequence[Any]] = field(default_factory=dict, repr=False)
    warnings: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def signature(self) -> str:
        """The settings and data behind the numbers, on one line.

        >>> Score("chair", {"protocol": "pattern", "n": 500, "version": "0.1.0"}, {}).signature
        'chair|protocol:pattern|n:500|version:0.1.0'
        """
        return "|".join([self.metric, *(f"{name}:{value}" for name, value in self.settings.items())])

    def __getitem__(self, name: str) -> float:
        return self.values[name]

    def to_dict(self) -> JsonObject:
        """The score as a JSON object. Values, counts and details are also its top-level keys, by name."""
        record: JsonObject = {name: getattr(self, name) for name in _FIELDS}
        record["intervals"] = {name: list(pair) for name, pair in self.intervals.items()}
        record["warnings"] = list(self.warnings)
        top = {**self.counts, **self.values, **self.details}
        record.pop("details")
        return {"metric": self.metric, "signature": self.signature, **top, **record, "details": list(self.details)}

    @classmethod
    def from_dict(cls, data: JsonObject) -> Self:
        """Read what `to_dict` wrote.

        Raises:
            InputError: a field is missing or has another form.
        """
        missing = [name for name in _FIELDS if not isinstance(data, dict) or name not in data]
        if missing:
            raise InputError(f"a score needs the fields {list(_FIELDS)}, and lacks {missing}; write it with to_dict")
        fields = {name: data[name] for name in _FIELDS}
        try:
            fields["intervals"] = {name: (pair[0], pair[1]) for name, pair in data["intervals"].items()}
            fields["warnings"] = tuple(data["warnings"])
            fields["details"] = {name: data[name] for name in data["details"]}
            for name in ("settings", "values", "counts", "per_image"):
                fields[name] = dict(data[name])
        except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
            raise InputError(
                f"a score must have the form that to_dict gives it, got another ({error!r}); write it with to_dict"
            ) from error
        return cls(**fields)

    def save(self, path: str | Path, **streamed: Iterable[object]) -> None:
        """Write the score as JSON, for `Score.load`.

        Args:
            path: file to write.
            streamed: further details by name, written row by row so that they are never in memory as a whole.
        """
        record = self.to_dict()
        record["details"] += streamed
        with io.replacing(path, errors="backslashreplace") as file:  # a lone surrogate stays a JSON escape
            file.write(json.dumps(record, ensure_ascii=False, allow_nan=False)[:-1])
            for name, rows in streamed.items():
                file.write(f",\n{json.dumps(name)}: [")
                for i, row in enumerate(rows):
                    file.write(f"{',' if i else ''}\n{json.dumps(row, ensure_ascii=False, allow_nan=False)}")
                file.write("]")
            file.write("}\n")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a score that `save` wrote.

        Raises:
            InputError: the file cannot be read, or is not a score.
        """
        try:
            return cls.from_dict(io.read_json(path))
        except InputError as error:
            raise InputError(
                f"a score must be a JSON file written by a benchmark, got {path} ({error}); write it with Score.save"
            ) from error

    def lines(self, percent: bool = True) -> list[str]:
        """One line per value with its interval, then the warnings, then the signature."""
        shown = []
        for name, value in self.values.items():
            scale = 100 if percent and abs(value) <= 1 else 1
            low, high = self.intervals.get(name, (value, value))
            span = f"  [{scale * low:.1f}, {scale * high:.1f}]" if name in self.intervals else ""
            shown.append(f"{name:<12} {scale * value:6.1f}{span}")
        return [*shown, *(f"warning: {w}" for w in self.warnings), self.signature]

    def percent(self, name: str) -> str:
        """A value with its interval in percent: "19.6 [18.1, 21.0]"."""
        low, high = self.intervals.get(name, (self.values[name],) * 2)
        return f"{100 * self.values[name]:.1f} [{100 * low:.1f}, {100 * high:.1f}]"

    def markdown_row(self, label: str, names: Sequence[str]) -> str:
        """Markdown table row `| label | value [low, high] | ... | signature |`, values in percent."""
        cells = [label, *map(self.percent, names)]
        signature = self.signature.replace("|", "\\|")  # a bar would end a cell, even in code
        return f"| {' | '.join(cells)} | `{signature}` |"


def from_counts(
    metric: str,
    values: Metric,
    image_ids: Sequence[int | str],
    columns: Mapping[str, Sequence[float]],
    settings: Mapping[str, object],
    *,
    seed: int = 0,
    resamples: int = 1000,
    warnings: Sequence[str] = (),
    details: Mapping[str, Any] | None = None,
) -> Score:
    """Make a score from counts per image: totals, values, intervals.

    Args:
        metric: name of the metric's module.
        values: the metric's function from totals to values.
        image_ids: one id per row of `columns`. Rows are sorted by id before resampling, so that the interval does
            not depend on the order of the file.
        columns: count name -> one number per image.
        settings: settings that decide the numbers; the number of images, the seed and the version are added.
        seed: seed of the bootstrap.
        resamples: number of bootstrap samples; 0 leaves the intervals out.
        warnings: see `Score`.
        details: see `Score`.

    >>> hits = lambda totals: {"accuracy": totals["right"] / totals["asked"]}
    >>> from_counts("mine", hits, ["a", "b"], {"right": [2, 1], "asked": [2, 2]}, {}, resamples=0)["accuracy"]
    0.75
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


class ImageCounts:
    """Counts of each image, added up answer by answer, for `from_counts`.

    Args:
        names: names of the counts, which begin at 0.

    >>> counts = ImageCounts(["asked", "right"])
    >>> counts.add("a", {"asked": 1, "right": True})
    >>> counts.add("a", {"asked": 1})
    >>> counts.image_ids, counts.columns("My benchmark")
    (['a'], {'asked': [2], 'right': [1]})
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._images: dict[str, dict[str, int]] = {}

    def add(self, image: str, counted: Mapping[str, int]) -> None:
        """Add the counts of one answer to those of its image."""
        total = self._images.setdefault(image, dict.fromkeys(self._names, 0))
        for name, count in counted.items():
            total[name] += count

    @property
    def image_ids(self) -> list[str]:
        """The images, in the order of their first answers."""
        return list(self._images)

    def columns(self, benchmark: str) -> dict[str, list[int]]:
        """Count name -> one number per image.

        Raises:
            InputError: no answer was counted.
        """
        if not self._images:
            raise InputError(f"{benchmark} needs at least one answer, got none; is the file empty?")
        return {name: [own[name] for own in self._images.values()] for name in self._names}


def compare(
    first: Score, second: Score, *, values: Metric | None = None, seed: int = 0, resamples: int = 1000
) -> dict[str, Change]:
    """Paired comparison of two runs on the same images, `second` minus `first`; see `stats.paired`.

    Args:
        first: score of the first run.
        second: score of the second run.
        values: the metric's function from totals to values; needed only for a metric outside `halluguard.metrics`.
        seed: seed of the random draws.
        resamples: number of draws.

    Raises:
        InputError: different metrics, settings that decide the numbers differ, different images, or a metric that
            `halluguard.metrics` does not have.
    """
    if first.metric != second.metric:
        raise InputError(
            f"only two runs of one metric can be compared, got {first.metric!r} and {second.metric!r}; score both alike"
        )
    decisive = {*first.settings, *second.settings} - {*_NOT_DECISIVE}
    differ = sorted(k for k in decisive if first.settings.get(k) != second.settings.get(k))
    if differ:
        both = "; ".join(f"{k}: {first.settings.get(k)!r} and {second.settings.get(k)!r}" for k in differ)
        raise InputError(f"only runs with the same settings can be compared, got {both}; score both alike")
    rows = [{image: i for i, image in enumerate(s.per_image["image_id"])} for s in (first, second)]
    only = sorted(set(rows[0]) ^ set(rows[1]), key=str)
    if only:
        raise InputError(
            f"the runs must cover the same images, {len(only)} are in one only, such as {only[0]!r}; "
            "score both on the same images"
        )
    images = sorted(rows[0], key=str)
    names = [name for name in first.per_image if name != "image_id"]
    columns = [
        {name: [s.per_image[name][row[image]] for image in images] for name in names}
        for s, row in zip((first, second), rows, strict=True)
    ]
    metric = values or _values_of(first.metric)
    return paired(columns[0], columns[1], metric, seed=seed, resamples=resamples)


def _values_of(metric: str) -> Metric:
    """The function `values` of the module that defines a metric."""
    try:
        module = importlib.import_module(f"halluguard.metrics.{metric}")
        return cast(Metric, module.values)
    except (ImportError, AttributeError, TypeError) as error:
        raise InputError(
            f"halluguard.metrics has no metric {metric!r} to compare by; pass the function `values` of your own metric"
        ) from error
