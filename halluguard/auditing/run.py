"""A run from start to end: open the input, check what is not yet checked, write the outputs."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from halluguard._version import __version__
from halluguard.auditing.cached_detector import BATCH
from halluguard.auditing.detection_store import Cache
from halluguard.auditing.engines import Plan, Progress, engine
from halluguard.auditing.image_store import ImageFolder
from halluguard.auditing.in_memory_input import spool_rows
from halluguard.auditing.outputs.export import write_export
from halluguard.auditing.outputs.summary import thresholds_dict
from halluguard.auditing.outputs.tables import write_tables
from halluguard.auditing.run_folder import SUMMARY, RunFolder
from halluguard.auditing.source import Selection, Source, manifest_of, open_source
from halluguard.auditing.work_units import failed_rows
from halluguard.calibration.record import Calibration
from halluguard.correction.text.parse import pipeline
from halluguard.correction.verification import Thresholds, thresholds_of
from halluguard.detectors.specs import expert_of, fingerprint, load_expert
from halluguard.io import write_json
from halluguard.records import Detector

PART_ROWS = 1000
"""Rows a part: what is lost at most when a run is killed, apart from the expert's findings, which the cache keeps."""


@dataclass(frozen=True)
class Job:
    """What is to be audited, with what.

    Args:
        source: the input.
        expert: the expert, or its name as `auditing.experts` writes it.
        thresholds: None takes the expert's own.
        selection: which rows.
        part_rows: rows a part.
        pictures: where the pictures are; unused by an expert that needs none.
        device: where an expert that is loaded by name runs.
        batch: pictures the expert looks at together.
        cache: the detection cache's file; None keeps it in the run folder.
        engine: "local" or "ray".
        workers, address: of the engine.
        calibration: turns scores into probabilities; None leaves confidences raw.
    """

    source: Source
    expert: str | Detector
    thresholds: Thresholds | None = None
    selection: Selection = field(default_factory=Selection)
    part_rows: int = PART_ROWS
    pictures: ImageFolder = field(default_factory=lambda: ImageFolder(None))
    device: str | None = None
    batch: int = BATCH
    cache: Path | None = None
    engine: str = "local"
    workers: int = 1
    address: str | None = None
    calibration: Calibration | None = None

    @cached_property
    def detector(self) -> Detector:
        """The expert, loaded when first asked for."""
        return load_expert(self.expert, device=self.device) if isinstance(self.expert, str) else self.expert

    def manifest(self) -> dict[str, Any]:
        """The settings that decide the results, and no others: not the engine, nor where things lie."""
        language = pipeline().meta
        return {
            "halluguard": __version__,
            "language": f"{language['lang']}_{language['name']}-{language['version']}",
            **manifest_of(self.source, self.selection),
            "expert": fingerprint(self.detector),
            "thresholds": thresholds_dict(self.thresholds or thresholds_of(self.detector)),
            "calibration": self.calibration.digest if self.calibration else None,
            "images": self.pictures.manifest() if self.detector.needs_image else None,
            "part_rows": self.part_rows,
        }

    def memory(self) -> Cache:
        """An empty cache for this expert, in memory."""
        return Cache(None, fingerprint(self.detector))

    def plan(self, folder: RunFolder) -> Plan:
        return Plan(
            source=self.source,
            selection=self.selection,
            part_rows=self.part_rows,
            finished=failed_rows(folder),
            expert=self.expert,
            thresholds=self.thresholds,
            pictures=self.pictures,
            device=self.device,
            batch=self.batch,
            cache=(self.cache or folder.path / "cache.sqlite").absolute(),
            host=socket.gethostname(),
            workers=self.workers,
            address=self.address,
            calibration=self.calibration,
        )


def audit(
    captions: Path | str | Iterable[Mapping[str, Any]],
    out: Path,
    *,
    detector: Any = None,
    captioner: Any = None,
    images: Path | None = None,
    thresholds: Thresholds | None = None,
    export: Path | None = None,
    force_new: bool = False,
) -> dict[str, Any]:
    """Audit captions into the folder `out`; the summary comes back.

    Args:
        captions: a file or folder in any format of `auditing.formats`, or rows such as
            {"image": picture or path, "caption": "A dog.", "question": None, "id": 7}.
        out: a new folder, or one of a run with the same settings, which is continued.
        detector: an expert, the name of one as `auditing.experts` writes them, or any function
            (picture, phrases) -> boxes.
        captioner: what answers rows that have no caption: a `Guard`, whose expert is then the default one, or any
            function (picture, question) -> text.
        images: the folder of the pictures, for an expert that looks at them.
        thresholds: where support ends and contradiction begins; None takes the expert's own.
        export: write the input anew to this file, with corrected captions.
        force_new: throw away a run with other settings.

    >>> audit(Path("captions.jsonl"), Path("audited"), detector="objects:objects.json")  # doctest: +SKIP
    {'schema': 1, ...}
    """
    expert = expert_of(detector, captioner)
    if not isinstance(captions, str | Path):
        captions = spool_rows(captions, out, captioner, images)
    source = open_source(Path(captions), {})
    summary = run(Job(source, expert, thresholds, pictures=ImageFolder(images)), out, force_new=force_new)
    if export is not None:
        write_export(out, source, export)
    return summary


def _silent(counts: Counter[str]) -> None:
    pass


def run(job: Job, out: Path, *, force_new: bool = False, progress: Progress = _silent) -> dict[str, Any]:
    """Audit into the folder `out`, continuing what is there; the summary comes back.

    Args:
        job: what to audit.
        out: the folder.
        force_new: throw away a run with other settings.
        progress: told, as rows are checked, how many of them, how many skipped, and the verdicts by decision.

    Raises:
        SettingsError: the folder is in use, or holds a run with other settings.
        OutputError: the folder cannot be written.
        ExpertError: the expert is not available, or failed on many pictures in a row.
    """
    manifest = job.manifest()
    with RunFolder(out, manifest, force_new=force_new) as folder:
        plan = job.plan(folder)
        for done in engine(job.engine).run(plan, job.detector, progress):
            folder.commit(done.part, done.lines)
        return finish(out, manifest)


def finish(out: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Write the outputs of a run whose parts are all there; the summary comes back, and is written last."""
    summary = write_tables(out, out).summary(manifest)
    write_json(out / SUMMARY, summary)
    return summary
