"""`halluguard audit`: check a file of captions; `halluguard audit merge`: merge the shards of a run."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast, get_args

import typer
from typer.core import TyperGroup

from halluguard.cli.app import app
from halluguard.cli.options import Command
from halluguard.cli.options import option as _option
from halluguard.errors import SettingsError
from halluguard.printing import printable, reason_lines

if TYPE_CHECKING:
    from rich.console import Console

    from halluguard.auditing.config import AuditConfig
    from halluguard.auditing.gates import Gates
    from halluguard.auditing.progress import Mode
    from halluguard.auditing.source import Source
    from halluguard.calibration.watching import RateBound
    from halluguard.detectors.ensemble import Combination
    from halluguard.io import JsonObject
    from halluguard.reliability import Stated

OK, GATE_FAILED, TOO_MANY_SKIPPED = 0, 1, 4
_FILE = "(captions)"
"""Hidden name of the command that checks a file; users do not type it."""


class _Group(TyperGroup):
    """`audit CAPTIONS ...` checks a file; `audit merge ...` merges shards. Write ./merge for a file named merge."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args if args and args[0] in self.commands else [_FILE, *args])


class _FileCommand(Command):
    """Show the command in its help as `halluguard audit`, without its hidden name."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        return super().make_context("audit", args, parent.parent, **extra)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return ["CAPTIONS", "[OPTIONS]"]


_audit = typer.Typer(cls=_Group, help="Check the claims of a file of captions against their images, and correct them.")
app.add_typer(_audit, name="audit")


_SPEAKS = 0.8  # equals `reliability.SPEAKS`, which would be slow to import
_CHECK, _ROWS, _WORK = "What is checked", "Rows, columns and image files", "How the work is done"
_PROMISE = "A promise on the output"
_OUTPUT, _LIMITS = "Outputs", "Limits (exit code 1 or 4)"


@_audit.command(_FILE, cls=_FileCommand, epilog="Merge shards with: halluguard audit merge SHARD... --out FOLDER")
def audit(
    captions: Annotated[
        Path,
        typer.Argument(
            metavar="CAPTIONS",
            help="File or folder of captions, or an address such as s3://...; - reads standard input.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results. An unfinished run found there is continued.")],
    images: Annotated[Path | None, _option(_CHECK, "Folder of the images.")] = None,
    detector: Annotated[
        list[str] | None,
        _option(
            _CHECK,
            "Detector: hub name or folder of a model, 'sandbox' for its drawn scenes, 'objects:FILE', "
            "'precomputed:FILE' or 'groundingdino:CONFIG,CHECKPOINT'. Append ',recall=0.7' to state the "
            "share of objects that it finds, and ',dtype=bfloat16', ',compile=yes' or ',joint=0.05' to set how a model "
            "runs. "
            "May be repeated.",
        ),
    ] = None,
    objects: Annotated[
        list[str] | None,
        _option(
            _CHECK,
            "JSON file of known objects, image id -> names, used as a detector. May be repeated, and combined "
            "with --detector.",
        ),
    ] = None,
    agree: Annotated[
        str, _option(_CHECK, "Rule for several detectors: any (one is enough), all, or votes (more than half).")
    ] = "any",
    exhaustive: Annotated[
        bool,
        _option(
            _CHECK,
            "The --objects files list every object of an image; with --no-exhaustive, objects that are not "
            "listed are unsure.",
        ),
    ] = True,
    recall: Annotated[
        list[str] | None,
        _option(
            _CHECK,
            "Share of the objects in an image that the detectors find: SHARE, LABEL=SHARE or a JSON file "
            "{label: share}. "
            f"Below {_SPEAKS}, 'not found' is unsure. May be repeated. Default: the detectors' own.",
        ),
    ] = None,
    style: Annotated[
        Literal["delete", "drop"],
        _option(
            _CHECK,
            "Treatment of a sentence that cannot be corrected without losing something true: delete flags it, drop "
            "deletes it and states its other objects again. With --policy always drop.",
        ),
    ] = "delete",
    complete: Annotated[
        bool, _option(_CHECK, "Add objects to the captions that the detector finds and the captions do not name.")
    ] = False,
    vocabulary: Annotated[
        str | None,
        _option(
            _CHECK,
            "Objects to look for besides the claimed ones: coco, common (everyday things, for open-vocabulary "
            "detectors) or a "
            "file of names, one per line. Default: the detector's own labels. With --policy: the objects that the "
            "policy counts, in the form of CHAIR's synonyms.",
        ),
    ] = None,
    attributes: Annotated[bool, _option(_CHECK, "Judge attributes; colours by the pixels of the object's box.")] = True,
    relations: Annotated[bool, _option(_CHECK, "Judge relations; spatial ones by the boxes of both objects.")] = True,
    counts: Annotated[bool, _option(_CHECK, "Judge numbers, by the detector's boxes.")] = True,
    ask: Annotated[
        str | None,
        _option(
            _CHECK,
            "Vision-language model (hub name, folder or 'sandbox') that is asked yes-no questions about the attributes "
            "and relations that pixels and boxes do not show.",
        ),
    ] = None,
    ocr: Annotated[
        bool, _option(_CHECK, "Read the words written in images, to judge quotations. Needs the extra ocr.")
    ] = False,
    verdicts: Annotated[
        Path | None,
        _option(_CHECK, "File of verdicts that a person accepted or disputed in the report of an earlier audit."),
    ] = None,
    thresholds: Annotated[
        Path | None,
        _option(_CHECK, "Thresholds file from `halluguard calibrate`. Default: the detector's own thresholds."),
    ] = None,
    policy: Annotated[
        Path | None,
        _option(_PROMISE, "Policy file from `halluguard calibrate --risk`: the setting of the audit and its promise."),
    ] = None,
    captioner: Annotated[str, _option(_PROMISE, "Name of the model that wrote the captions.")] = "",
    imagination: Annotated[float | None, _option(_PROMISE, "Imagination setting of the captions.")] = None,
    detector_name: Annotated[str, _option(_PROMISE, "Name of the detector that made the file of detections.")] = "",
    caption_key: Annotated[str | None, _option(_ROWS, "Column of the captions. Default: guessed.")] = None,
    image_key: Annotated[str | None, _option(_ROWS, "Column of the images. Default: guessed.")] = None,
    id_key: Annotated[str | None, _option(_ROWS, "Column of the ids. Default: guessed.")] = None,
    question_key: Annotated[str | None, _option(_ROWS, "Column of the questions. Default: guessed.")] = None,
    encoding: Annotated[
        str | None, _option(_ROWS, "Encoding of text files. Default: the byte order mark's, else UTF-8.")
    ] = None,
    image_pattern: Annotated[
        str | None,
        _option(_ROWS, "File name of an image, such as 'COCO_val2014_{id:012d}.jpg'. Default: the usual names."),
    ] = None,
    image_names: Annotated[Path | None, _option(_ROWS, "File that maps image ids to paths: JSON, CSV or TSV.")] = None,
    limit: Annotated[
        int | None,
        _option(_ROWS, "Largest number of rows to check: the first ones, or random ones with --seed. Default: all."),
    ] = None,
    seed: Annotated[
        int | None, _option(_ROWS, "Draw the rows of --limit at random with this seed. Default: the first rows.")
    ] = None,
    shard: Annotated[
        str | None, _option(_ROWS, "Check one of n shares of the images, written i/n with 1 <= i <= n.")
    ] = None,
    engine: Annotated[str, _option(_WORK, "Engine that checks the rows: local (this machine) or ray.")] = "local",
    workers: Annotated[
        str,
        _option(_WORK, "Number of processes, or Ray actors, that check rows; auto means one per core or GPU."),
    ] = "auto",
    ray_address: Annotated[
        str | None, _option(_WORK, "Address of a Ray cluster. Default: one is started on this machine.")
    ] = None,
    device: Annotated[str | None, _option(_WORK, "Device of the detector: cpu, cuda, cuda:1 ... Default: cpu.")] = None,
    batch_size: Annotated[int, _option(_WORK, "Images per detector call.")] = 8,
    budget: Annotated[
        float, _option(_WORK, "Processor seconds that one caption may take; a row that takes longer is skipped.")
    ] = 10.0,
    part_rows: Annotated[int, _option(_WORK, "Rows per part. A killed run loses at most its unfinished parts.")] = 1000,
    cache: Annotated[
        Path | None, _option(_WORK, "File that keeps detections between runs. Default: cache.sqlite in --out.")
    ] = None,
    force_new: Annotated[bool, _option(_WORK, "Throw away a run with other settings that is found in --out.")] = False,
    overwrite: Annotated[
        bool, _option(_OUTPUT, "Let --export and --coco-detections replace files that this run did not write.")
    ] = False,
    compact: Annotated[bool, _option(_OUTPUT, "Compress the finished parts by Zstandard.")] = False,
    json_lines: Annotated[
        bool, _option(_OUTPUT, "Also write captions.jsonl and claims.jsonl, which repeat parts and tables.")
    ] = False,
    export: Annotated[Path | None, _option(_OUTPUT, "File for a copy of the input with corrected captions.")] = None,
    filter: Annotated[
        str | None, _option(_OUTPUT, "Captions that --export keeps, such as 'contradicted == 0 and supported >= 2'.")
    ] = None,
    coco_detections: Annotated[Path | None, _option(_OUTPUT, "File for the detected boxes, in COCO's format.")] = None,
    report: Annotated[bool, _option(_OUTPUT, "Write report.html into --out.")] = True,
    report_samples: Annotated[int, _option(_OUTPUT, "Number of captions that the report shows.")] = 200,
    dry_run: Annotated[bool, _option(_OUTPUT, "Print the amount and the cost of the work; write nothing.")] = False,
    quiet: Annotated[bool, _option(_OUTPUT, "Print errors and exceeded limits only.")] = False,
    progress: Annotated[
        str, _option(_OUTPUT, "Progress on standard error: auto, bar, json (a line per second) or off.")
    ] = "auto",
    max_hallucination_rate: Annotated[
        float | None, _option(_LIMITS, "Largest share of judged claims that may be contradicted, in [0, 1].")
    ] = None,
    max_per_label: Annotated[
        list[str] | None,
        _option(
            _LIMITS,
            "Largest share of contradicted claims per label: SHARE for all labels, LABEL=SHARE for one label.",
        ),
    ] = None,
    min_verifiable: Annotated[
        float | None, _option(_LIMITS, "Smallest share of claims that must be judged, in [0, 1].")
    ] = None,
    max_omission_rate: Annotated[
        float | None, _option(_LIMITS, "Largest share of the objects found that captions may leave out, in [0, 1].")
    ] = None,
    min_read: Annotated[
        float | None, _option(_LIMITS, "Smallest share of the letters, and of the nouns, that must be read, in [0, 1].")
    ] = None,
    baseline: Annotated[
        Path | None,
        _option(
            _LIMITS,
            "summary.json of an earlier run; the hallucination rate must not be significantly higher than in that run.",
        ),
    ] = None,
    spot_labels: Annotated[
        Path | None,
        _option(
            _LIMITS, "Filled-in sheet from `halluguard sample`; it bounds the share of images with a wrong object."
        ),
    ] = None,
    max_spot_rate: Annotated[
        float | None,
        _option(
            _LIMITS, "Largest share of images with a wrong object, in (0, 1); the run stops if the labels show more."
        ),
    ] = None,
    max_errors: Annotated[
        float | None, _option(_LIMITS, "Rows that may be skipped: a share if below 1, else a number.")
    ] = None,
) -> None:
    """Check the claims of a file of captions against their images, and correct them.

    Exit codes: 0 done; 1 a limit was exceeded; 2 wrong use; 3 the input cannot be read; 4 too many rows, or all, were
    skipped; 5 the detector is not available; 6 the results cannot be written; 130 interrupted (143 by SIGTERM).
    """
    from rich.console import Console

    from halluguard.auditing.config import AuditConfig
    from halluguard.auditing.gates import Gates, per_label, read_summary
    from halluguard.auditing.human_verdicts import read_human_verdicts
    from halluguard.auditing.image_store import read_names
    from halluguard.auditing.thresholds import read_calibration, read_thresholds
    from halluguard.auditing.vocabularies import read_vocabulary
    from halluguard.calibration.policy import Policy
    from halluguard.metrics.vocabulary import load_vocabulary

    console = Console(stderr=True, quiet=quiet, soft_wrap=True)
    config = AuditConfig(
        captions,
        out,
        detector=_detectors(detector or (), objects or (), images, exhaustive=exhaustive),
        agree=_agree(agree),
        recall=_recall(recall or ()),
        style=style,
        complete=complete,
        look_for=read_vocabulary(vocabulary) if vocabulary and not policy else (),
        attributes=attributes,
        relations=relations,
        counts=counts,
        ask=ask,
        ocr=ocr,
        verdicts=read_human_verdicts(verdicts) if verdicts else (),
        images=images,
        image_pattern=image_pattern,
        image_names=read_names(image_names) if image_names else {},
        thresholds=read_thresholds(thresholds) if thresholds else None,
        calibration=read_calibration(thresholds) if thresholds else None,
        policy=Policy.load(policy) if policy else None,
        captioner=captioner,
        imagination=imagination,
        detector_name=detector_name,
        vocabulary=load_vocabulary(vocabulary) if vocabulary and policy else None,
        caption_key=caption_key,
        image_key=image_key,
        id_key=id_key,
        question_key=question_key,
        encoding=encoding,
        limit=limit,
        seed=seed,
        shard=_shard(shard),
        engine=engine,
        workers=_workers(workers),
        ray_address=ray_address,
        device=device,
        batch_size=batch_size,
        budget=budget,
        part_rows=part_rows,
        cache=cache,
        force_new=force_new,
        overwrite=overwrite,
        settings_files=(
            *(file for file in (thresholds, policy, image_names, baseline, spot_labels, verdicts) if file),
            *([Path(vocabulary)] if vocabulary else []),
        ),
        compact=compact,
        json_lines=json_lines,
        export=export,
        filter=filter,
        coco_detections=coco_detections,
        report=report,
        report_samples=report_samples,
        gates=Gates(
            max_hallucination_rate=max_hallucination_rate,
            max_per_label=per_label(max_per_label or ()),
            min_verifiable=min_verifiable,
            max_omission_rate=max_omission_rate,
            min_read=min_read,
            max_errors=max_errors,
            baseline=read_summary(baseline) if baseline else None,
        ),
    )
    spots = _Spots(spot_labels, max_spot_rate)
    raise typer.Exit(_run(config, console, _progress_mode(progress, console), spots, dry_run=dry_run))


@dataclass(frozen=True)
class _Spots:
    """The sheet of labelled images, and the largest share of images with a wrong object; each may be None."""

    sheet: Path | None = None
    limit: float | None = None

    def __post_init__(self) -> None:
        if self.limit is not None and (self.sheet is None or not 0 < self.limit < 1):
            raise SettingsError(
                f"--max-spot-rate is a share between 0 and 1 and needs --spot-labels, got {self.limit:g}"
            )

    def failure(self, bound: RateBound) -> str:
        """The reason why the limit fails after all labels were read; "" if the labels show that it holds."""
        if self.limit is None or bound.high <= self.limit:
            return ""
        outcome = "is above" if bound.low > self.limit else "is not shown to be at most"
        return f"share of images with a wrong object {outcome} {self.limit:g}: {bound.words()}"


def _check_spots(spots: _Spots, config: AuditConfig, source: Source, console: Console) -> tuple[AuditConfig, RateBound]:
    """Check the labelled images first, and print the bound as it gets tighter."""
    from dataclasses import replace

    from halluguard.auditing.cached_experts import property_experts
    from halluguard.auditing.pipeline import detector_of
    from halluguard.auditing.run import check_policy
    from halluguard.auditing.spot_labels import check_spots, read_labels

    assert spots.sheet is not None
    labels = read_labels(spots.sheet)
    detector = detector_of(config)
    experts = property_experts(config, detector)
    check_policy(config, detector, experts)

    def go_on(bound: RateBound) -> bool:
        if bound.n % 10 == 0 or bound.n == len(labels.images):
            console.print(f"spot labels: {bound.words()}", markup=False, highlight=False)
        return spots.limit is None or bound.low <= spots.limit

    bound = check_spots(labels, config, source, detector, experts, report=go_on)
    loaded_here = config.engine == "local" and config.workers == 1  # other processes load their own
    return (replace(config, detector=detector) if loaded_here else config), bound


def _run(config: AuditConfig, console: Console, mode: Mode, spots: _Spots, *, dry_run: bool) -> int:
    """Run the audit that the configuration describes, and return the exit code."""
    from dataclasses import replace

    from halluguard.auditing.dry_run import estimate
    from halluguard.auditing.engines import engine
    from halluguard.auditing.in_memory_input import MAX_STREAM, spool_stream
    from halluguard.auditing.object_stores import address_of, check_local, fetched
    from halluguard.auditing.output_checks import check_outputs
    from halluguard.auditing.pipeline import image_folder
    from halluguard.auditing.progress import ProgressDisplay
    from halluguard.auditing.run import run, write_extras
    from halluguard.auditing.signals import Stopped, stoppable
    from halluguard.auditing.source import open_source, rows_expected

    engine(config.engine)  # refuses a wrong name or folder before anything is loaded
    check_local(config)
    image_folder(config)
    check_outputs(config)
    title = f"Audit of {config.captions.name}"
    address = address_of(config.captions)
    if address or str(config.captions) == "-":
        if dry_run:
            raise SettingsError(
                f"a dry run writes nothing, but captions from {address or 'standard input'} must be written first; "
                "name a file"
            )
        local = fetched(address, config.out) if address else spool_stream(sys.stdin.buffer, config.out, most=MAX_STREAM)
        config = replace(config, captions=local)
    source = open_source(config.captions, config.keys, config.encoding)
    console.print(printable(source.describe()), style="dim", markup=False)
    if dry_run:
        print(json.dumps(estimate(config, source), indent=2))
        return OK
    bound = None
    if spots.sheet is not None:
        config, bound = _check_spots(spots, config, source, console)
        if spots.limit is not None and bound.low > spots.limit:
            print(
                printable(f"halluguard: gate failed: {spots.failure(bound)}; nothing else was checked"), file=sys.stderr
            )
            return GATE_FAILED
    try:
        with stoppable() as stop, ProgressDisplay(mode, rows_expected(config, source), console) as display:

            def progress(counts: Counter[str]) -> None:
                display(counts)
                stop.check()

            summary = run(config, source, progress, bound)
    except Stopped as stopped:
        print(f"halluguard: {stopped}; the same command continues", file=sys.stderr)
        return 128 + stopped.number
    exported = write_extras(config, source, title)
    if exported is not None:
        console.print(printable(f"{exported} captions written to {config.export}"), style="dim", markup=False)
    code = _print_results(summary, config.out, config.gates, console)
    failure = spots.failure(bound) if bound is not None else ""
    if failure:
        print(printable(f"halluguard: gate failed: {failure}"), file=sys.stderr)
    return code or (GATE_FAILED if failure else OK)


@_audit.command("merge", cls=Command)
def merge(
    shards: Annotated[list[Path], typer.Argument(help="Result folders of all shards, in any order.")],
    out: Annotated[Path, typer.Option(help="Folder for the merged run.")],
    images: Annotated[Path | None, typer.Option(help="Folder of the images, for the report.")] = None,
    max_errors: Annotated[
        float | None, typer.Option(help="Rows that may be skipped: a share if below 1, else a number.")
    ] = None,
    force_new: Annotated[
        bool, typer.Option(help="Throw away a run with other settings that is found in --out.")
    ] = False,
    json_lines: Annotated[
        bool, typer.Option(help="Also write captions.jsonl and claims.jsonl, which repeat parts and tables.")
    ] = False,
    workers: Annotated[str, typer.Option(help="Number of processes that merge; auto means one per core.")] = "auto",
    quiet: Annotated[bool, typer.Option(help="Print errors only.")] = False,
) -> None:
    """Merge finished shards into the run that one machine would have made, byte for byte."""
    from rich.console import Console

    from halluguard.auditing.gates import Gates
    from halluguard.auditing.image_store import ImageFolder
    from halluguard.auditing.outputs.merging import merge_shards
    from halluguard.auditing.outputs.report import write_report
    from halluguard.auditing.workers import usable_cores

    gates = Gates(max_errors=max_errors)
    number = _workers(workers)
    count = usable_cores() if number == "auto" else number
    if count < 1:
        raise SettingsError(f"--workers must be at least 1, got {count}; leave it out for one per core")
    summary = merge_shards(shards, out, force_new=force_new, json_lines=json_lines, workers=count)
    write_report(out, ImageFolder(images))
    raise typer.Exit(_print_results(summary, out, gates, Console(stderr=True, quiet=quiet, soft_wrap=True)))


def _detectors(
    detectors: Sequence[str], objects: Sequence[str], images: Path | None, *, exhaustive: bool
) -> tuple[str, ...]:
    """The names of the detectors, in the form of `detectors.specs`."""
    from halluguard.reliability import LIST_RECALL

    if not detectors and not objects:
        raise SettingsError("an audit needs at least one detector: --detector with --images, or --objects FILE")
    if images is None and any(name.partition(":")[0] not in ("objects", "precomputed") for name in detectors):
        raise SettingsError("a detector looks at images; name their folder with --images")
    partial = "" if exhaustive else f",recall={LIST_RECALL}"
    return (*detectors, *(f"objects:{name}{'' if ',recall=' in name else partial}" for name in objects))


def _agree(text: str) -> Combination:
    if text not in ("any", "all", "votes"):
        raise SettingsError(f"--agree is one of any, all, votes, got {text!r}; choose one")
    return cast("Combination", text)


def _recall(settings: Sequence[str]) -> Stated | None:
    """The recall in `--recall`: a share for all labels, LABEL=SHARE, or a file of shares; later ones win."""
    from halluguard.reliability import Rates, read_rates

    if not settings:
        return None
    labels: dict[str, float] = {}
    for setting in settings:
        label, equals, share = setting.rpartition("=")
        stated = Rates.of_value(read_rates(share if equals else setting))
        if equals:
            labels[label.strip()] = stated.default
        else:
            labels |= {"": stated.default, **stated.labels}
    return labels


def _progress_mode(text: str, console: Console) -> Mode:
    from halluguard.auditing.progress import Mode

    if text == "auto":
        return "off" if console.quiet or not console.is_terminal else "bar"
    if text not in get_args(Mode):
        raise SettingsError(f"--progress is one of auto, {', '.join(get_args(Mode))}, got {text!r}; choose one")
    return cast(Mode, text)


def _workers(text: str) -> int | Literal["auto"]:
    if text == "auto":
        return "auto"
    try:
        return int(text)
    except ValueError:
        raise SettingsError(f"--workers is a number or auto, got {text[:60]!r}; choose one") from None


def _shard(text: str | None) -> tuple[int, int]:
    """Share and number of shares, counted from 0: "2/4" is (1, 4)."""
    if text is None:
        return 0, 1
    share, slash, shares = text.partition("/")
    if not (slash and share.isdecimal() and shares.isdecimal()):
        raise SettingsError(f"a shard is written i/n, as in 2/4, got {text!r}")
    return int(share) - 1, int(shares)


def _reasons(skipped: Path) -> Iterator[str]:
    """Yield the reason of every row of a file of skipped rows."""
    with skipped.open(encoding="utf-8") as file:
        for line in file:
            yield str(json.loads(line)["reason"])


def _print_results(summary: JsonObject, out: Path, gates: Gates, console: Console) -> int:
    """Print the main results and the limits that were exceeded, and return the exit code."""
    from halluguard.auditing.outputs.summary import DECISIONS

    skipped, rows = sum(summary["skipped"].values()), summary["rows"]
    rate = summary["rates"]["hallucination_rate"]
    verdicts = ", ".join(f"{summary['claims'][name]} {name}" for name in DECISIONS)
    console.print(f"{rows} rows, {summary['audited']} audited; claims: {verdicts}", markup=False)
    if rate["value"] is not None:
        console.print(
            f"of the judged claims {rate['value']:.2%} are contradicted "
            f"(95 %: {rate['low']:.2%} to {rate['high']:.2%}); {summary['captions_edited']} captions corrected",
            markup=False,
        )
    if "promise" in summary:
        promise = summary["promise"]
        for line in (
            promise["promise"],
            promise["rests_on"],
            f"{promise['released']} captions are released, {promise['withheld']} withheld",
            *([promise["shift"]["words"]] if "shift" in promise else []),
        ):
            console.print(printable(line), markup=False, highlight=False, soft_wrap=True)
    if skipped:
        reasons = ", ".join(f"{n} {code}" for code, n in summary["skipped"].items())
        console.print(printable(f"{skipped} rows skipped ({reasons}):"), markup=False)
        for line in reason_lines(_reasons(out / "skipped.jsonl")):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        console.print(
            printable(f"every skipped row with its reason: {out / 'skipped.jsonl'}"), markup=False, soft_wrap=True
        )
    console.print(printable(f"results in {out}"), style="dim", markup=False)
    failures = gates.failures(summary)
    for failure in failures:
        print(printable(f"halluguard: gate failed: {failure}"), file=sys.stderr)
    if gates.too_many_skipped(summary):
        limit = "every row" if gates.max_errors is None else f"the limit is {gates.max_errors:g}"
        print(f"halluguard: {skipped} of {rows} rows were skipped ({limit})", file=sys.stderr)
        return TOO_MANY_SKIPPED
    return GATE_FAILED if failures else OK
