"""Experts by name, as the command line writes them, and what tells two of them apart.

HUB-NAME-OR-FOLDER              an object detector of transformers, zero-shot or with labels of its own
sandbox                         the sandbox's own detector, for its drawn scenes
objects:FILE                    known objects per image: {"image id": ["dog", "car"]}, plain or gzipped
precomputed:FILE[,ANNOTATIONS]  boxes found by another tool: COCO results, CSV, TSV or JSON lines
groundingdino:CONFIG,CHECKPOINT[,TOKENIZER]   the original Grounding DINO package
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from halluguard.detectors.precomputed import KnownBoxes, KnownObjects
from halluguard.errors import ExpertError, InputError, SettingsError, UnsupportedModelError
from halluguard.images import load_image
from halluguard.io import file_hash, read_json
from halluguard.records import Box, Detector


def load_expert(spec: str, *, device: str | None = None) -> Detector:
    """The expert of that name.

    Raises:
        InputError: its file cannot be read.
        SettingsError: the name is of no known form.
        ExpertError, MissingExtraError, UnsupportedModelError: it cannot be loaded.
    """
    kind, colon, rest = spec.partition(":")
    if colon and kind in _LOADERS:
        if not rest:
            raise SettingsError(f"expected a file after {kind!r}:, as in '{kind}:FILE', got {spec!r}")
        return _LOADERS[kind](rest, device)
    if not spec.strip():
        raise SettingsError("expected an expert: the hub name or folder of a detector, or 'objects:FILE'; got nothing")
    return _of_transformers(_sandbox() if spec == "sandbox" else spec, device)


def _sandbox() -> str:
    from halluguard import sandbox

    return str(sandbox.DETECTOR)


def _of_transformers(name: str, device: str | None) -> Detector:
    from halluguard.detectors.checkpoints import load_detector

    try:
        return load_detector(name, device=device or "cpu")
    except UnsupportedModelError:
        raise
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ExpertError(
            f"the detector {name!r} cannot be loaded ({reason}); check the name, the network, or name a local folder"
        ) from error


def known_objects(path: Path) -> KnownObjects:
    """The expert that knows which objects are in each image, from a file {"image id": ["dog", "car"]}."""
    objects = read_json(path)
    if not isinstance(objects, dict):
        raise InputError(
            f"expected an object of image id -> list of names in {str(path)!r}, got {type(objects).__name__}"
        )
    return KnownObjects(objects, name=f"known-objects:{file_hash(path)[:12]}")


def known_boxes(files: str) -> KnownBoxes:
    """The expert that knows boxes, from "FILE" or "RESULTS,ANNOTATIONS"; tables and JSON lines by their ending."""
    results, _, annotations = files.partition(",")
    path = Path(results)
    hashes = [file_hash(Path(file))[:12] for file in (results, annotations) if Path(file).is_file()]
    name = f"precomputed:{','.join(hashes)}"
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    if plain.suffix in (".csv", ".tsv", ".jsonl"):
        return KnownBoxes.from_rows(path, name=name)
    return KnownBoxes.from_coco(path, annotations or None, name=name)


def _grounding_dino(files: str, device: str | None) -> Detector:
    from halluguard.detectors.groundingdino_py import GroundingDinoPy

    config, checkpoint, tokenizer = (*files.split(","), "", "")[:3]
    if not checkpoint:
        raise SettingsError(f"expected 'groundingdino:CONFIG,CHECKPOINT' or with ',TOKENIZER', got {files!r}")
    return GroundingDinoPy.from_checkpoint(
        config, checkpoint, tokenizer=tokenizer or "bert-base-uncased", device=device or "cpu"
    )


_LOADERS: dict[str, Callable[[str, str | None], Detector]] = {
    "objects": lambda rest, device: known_objects(Path(rest)),
    "precomputed": lambda rest, device: known_boxes(rest),
    "groundingdino": _grounding_dino,
}


class FunctionExpert:
    """Any function (picture, phrases) -> boxes as an expert; its boxes point to phrases by index, or by their label.

    Args:
        function: given a PIL picture and a list of phrases.
        name: how it signs; default the function's own.
    """

    name: str
    needs_image: bool = True

    def __init__(self, function: Callable[[Any, list[str]], Sequence[Box]], name: str | None = None) -> None:
        self.function = function
        self.name = str(name or getattr(function, "__qualname__", type(function).__name__))

    def covers(self, phrase: str) -> bool:
        return True

    def detect(self, images: Sequence[Any], phrases: Sequence[Sequence[str]]) -> list[list[Box]]:
        """One call per picture."""
        return [
            [_pointing(box, asked) for box in self.function(load_image(image), list(asked))]
            for image, asked in zip(images, phrases, strict=True)
        ]


def _pointing(box: Box, asked: Sequence[str]) -> Box:
    if box.phrase is not None:
        return box
    if box.label not in asked:
        raise ExpertError(f"a box must point to one of the phrases {list(asked)}, by index or label, got {box}")
    return Box(box.label, box.score, box.xyxy, list(asked).index(box.label))


def expert_of(detector: Any, captioner: Any = None) -> str | Detector:
    """What was given as `detector`, as an expert or the name of one; the captioner's own where none was given."""
    if detector is None:
        detector = getattr(captioner, "detector", None)
    if detector is None:
        raise SettingsError("an audit needs an expert; give detector=..., for example 'objects:objects.json'")
    if isinstance(detector, Path):
        return str(detector)
    if isinstance(detector, str) or callable(getattr(detector, "detect", None)):
        return detector
    if callable(detector):
        return FunctionExpert(detector)
    raise SettingsError(
        f"expected an expert, the name of one, or a function (picture, phrases) -> boxes, got a "
        f"{type(detector).__name__}"
    )


_SETTINGS = ("prompt", "floor", "nms", "isolate", "phrases_per_pass")


def fingerprint(detector: Detector) -> str:
    """What tells an expert's findings from another's: its name, its settings and its weights.

    An expert may bring its own as an attribute `fingerprint`. Weights of a hub model are known by its commit, those of
    a folder or of a model made in this process are read. Thresholds are no part of it: they judge what was found.
    """
    own = getattr(detector, "fingerprint", None)
    if isinstance(own, str):
        return own
    said = {name: getattr(detector, name) for name in _SETTINGS if hasattr(detector, name)}
    model: Any = getattr(detector, "model", None)
    if callable(getattr(model, "state_dict", None)):
        said["weights"] = getattr(model.config, "_commit_hash", None) or _weights(model)
    if not said:
        return detector.name
    return f"{detector.name}#{hashlib.blake2b(json.dumps(said).encode(), digest_size=8).hexdigest()}"


def _weights(model: Any) -> str:
    import torch

    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
