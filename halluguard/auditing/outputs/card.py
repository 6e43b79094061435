"""Write the dataset card of a run, by which `datasets.load_dataset("audited/")` finds its tables."""

from __future__ import annotations

from pathlib import Path

from halluguard.io import JsonObject, read_text, write_text

NAME = "README.md"
MARK = "<!-- Written by halluguard audit. -->"
_CARD = """---
configs:
- config_name: captions
  data_files: captions.parquet
  default: true
- config_name: claims
  data_files: claims.parquet
---
{mark}

# Captions, audited

{rows:,} rows, {audited:,} audited, {skipped:,} skipped. Of {claims:,} claims {decisions}.

```python
from datasets import load_dataset

captions = load_dataset("this folder", split="train")  # one row per caption, with its corrected text
claims = load_dataset("this folder", "claims", split="train")  # one row per claim, with its verdict and boxes
```

`summary.json` has all rates with their intervals, and `report.html`, where it was written, shows samples.
"""


def write_card(out: Path, summary: JsonObject) -> None:
    """Write `README.md` into the folder of a run; a file that a person wrote is kept."""
    path = out / NAME
    if path.exists() and MARK not in read_text(path):
        return
    claims = summary["claims"]
    card = _CARD.format(
        mark=MARK,
        rows=summary["rows"],
        audited=summary["audited"],
        skipped=sum(summary["skipped"].values()),
        claims=sum(claims.values()),
        decisions=", ".join(f"{count:,} are {decision}" for decision, count in claims.items()),
    )
    write_text(path, card)
