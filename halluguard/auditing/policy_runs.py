"""Fit a policy to caption files by running the checks of the audit at every setting of the path."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from halluguard.auditing.cached_experts import property_experts
from halluguard.auditing.caption_rows import Row, to_rows
from halluguard.auditing.config import AuditConfig
from halluguard.auditing.fields import step_into
from halluguard.auditing.image_store import ImageStore, StoredImage
from halluguard.auditing.pipeline import Checker, detector_of, image_folder
from halluguard.auditing.run import experts_of
from halluguard.auditing.source import Source, open_source
from halluguard.calibration.losses import LossCounter
from halluguard.calibration.outcomes import ObjectReader, Outcome, Setting
from halluguard.calibration.policy import Policy
from halluguard.calibration.policy_inputs import check_labels, check_path, default_path
from halluguard.calibration.risk import Risk, check_enough
from halluguard.calibration.signature import signature
from halluguard.errors import InputError, SettingsError
from halluguard.metrics.chair import ChairScorer, Protocol
from halluguard.metrics.ground_truth import image_key


@dataclass(frozen=True)
class LabelledCaptions:
    """Rows of caption files that can be checked; every file has the same rows.

    Args:
        rows: imagination setting (None without one) -> N rows, the plain ones first.
        groups: N names of independent units.
        left_out: reason -> number of rows that were left out.
        copies: number of images that have the same content as another one.
    """

    rows: Mapping[float | None, list[Row]]
    groups: list[str]
    left_out: Mapping[str, int]
    copies: int

    @property
    def plain(self) -> list[Row]:
        """The rows of the first file."""
        return next(iter(self.rows.values()))


def read_captions(
    files: Mapping[float | None, Path], config: AuditConfig, *, group_key: str | None = None
) -> LabelledCaptions:
    """Read the captions that a policy is fitted to.

    Args:
        files: imagination setting (None without one) -> file, the plain one first.
        config: the settings of the audit that the policy is for; its `captions` and `out` are not used.
        group_key: column with the name of the independent unit; default the image. Images with the same
            content are one unit.

    Raises:
        InputError: the files are unreadable, or do not have the same rows.
    """
    sources = {imagination: open_source(file, config.keys, config.encoding) for imagination, file in files.items()}
    rows_of = {imagination: list(source.rows()) for imagination, source in sources.items()}
    first = next(iter(rows_of.values()))
    for imagination, rows in rows_of.items():
        if [row.image for row in rows] != [row.image for row in first]:
            raise InputError(
                f"the captions of imagination {imagination} are not of the same images, in the same order, as the "
                "first file's; correct their order"
            )
    groups = _groups(next(iter(sources.values())), group_key) if group_key else None
    left_out: Counter[str] = Counter()
    kept = []
    for i in range(len(first)):
        reason = next((rows[i].reason for rows in rows_of.values() if rows[i].code), "")
        left_out[reason] += bool(reason)
        kept += [] if reason else [i]
    if not kept:
        raise InputError(f"no caption can be used ({next(iter(+left_out), 'the file is empty')}); correct the file")
    contents = _contents([first[i] for i in kept], config)
    names = {image_key(first[i].image) for i in kept}
    return LabelledCaptions(
        rows={imagination: [rows[i] for i in kept] for imagination, rows in rows_of.items()},
        groups=[groups[i] for i in kept] if groups else contents,
        left_out=+left_out,
        copies=max(0, len(names) - len(set(contents))),
    )


def _groups(source: Source, key: str) -> list[str]:
    """The group of each row."""
    groups: list[str] = []
    for item in source.items():
        group = None if item.fields is None else step_into(item.fields, key)
        if group is None:
            raise SettingsError(f"every row needs a group under {key!r}, and row {len(groups)} has none; fill it in")
        groups += [str(group)] * len(to_rows(0, item, source.keys))
    return groups


def _contents(rows: Sequence[Row], config: AuditConfig) -> list[str]:
    """The identity of each row's image: its content where the image is available, else its name."""
    if config.images is None and not any(row.image_bytes for row in rows):
        return [image_key(row.image) for row in rows]
    store = ImageStore(image_folder(config))
    images = store.identify(rows)
    store.close()
    return [
        image.key if isinstance(image, StoredImage) else image_key(row.image)
        for row, image in zip(rows, images, strict=True)
    ]


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
    """Run the audit's checks at every setting, and certify a policy; see `Policy.fit` for the arguments and errors."""
    plain = labelled.plain
    captions, keys = [row.caption for row in plain], [image_key(row.image) for row in plain]
    check_labels(captions, keys, truth, labelled.groups)
    counter = LossCounter(ChairScorer(truth, protocol, vocabulary=config.vocabulary), keys, captions, labelled.groups)
    check_enough(risks, len(counter.units), confidence)
    detector = detector_of(config)
    reader = ObjectReader(protocol, config.vocabulary)
    imaginations = [key for key in labelled.rows if key is not None]
    settings = tuple(path) if path else default_path(detector, imaginations)
    check_path(settings, labelled.rows)
    experts = property_experts(config, detector)
    run = signature(detector, reader.words, config.detector_name, experts_of(config, experts))
    outcomes: dict[Setting, list[Outcome]] = {}
    for imagination, rows in labelled.rows.items():
        checker = Checker(config, detector, experts)
        checker.reader = reader
        try:
            for setting in settings:
                if setting.imagination == imagination:
                    outcomes[setting] = checker.outcomes(rows, setting, setting.thresholds(detector))
        finally:
            checker.close()
    return Policy.from_outcomes(
        settings,
        [outcomes[setting] for setting in settings],
        counter,
        risks,
        confidence=confidence,
        signature=run,
        captioner=config.captioner,
    )
