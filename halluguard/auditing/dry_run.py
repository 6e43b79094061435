"""Estimate the work and the cost of an audit from its first rows, without writing anything."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Mapping, Sequence

from halluguard.auditing.caption_rows import Row
from halluguard.auditing.config import AuditConfig
from halluguard.auditing.pipeline import Checker, detector_of, skip_code
from halluguard.auditing.source import Source, rows_expected, selected_rows
from halluguard.correction.claims.extract import claims_or_error, parses
from halluguard.correction.verification.evidence import phrases_for, query_terms_for
from halluguard.errors import HalluguardError, ImageError

SAMPLED = 500
"""Most rows that are read for the estimate."""
TIMED = 3
"""Images on which the detector is run, to time it."""


def estimate(config: AuditConfig, source: Source) -> dict[str, object]:
    """The work that an audit would do, as JSON values.

    Args:
        config: the settings.
        source: the opened input.

    Returns:
        Claims, phrases and images of the first rows. For a detector that looks at images, also the seconds per image,
        measured on a few images, and the hours for all rows at this rate. Rows that share images cost less.
    """
    rows = list(itertools.islice(selected_rows(config, source), SAMPLED))
    total = rows_expected(config, source)
    checker = Checker(config, detector_of(config))
    terms_of = query_terms_for(checker.detector.covers)
    skipped = Counter(row.code for row in rows if row.code)
    readable = [row for row in rows if not row.code]
    phrases: dict[str, set[str]] = {}
    kinds: Counter[str] = Counter()
    uncovered: Counter[str] = Counter()
    began = time.process_time()
    captions, questions = [row.caption for row in readable], [row.question for row in readable]
    parsed = parses(captions, questions, errors="yield", budget=config.budget)
    for row, (parse, question) in zip(readable, parsed, strict=True):
        claims = parse if isinstance(parse, HalluguardError) else claims_or_error(parse, question)
        if isinstance(claims, HalluguardError):
            skipped[skip_code(claims)] += 1
            continue
        for claim in claims:
            kinds[claim.kind] += 1
            of_claim = phrases_for(claim, terms_of)
            phrases.setdefault(row.image, set()).update(of_claim)
            if not of_claim:
                uncovered[claim.name] += 1
    parsing = (time.process_time() - began) / max(1, len(rows))
    expected = total if total is not None else len(rows)
    result: dict[str, object] = {
        "rows": expected,
        "sampled": len(rows),
        "skipped_by_reading": dict(sorted(skipped.items())),
        "claims": dict(sorted(kinds.items())),
        "images": len(phrases),
        "phrases_per_image": round(sum(map(len, phrases.values())) / max(1, len(phrases)), 2),
        "most_frequent_that_no_look_can_judge": [name for name, _ in uncovered.most_common(10)],
        "reading_cpu_seconds_per_row": round(parsing, 5),
    }
    if checker.detector.needs_image:
        seconds = _seconds_per_image(checker, [row for row in readable if phrases.get(row.image)][:TIMED], phrases)
        result["seconds_per_image"] = seconds
        if seconds is not None:
            share = len(phrases) / max(1, len(readable))
            result["hours"] = round(expected * (parsing + share * seconds) / 3600, 3)
    checker.close()
    return result


def _seconds_per_image(checker: Checker, rows: Sequence[Row], phrases: Mapping[str, set[str]]) -> float | None:
    """Seconds that the detector takes per image; None where no image could be read."""
    images = [image for image in checker.images.identify(rows) if not isinstance(image, ImageError)]
    if not images:
        return None
    began = time.perf_counter()
    checker.detector.detect(images, [sorted(phrases[image.row.image]) for image in images])
    return round((time.perf_counter() - began) / len(images), 4)
