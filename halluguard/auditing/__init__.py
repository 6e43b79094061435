"""Audit any number of captions: check every claim against its image, correct, report, and resume after a crash.

    from halluguard.auditing import audit
    summary = audit(Path("captions.jsonl"), Path("audited"), detector="objects:objects.json")

Rows flow one way. `inputs` read the entries of a file, `caption_rows` finds caption and image in them, `pipeline`
checks them, `run_folder` keeps finished parts, and `outputs` are written from the parts.
`AuditConfig` holds all settings.
"""

from halluguard.auditing.config import AuditConfig
from halluguard.auditing.run import audit
from halluguard.auditing.run_folder import read_parts

__all__ = ["AuditConfig", "audit", "read_parts"]
