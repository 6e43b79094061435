"""Audit a file of captions of any size: check every claim against its image, correct, report, survive a crash.

    from halluguard.auditing import audit
    summary = audit(Path("captions.jsonl"), Path("audited"), detector="objects:objects.json")

Rows flow one way: `formats` read entries, `rows` find the caption and the image in them, `checking` turns rows into
checked rows, `folder` keeps finished parts, `outputs`, `summary`, `export` and `report` are written from the parts.
"""

from halluguard.auditing.run import audit

__all__ = ["audit"]
