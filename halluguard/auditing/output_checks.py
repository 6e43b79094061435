"""Refuse outputs that would destroy an input, a file of the run itself, or a file that somebody else wrote."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from halluguard.auditing.config import AuditConfig
from halluguard.auditing.detection_store import is_detection_cache
from halluguard.auditing.run_folder import MANIFEST, OUTPUTS
from halluguard.errors import SettingsError
from halluguard.io import file_hash, read_json, write_json

WRITTEN = ".written.json"
"""File in the run folder with digests of the files that the run wrote elsewhere, and which it may replace."""

_CAPTION_FILES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".tar", ".gz", ".html")


def check_outputs(config: AuditConfig) -> None:
    """Check all outputs before anything is written.

    Raises:
        SettingsError: an output is an input, lies inside one, is a file of the run itself, or exists already and was
            not written by this run (unless `config.overwrite`).
    """
    if config.out.exists() and not config.out.is_dir():
        raise SettingsError(f"--out {str(config.out)!r} is a file; name a folder for the results")
    if config.out.suffix in _CAPTION_FILES and not config.out.exists():
        raise SettingsError(
            f"--out names a folder for the results, got {str(config.out)!r}, which reads like a file; "
            "name a folder, and the file of corrected captions with --export"
        )
    inputs = _inputs(config)
    own = [config.out / name for name in (*OUTPUTS, MANIFEST, "cache.sqlite")]
    for file, path in itertools.product(own, inputs):
        if _same(file, path):
            raise SettingsError(f"results would replace the input {str(path)!r}; choose another folder with --out")
    for path in inputs:
        if _inside(config.out, path) or _inside(path, config.out / "parts"):
            raise SettingsError(
                f"--out {str(config.out)!r} and the input {str(path)!r} must not contain each other; use two folders"
            )
    named = {"--export": config.export, "--coco-detections": config.coco_detections, "--cache": config.cache}
    targets = {option: target for option, target in named.items() if target is not None}
    for option, target in targets.items():
        if target.is_dir():
            raise SettingsError(f"{option} {str(target)!r} is a folder; name a file")
        for path in inputs:
            if _same(target, path) or _inside(target, path):
                raise SettingsError(f"{option} {str(target)!r} would change an input; name another file")
        if any(_same(target, file) for file in own if not (option == "--cache" and file.name == "cache.sqlite")):
            raise SettingsError(f"{option} {str(target)!r} is a file of the run itself; name another file")
    for (option, one), (other, two) in itertools.combinations(targets.items(), 2):
        if _same(one, two):
            raise SettingsError(f"{option} and {other} name the same file {str(one)!r}; name two files")
    if config.cache is not None and config.cache.exists() and not is_detection_cache(config.cache):
        raise SettingsError(f"--cache {str(config.cache)!r} exists and is not a detection cache; name another file")
    for option in ("--export", "--coco-detections"):
        if option in targets:
            _check_existing(option, targets[option], config)


def _check_existing(option: str, target: Path, config: AuditConfig) -> None:
    if not target.is_file() or {file_hash(target), _beginning(target)} & _written(config.out):
        return
    if config.images is not None and _inside(target, config.images):
        raise SettingsError(f"{option} {str(target)!r} is a file in the folder of images; name another file")
    if not config.overwrite:
        raise SettingsError(
            f"{option} {str(target)!r} exists, and not from this run; name another file, or replace it with --overwrite"
        )


def remember_writing(out: Path, target: Path) -> None:
    """Note that the run is about to write this file; if it is killed meanwhile, the next run may replace the file."""
    write_json(out / WRITTEN, sorted({*_written(out), _beginning(target)}))


def remember_written(out: Path, target: Path) -> None:
    """Note that the run wrote this file, so that the same command may replace it."""
    notes = _written(out) - {_beginning(target)}
    write_json(out / WRITTEN, sorted({*notes, file_hash(target)} if target.is_file() else notes))


def _beginning(target: Path) -> str:
    return f"writing {target.absolute()}"


def _written(out: Path) -> set[str]:
    try:
        digests = read_json(out / WRITTEN)
        return set(digests) if isinstance(digests, list) and all(isinstance(d, str) for d in digests) else set()
    except ValueError:  # the file is missing or damaged
        return set()


def _inputs(config: AuditConfig) -> list[Path]:
    """All files and folders that the audit reads, apart from the folder of images."""
    paths = [config.captions, *config.settings_files]
    specs = (config.detector,) if isinstance(config.detector, str) else config.detector
    for spec in specs if isinstance(specs, tuple) else ():
        _, colon, files = spec.partition(":")
        paths += [Path(name) for name in files.split(",") if name] if colon else [Path(spec)]
    paths += [Path(config.ask)] if config.ask else []
    return [path for path in paths if path.exists()]


def _same(one: Path, two: Path) -> bool:
    try:
        return one.samefile(two)
    except OSError:  # one of them does not exist yet
        return os.path.realpath(one) == os.path.realpath(two)  # a loop of links does not raise here


def _inside(path: Path, folder: Path) -> bool:
    """Whether a path is a folder or lies in it, after links are followed."""
    return folder.is_dir() and Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
