"""Run the tests of decoding and Guard with other versions of transformers and torch, and write the table.

    python benchmarks/compat.py 5.17.0 5.24.0 [--folder .venv-compat] [--write docs/compatibility.md]
    python benchmarks/compat.py 5.17.0+2.6.0 --index https://download.pytorch.org/whl/cpu

A version is one of transformers, with `+` one of torch. With transformers alone, that version is put in front of the
packages of this environment. With torch, the pair gets an environment of its own. Both are kept in the folder and used
again. Each pair runs `TESTS`; the table has what passed, failed and was skipped, and the names of what failed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = ("tests/decoding", "tests/prompting", "tests/test_guard.py")
WITH_TRANSFORMERS = ("tokenizers", "huggingface-hub")
"""Packages of which transformers asks for a range of versions of its own."""

PAGE = """# Versions of transformers and torch

    python benchmarks/compat.py {pairs} --tests {tests}

These tests of decoding and `Guard`, with tiny random models, ran with each pair on the CPU. `constraints.txt` names the
pair that all tests run with. Differences between versions are handled in one module,
`halluguard/decoding/engine/compatibility.py`.

| transformers | torch | passed | failed | skipped | failing tests |
|---|---|---|---|---|---|
"""


def pip(*arguments: str, python: str = sys.executable) -> None:
    subprocess.run([python, "-m", "pip", "install", "--quiet", *arguments], check=True)


def overlay(version: str, folder: Path) -> dict[str, str]:
    """Environment variables in which this interpreter imports transformers at `version`."""
    target = folder / f"transformers-{version}"
    if not (target / "transformers").exists():
        pip("--no-deps", "--target", str(target), f"transformers=={version}")
        (metadata,) = target.glob("transformers-*/METADATA")
        for needed in requirements(metadata.read_text(encoding="utf-8")):
            pip("--no-deps", "--target", str(target), needed)
    return {"PYTHONPATH": os.pathsep.join([str(target), str(ROOT)])}


def requirements(metadata: str) -> list[str]:
    """The requirements of transformers among `WITH_TRANSFORMERS`, in the form that pip takes.

    >>> requirements("Requires-Dist: tokenizers<=0.23,>=0.22\\nRequires-Dist: numpy>=1")
    ['tokenizers<=0.23,>=0.22']
    """
    lines = re.findall(r"^Requires-Dist: ([^;\n]+)$", metadata, re.MULTILINE)
    return [line.strip() for line in lines if re.split(r"[<>=!~ (]", line)[0] in WITH_TRANSFORMERS]


def environment(version: str, torch: str, folder: Path, index: str | None) -> str:
    """The interpreter of an environment with that pair."""
    home = folder / f"{version}+{torch}"
    python = str(home / "bin" / "python")
    if not (home / ".installed").exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        pip(*(["--index-url", index] if index else []), f"torch=={torch}", python=python)
        pip(f"transformers=={version}", f"torch=={torch}", "--editable", f"{ROOT}[dev]", python=python)
        (home / ".installed").touch()
    return python


def tested(pair: str, folder: Path, index: str | None, tests: list[str]) -> dict[str, object]:
    """The outcome of the tests with one pair."""
    version, _, torch = pair.partition("+")
    variables = {} if torch else overlay(version, folder)
    python = environment(version, torch, folder, index) if torch else sys.executable
    shown = subprocess.run(
        [python, "-c", "import torch; print(torch.__version__.partition('+')[0])"],
        capture_output=True,
        text=True,
        check=True,
    )
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rfE", "-m", "not slow", *tests]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True)
    return {"transformers": version, "torch": shown.stdout.strip(), **outcome(done.stdout or done.stderr)}


def outcome(text: str) -> dict[str, object]:
    """Counts and failing tests of pytest's output.

    >>> outcome("FAILED tests/a.py::test_b[c] - X\\n1 failed, 2 passed, 3 skipped in 1s")
    {'passed': 2, 'failed': 1, 'skipped': 3, 'failing': ['tests/a.py::test_b[c]']}
    """
    last = text.strip().splitlines()[-1] if text.strip() else ""
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|skipped|errors?)", last)}
    broken = counts.get("failed", 0) + counts.get("error", 0) + counts.get("errors", 0)
    failing = re.findall(r"^(?:FAILED|ERROR) (\S+)", text, re.MULTILINE)
    if not counts:
        failing.append(f"no result: {last[:120]}")
    return {
        "passed": counts.get("passed", 0),
        "failed": broken,
        "skipped": counts.get("skipped", 0),
        "failing": failing,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pairs", nargs="+", help="versions of transformers, or transformers+torch")
    parser.add_argument(
        "--folder", type=Path, default=ROOT / ".venv-compat", help="folder for the environments [.venv-compat]"
    )
    parser.add_argument("--index", help="package index of torch's CPU builds")
    parser.add_argument("--tests", nargs="+", default=list(TESTS), help="test files to run [those of TESTS]")
    parser.add_argument("--results", type=Path, help="JSON file of outcomes: read first, completed after every pair")
    parser.add_argument("--write", type=Path, help="Markdown file to write the table to")
    given = parser.parse_args()
    done = json.loads(given.results.read_text()) if given.results and given.results.exists() else {}
    for pair in given.pairs:
        done[pair] = tested(pair, given.folder, given.index, given.tests)
        print(pair, done[pair], flush=True)
        if given.results:
            given.results.write_text(json.dumps(done, indent=1))
    if given.write:
        rows = [
            [str(row[key]) for key in ("transformers", "torch", "passed", "failed", "skipped")]
            + [", ".join(f"`{name}`" for name in row["failing"])]
            for row in done.values()
        ]
        page = PAGE.format(pairs=" ".join(done), tests=" ".join(given.tests))
        given.write.write_text(page + "".join(f"| {' | '.join(row)} |\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
