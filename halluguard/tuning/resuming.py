"""Checkpoints of a training: written whole, bound to their rows and settings, found again after a kill.

transformers writes the files of a checkpoint one after another, so a kill in between leaves a broken one. A manifest
with the size and hash of every file is written last, atomically: a checkpoint is whole if its manifest matches. The
manifest also names the rows, the model and the settings, since resuming with others would train something else.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath

from PIL.Image import Image
from safetensors import SafetensorError
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from halluguard import io
from halluguard.controller import fingerprint
from halluguard.errors import InputError, OutputError, first_line
from halluguard.tuning.rows import TrainingRow

MANIFEST = "halluguard.json"

Identity = Mapping[str, str]
"""Names and digests of what a checkpoint belongs to: rows, model, settings."""

_PER_PROCESS = re.compile(r"rng_state_\d+\.pth")  # another process may still be writing its own
_DISK_ERRORS = ("No space left", "I/O error", "Os {", "PytorchStreamWriter", "file write failed", "unexpected pos")


def identity_of(model: PreTrainedModel, rows: Sequence[TrainingRow], settings: Mapping[str, object]) -> Identity:
    """The identity of a training: digests of its rows and its base model, and its settings in words."""
    digest = hashlib.blake2b(digest_size=16)
    for row in rows:
        digest.update(repr(_plain(row)).encode("utf-8", "surrogatepass"))
    weights = json.dumps([f"{value:.3g}" for value in fingerprint(model).tolist()])
    return {
        "rows": f"{len(rows)} rows, {digest.hexdigest()}",
        "model": f"{type(model).__name__} {hashlib.blake2b(weights.encode(), digest_size=16).hexdigest()}",
        **{name: str(value) for name, value in settings.items()},
    }


def _plain(value: object) -> object:
    """A value whose text is the same in every process: files by name, pixels by hash, recipes by their fields."""
    if isinstance(value, Image):
        return value.mode, value.size, hashlib.blake2b(value.tobytes(), digest_size=16).hexdigest()
    if isinstance(value, bytes | bytearray | memoryview):
        return hashlib.blake2b(value, digest_size=16).hexdigest()
    if isinstance(value, PurePath):
        return value.name
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return type(value).__name__, [_plain(getattr(value, f.name)) for f in dataclasses.fields(value)]
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    plain = value is None or isinstance(value, str | int | float)
    return value if plain else getattr(value, "__qualname__", type(value).__qualname__)


class WholeCheckpoints(TrainerCallback):
    """Write the manifest of every checkpoint once all its files are there."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        if state.is_world_process_zero:
            folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
            files = {str(p.relative_to(folder)): io.file_hash(p) for p in _files(folder)}
            io.write_json(folder / MANIFEST, {"files": files, "identity": dict(self.identity)})


def _files(folder: Path) -> list[Path]:
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != MANIFEST)
    return [p for p in files if not _PER_PROCESS.fullmatch(p.name)]


def newest_whole(folder: Path, identity: Identity) -> Path:
    """The newest whole checkpoint of this very training in `folder`.

    Raises:
        InputError: there is none; the message says whether they are broken or belong to another training.
    """
    others: dict[str, set[str]] = {}
    checkpoints = sorted(folder.glob("checkpoint-*"), key=_step, reverse=True)
    for checkpoint in checkpoints:
        saved = _identity_of_whole(checkpoint)
        if saved is None:
            continue
        changed = {name for name in {*saved, *identity} if saved.get(name) != identity.get(name)}
        if not changed:
            return checkpoint
        others[checkpoint.name] = changed
    if others:
        name, changed = next(iter(others.items()))
        raise InputError(
            f"{str(folder / name)!r} was saved by a training with other {', '.join(sorted(changed))}; resume with the "
            "same ones, or start without resume in another folder"
        )
    broken = f"{len(checkpoints)} broken ones" if checkpoints else "none"
    raise InputError(f"expected a checkpoint to resume from in {str(folder)!r}, got {broken}; start without resume")


def _step(checkpoint: Path) -> int:
    digits = checkpoint.name.removeprefix("checkpoint-")
    return int(digits) if digits.isdecimal() else -1


def _identity_of_whole(checkpoint: Path) -> Identity | None:
    """The identity a checkpoint was saved with; None if it is not whole."""
    try:
        manifest = io.read_json(checkpoint / MANIFEST)
        files, identity = manifest["files"], manifest["identity"]
        if any(io.file_hash(checkpoint / name) != digest for name, digest in files.items()):
            return None
        return {str(name): str(value) for name, value in identity.items()}
    except (InputError, OSError, KeyError, TypeError, AttributeError):
        return None


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Raise one clear error if a file cannot be written, whichever library tried.

    Raises:
        OutputError: the disk is full, or the folder cannot be written.
    """
    try:
        with io.writing_to(folder):
            yield
    except (SafetensorError, RuntimeError) as error:
        if isinstance(error, OutputError) or not any(words in str(error) for words in _DISK_ERRORS):
            raise
        raise OutputError(
            f"cannot write to {str(folder)!r}: {first_line(error)}; free space, then resume from the last checkpoint"
        ) from error
