"""Run an audit from start to end: open the input, check the remaining rows, write the outputs."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import cast

from halluguard._version import __version__
from halluguard.auditing.cached_experts import AnyExpert, expert_fingerprint, kinds_not_judged, property_experts
from halluguard.auditing.config import AuditConfig
from halluguard.auditing.engines import Progress, engine
from halluguard.auditing.human_verdicts import digest
from halluguard.auditing.in_memory_input import Captioner, spool_rows
from halluguard.auditing.object_stores import address_of, check_local, fetched
from halluguard.auditing.output_checks import check_outputs, remember_writing, remember_written
from halluguard.auditing.outputs.card import write_card
from halluguard.auditing.outputs.coco_detections import write_detections
from halluguard.auditing.outputs.export import write_export
from halluguard.auditing.outputs.filters import parse_filter
from halluguard.auditing.outputs.report import write_report
from halluguard.auditing.outputs.shift import shift_watch
from halluguard.auditing.outputs.summary import Tally, thresholds_dict
from halluguard.auditing.outputs.tables import write_json_lines, write_tables
from halluguard.auditing.outputs.tallies import write_tally
from halluguard.auditing.pipeline import detector_of, image_folder, thresholds_in
from halluguard.auditing.run_folder import SUMMARY, RunFolder, parts_of
from halluguard.auditing.source import Source, Unchanged, input_manifest, open_source
from halluguard.auditing.work_units import finished_parts
from halluguard.auditing.workers import usable_cores
from halluguard.calibration.policy import Policy
from halluguard.calibration.watching import RateBound
from halluguard.correction.languages import versions
from halluguard.correction.text import pipeline
from halluguard.correction.verification import Thresholds
from halluguard.correction.verification.looks import experts_apart
from halluguard.detectors.specs import as_detector, fingerprint
from halluguard.errors import SettingsError
from halluguard.io import JsonObject, write_json
from halluguard.records import Box, Detector
from halluguard.reliability import recall_of

_log = logging.getLogger(__name__)


def audit(
    captions: AuditConfig | Path | str | Iterable[Mapping[str, object]],
    out: Path | str | None = None,
    *,
    detector: Detector | Callable[..., Iterable[Box]] | Path | str | None = None,
    captioner: Captioner | None = None,
    images: Path | str | None = None,
    thresholds: Thresholds | None = None,
    policy: Policy | None = None,
    captioner_name: str = "",
    export: Path | str | None = None,
    force_new: bool = False,
    overwrite: bool = False,
) -> JsonObject:
    """Audit captions into the folder `out` and return the summary.

    Args:
        captions: an `AuditConfig` with all settings; or a file or folder in any format of `auditing.inputs`;
            or the address of a file in an object store ("s3://..."), which is copied into `out`;
            or rows such as {"image": image or path, "caption": "A dog.", "question": None, "id": 7}.
        out: folder for the results; a run with the same settings found there is continued.
        detector: a detector, its name in the form of `detectors.specs`, or any function (image, phrases) -> boxes.
        captioner: answers rows that have no caption: a `Guard`, whose detector is then the default one, or any
            function (image, question) -> text.
        images: folder of the images, for a detector that looks at them.
        thresholds: scores from which a claim is supported, and below which it is contradicted. Default: the detector's
            own.
        policy: setting whose output keeps a promise; see `halluguard.calibration.Policy`.
        captioner_name: name of the model that wrote the captions, for the policy to compare.
        export: file for a copy of the input with corrected captions.
        force_new: True discards a run with other settings that is found in `out`.
        overwrite: True lets the export replace an existing file that this run did not write.

    >>> audit(Path("captions.jsonl"), Path("audited"), detector="objects:objects.json")  # doctest: +SKIP
    {'schema': 1, ...}
    """
    if isinstance(captions, AuditConfig):
        config = captions
    elif out is None:
        raise SettingsError("an audit needs a folder for its results, got none; give out=...")
    else:
        known = as_detector(detector, captioner)
        images, export = (None if path is None else Path(path) for path in (images, export))
        if not isinstance(captions, str | Path):
            captions = spool_rows(captions, Path(out), captioner, images)
        config = AuditConfig(
            Path(captions),
            Path(out),
            detector=known,
            images=images,
            thresholds=thresholds,
            policy=policy,
            captioner=captioner_name,
            export=export,
            force_new=force_new,
            overwrite=overwrite,
        )
    check_local(config)
    if address := address_of(config.captions):
        config = replace(config, captions=fetched(address, config.out))
    check_outputs(config)
    source = open_source(config.captions, config.keys, config.encoding)
    summary = run(config, source)
    write_extras(config, source)
    return summary


def _silent(counts: Counter[str]) -> None:
    pass


def run(
    config: AuditConfig, source: Source, progress: Progress = _silent, spots: RateBound | None = None
) -> JsonObject:
    """Check the remaining rows, write tables and summary, and return the summary.

    Args:
        config: the settings.
        source: the opened input.
        progress: called after every group of rows; see `engines.Progress`.
        spots: bound from the spot labels, for the summary; see `spot_labels.check_spots`.

    Raises:
        SettingsError: the folder is in use, or holds a run with other settings.
        OutputError: the folder cannot be written.
        ExpertError: the detector is not available, or failed on many images in a row.
    """
    worker = engine(config.engine)
    if config.filter:
        parse_filter(config.filter)  # refuses a wrong filter before the work begins
    config.gates.check_labels(row.caption for row in source.rows())
    unchanged = Unchanged(source.path)
    detector = detector_of(config)
    experts = property_experts(config, detector)
    check_policy(config, detector, experts)
    settings = manifest(config, source, detector, experts)
    config.gates.check_baseline(settings)
    watch = shift_watch(config.policy.agreements) if config.policy else None
    _log.info("settings: %s", settings)
    with RunFolder(config.out, settings, force_new=config.force_new) as folder:
        for part in worker.run(config, source, finished_parts(folder), detector, experts, progress):
            unchanged.check()
            folder.commit(part.number, part.lines)
            _log.info("part %d finished", part.number)
            if watch is not None and watch.add_lines(part.lines):
                warnings.warn(watch.monitor.words(), ShiftWarning, stacklevel=2)
        unchanged.check()
        return finish(config.out, settings, spots, finishing_workers(config), json_lines=config.json_lines)


def check_policy(config: AuditConfig, detector: Detector, experts: Sequence[AnyExpert]) -> None:
    """Refuse an audit that its policy does not cover.

    Args:
        config: the settings.
        detector, experts: the detector and the property experts, loaded.

    Raises:
        SettingsError: see `Policy.check`.
    """
    if config.policy is None:
        return
    if config.policy.second_look:
        raise SettingsError(
            "the policy was calibrated with second looks, and an audit has none; calibrate with halluguard "
            "calibrate --risk, or apply it in Python"
        )
    config.policy.check(
        detector,
        captioner=config.captioner,
        imagination=config.imagination,
        detector_name=config.detector_name,
        vocabulary=config.vocabulary,
        experts=experts_of(config, experts),
    )


def experts_of(config: AuditConfig, experts: Sequence[AnyExpert]) -> tuple[str, ...]:
    """The property experts and the kinds of claims that are not judged, as JSON values: they decide verdicts too."""
    unjudged = sorted(kinds_not_judged(config))
    return (*map(expert_fingerprint, experts), *(f"no {kind}" for kind in unjudged))


def manifest(
    config: AuditConfig, source: Source, detector: Detector, experts: Sequence[AnyExpert]
) -> dict[str, object]:
    """The settings that decide the results, without the others, such as the engine and the paths."""
    language = pipeline().meta
    return {
        "halluguard": __version__,
        "language": f"{language['lang']}_{language['name']}-{language['version']}",
        "other languages": versions(),
        **input_manifest(config, source),
        "expert": fingerprint(detector),
        "property experts": [expert_fingerprint(expert) for expert in experts],
        "not judged": sorted(kinds_not_judged(config)),
        "human verdicts": digest(config.verdicts),
        "thresholds": thresholds_dict(thresholds_in(config, detector)),
        "recall": {expert.name: recall_of(expert).to_value() for expert in experts_apart(detector)},
        "completed": config.complete,
        "looked for": list(config.look_for),
        "calibration": config.calibration.digest if config.calibration else None,
        "images": image_folder(config).manifest()
        if detector.needs_image or any(e.needs_image for e in experts)
        else None,
        "part_rows": config.part_rows,
        **({"compact": True} if config.compact else {}),
        **({"style": config.style} if config.style != "delete" else {}),
        "budget": float(config.budget),  # 10 and 10.0 are the same setting
        **({"policy": promise_of(config.policy)} if config.policy else {}),
    }


def promise_of(policy: Policy) -> dict[str, object]:
    """The part of a manifest that states the promise and its basis."""
    return {
        "digest": policy.digest,
        "promise": policy.promise,
        "rests_on": policy.rests_on,
        "setting": asdict(policy.setting),
        "risks": dict(policy.risks),
        "confidence": policy.confidence,
        "images": policy.images,
        "agreements": list(policy.agreements),
    }


class ShiftWarning(UserWarning):
    """The audited images no longer look like the images on which the policy was calibrated."""


def finish(
    out: Path,
    settings: Mapping[str, object],
    spots: RateBound | None = None,
    workers: int = 1,
    *,
    json_lines: bool = False,
) -> JsonObject:
    """Write the outputs of a run whose parts are complete, the summary last, and return the summary.

    Args:
        out: the run folder.
        settings: its manifest.
        spots: bound from the spot labels, for the summary.
        workers: number of processes that read parts, where there are many.
        json_lines: True also writes captions.jsonl and claims.jsonl.
    """
    policy = cast(JsonObject, settings.get("policy") or {})
    workers = workers if len(parts_of(out)) >= PARTS_FOR_WORKERS else 1
    tally = write_tables(out, out, shift_watch(policy.get("agreements", ())), workers)
    write_json_lines(out, wanted=json_lines, compact=bool(settings.get("compact")))
    if cast(JsonObject, settings["selection"])["shard"][1] > 1:
        write_tally(out, tally)
    return write_summary(out, tally, settings, spots)


def write_summary(
    out: Path, tally: Tally, settings: Mapping[str, object], spots: RateBound | None = None
) -> JsonObject:
    """Write the summary of a run, which marks the run as finished."""
    summary = tally.summary(settings)
    if spots is not None:
        summary["spot_labels"] = {
            "value": round(spots.mean, 6),
            "low": round(spots.low, 6),
            "high": round(spots.high, 6),
            "n": spots.n,
            "confidence": spots.confidence,
            "words": spots.words(),
        }
    write_card(out, summary)
    write_json(out / SUMMARY, summary, compact=bool(settings.get("compact")))
    return summary


PARTS_FOR_WORKERS = 20
"""Number of parts from which several processes read them for the tables."""


def finishing_workers(config: AuditConfig) -> int:
    """Number of processes that read the finished parts: as many as check rows, or one per core."""
    return usable_cores() if config.workers == "auto" else config.workers


def write_extras(config: AuditConfig, source: Source, title: str = "Caption audit") -> int | None:
    """Write the export, the boxes and the report that the settings ask for; returns the number of exported captions.

    Args:
        config: the settings.
        source: the opened input.
        title: heading of the report.
    """
    exported = None
    if config.export is not None:
        keep = parse_filter(config.filter) if config.filter else None
        unchanged = Unchanged(source.path)
        remember_writing(config.out, config.export)
        exported = write_export(config.out, source, config.export, keep, promised=config.policy is not None)
        unchanged.check()
        remember_written(config.out, config.export)
    if config.coco_detections is not None:
        remember_writing(config.out, config.coco_detections)
        write_detections(config.out, config.coco_detections)
        remember_written(config.out, config.coco_detections)
    if config.report:
        write_report(config.out, image_folder(config), samples=config.report_samples, title=title)
    return exported
