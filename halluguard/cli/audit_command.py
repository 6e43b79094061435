"""What `halluguard audit` does with its arguments: find input and expert, run, print, answer with an exit code."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from rich.console import Console

from halluguard.auditing.dry_run import plan
from halluguard.auditing.gates import Gates, per_label, read_summary
from halluguard.auditing.image_store import ImageFolder, read_names
from halluguard.auditing.in_memory_input import spool_stream
from halluguard.auditing.outputs.coco_detections import write_detections
from halluguard.auditing.outputs.export import write_export
from halluguard.auditing.outputs.filters import parse_filter
from halluguard.auditing.outputs.merging import merge_shards
from halluguard.auditing.outputs.report import SAMPLES, write_report
from halluguard.auditing.outputs.summary import DECISIONS
from halluguard.auditing.progress import Mode, Watch
from halluguard.auditing.run import PART_ROWS, Job, run
from halluguard.auditing.signals import Stopped, stoppable
from halluguard.auditing.source import Selection, Source, fingerprint, open_source
from halluguard.auditing.thresholds import read_calibration, read_thresholds
from halluguard.errors import SettingsError
from halluguard.io import is_compressed

OK, GATE_FAILED, TOO_MANY_ASIDE = 0, 1, 4


@dataclass(frozen=True)
class Options:
    """The options of `halluguard audit`, by their names; see its help."""

    out: Path
    images: Path | None = None
    detector: str | None = None
    objects: Path | None = None
    thresholds: Path | None = None
    caption_key: str | None = None
    image_key: str | None = None
    id_key: str | None = None
    question_key: str | None = None
    encoding: str | None = None
    image_pattern: str | None = None
    image_names: Path | None = None
    limit: int | None = None
    seed: int | None = None
    shard: str | None = None
    engine: str = "local"
    workers: int = 1
    ray_address: str | None = None
    device: str | None = None
    batch_size: int = 8
    part_rows: int = PART_ROWS
    cache: Path | None = None
    export: Path | None = None
    filter: str | None = None
    coco_detections: Path | None = None
    report: bool = True
    report_samples: int = SAMPLES
    max_hallucination_rate: float | None = None
    max_per_label: tuple[str, ...] = ()
    min_verifiable: float | None = None
    baseline: Path | None = None
    max_errors: float | None = None
    force_new: bool = False
    dry_run: bool = False
    quiet: bool = False
    progress: str = "auto"


def audit(captions: Path, options: Options) -> int:
    """Audit a captions file ("-" reads standard input); the exit code comes back."""
    console = Console(stderr=True, quiet=options.quiet)
    spec = _expert(options)
    gates, keep = _gates(options), parse_filter(options.filter) if options.filter else None
    if keep is not None and options.export is None:
        raise SettingsError("--filter says which captions --export keeps; name a file with --export")
    mode = _mode(options, console)
    source = _source(captions, options)
    console.print(source.describe(), style="dim", markup=False)
    job = _job(source, spec, options)
    total = _total(job)
    if options.dry_run:
        print(json.dumps(plan(job, total), indent=2))
        return OK
    try:
        with stoppable() as stop, Watch(mode, total, console) as watch:

            def progress(counts: Counter[str]) -> None:
                watch(counts)
                stop.check()

            summary = run(job, options.out, force_new=options.force_new, progress=progress)
    except Stopped as stopped:
        print(f"halluguard: {stopped}; the same command continues", file=sys.stderr)
        return 128 + stopped.number
    if options.export is not None:
        kept = write_export(options.out, source, options.export, keep or (lambda row: True))
        console.print(f"{kept} captions written to {options.export}", style="dim", markup=False)
    if options.coco_detections is not None:
        write_detections(options.out, options.coco_detections)
    return _answered(summary, options.out, gates, options.max_errors, console, _report(captions, options, job.pictures))


def merge(
    shards: Sequence[Path], out: Path, *, images: Path | None, force_new: bool, quiet: bool, max_errors: float | None
) -> int:
    """Merge finished shards; the exit code comes back."""
    console = Console(stderr=True, quiet=quiet)
    summary = merge_shards(shards, out, force_new=force_new)
    write_report(out, ImageFolder(images))
    return _answered(summary, out, Gates(), max_errors, console, None)


def _expert(options: Options) -> str:
    if (options.detector is None) == (options.objects is None):
        raise SettingsError("an audit needs one expert: --detector with --images, or --objects FILE")
    if options.detector is None:
        return f"objects:{options.objects}"
    if options.images is None and options.detector.partition(":")[0] not in ("objects", "precomputed"):
        raise SettingsError("a detector looks at pictures; name their folder with --images")
    return options.detector


def _gates(options: Options) -> Gates:
    return Gates(
        max_hallucination_rate=options.max_hallucination_rate,
        max_per_label=per_label(list(options.max_per_label)),
        min_verifiable=options.min_verifiable,
        baseline=read_summary(options.baseline) if options.baseline else None,
    )


def _mode(options: Options, console: Console) -> Mode:
    if options.progress == "auto":
        return "off" if options.quiet or not console.is_terminal else "bar"
    if options.progress not in get_args(Mode):
        raise SettingsError(f"--progress is one of auto, {', '.join(get_args(Mode))}, got {options.progress!r}")
    return options.progress  # type: ignore[return-value]  # just checked


def _source(captions: Path, options: Options) -> Source:
    if str(captions) == "-":
        if options.dry_run:
            raise SettingsError("a dry run writes nothing, and standard input would have to be written down first")
        captions = spool_stream(sys.stdin.buffer, options.out)
    named = {
        "caption": options.caption_key,
        "image": options.image_key,
        "id": options.id_key,
        "question": options.question_key,
    }
    return open_source(captions, named, options.encoding)


def _job(source: Source, expert: str, options: Options) -> Job:
    for name, value in {
        "workers": options.workers,
        "batch-size": options.batch_size,
        "part-rows": options.part_rows,
    }.items():
        if value < 1:
            raise SettingsError(f"--{name} must be at least 1, got {value}")
    names = read_names(options.image_names) if options.image_names else {}
    return Job(
        source=source,
        expert=expert,
        thresholds=read_thresholds(options.thresholds) if options.thresholds else None,
        selection=Selection(_shard(options.shard), options.limit, options.seed),
        part_rows=options.part_rows,
        pictures=ImageFolder(options.images, options.image_pattern, names),
        device=options.device,
        batch=options.batch_size,
        cache=options.cache,
        engine=options.engine,
        workers=options.workers,
        address=options.ray_address,
        calibration=read_calibration(options.thresholds) if options.thresholds else None,
    )


def _shard(text: str | None) -> tuple[int, int]:
    """ "2/4" is the second of four."""
    if text is None:
        return 0, 1
    i, slash, n = text.partition("/")
    if not (slash and i.isdecimal() and n.isdecimal()):
        raise SettingsError(f"a shard is written i/n, as in 2/4, got {text!r}")
    return int(i) - 1, int(n)


def _total(job: Job) -> int | None:
    """How many rows will be checked, where a look at the file tells."""
    lines = fingerprint(job.source.path)[1] if job.source.format == "jsonl" else -1
    if lines < 0 or job.selection.shard[1] > 1 or is_compressed(job.source.path):
        return job.selection.limit
    return min(lines, job.selection.limit or lines)


def _report(captions: Path, options: Options, pictures: ImageFolder) -> Any:
    if not options.report:
        return None
    title = f"Audit of {captions.name}"
    return lambda: write_report(options.out, pictures, samples=options.report_samples, title=title)


def _answered(
    summary: dict[str, Any], out: Path, gates: Gates, max_errors: float | None, console: Console, report: Any
) -> int:
    """Print what was found and which gates failed; the exit code."""
    if report is not None:
        report()
    aside, rows = sum(summary["skipped"].values()), summary["rows"]
    rate, counts = summary["rates"]["hallucination_rate"], summary["claims"]
    said = ", ".join(f"{counts[name]} {name}" for name in DECISIONS)
    console.print(f"{rows} rows, {summary['audited']} audited; claims: {said}", markup=False)
    if rate["value"] is not None:
        console.print(
            f"of the judged claims {rate['value']:.2%} are contradicted "
            f"(95 %: {rate['low']:.2%} to {rate['high']:.2%}); {summary['captions_edited']} captions corrected",
            markup=False,
        )
    if aside:
        reasons = ", ".join(f"{n} {code}" for code, n in summary["skipped"].items())
        console.print(f"{aside} skipped rows ({reasons}): see {out / 'skipped.jsonl'}", markup=False)
    console.print(f"results in {out}", style="dim", markup=False)
    failures = gates.failures(summary)
    for failure in failures:
        print(f"halluguard: gate failed: {failure}", file=sys.stderr)
    if too_many(aside, rows, max_errors):
        limit = "every row" if max_errors is None else f"the limit is {max_errors:g}"
        print(f"halluguard: {aside} of {rows} rows were skipped ({limit})", file=sys.stderr)
        return TOO_MANY_ASIDE
    return GATE_FAILED if failures else OK


def too_many(aside: int, rows: int, limit: float | None) -> bool:
    """Whether too many rows were skipped: all of them, or more than the limit, a share below 1 and else a number."""
    if limit is None:
        return rows > 0 and aside == rows
    if limit < 0:
        raise SettingsError(f"--max-errors is a number of rows, or a share below 1, got {limit:g}")
    return aside > (limit * rows if limit < 1 else limit)


__all__ = ["Options", "audit", "merge", "too_many"]
