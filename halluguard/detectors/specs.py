"""Load detectors by the names of the command line, and compute the keys under which a cache keeps their results.

HUB-NAME-OR-FOLDER              an object detector of transformers, zero-shot or with labels of its own
sandbox                         the detector of the sandbox, for its drawn scenes
objects:FILE                    known objects per image: {"image id": ["dog", "car"]}
precomputed:FILE[,ANNOTATIONS]  boxes of another tool, in any format of `box_formats`, or COCO results
groundingdino:CONFIG,CHECKPOINT[,TOKENIZER]   a checkpoint of the original Grounding DINO package
ask:MODEL                       a vision-language model that is asked "Is there a ...?" (`self_check`)
probe:FILE,MODEL                a probe taught on a vision-language model (`taught_probe`)

Files may be gzipped. Any of these may be followed by how far the expert is to be trusted, `,recall=0.7` and
`,precision=0.9`: each a share, or a JSON file {label: share} with "" for all other labels (`halluguard.reliability`).
A model may be followed by how it runs: `,dtype=bfloat16` (or float16), `,compile=yes` (through `torch.compile`), and
`,joint=0.05`, which asks all phrases together first (`zero_shot.ZeroShotDetector`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from halluguard.detectors.box_files import KnownBoxes
from halluguard.detectors.ensemble import Combination, Ensemble
from halluguard.detectors.precomputed import KnownObjects
from halluguard.errors import ExpertError, HalluguardError, InputError, SettingsError, UnsupportedModelError, first_line
from halluguard.images import ImageSource, load_image
from halluguard.io import file_hash, parsing, read_json
from halluguard.records import Box, Detector, PropertyExpert, TextReader
from halluguard.reliability import Rates, Stated, read_rates

if TYPE_CHECKING:  # known objects need neither
    from PIL.Image import Image
    from transformers.modeling_utils import PreTrainedModel

_WEIGHTS = Path(__file__).parents[1] / "sandbox" / "weights"
SANDBOX, SANDBOX_MLLM = _WEIGHTS / "detector", _WEIGHTS / "mllm"
_STATED = re.compile(r",(recall|precision|dtype|compile|joint)=([^,]+)$")
_RUN: Mapping[str, Callable[[str], object]] = {
    "dtype": {name: name for name in ("float32", "float16", "bfloat16")}.__getitem__,
    "compile": {"yes": True, "no": False}.__getitem__,
    "joint": float,
}
"""Option for running a model -> reader of its value, which raises KeyError or ValueError."""
_DEVICE = re.compile(r"(cpu|cuda|mps|xpu|npu|hpu)(:\d{1,3})?")


def from_spec(spec: str, *, device: str | None = None) -> Detector:
    """Load the detector of a command-line name.

    Args:
        spec: one of the forms above.
        device: device of a model; default "cpu".

    Raises:
        InputError: its file cannot be read.
        SettingsError: the name has none of the forms, or a recall or precision is not in [0, 1].
        ExpertError, MissingExtraError, UnsupportedModelError: it cannot be loaded.
    """
    spec, stated, run = _stated(spec)
    detector = _loaded(spec, device, run)
    for name, value in stated.items():
        try:
            setattr(detector, name, Rates.of_value(value))
        except AttributeError as error:
            raise SettingsError(f"{detector.name} keeps its own {name}; leave {name}= out of {spec!r}") from error
    return detector


def from_specs(specs: Sequence[str], agree: Combination = "any", *, device: str | None = None) -> Detector:
    """Load one detector, or several as an ensemble in which each keeps its name, thresholds and recall.

    Args:
        specs: at least one name, as for `from_spec`.
        agree: rule that combines their verdicts: "any", "all" or "votes"; see `detectors.ensemble`.
        device: device of models; default "cpu".
    """
    detectors = [from_spec(spec, device=device) for spec in specs]
    if len(detectors) == 1:
        return detectors[0]
    names = [detector.name for detector in detectors]
    for spec, detector in zip(specs, detectors, strict=True):
        if names.count(detector.name) > 1:
            detector.name = _stated(spec)[0].partition(":")[2] or detector.name
    return Ensemble(detectors, agree, mixed=True)


def _stated(spec: str) -> tuple[str, dict[str, Stated], dict[str, Any]]:
    """A name without its options; its recall and precision; and how a model runs."""
    stated: dict[str, Stated] = {}
    run: dict[str, Any] = {}
    while match := _STATED.search(spec):
        name, value = match.groups()
        spec = spec[: match.start()]
        if name not in _RUN:
            stated[name] = read_rates(value)
            continue
        try:
            run[name] = _RUN[name](value)
        except (KeyError, ValueError) as error:
            raise SettingsError(
                f"expected dtype=float32, float16 or bfloat16, compile=yes or no, or joint=0.05, got {name}={value}; "
                "correct it"
            ) from error
    return spec, stated, run


def check_device(device: str | None) -> None:
    """Refuse a text that names no device.

    Raises:
        SettingsError: it is neither None nor of the form "cpu", "cuda" or "cuda:1".
    """
    if device is not None and not _DEVICE.fullmatch(device):
        raise SettingsError(f"expected a device such as 'cpu', 'cuda' or 'cuda:1', got {device!r}; correct it")


def _loaded(spec: str, device: str | None, run: Mapping[str, Any]) -> Detector:
    """The detector of a name without its options."""
    check_device(device)
    kind, colon, rest = spec.partition(":")
    if colon and kind in _LOADERS:
        if run:
            raise SettingsError(f"{', '.join(run)} are for models of transformers; leave them out of {spec!r}")
        if not rest:
            raise SettingsError(f"expected a name after {kind!r}:, as in '{kind}:FILE', got {spec!r}; add it")
        return _LOADERS[kind](rest, device)
    if not spec.strip():
        raise SettingsError("expected the hub name or folder of a detector, or 'objects:FILE'; got nothing")
    return _from_transformers(str(SANDBOX) if spec == "sandbox" else spec, device, run)


def _from_transformers(name: str, device: str | None, run: Mapping[str, Any]) -> Detector:
    from halluguard.detectors.checkpoints import load_detector

    with _loading(f"the detector {name!r}", device):
        return load_detector(name, device=device or "cpu", **run)


def visual_questions(name: str, *, device: str | None = None) -> PropertyExpert:
    """Load a vision-language model that answers yes-no questions about attributes and relations.

    Args:
        name: hub name or folder, or "sandbox" for the sandbox's own model.
        device: device of the model; default "cpu".

    Raises:
        ExpertError, MissingExtraError, UnsupportedModelError: it cannot be loaded.
    """
    from halluguard.detectors.questions import VisualQuestions

    if not name.strip():
        raise SettingsError("expected the hub name or folder of a vision-language model to ask; got nothing")
    with _loading(f"the model {name!r}", device):
        return VisualQuestions.from_pretrained(SANDBOX_MLLM if name == "sandbox" else name, device=device or "cpu")


@contextlib.contextmanager
def _loading(what: str, device: str | None) -> Iterator[None]:
    """Turn an error of loading a model into one of ours, in one sentence."""
    try:
        yield
    except (ExpertError, SettingsError, UnsupportedModelError):
        raise
    except (AssertionError, RuntimeError) as error:  # what torch raises where there is no such device
        raise ExpertError(
            f"{what} does not run on {device or 'cpu'!r} ({first_line(error)}); check --device"
        ) from error
    except HalluguardError as error:
        raise ExpertError(f"{what} cannot be loaded: {error}") from error
    except (OSError, ValueError) as error:
        raise ExpertError(
            f"{what} cannot be loaded ({first_line(error)}); check the name, the network, or name a local folder"
        ) from error


def known_objects(path: Path) -> KnownObjects:
    """Known objects from a file {"image id": ["dog", "car"]}."""
    objects = read_json(path)
    if not isinstance(objects, dict):
        raise InputError(
            f"expected an object of image id -> list of names in {str(path)!r}, got {type(objects).__name__}; "
            "correct the file"
        )
    with parsing(path, "known objects, {image id: list of names}"):
        detector = KnownObjects(objects, name=f"objects:{path.name}")
    detector.fingerprint = f"known-objects:{file_hash(path)[:12]}"
    return detector


def known_boxes(files: str) -> KnownBoxes:
    """Known boxes from "FILE" or "RESULTS,ANNOTATIONS"; tables and JSON Lines by their suffix."""
    results, _, annotations = files.partition(",")
    path, parts = Path(results), [Path(file) for file in (results, annotations) if file]
    if path.is_dir():
        each = "".join(file_hash(file)[:12] for file in sorted(path.glob("*.xml")) if file.is_file())
        hashes = [hashlib.blake2b(each.encode(), digest_size=6).hexdigest()]
    else:
        hashes = [file_hash(file)[:12] for file in parts if file.is_file()]
    name = "precomputed:" + ",".join(part.name for part in parts)
    with parsing(path, "boxes"):
        detector = KnownBoxes.from_file(path, annotations or None, name=name)
    detector.fingerprint = f"precomputed:{','.join(hashes)}"
    return detector


def _grounding_dino(files: str, device: str | None) -> Detector:
    from halluguard.detectors.groundingdino_py import GroundingDinoPy

    config, checkpoint, tokenizer = (*files.split(","), "", "")[:3]
    if not checkpoint:
        raise SettingsError(
            f"expected 'groundingdino:CONFIG,CHECKPOINT' or with ',TOKENIZER', got {files!r}; correct it"
        )
    return GroundingDinoPy.from_checkpoint(
        config, checkpoint, tokenizer=tokenizer or "bert-base-uncased", device=device or "cpu"
    )


def _asked(name: str, device: str | None) -> Detector:
    from halluguard.detectors.self_check import SelfCheck

    with _loading(f"the model {name!r}", device):
        return SelfCheck.from_pretrained(SANDBOX_MLLM if name == "sandbox" else name, device=device or "cpu")


def _probe(files: str, device: str | None) -> Detector:
    from halluguard.detectors.questions import VisualQuestions
    from halluguard.detectors.taught_probe import TaughtProbe

    file, _, name = files.partition(",")
    if not name:
        raise SettingsError(f"expected 'probe:FILE,MODEL', got 'probe:{files}'; add the model")
    with _loading(f"the model {name!r}", device):
        model = SANDBOX_MLLM if name == "sandbox" else name
        expert = VisualQuestions.from_pretrained(model, device=device or "cpu")
        return TaughtProbe(expert.model, expert.processor, file, name=expert.name)


_LOADERS: dict[str, Callable[[str, str | None], Detector]] = {
    "objects": lambda rest, device: known_objects(Path(rest)),
    "precomputed": lambda rest, device: known_boxes(rest),
    "groundingdino": _grounding_dino,
    "ask": _asked,
    "probe": _probe,
}


class FunctionDetector:
    """A detector from a function (image, phrases) -> boxes, which point to phrases by index or by their label.

    Args:
        function: called with an RGB PIL image and a list of phrases.
        name: name in verdicts; default the function's own.
    """

    name: str
    needs_image: bool = True

    def __init__(self, function: Callable[[Image, list[str]], Sequence[Box]], name: str | None = None) -> None:
        self.function = function
        self.name = str(name or getattr(function, "__qualname__", type(function).__name__))

    def covers(self, phrase: str) -> bool:
        """True: a function is asked about every phrase."""
        return True

    def detect(self, images: Sequence[ImageSource], phrases: Sequence[Sequence[str]]) -> list[list[Box]]:
        """Boxes of each image's phrases, by one call per image."""
        return [
            [_with_phrase(box, row) for box in self.function(load_image(image), list(row))]
            for image, row in zip(images, phrases, strict=True)
        ]


