"""Size of the report and the time that a parser of HTML takes to read it, for runs of different numbers of rows.

    python benchmarks/speed/report.py [--rows 1000 100000]

The rows are made up: one caption of three claims about one of 300 objects, a third of them contradicted. Prints one
line of JSON per number of rows: seconds to write the page, its size, seconds to parse it with Python's own parser (a
browser is faster), and its number of elements. The samples have no images; each embedded one adds about 10 kB.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from html.parser import HTMLParser
from pathlib import Path

from halluguard.auditing.outputs.report import write_report
from halluguard.auditing.outputs.summary import Tally
from halluguard.auditing.part_lines import to_line
from halluguard.auditing.run_folder import write_part


class Counting(HTMLParser):
    """Counts elements."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--rows", type=int, nargs="+", default=[1000, 100_000], help="numbers of rows to measure [1000 100000]"
    )
    args = parser.parse_args()
    for rows in args.rows:
        with tempfile.TemporaryDirectory() as folder:
            write_run(Path(folder), rows)
            began = time.process_time()
            page = write_report(Path(folder)).read_text(encoding="utf-8")
            written = time.process_time() - began
        began = time.process_time()
        counting = Counting()
        counting.feed(page)
        print(
            json.dumps(
                {
                    "rows": rows,
                    "CPU seconds to write": round(written, 2),
                    "kB": round(len(page.encode()) / 1000),
                    "CPU seconds to parse": round(time.process_time() - began, 2),
                    "elements": counting.elements,
                }
            )
        )


def write_run(folder: Path, rows: int) -> None:
    """A finished run of made-up rows."""
    tally = Tally()
    (folder / "parts").mkdir()
    for number, start in enumerate(range(0, rows, 1000)):
        part = [row_of(index) for index in range(start, min(rows, start + 1000))]
        for row in part:
            tally.add(row)
        write_part(folder / "parts" / f"part-{number:06d}.jsonl", number, [to_line(row) for row in part])
    settings = {"expert": "made up", "thresholds": {"high": 0.35, "low": 0.2}}
    (folder / "summary.json").write_text(json.dumps(tally.summary(settings)), encoding="utf-8")


def row_of(index: int) -> dict[str, object]:
    names = [f"object {(index * 7 + k * k) % 300}" for k in range(3)]
    caption = f"A {names[0]}, a {names[1]} and a {names[2]} stand on a road."
    starts = [caption.index(name) for name in names]
    return {
        "index": index,
        "id": str(index),
        "image": f"{index // 5}.jpg",
        "code": "ok",
        "reason": "",
        "question": None,
        "caption": caption,
        "corrected": caption,
        "claims": [
            {"kind": "existence", "phrase": name, "name": name, "start": start, "end": start + len(name)}
            for name, start in zip(names, starts, strict=True)
        ],
        "verdicts": [
            {"claim": k, "decision": "contradicted" if (index + k) % 9 < 3 else "supported", "reason": "made up"}
            for k in range(3)
        ],
        "edits": [],
    }


if __name__ == "__main__":
    main()
