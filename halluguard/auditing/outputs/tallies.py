"""Store the sums of a shard, so that merging can add them up without reading rows again.

They are valid only for the tables that were written with them: the digests of the tables are stored with them.
"""

from __future__ import annotations

import json
from pathlib import Path

from halluguard.auditing.outputs.summary import Tally
from halluguard.auditing.run_folder import TALLY
from halluguard.io import file_hash, parsing, read_json, write_text

_TABLES = ("captions.parquet", "claims.parquet", "skipped.jsonl")


def write_tally(out: Path, tally: Tally) -> None:
    """Write the sums of a shard whose tables are in `out`."""
    digests = {name: file_hash(out / name) for name in _TABLES}
    write_text(out / TALLY, json.dumps({"tables": digests, "tally": tally.to_dict()}) + "\n")


def read_tally(shard: Path) -> Tally | None:
    """The sums of a shard; None where the sums or their tables have changed since they were written."""
    try:
        kept = read_json(shard / TALLY)
        with parsing(shard / TALLY, "the sums of a shard"):
            if kept["tables"] != {name: file_hash(shard / name) for name in _TABLES}:
                return None
            return Tally.from_dict(kept["tally"])
    except (OSError, ValueError):
        return None