def _with_phrase(box: Box, phrases: Sequence[str]) -> Box:
    if box.phrase is not None:
        return box
    if box.label not in phrases:
        raise ExpertError(
            f"a box must point to one of the phrases {list(phrases)}, by index or label, got {box}; "
            "correct the function"
        )
    return Box(box.label, box.score, box.xyxy, list(phrases).index(box.label))


def as_detector(detector: object, captioner: object = None) -> str | Detector:
    """The detector, or the name of one, that a caller gave in any form; default the captioner's own.

    Args:
        detector: a name or path, a detector, a function (image, phrases) -> boxes, or None.
        captioner: a Guard, whose detector is used where `detector` is None.

    Raises:
        SettingsError: it is none of these.
    """
    if detector is None:
        detector = getattr(captioner, "detector", None)
    if detector is None:
        raise SettingsError(
            "an audit needs a detector, got none; give detector=..., for example 'objects:objects.json'"
        )
    if isinstance(detector, Path):
        return str(detector)
    if isinstance(detector, str):
        return detector
    if callable(getattr(detector, "detect", None)):
        return detector  # type: ignore[return-value]  # a detector by its method
    if callable(detector):
        return FunctionDetector(detector)
    raise SettingsError(
        f"expected a detector, the name of one, or a function (image, phrases) -> boxes, got a "
        f"{type(detector).__name__}"
    )


