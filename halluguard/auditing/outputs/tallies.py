"""Keep the sums of a shard, so that merging adds them up and reads no row again.

They are good for the tables that were written with them: their digests stand beside them.
"""

from __future__ import annotations

import json
from pathlib import Path

from halluguard.auditing.outputs.summary import Tally
from halluguard.auditing.run_folder import TALLY
from halluguard.io import file_hash, parsing, read_json, write_text

_TABLES = ("captions.parquet", "claims.parquet", "skipped.jsonl")


def write_tally(out: Path, tally: Tally) -> None:
    """Write the sums of a shard whose tables stand in `out`."""
    digests = {name: file_hash(out / name) for name in _TABLES}
    write_text(out / TALLY, json.dumps({"tables": digests, "tally": tally.to_dict()}) + "\n")


def read_tally(shard: Path) -> Tally | None:
    """The sums of a shard; None where they, or the tables that belong to them, are not as they were written."""
    try:
        kept = read_json(shard / TALLY)
        with parsing(shard / TALLY, "the sums of a shard"):
            if kept["tables"] != {name: file_hash(shard / name) for name in _TABLES}:
                return None
            return Tally.from_dict(kept["tally"])
    except (OSError, ValueError):
        return None
