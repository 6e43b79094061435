"""Give files that are made to exhaust a reader to every command: seconds, peak memory and exit code of each.

    python benchmarks/bombs.py FOLDER [case ...] [--budget SECONDS] [--table]

FOLDER keeps the hostile files (4 GB, made once) and results.jsonl. Cases that it holds already are not run again, so a
run that was stopped continues. A case is named "command file", as in "audit line200.csv"; parts of names choose cases.
The memory is the peak of the process's resident pages. A case ends at 75 processor seconds, times the number of images
where it has all of them, or at 6 GiB.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
from hostile_files import FILES, IMAGES, make_all
from PIL import Image

MOST_SECONDS, MOST_MEMORY = 60, 1536
"""Processor seconds and MiB that a case may take."""
CODES = (0, 2, 3, 4, 5, 6)
"""Exit codes that end in a sentence. A failed gate (1) is not among them: no case sets one."""
BENT_FILES = ("manifest.json", "summary.json")
BENT_WITH = (
    "line200.jsonl",
    "line200.json",
    "brackets.json",
    "arr.json",
    "gz3.jsonl.gz",
    "emptyobjs.json",
    "gap.jsonl",
)
_AUDIT = ("audit", "c.jsonl", "--objects", "objects.json")
Case = tuple[str, list[str]]


def prepare(work: Path) -> None:
    """Write an image, captions and known objects that every command can use, and audit them once."""
    (work / "img").mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(work / "img/a.png")
    (work / "objects.json").write_text('{"a.png": ["dog"]}')
    (work / "c.jsonl").write_text('{"image":"a.png","caption":"A dog."}\n')
    names = [*IMAGES]
    for name in names:
        (work / f"{name}.jsonl").write_text(json.dumps({"image": name, "caption": "There is a dog."}) + "\n")
    (work / "all-images.jsonl").write_text("".join((work / f"{name}.jsonl").read_text() for name in names))
    command = [sys.executable, "-m", "halluguard", *_AUDIT, "--out", "base"]
    subprocess.run(command, cwd=work, check=True, capture_output=True)


def cases(folder: Path) -> Iterator[Case]:
    """Name and arguments of every case; OUT stands for a path of its own."""
    images = str(folder / "images")
    for name in FILES:
        path = str(folder / name)
        out = "OUT" + "".join(Path(name).suffixes)
        yield f"audit {name}", ["audit", path, "--out", "OUT", "--objects", "objects.json", "--export", out]
    looking = ["--out", "OUT", "--detector", "sandbox", "--images", images]
    for name in IMAGES:
        yield f"audit-image {name}", ["audit", f"{name}.jsonl", *looking]
    yield "audit-image all", ["audit", "all-images.jsonl", *looking]
    sandbox = ["--model", "sandbox"]
    yield "caption all", ["caption", images, "--out", "OUT.jsonl", *sandbox, "--max-tokens", "5", "--workers", "4"]
    for name in FILES:
        path = str(folder / name)
        looked = ["--detector", "sandbox", "--images", "img"]
        yield f"calibrate {name}", ["calibrate", path, *looked, "--out", "OUT.json"]
        yield f"train {name}", ["train", path, "--images", "img", *sandbox, "--out", "OUT", "--device", "cpu"]
        yield f"train-config {name}", ["train", "--config", path, *sandbox, "--out", "OUT"]
        yield f"chair {name}", ["eval", "chair", "--captions", path, "--objects", "objects.json", "--json", "OUT"]
        yield f"pope {name}", ["eval", "pope", "--answers", path, "--questions", path, "--json", "OUT"]
        yield f"sample {name}", ["sample", path, "--out", "OUT.jsonl", "--images-drawn", "1"]
        yield f"objects {name}", ["audit", "c.jsonl", "--out", "OUT", "--objects", path]
        yield f"precomputed {name}", ["audit", "c.jsonl", "--out", "OUT", "--detector", f"precomputed:{path}"]
        yield f"thresholds {name}", ["audit", "c.jsonl", "--out", "OUT", *looked, "--thresholds", path]
        for option in ("image-names", "vocabulary", "spot-labels", "policy", "verdicts", "baseline"):
            yield f"{option} {name}", [*_AUDIT, "--out", "OUT", "--images", "img", f"--{option}", path]
    for victim in BENT_FILES:
        for name in BENT_WITH:
            yield f"explain {victim} {name}", ["explain", "OUT", "a.png"]
            yield f"merge {victim} {name}", ["audit", "merge", "OUT", "--out", "OUT2"]
            yield f"resume {victim} {name}", [*_AUDIT, "--out", "OUT"]


def run(name: str, arguments: list[str], work: Path, folder: Path, number: int) -> dict[str, object]:
    """Outcome of one case."""
    out = work / f"out{number}"
    files = name.split(" ")[1:]
    if len(files) == 2:
        shutil.copytree(work / "base", out)
        shutil.copy(folder / files[1], next(out.rglob(files[0])))
    arguments = [word.replace("OUT", str(out)) if word.startswith("OUT") else word for word in arguments]
    started = time.monotonic()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "halluguard", *arguments], cwd=work, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        code, processor, memory = _wait(process.pid, 75 * _images(name))
        process.returncode = code
        log.seek(0)
        said = [line for line in log.read().decode("utf-8", "replace").split("\n") if line.strip()]
    seconds = time.monotonic() - started
    for path in work.glob(f"out{number}*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return {
        "case": name,
        "code": code,
        "processor_seconds": round(processor, 1),
        "seconds": round(seconds, 1),
        "MiB": memory,
        "traceback": any("Traceback" in line for line in said),
        "said": " | ".join(said[-3:])[-300:],
    }


def _images(name: str) -> int:
    """The number of images by which the seconds of a case are multiplied."""
    return len(IMAGES) if name.endswith(" all") else 1


def _wait(number: int, seconds: float) -> tuple[int, float, int]:
    """Exit code, processor seconds and peak MiB of a process, which is killed beyond these seconds or 6 GiB."""
    while True:
        ended, status, usage = os.wait4(number, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss // 1024
        process = psutil.Process(number)
        times = process.cpu_times()
        if times.user + times.system > seconds or process.memory_info().rss >> 20 > 6144:
            os.kill(number, signal.SIGKILL)
        time.sleep(0.05)


def faults(result: dict[str, object]) -> list[str]:
    """What of a result is beyond the bounds."""
    found = []
    if float(str(result["processor_seconds"])) > MOST_SECONDS * _images(str(result["case"])):
        found.append("slow")
    if int(str(result["MiB"])) > MOST_MEMORY:
        found.append("large")
    if result["code"] not in CODES or result["traceback"]:
        found.append(f"exit {result['code']}")
    return found


def table(results: Sequence[dict[str, object]]) -> str:
    """Worst time and memory of each command, in Markdown."""
    lines = [
        "| command | files | processor seconds | with | MiB | with | beyond the bounds |",
        "|---|--:|--:|---|--:|---|--:|",
    ]
    grouped: dict[str, list[dict[str, object]]] = {}
    for result in results:
        grouped.setdefault(str(result["case"]).split(" ")[0], []).append(result)
    for command, group in grouped.items():
        row = f"| {command} | {len(group)} |"
        for key in ("processor_seconds", "MiB"):
            worst = max(group, key=lambda result: float(str(result[key])))
            row += f" {worst[key]} | `{str(worst['case']).partition(' ')[2]}` |"
        lines.append(f"{row} {sum(bool(faults(result)) for result in group)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="folder of the hostile files and of the results")
    parser.add_argument("cases", nargs="*", help="parts of the names of cases to run [all]")
    parser.add_argument("--budget", type=float, default=float("inf"), help="seconds after which no case is begun")
    parser.add_argument("--table", action="store_true", help="print the table of what was run, and run nothing")
    arguments = parser.parse_args()
    folder: Path = arguments.folder.resolve()
    results_file = folder / "results.jsonl"
    lines = results_file.read_text().splitlines() if results_file.exists() else []
    results = [json.loads(line) for line in lines]
    if arguments.table:
        print(table(results))
        return
    began = time.monotonic()
    make_all(folder)
    done = {result["case"] for result in results}
    wanted = [case for case in cases(folder) if case[0] not in done]
    if arguments.cases:
        wanted = [case for case in wanted if any(part in case[0] for part in arguments.cases)]
    work = folder / f"work{os.getpid()}"
    prepare(work)
    try:
        for number, (name, options) in enumerate(wanted):
            if time.monotonic() - began > arguments.budget:
                print(f"{len(wanted) - number} cases left")
                return
            result = run(name, options, work, folder, number)
            with results_file.open("a") as file:
                file.write(json.dumps(result) + "\n")
            print(" ".join(faults(result)) or "ok", json.dumps(result), flush=True)
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
