"""Compare the libraries that can multiply spaCy's matrices: CPU time of parsing, and whether parses are equal.

    python benchmarks/speed/blas.py --captions captions.jsonl --rows 500

Both libraries parse the same batches, in turn. `HALLUGUARD_BLAS` chooses between them; see
`halluguard.correction.text.blas`.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from halluguard.correction.text import parse_many, pipeline
from halluguard.correction.text.blas import choose_blas


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--captions", type=Path, nargs="+", required=True, help="files of captions")
    parser.add_argument("--rows", type=int, default=500, help="number of captions to parse [500]")
    args = parser.parse_args()
    lines = [line for file in args.captions for line in file.read_text(encoding="utf-8").splitlines()]
    captions = [json.loads(line)["caption"] for line in lines][: args.rows]
    spent = {"blis": 0.0, "numpy": 0.0}
    different = 0
    list(parse_many(captions[:64]))  # loads the pipeline
    for start in range(0, len(captions), 64):
        batch = captions[start : start + 64]
        parses = {}
        for name in spent:
            choose_blas(pipeline(), name)
            began = time.process_time()
            parses[name] = list(parse_many(batch))
            spent[name] += time.process_time() - began
        different += sum(a != b for a, b in zip(parses["blis"], parses["numpy"], strict=True))
    ratio = round(spent["blis"] / spent["numpy"], 2)
    print(json.dumps({"captions": len(captions), "blis / numpy": ratio, "different parses": different}))


if __name__ == "__main__":
    main()