_SETTINGS = (
    *("prompt", "floor", "nms", "isolate", "phrases_per_pass"),
    *("attribute", "relation", "margin", "heard", "unsure"),  # of visual questions
    "least",  # of readers of written words
)
_NEW_SETTINGS = ("joint", "max_tokens")
"""Settings that are part of a key only where they are set, so that keys of older caches stay valid."""


def fingerprint(detector: Detector | PropertyExpert | TextReader) -> str:
    """The cache key of a detector or property expert: its name, settings and weights, or its attribute `fingerprint`.

    The weights of a hub model are known by its commit; those of a folder or of a model made in this process are read.
    Thresholds are not part of it: they judge what was detected.
    """
    own = getattr(detector, "fingerprint", None)
    if isinstance(own, str):
        return own
    if isinstance(detector, Ensemble):
        how = detector.name.partition("(")[0]
        return f"{how}({', '.join(fingerprint(expert) for expert in detector.experts)})"
    parts = {name: getattr(detector, name) for name in _SETTINGS if hasattr(detector, name)}
    parts |= {name: value for name in _NEW_SETTINGS if (value := getattr(detector, name, None)) is not None}
    if parts.get("joint") is not None:
        parts["thresholds"] = list(getattr(detector, "thresholds", ()))  # they decide which phrases are asked alone
    model = getattr(detector, "model", None)
    if model is not None and callable(getattr(model, "state_dict", None)):
        parts["weights"] = getattr(model.config, "_commit_hash", None) or _weights(model)
        dtype = str(getattr(model, "dtype", "torch.float32"))
        parts |= {} if dtype == "torch.float32" else {"dtype": dtype}
    if not parts:
        return detector.name
    return f"{detector.name}#{hashlib.blake2b(json.dumps(parts).encode(), digest_size=8).hexdigest()}"


def _weights(model: PreTrainedModel) -> str:
    import torch

    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
