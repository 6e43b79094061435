"""The house: who may import whom, and how light the door is."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import halluguard

PACKAGE = Path(halluguard.__file__).parent

# Each package and the packages of ours it may import besides itself. Arrows point down.
MAY_IMPORT = {
    "_version": set(),
    "errors": {"printing"},
    "printing": set(),
    "io": {"errors"},
    "columns": {"errors", "io"},
    "json_stream": set(),
    "records": {
        "errors",
        "images",
        "io",
        "rendering",
    },  # images for its types; io and rendering on use, to save an answer
    "image_objects": {"errors"},
    "images": {"errors", "image_files", "image_objects"},
    "image_files": {"errors"},
    "vocabulary": set(),
    "reliability": {"errors", "io", "vocabulary"},
    "boxes": {"records"},
    "chat_templates": {"errors"},
    "hub": {"errors"},
    "arguments": {"errors"},
    "checkpoints": {"arguments", "errors", "chat_templates", "checkpoint_sizes", "checkpoint_references", "hub"},
    "checkpoint_references": {"errors", "checkpoint_sizes"},
    "checkpoint_sizes": {"errors", "hub", "io", "tensor_files"},
    "tensor_files": {"errors", "io"},
    "seeding": {"errors"},
    "lean_imports": set(),
    "thinking": set(),
    "controller": {"errors", "tensor_files"},
    "baking": {"arguments", "errors", "checkpoints", "controller"},
    "rendering": {"records", "errors", "images", "boxes"},
    "metrics": {"records", "errors", "io", "thinking", "_version"},
    "tuning": {
        *(
            "arguments",
            "records",
            "errors",
            "io",
            "columns",
            "json_stream",
            "images",
            "vocabulary",
            "boxes",
            "chat_templates",
            "checkpoints",
            "tensor_files",
            "controller",
            "metrics",
        ),
    },
    "decoding": {"chat_templates", "records", "errors", "images", "controller", "tensor_files"},
    "detectors": {
        "arguments",
        "records",
        "errors",
        "io",
        "images",
        "vocabulary",
        "reliability",
        "boxes",
        "chat_templates",
        "checkpoints",
        "tensor_files",
    },
    "correction": {
        "arguments",
        "chat_templates",
        "records",
        "errors",
        "vocabulary",
        "reliability",
        "boxes",
        "checkpoints",
        "thinking",
        "lean_imports",
    },
    "calibration": {
        *("records", "errors", "io", "images", "metrics", "vocabulary", "reliability", "_version"),
        *("correction", "detectors"),  # a policy is fitted to what the whole pipeline lets out
    },
    "prompting": {"records", "errors", "images", "decoding", "correction", "seeding", "thinking"},
    "guard": {
        "arguments",
        "records",
        "errors",
        "images",
        "decoding",
        "correction",
        "detectors",
        "checkpoints",
        "prompting",
        "_version",
    },
    "auditing": {
        *(
            "records",
            "errors",
            "io",
            "columns",
            "json_stream",
            "image_objects",
            "images",
            "image_files",
            "rendering",
            "correction",
            "detectors",
            "metrics",
            "_version",
        ),
        *(
            "boxes",
            "calibration",
            "sandbox",
            "vocabulary",
            "reliability",
            "lean_imports",
        ),  # the sandbox as an expert by name
    },
    "sandbox": {
        *("records", "errors", "images", "vocabulary", "boxes", "checkpoints", "metrics", "tuning"),
        *("decoding", "detectors", "guard"),  # to measure
    },
    "doctor": {"chat_templates", "errors", "decoding", "io", "_version"},
    "listening": {"errors", "images"},
    "playground": {
        *("records", "errors", "images", "rendering", "checkpoints", "listening"),
        *("decoding", "detectors", "guard", "sandbox"),
    },
    "serving": {
        *("records", "errors", "io", "images", "printing", "rendering", "checkpoints", "listening", "_version"),
        *("detectors", "guard", "image_files", "prompting", "sandbox"),
    },
    "demo": None,
    "evaluation": None,  # runs everything, imported on use
    "cli": None,  # everything, imported on use
    "__main__": {"cli"},
    "__init__": {"_version", "errors", "records", "guard", "correction"},
}


def imports_of(path: Path) -> set[str]:
    """Names of our packages that the file imports, at any depth."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: absolute imports only"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("halluguard.")}
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path):
    """Layers compose by type: a layer that imports its sibling can no longer be used alone."""
    package = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    allowed = MAY_IMPORT[package]
    if allowed is not None:
        unknown = {
            name for name in imports_of(path) if not (PACKAGE / name).exists() and not (PACKAGE / f"{name}.py").exists()
        }
        assert imports_of(path) - {package} - unknown <= allowed


def test_the_door_is_light():
    code = "import sys, halluguard; sys.exit(any(m in sys.modules for m in ('torch', 'spacy', 'numpy', 'PIL')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0, "import halluguard pulls a heavy package"


def test_all_lists_what_is_public():
    modules = {p.name.removesuffix(".py") for p in PACKAGE.iterdir()}
    public = {name for name in vars(halluguard) if not name.startswith("_") and name not in modules}
    assert public | {"__version__"} == set(halluguard.__all__)
    assert list(halluguard.__all__) == sorted(halluguard.__all__)


def test_random_draws_name_the_device_of_their_generator():
    """`torch.set_default_device("cuda")` is common, and a draw without a device then refuses a generator of the CPU."""
    unnamed = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            named = {keyword.arg for keyword in node.keywords} if isinstance(node, ast.Call) else set()
            if "generator" in named and "device" not in named and ast.unparse(node.func).startswith("torch.rand"):
                unnamed.append(f"{path}:{node.lineno}")
    assert not unnamed
