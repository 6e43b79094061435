"""A dry run: what would be checked and what it would cost, from the first rows, without writing anything."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from typing import Any

from halluguard.auditing.album import Album, Picture
from halluguard.auditing.cached_detector import Looker
from halluguard.auditing.run import Job
from halluguard.correction.claims.extract import from_parse, parses
from halluguard.correction.verification.evidence import phrases_for, query_terms_for
from halluguard.errors import HalluguardError

SAMPLED = 500
"""Rows read for the estimate."""
TIMED = 3
"""Images that the expert really looks at, to time it."""


def plan(job: Job, total: int | None) -> dict[str, Any]:
    """What a run of `job` would do, as JSON values.

    Args:
        job: what would be audited.
        total: rows to check, when known.

    Returns:
        The first rows' claims, phrases and pictures; and, for an expert that looks, seconds per picture as measured on
        a few and the hours that all rows would take at this rate. Rows that share pictures cost less.
    """
    rows = list(itertools.islice(job.selection.rows(job.source), SAMPLED))
    detector, album = job.detector, Album(job.pictures)
    looker = Looker(detector, job.memory(), album)
    terms_of = query_terms_for(looker.covers)
    good = [row for row in rows if not row.code]
    aside = Counter(row.code for row in rows if row.code)
    wanted: dict[str, set[str]] = {}
    kinds: Counter[str] = Counter()
    unseen: Counter[str] = Counter()
    began = time.process_time()
    texts, questions = [row.caption for row in good], [row.question for row in good]
    for row, (parse, question) in zip(good, parses(texts, questions, errors="yield"), strict=True):
        if isinstance(parse, HalluguardError):
            aside["caption"] += 1
            continue
        for claim in from_parse(parse, question):
            kinds[claim.kind] += 1
            phrases = phrases_for(claim, terms_of)
            wanted.setdefault(row.image, set()).update(phrases)
            if not phrases:
                unseen[claim.name] += 1
    reading = time.process_time() - began
    found: dict[str, Any] = {
        "rows": total if total is not None else len(rows),
        "sampled": len(rows),
        "skipped_by_reading": dict(sorted(aside.items())),
        "claims": dict(sorted(kinds.items())),
        "pictures": len(wanted),
        "phrases_per_picture": round(sum(map(len, wanted.values())) / max(1, len(wanted)), 2),
        "most_frequent_that_no_look_can_judge": [name for name, _ in unseen.most_common(10)],
        "reading_cpu_seconds_per_row": round(reading / max(1, len(rows)), 5),
    }
    if detector.needs_image:
        per_picture = _timed(looker, album, [row for row in good if wanted.get(row.image)][:TIMED], wanted)
        share = len(wanted) / max(1, len(good))
        found["seconds_per_picture"] = per_picture
        if per_picture is not None:
            found["hours"] = round(found["rows"] * (reading / max(1, len(rows)) + share * per_picture) / 3600, 3)
    album.close()
    return found


def _timed(looker: Looker, album: Album, rows: list[Any], wanted: dict[str, set[str]]) -> float | None:
    """Seconds a picture takes; None where none could be looked at."""
    pictures = [found for found in album.identify(rows) if isinstance(found, Picture)]
    if not pictures:
        return None
    began = time.perf_counter()
    looker.detect(pictures, [sorted(wanted[picture.row.image]) for picture in pictures])
    return round((time.perf_counter() - began) / len(pictures), 4)
