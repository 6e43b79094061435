"""Measure an audit: rows per CPU second, memory, start-up, and the cost of everything but the detector.

    python benchmarks/speed/audit.py --captions captions.jsonl --objects objects.json.gz --rows 1000 10000
    python benchmarks/speed/audit.py --sandbox

With known objects, the captions are repeated under new ids up to each number of rows, and each size runs in a process
of its own, from the file to the last output. `--minutes` ends a process early; the same command then continues, and the
pieces are added up. With `--sandbox`, the sandbox's detector looks at its 200 scenes, and the time in the detector is
compared with the time of the whole run. Times are CPU seconds of all threads.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--captions", type=Path, nargs="+", default=[])
    parser.add_argument("--objects", type=Path)
    parser.add_argument("--rows", type=int, nargs="+", default=[1000])
    parser.add_argument("--work", type=Path, default=Path("runs/speed-audit"))
    parser.add_argument("--minutes", type=float, help="minutes after which a process ends; run again to continue")
    parser.add_argument("--sandbox", action="store_true")
    parser.add_argument("--piece", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.piece:
        piece(args.piece, args.objects, args.minutes)
        return
    if args.sandbox:
        print(json.dumps(sandbox_overhead(), indent=2))
        return
    args.work.mkdir(parents=True, exist_ok=True)
    for rows in args.rows:
        repeated = args.work / f"{rows}.jsonl"
        if not repeated.exists():
            repeat(args.captions, rows, repeated)
        command = [sys.executable, __file__, "--piece", repeated, "--objects", args.objects]
        subprocess.run([*map(str, command), *(["--minutes", str(args.minutes)] if args.minutes else [])], check=True)
        print(json.dumps(added_up(repeated)))


def repeat(captions: list[Path], rows: int, target: Path) -> None:
    """A file of `rows` captions: the captions, over and over, each under a new id."""
    lines = [json.loads(line) for file in captions for line in file.read_text(encoding="utf-8").splitlines()]
    temporary = target.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        for i in range(rows):
            row = lines[i % len(lines)]
            file.write(json.dumps({"id": i, "image_id": row["image_id"], "caption": row["caption"]}) + "\n")
    temporary.rename(target)


def piece(captions: Path, objects: Path, minutes: float | None) -> None:
    """One process: audit until done or out of time, and append what it took to a log beside the captions."""
    began, seen, first, memory = time.perf_counter(), 0, 0.0, []
    from halluguard.auditing import AuditConfig
    from halluguard.auditing.run import run
    from halluguard.auditing.source import open_source

    def progress(counts: Counter[str]) -> None:
        nonlocal seen, first
        first = first or time.perf_counter() - began
        if seen // 1000 != (seen + counts["rows"]) // 1000:
            memory.append(resident())
        seen += counts["rows"]
        if minutes and time.perf_counter() - began > 60 * minutes:
            raise TimeoutError

    out, finished = captions.with_suffix(""), True
    try:
        run(AuditConfig(captions, out, detector=f"objects:{objects}"), open_source(captions, {}), progress)
    except TimeoutError:
        finished = False
    used = resource.getrusage(resource.RUSAGE_SELF)
    result = {
        "rows": seen,
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "seconds": round(time.perf_counter() - began, 1),
        "first_rows_after": round(first, 2),
        "peak_mb": used.ru_maxrss // 1024,
        "resident_mb": memory,
        "finished": finished,
    }
    with captions.with_suffix(".log").open("a", encoding="utf-8") as log:
        log.write(json.dumps(result) + "\n")


def resident() -> int:
    """Resident memory now, in MiB."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 2**20


def added_up(captions: Path) -> dict[str, Any]:
    """All pieces of one size."""
    pieces = [json.loads(line) for line in captions.with_suffix(".log").read_text(encoding="utf-8").splitlines()]
    rows, cpu = sum(p["rows"] for p in pieces), sum(p["cpu_seconds"] for p in pieces)
    out = captions.with_suffix("")
    sizes = {p.name: round(p.stat().st_size / 2**20, 1) for p in sorted(out.iterdir()) if p.is_file()}
    longest = max(pieces, key=lambda p: len(p["resident_mb"]))["resident_mb"]
    return {
        "rows": rows,
        "finished": pieces[-1]["finished"],
        "pieces": len(pieces),
        "cpu_seconds": round(cpu, 1),
        "rows_per_cpu_second": round(rows / cpu, 1),
        "first_rows_after": max(p["first_rows_after"] for p in pieces),
        "peak_mb": max(p["peak_mb"] for p in pieces),
        "resident_mb_at_rows": {str(1000 * (i + 1)): mb for i, mb in enumerate(longest) if (i + 1) in _MARKS},
        "outputs_mb": sizes,
    }


_MARKS = (1, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 99, 100)


def sandbox_overhead() -> dict[str, Any]:
    """The sandbox's detector on its own scenes: what share of the run's CPU time is not the detector's."""
    from halluguard import sandbox
    from halluguard.auditing import AuditConfig, audit
    from halluguard.correction.text import pipeline
    from halluguard.detectors.specs import from_spec

    detector: Any = from_spec("sandbox")
    pipeline()
    spent, detect = 0.0, detector.detect

    def timed(images: Any, phrases: Any) -> Any:
        nonlocal spent
        began = time.process_time()
        try:
            return detect(images, phrases)
        finally:
            spent += time.process_time() - began

    detector.detect = timed
    with tempfile.TemporaryDirectory() as folder:
        captions = Path(folder) / "captions.jsonl"
        with captions.open("w", encoding="utf-8") as file:
            for sample in sandbox.scenes():
                things = " and ".join(f"a {name}" for name in dict.fromkeys([*sample.names, "dog"]))
                caption = f"The image shows {things}."
                file.write(json.dumps({"image": f"{sample.image_id}.webp", "caption": caption}) + "\n")
        config = AuditConfig(captions, Path(folder) / "out", detector=detector, images=sandbox.TEST_SCENES)
        began = time.process_time()
        summary = audit(config)
        total = time.process_time() - began
    return {
        "rows": summary["rows"],
        "cpu_seconds": round(total, 2),
        "detector_cpu_seconds": round(spent, 2),
        "besides_the_detector": round(1 - spent / total, 4),
    }


if __name__ == "__main__":
    main()
