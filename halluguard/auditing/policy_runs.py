"""Fit a policy to files of captions, with the readers, the image store and the detector of an audit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from halluguard.auditing.cached_detector import CachedDetector
from halluguard.auditing.caption_rows import Row
from halluguard.auditing.config import AuditConfig
from halluguard.auditing.detection_store import DetectionStore
from halluguard.auditing.image_store import ImageStore, StoredImage
from halluguard.auditing.inputs import step_into
from halluguard.auditing.pipeline import detector_of, image_folder
from halluguard.auditing.source import open_source
from halluguard.calibration.outcomes import Setting
from halluguard.calibration.policy import Policy
from halluguard.calibration.risk import Risk
from halluguard.detectors.specs import fingerprint
from halluguard.errors import ImageError, InputError, SettingsError
from halluguard.metrics.chair import Protocol
from halluguard.metrics.ground_truth import image_key
from halluguard.records import Detector, ImageOrKey


@dataclass(frozen=True)
class LabelledCaptions:
    """Rows of caption files whose images can be opened, the same rows of every file.

    Args:
        captions: imagination setting (None without one) -> N captions.
        rows: the N rows of the first file.
        images: what the detector is given, one per row.
        groups: N names of independent units.
        left_out: reason -> number of rows that cannot be used.
        copies: number of images that have the same content as another one.
        detector: the detector that takes `images`.
    """

    captions: Mapping[float | None, list[str]]
    rows: list[Row]
    images: Sequence[ImageOrKey]
    groups: list[str]
    left_out: Mapping[str, int]
    copies: int
    detector: Detector


def read_captions(
    files: Mapping[float | None, Path], config: AuditConfig, *, group_key: str | None = None
) -> LabelledCaptions:
    """Read the captions that a policy is fitted to.

    Args:
        files: imagination setting (None without one) -> file, the plain one first.
        config: the settings of the audit that the policy is for; its `captions` and `out` are not used.
        group_key: column that names the unit which is independent of others; default the image. Images with the same
            content are one unit.

    Raises:
        InputError: the files are unreadable, or are not of the same rows.
    """
    rows_of, groups = {}, []
    for imagination, file in files.items():
        source = open_source(file, config.keys, config.encoding)
        rows_of[imagination] = list(source.rows())
        if group_key and not groups:
            groups = [step_into(item.fields, group_key) for item in source.items()]
            if any(group is None for group in groups):
                raise SettingsError(
                    f"every row needs a group under {group_key!r}, and row {groups.index(None)} has none"
                )
    first = next(iter(rows_of.values()))
    for imagination, rows in rows_of.items():
        if [row.image for row in rows] != [row.image for row in first]:
            raise InputError(
                f"the captions of imagination {imagination} are not of the same images, in the same order, as the "
                "first file's; write them so"
            )
    left_out: Counter[str] = Counter()
    kept = []
    for i in range(len(first)):
        reason = next((rows[i].reason for rows in rows_of.values() if rows[i].code), "")
        left_out[reason] += bool(reason)
        kept += [] if reason else [i]
    detector = detector_of(config)
    images, usable = _images([first[i] for i in kept], config, detector, left_out)
    kept = [i for i, good in zip(kept, usable, strict=True) if good]
    if not kept:
        raise InputError(f"no caption can be used ({next(iter(+left_out), 'the file is empty')}); mend the file")
    if isinstance(images, _Stored):
        names = [image.key for image in images.images]
        opened, given = images.images, images.detector
    else:
        names, opened, given = [image_key(first[i].image) for i in kept], images, detector
    copies = len({image_key(first[i].image) for i in kept}) - len(set(names))
    return LabelledCaptions(
        captions={imagination: [rows[i].caption for i in kept] for imagination, rows in rows_of.items()},
        rows=[first[i] for i in kept],
        images=opened,
        groups=[str(groups[i]) for i in kept] if groups else names,
        left_out=+left_out,
        copies=max(0, copies),
        detector=given,
    )


@dataclass(frozen=True)
class _Stored:
    """Images of a detector that looks at them, and the detector that takes them."""

    images: list[StoredImage]
    detector: Detector


def _images(
    rows: Sequence[Row], config: AuditConfig, detector: Detector, left_out: Counter[str]
) -> tuple[_Stored | list[str], list[bool]]:
    """What the detector is given for each row that has an image, and which rows have one."""
    if not detector.needs_image:
        return [row.image for row in rows], [True] * len(rows)
    store = ImageStore(image_folder(config))
    found = store.identify(rows)
    cached = CachedDetector(detector, DetectionStore(None, fingerprint(detector)), store, config.batch_size)
    stored = list(dict.fromkeys(image for image in found if isinstance(image, StoredImage)))
    cached.begin(stored)
    cached.open_all(stored)
    images: list[StoredImage] = []
    usable = []
    for image in found:
        error = image if isinstance(image, ImageError) else cached.unreadable.get(image.key)
        usable.append(error is None)
        if error is not None:
            left_out[str(error)] += 1
        elif isinstance(image, StoredImage):
            images.append(image)
    if cached.interacts:  # captions of one image do not share a detector call; see `pipeline.Checker`
        images = [replace(image) for image in images]
    return _Stored(images, cast(Detector, cached)), usable


def fit_policy(
    labelled: LabelledCaptions,
    truth: Mapping[str, Iterable[str]],
    config: AuditConfig,
    risks: Sequence[Risk],
    *,
    confidence: float = 0.95,
    path: Sequence[Setting] | None = None,
    protocol: Protocol = "fixed",
) -> Policy:
    """`Policy.fit` for captions of files; see there for the arguments and errors."""
    captions = labelled.captions
    return Policy.fit(
        captions[None] if None in captions else cast(Mapping[float, list[str]], captions),
        labelled.images,
        truth,
        labelled.detector,
        risks=risks,
        confidence=confidence,
        keys=[row.image for row in labelled.rows],
        groups=labelled.groups,
        questions=[row.question for row in labelled.rows],
        path=path,
        captioner=config.captioner,
        detector_name=config.detector_name,
        protocol=protocol,
        vocabulary=config.vocabulary,
        second_look=False,  # an audit takes none: its images are not decoded when claims are judged
    )
