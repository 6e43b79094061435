"""The settings of one audit: what to check, with which detector, how fast, what to write and when to fail.

`halluguard audit` builds an `AuditConfig` from its options, Python's `audit` from its arguments, and every worker gets
it. Derived things (the opened input, fingerprints) are computed where they are needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Literal, get_args

from halluguard.auditing.gates import Gates
from halluguard.auditing.human_verdicts import HumanVerdict
from halluguard.calibration.policy import Policy
from halluguard.calibration.record import Calibration
from halluguard.correction.text.budget import MAX_SECONDS
from halluguard.correction.verification.thresholds import Thresholds
from halluguard.detectors.ensemble import Combination
from halluguard.errors import SettingsError
from halluguard.metrics.vocabulary import Vocabulary
from halluguard.records import Deleting, Detector
from halluguard.reliability import Stated

LARGEST = 1_000_000_000_000
"""The largest number of rows, images or workers that is accepted; a larger one is taken for a mistake."""


@dataclass(frozen=True)
class AuditConfig:
    """The settings of one audit.

    Args:
        captions: file or folder with the captions, in any format of `auditing.inputs`.
        out: folder for the results; a run with the same settings found there is continued.
        detector: a detector, or its name in the form of `detectors.specs` ("objects:FILE", a hub name, a folder), or
            the names of several.
        agree: rule that joins the verdicts of several detectors: "any", "all" or "votes".
        recall: recall of the detectors that state none in their names, for all labels or per label; it decides whether
            "not found" contradicts. Default: the detectors' own.
        attributes, relations, counts: True to judge claims of these kinds. Colours are judged by pixels and
            spatial relations by boxes, where the detector gives boxes.
        ask: hub name or folder of a vision-language model, or "sandbox". It is asked yes-no questions about the
            attributes and relations that pixels and boxes do not show.
        ocr: True reads the words written in images, to judge quotations. Needs the extra `ocr`.
        verdicts: a person's judgements of verdicts in the report; see `human_verdicts`.
        images: folder of the images, for a detector or another expert that looks at them.
        image_pattern: file name of an image, with its id: "COCO_val2014_{id:012d}.jpg". Default: the usual patterns.
        image_names: the image's id -> path in the folder, in place of a pattern.
        thresholds: scores from which a claim is supported, and below which it is contradicted. Default: the detector's
            own.
        style: treatment of a sentence that cannot be corrected without losing something true: "delete" flags it,
            "drop" deletes it and states its other objects again. With a policy it is always "drop".
        complete: True adds objects to the captions that the detector finds and the captions leave out.
        look_for: names to look for beside the claims, so that omissions are known. Default: the
            labels of known objects and known boxes; with `complete`, those of any detector, or COCO's.
        calibration: curves that turn scores into probabilities. Default: confidences are raw scores.
        policy: setting whose output keeps a promise (`Policy.fit`); it has thresholds of its own. Withheld and skipped
            captions stay out of the export.
        captioner, imagination: model and imagination setting that made the captions, for the policy to compare.
        detector_name: name of a detector whose boxes come from a file, for the policy to compare.
        vocabulary: the objects that the policy counts. Default: COCO's.
        caption_key, image_key, id_key, question_key: columns of the input. Default: guessed from the first rows.
        encoding: encoding of text files. Default: that of the byte order mark, else UTF-8.
        limit: at most this many rows, at least 1: the first ones, or random ones if `seed` is given.
        seed: seed of that random choice.
        shard: (i, n) with 0 <= i < n: check only the rows whose image falls into share i of n.
        engine: where rows are checked: "local" (this machine) or "ray" (a Ray cluster).
        workers: number of processes, or Ray actors, that check rows, at least 1. "auto" is one per core where no model
            is asked and the input has enough rows, one per GPU for a detector on "cuda", else one.
        ray_address: address of a running Ray cluster. Default: one is started on this machine.
        device: device of a detector loaded by name ("cpu", "cuda", "cuda:1"). Default: "cpu".
        batch_size: images per detector call, at least 1.
        budget: processor seconds that reading and correcting one caption may take; a row that takes longer is skipped.
        part_rows: rows per finished part, at least 1; a run that is killed loses at most the unfinished parts.
        cache: SQLite file that keeps detections between runs. Default: `cache.sqlite` in `out`.
        force_new: True discards a run with other settings that is found in `out`.
        overwrite: True lets `export` and `coco_detections` replace existing files that this run did not write.
        settings_files: files from which settings were read; no output may replace them.
        compact: True compresses the parts, and the files of `json_lines`, with Zstandard.
        json_lines: True also writes captions.jsonl and claims.jsonl, which repeat the contents of parts and tables.
        export: file for a copy of the input with corrected captions.
        filter: condition on the captions that the export keeps, such as "contradicted == 0 and supported >= 2".
            Default: all.
        coco_detections: file for the boxes, in COCO's format.
        report: True writes `report.html` into `out`.
        report_samples: captions shown in the report, at least 0.
        gates: limits on the results.
    """

    captions: Path
    out: Path
    _: KW_ONLY
    detector: str | Detector | tuple[str, ...]
    agree: Combination = "any"
    attributes: bool = True
    relations: bool = True
    counts: bool = True
    ask: str | None = None
    ocr: bool = False
    verdicts: tuple[HumanVerdict, ...] = ()
    images: Path | None = None
    image_pattern: str | None = None
    image_names: Mapping[str, str] = field(default_factory=dict)
    thresholds: Thresholds | None = None
    recall: Stated | None = None
    style: Deleting = "delete"
    complete: bool = False
    look_for: tuple[str, ...] = ()
    calibration: Calibration | None = None
    policy: Policy | None = None
    captioner: str = ""
    imagination: float | None = None
    detector_name: str = ""
    vocabulary: Vocabulary | None = None
    caption_key: str | None = None
    image_key: str | None = None
    id_key: str | None = None
    question_key: str | None = None
    encoding: str | None = None
    limit: int | None = None
    seed: int | None = None
    shard: tuple[int, int] = (0, 1)
    engine: str = "local"
    workers: int | Literal["auto"] = "auto"
    ray_address: str | None = None
    device: str | None = None
    batch_size: int = 8
    budget: float = MAX_SECONDS
    part_rows: int = 1000
    cache: Path | None = None
    force_new: bool = False
    overwrite: bool = False
    settings_files: tuple[Path, ...] = ()
    compact: bool = False
    json_lines: bool = False
    export: Path | None = None
    filter: str | None = None
    coco_detections: Path | None = None
    report: bool = False
    report_samples: int = 200
    gates: Gates = field(default_factory=Gates)

    def __post_init__(self) -> None:
        for name, value, least in (
            ("workers", 1 if self.workers == "auto" else self.workers, 1),
            ("batch-size", self.batch_size, 1),
            ("part-rows", self.part_rows, 1),
            ("limit", 1 if self.limit is None else self.limit, 1),
            ("report-samples", self.report_samples, 0),
        ):
            if not least <= value <= LARGEST:
                raise SettingsError(
                    f"{name} must be from {least} to {LARGEST:,}, got {value}; leave it out for its default"
                )
        if not 0 < self.budget <= LARGEST:
            raise SettingsError(f"budget must be a positive number of seconds, got {self.budget}; leave it out for 10")
        if self.encoding is not None and not _is_encoding(self.encoding):
            raise SettingsError(
                f"expected an encoding that Python knows, such as cp1252, got {self.encoding!r}; name one"
            )
        share, shares = self.shard
        if not 0 <= share < shares:
            raise SettingsError(f"a shard is written i/n with 1 <= i <= n, got {share + 1}/{shares}; correct it")
        if self.policy is not None and (self.thresholds is not None or self.calibration is not None):
            raise SettingsError("a policy has thresholds of its own; leave out --thresholds, or leave out the policy")
        if self.policy is not None and (self.complete or self.recall is not None):
            raise SettingsError("a policy sets --complete and --recall itself; leave them out, or leave the policy out")
        if self.style not in get_args(Deleting):
            raise SettingsError(f"style must be 'delete' or 'drop', got {self.style!r}; choose one")
        if self.agree not in ("any", "all", "votes"):
            raise SettingsError(f"agree must be any, all or votes, got {self.agree!r}; any is usual")
        if self.filter is not None and self.export is None:
            raise SettingsError("a filter selects the captions of an export, and there is no export; name its file too")

    @property
    def cache_file(self) -> Path:
        """The absolute path of the detection cache."""
        return (self.cache or self.out / "cache.sqlite").absolute()

    @property
    def keys(self) -> dict[str, str | None]:
        """The columns that were named, by field of `caption_rows.Keys`."""
        return {
            "caption": self.caption_key,
            "image": self.image_key,
            "id": self.id_key,
            "question": self.question_key,
        }


def _is_encoding(name: str) -> bool:
    """Whether Python can read text in an encoding of this name."""
    try:
        "".encode(name)
    except (LookupError, ValueError):
        return False
    return True
