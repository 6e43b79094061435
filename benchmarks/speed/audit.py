"""Measure an audit: rows per CPU second, memory, bytes per row, the share of each stage, and the cost of the rest.

    python benchmarks/speed/audit.py --captions captions.jsonl --objects objects.json.gz --rows 1000 10000
    python benchmarks/speed/audit.py --captions captions.jsonl --objects objects.json.gz --against FOLDER
    python benchmarks/speed/audit.py --captions captions.jsonl --objects objects.json.gz --rows 50000 --shards 4
    python benchmarks/speed/audit.py --captions captions.jsonl --objects objects.json.gz --words 8 --memory \\
        --rows 1000 10000 100000
    python benchmarks/speed/audit.py --sandbox

With known objects, the captions are repeated under new ids up to each number of rows. Each audit is the command line in
a process of its own, from the file to the report; runs of different kinds alternate. `--against` names a folder with
other code of halluguard, which audits the same file. Beside them runs `plain_spacy.py`, a script of forty lines that
only finds objects. `--shards` merges shards, whose rows are those of one audit of 1,000 captions, repeated. `--memory`
audits in one process alone, and `--words` keeps the first words of each caption, so that many rows are checked in
little time. With `--sandbox`, the sandbox's detector looks at its 200 scenes, and the time in the detector is
compared with the time of the whole run.
Times are CPU seconds of all threads and processes; peak memory is that of the largest process.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parents[2]
_COMPILED = Path(tempfile.gettempdir()) / "halluguard-speed-compiled"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--captions", type=Path, nargs="+", default=[], help="files of captions")
    parser.add_argument("--objects", type=Path, help="JSON file, image id -> object names")
    parser.add_argument("--rows", type=int, nargs="+", default=[1000], help="numbers of rows to measure [1000]")
    parser.add_argument("--rounds", type=int, default=1, help="number of measurements of each kind of run")
    parser.add_argument("--against", type=Path, help="folder with other code of halluguard")
    parser.add_argument("--shards", type=int, default=0, help="number of shards to merge")
    parser.add_argument(
        "--workers", type=int, default=2, help="number of processes of the second run, and of the merge"
    )
    parser.add_argument("--memory", action="store_true", help="run one process alone, and print its peak memory")
    parser.add_argument("--words", type=int, help="number of words to keep of each caption")
    parser.add_argument("--work", type=Path, default=Path("runs/speed-audit"), help="working folder [runs/speed-audit]")
    parser.add_argument(
        "--sandbox", action="store_true", help="audit captions of drawn scenes with the sandbox's detector"
    )
    args = parser.parse_args()
    if args.sandbox:
        print(json.dumps(sandbox_overhead(), indent=2))
        return
    args.work.mkdir(parents=True, exist_ok=True)
    for rows in args.rows:
        checked = min(rows, 1000) if args.shards else rows
        repeated = args.work / f"{checked}.jsonl"
        repeat(args.captions, checked, repeated, args.words)
        if args.shards:
            print(json.dumps(merged(repeated, args.objects, rows, args.shards, args.workers)))
            continue
        for line in compared(repeated, args.objects, args.against, args.rounds, 1 if args.memory else args.workers):
            print(json.dumps(line), flush=True)
        if args.memory:
            continue
        milliseconds = stages(repeated, args.objects)
        corrected = sum(milliseconds[name] for name in ("parsing", "claims", "verdicts", "rewriting"))
        speed = {"captions parsed, judged and corrected per CPU second": round(1000 / corrected, 1)}
        print(json.dumps({"rows": rows, "stages": milliseconds, **speed}), flush=True)


def repeat(captions: list[Path], rows: int, target: Path, words: int | None = None) -> None:
    """A file of `rows` captions: the captions, or their first words, over and over, each under a new id."""
    lines = [json.loads(line) for file in captions for line in file.read_text(encoding="utf-8").splitlines()]
    temporary = target.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        for i in range(rows):
            row = lines[i % len(lines)]
            caption = row["caption"] if words is None else " ".join(row["caption"].split()[:words])
            file.write(json.dumps({"id": i, "image_id": row["image_id"], "caption": caption}) + "\n")
    temporary.rename(target)


def compared(captions: Path, objects: Path, against: Path | None, rounds: int, workers: int) -> list[dict[str, Any]]:
    """One line per kind of run: medians of CPU seconds of the start and the whole, peak memory, bytes per row."""
    audit = ["-m", "halluguard.cli", "audit", captions, "--objects", objects, "--progress", "off", "--quiet"]
    script: list[object] = [Path(__file__).with_name("plain_spacy.py"), captions, objects]
    kinds: dict[str, tuple[Path, list[object]]] = {"one process": (_HERE, [*audit, "--workers", 1])}
    if workers > 1:
        kinds |= {
            f"{workers} workers": (_HERE, [*audit, "--workers", workers]),
            "one process, compact": (_HERE, [*audit, "--workers", 1, "--compact"]),
            **({"against, one process": (against.resolve(), audit)} if against else {}),
            "plain spaCy, objects only": (_HERE, script),
        }
    times: dict[str, list[tuple[float, float, int]]] = {kind: [] for kind in kinds}
    sizes: dict[str, int] = {}
    rows = sum(1 for _ in captions.open(encoding="utf-8"))
    start_of({code for code, _ in kinds.values()}, captions, audit[4:], 1)  # so that no measured run compiles modules
    for _ in range(rounds):
        for kind, (code, command) in kinds.items():
            out = captions.with_name(f"{captions.stem}-{kind.replace(' ', '-')}")
            shutil.rmtree(out, ignore_errors=True)
            target = [out.with_suffix(".jsonl")] if command is script else ["--out", out]
            times[kind].append(measured(code, [*command, *target]))
            sizes[kind] = out.with_suffix(".jsonl").stat().st_size if command is script else size_of(out)
    starts = start_of({code for code, _ in kinds.values()}, captions, audit[4:], rounds)
    return [
        {
            "rows": rows,
            "run": kind,
            "start": None if kinds[kind][1] is script else starts[kinds[kind][0]],
            "CPU seconds": round(statistics.median(cpu for cpu, _, _ in runs), 1),
            "rows per CPU second": round(rows / statistics.median(cpu for cpu, _, _ in runs), 1),
            "seconds": round(statistics.median(wall for _, wall, _ in runs), 1),
            "peak MiB": max(peak for _, _, peak in runs),
            "bytes per row": round(sizes[kind] / rows),
        }
        for kind, runs in times.items()
    ]


def start_of(codes: Iterable[Path], captions: Path, options: Sequence[object], rounds: int) -> dict[Path, float]:
    """CPU seconds that each code takes to audit five captions, nearly all of them for its start."""
    few, out = captions.with_name("few.jsonl"), captions.with_name("few")
    with captions.open(encoding="utf-8") as file:
        few.write_text("".join(itertools.islice(file, 5)), encoding="utf-8")
    spent: dict[Path, list[float]] = {code: [] for code in codes}
    for _ in range(rounds):
        for code, seconds in spent.items():
            shutil.rmtree(out, ignore_errors=True)
            seconds.append(measured(code, ["-m", "halluguard.cli", "audit", few, *options, "--out", out])[0])
    return {code: round(statistics.median(seconds), 2) for code, seconds in spent.items()}


def measured(code: Path, command: Sequence[object]) -> tuple[float, float, int]:
    """CPU seconds, seconds and peak memory (MiB) of a command with the code of a folder."""
    environment = {**os.environ, "PYTHONPATH": str(code), "OMP_NUM_THREADS": "1"}
    environment["PYTHONPYCACHEPREFIX"] = str(_COMPILED)  # an installed package is compiled, a folder need not be
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-P", *map(str, command)], env=environment)
    _, status, used = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"the command {' '.join(map(str, command))} failed")
    return used.ru_utime + used.ru_stime, time.perf_counter() - began, used.ru_maxrss // 1024


def size_of(folder: Path) -> int:
    """Bytes of all files in a run folder, without its lock and cache."""
    files = [path for path in folder.rglob("*") if path.is_file() and "cache" not in path.name]
    return sum(path.stat().st_size for path in files)


def merged(captions: Path, objects: Path, rows: int, shards: int, workers: int) -> dict[str, Any]:
    """Merge shards of `rows` rows together.

    Checking is not measured here, so the shards hold the rows of one audit over and over, under new indices and ids.
    The start of the processes is in the times; two numbers of rows tell it from the time per row.
    """
    once, out = captions.with_suffix(""), captions.with_name(f"{rows}-merged")
    for folder in (once, out):
        shutil.rmtree(folder, ignore_errors=True)
    measured(_HERE, ["-m", "halluguard.cli", "audit", captions, "--objects", objects, "--out", once, "--quiet"])
    folders = [captions.with_name(f"{rows}-shard-{i + 1}-of-{shards}") for i in range(shards)]
    for i, folder in enumerate(folders):
        shutil.rmtree(folder, ignore_errors=True)
        write_shard(once, folder, i, shards, rows, workers)
    merge = ["-m", "halluguard", "audit", "merge", *folders, "--out", out, "--workers", workers, "--quiet"]
    cpu, wall, peak = measured(_HERE, merge)
    assert json.loads((out / "summary.json").read_text(encoding="utf-8"))["rows"] == rows
    times = {"CPU seconds": round(cpu, 1), "seconds": round(wall, 1), "peak MiB": peak}
    longest = joining([folder / "claims.parquet" for folder in folders], out.with_suffix(".parquet"))
    return {
        "merged rows": rows,
        "shards": shards,
        "workers": workers,
        **times,
        "CPU us per row": round(1e6 * cpu / rows),
        "of them the longest task": round(1e6 * longest / rows),
    }


def joining(tables: Sequence[Path], target: Path) -> float:
    """CPU seconds of joining the tables of claims, which one process does: the longest task of a merge."""
    from halluguard.auditing.outputs.merging import merge_tables
    from halluguard.auditing.outputs.tables import CLAIM_COLUMNS

    began = time.process_time()
    merge_tables(tables, target, CLAIM_COLUMNS)
    return time.process_time() - began


def write_shard(once: Path, folder: Path, share: int, shards: int, rows: int, workers: int) -> None:
    """Write a finished shard whose rows are those of the run `once`, repeated."""
    from halluguard.auditing.caption_rows import Row
    from halluguard.auditing.part_lines import read_row
    from halluguard.auditing.run import finish
    from halluguard.auditing.run_folder import RunFolder, part_lines, read_manifest
    from halluguard.auditing.source import shard_of

    manifest = read_manifest(once) or {}
    manifest["selection"]["shard"] = [share, shards]
    lines = list(part_lines(once))
    checked = map(read_row, lines)
    homes = [shard_of(Row(row["index"], row["id"], row["image"], row["caption"]), shards) for row in checked]
    own = (i for i in range(rows) if homes[i % len(lines)] == share)
    image = ',"image":'
    repeated = (f'{{"index":{i},"id":"{i}"{image}{lines[i % len(lines)].partition(image)[2]}' for i in own)
    with RunFolder(folder, manifest) as run:
        for number in itertools.count():
            part = list(itertools.islice(repeated, manifest["part_rows"]))
            if not part:
                break
            run.commit(number, part)
        finish(folder, manifest, workers=workers)


def stages(captions: Path, objects: Path) -> dict[str, float]:
    """CPU milliseconds per row of each stage, in one process like that of the command line.

    "spaCy alone" is the tagger and the parser on the same texts, which "parsing" contains once more.
    """
    from halluguard.auditing import AuditConfig
    from halluguard.auditing.outputs.tables import write_tables
    from halluguard.auditing.part_lines import to_line
    from halluguard.auditing.pipeline import Checker, to_dict
    from halluguard.auditing.run_folder import write_part
    from halluguard.auditing.source import open_source
    from halluguard.auditing.work_units import chunks
    from halluguard.correction.claims.extract import from_parse, parses
    from halluguard.correction.rewriting import rewrite_many
    from halluguard.correction.text import pipeline
    from halluguard.correction.text.blas import one_thread
    from halluguard.correction.text.parse import Parse
    from halluguard.correction.verification.verify import examine_many
    from halluguard.detectors.specs import from_spec
    from halluguard.lean_imports import exempt_loaded, leave_out_unused

    leave_out_unused()
    detector = from_spec(f"objects:{objects}")
    nlp = pipeline()
    spent: dict[str, float] = {}
    last = time.process_time()

    def stage(name: str) -> None:
        nonlocal last
        now = time.process_time()
        spent[name] = spent.get(name, 0.0) + now - last
        last = now

    rows = list(open_source(captions, {}).rows())[:2000]
    stage("reading the file")
    checker = Checker(AuditConfig(captions, captions, detector=detector), detector)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "parts").mkdir()
        for number, group in enumerate(chunks(rows)):
            last = time.process_time()
            with one_thread(), nlp.memory_zone():
                for _ in nlp.pipe([row.caption for row in group], batch_size=64):
                    pass
            stage("spaCy alone")
            both = list(parses([row.caption for row in group], [row.question for row in group]))
            parsed = [(parse, question) for parse, question in both if isinstance(parse, Parse)]
            stage("parsing")
            claims = [from_parse(parse, question) for parse, question in parsed]
            stage("claims")
            judged = examine_many(claims, [row.image for row in group], detector, batch_size=64, names=checker.names)
            stage("verdicts")
            rewrite_many([parse for parse, _ in parsed], claims, [verdicts for verdicts, _ in judged])
            stage("rewriting")
            checked = checker.check(group)
            last = time.process_time()
            lines = [to_line(to_dict(one)) for one in checked]
            write_part(Path(folder) / "parts" / f"part-{number:06d}.jsonl", number, lines)
            stage("parts")
            exempt_loaded()
        last = time.process_time()
        write_tables(Path(folder), Path(folder))
        stage("tables")
    return {name: round(1000 * seconds / len(rows), 3) for name, seconds in spent.items()}


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
