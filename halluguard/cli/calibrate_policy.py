"""Fit a policy for `halluguard calibrate --risk`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from halluguard.errors import InputError, SettingsError
from halluguard.io import parsing, read_json
from halluguard.printing import printable

if TYPE_CHECKING:
    from rich.table import Table

    from halluguard.auditing.config import AuditConfig
    from halluguard.calibration.outcomes import Setting
    from halluguard.calibration.policy import Policy

_IMAGINED = re.compile(r"(-?[0-9.]+)=(.+)")


def caption_files(named: list[str]) -> dict[float | None, Path]:
    """The files of `--captions`: FILE, or IMAGINATION=FILE for each setting.

    >>> caption_files(["0=plain.jsonl", "-0.5=low.jsonl"])
    {0.0: PosixPath('plain.jsonl'), -0.5: PosixPath('low.jsonl')}
    """
    if not named:
        raise SettingsError(
            "a promise needs captions, got none; name a file of captions of the labelled images with --captions"
        )
    pairs = [_IMAGINED.fullmatch(text) for text in named]
    if not any(pairs) and len(named) == 1:
        return {None: Path(named[0])}
    files: dict[float | None, Path] = {float(pair[1]): Path(pair[2]) for pair in pairs if pair}
    if len(files) < len(named):
        raise SettingsError(
            f"expected several files of captions written IMAGINATION=FILE, got {', '.join(named)}; give each setting "
            "once, the plain one first: --captions 0=plain.jsonl --captions -0.5=low.jsonl"
        )
    return files


def read_path(file: Path | None) -> tuple[Setting, ...] | None:
    """The settings of `--path`: JSON, a list of {"contradict", "filter", "imagination"} from plain to strictest."""
    from halluguard.calibration.outcomes import Setting

    if file is None:
        return None
    with parsing(file, 'a path such as [{"contradict": 0.2, "filter": "all"}]'):
        return tuple(Setting(**row) for row in read_json(file))


def calibrate_policy(
    labels: Path,
    captions: list[str],
    config: AuditConfig,
    risks: list[str],
    *,
    out: Path,
    confidence: float,
    group_key: str | None,
    path: Path | None,
    protocol: str,
    overwrite: bool,
) -> Policy:
    """Fit a policy to labelled captions, write it, and print the promise, the path and the captions that were left out.

    Args:
        labels: file with the objects in each image, as for `calibration.labelled_rows.read_truth`.
        captions: as for `caption_files`.
        config: the settings of the audit that the policy is for.
        risks: limits to promise, such as "chair_s=0.03".
        out: file for the policy.
        confidence, path, protocol: as for `Policy.fit`.
        group_key: column of the captions that names the independent unit.
        overwrite: True lets `out` replace a file that is not a policy.
    """
    from typing import cast

    from rich.console import Console

    from halluguard.auditing.policy_runs import fit_policy, read_captions
    from halluguard.calibration.labelled_rows import read_truth
    from halluguard.calibration.risk import Risk
    from halluguard.cli.tables import print_whole
    from halluguard.metrics.chair import Protocol

    promises = [Risk.parse(text) for text in risks]
    files = caption_files(captions)
    _check_target(out, [labels, *files.values(), *([path] if path else [])], overwrite=overwrite)
    settings = read_path(path)
    with parsing(labels, "labels"):
        truth, outside = read_truth(labels, config.vocabulary)
    labelled = read_captions(files, config, group_key=group_key)
    policy = fit_policy(
        labelled, truth, config, promises, confidence=confidence, path=settings, protocol=cast(Protocol, protocol)
    )
    policy.save(out)
    console = Console()
    notes = [f"left out {count} captions: {reason}" for reason, count in list(labelled.left_out.items())[:5]]
    notes += [f"left out {outside} labels that name no object of the vocabulary"] if outside else []
    notes += [f"{labelled.copies} images are copies of others and count once"] if labelled.copies else []
    for note in notes:
        console.print(printable(note), markup=False, highlight=False)
    print_whole(console, table(policy))
    for line in (policy.promise, policy.rests_on, f"written to {out}"):
        console.print(printable(line), markup=False, highlight=False, soft_wrap=True)
    return policy


def _check_target(out: Path, inputs: list[Path], *, overwrite: bool) -> None:
    """Refuse to replace an input, or a file that is not a policy."""
    from halluguard.calibration.policy import Policy

    if not out.exists():
        return
    for file in inputs:
        if file.exists() and out.samefile(file):
            raise SettingsError(f"--out {str(out)!r} is an input; name another file")
    try:
        Policy.load(out)
    except InputError as error:
        if not overwrite:
            raise SettingsError(f"--out {str(out)!r} exists and is not a policy; name another file") from error


def table(policy: Policy) -> Table:
    """The path as a table: for each setting, its losses on the calibration images and whether the promise was shown."""
    from rich.table import Table
    from rich.text import Text

    title = f"{policy.images} images, {policy.captions} captions; {policy.signature.detector}"
    shown = Table(title=Text(printable(title)))
    losses = list(policy.path[0].means)
    for column in ("setting", *losses, "shown"):
        shown.add_column(column, justify="left" if column == "setting" else "right", no_wrap=True)
    for tested in policy.path:
        mark = "chosen" if tested.setting == policy.setting else "yes" if tested.certified else "no"
        values = (tested.means[loss] for loss in losses)
        shown.add_row(tested.setting.words(), *("-" if v is None else f"{100 * v:.1f} %" for v in values), mark)
    shown.caption = f"limits: {', '.join(f'{name} {100 * limit:.4g} %' for name, limit in policy.risks.items())}"
    return shown
