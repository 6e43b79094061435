"""Read the verdicts that a person accepted or disputed in the report, for the next audit of the same captions.

Each line names a claim of a row, the verdict that the report showed, and the person's judgement of it:

    {"index": 17, "claim": 0, "phrase": "dog", "decision": "contradicted", "human": "dispute"}

An accepted verdict stays, whatever a detector finds now. A disputed verdict becomes its opposite.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from halluguard.errors import InputError
from halluguard.io import iter_json_lines, parsing
from halluguard.records import Claim, Decision, Verdict

PERSON = "person"
"""Name of the expert in verdicts that a person gave."""
_OPPOSITE: dict[str, Decision] = {"supported": "contradicted", "contradicted": "supported"}


@dataclass(frozen=True)
class HumanVerdict:
    """A person's judgement of one verdict.

    Args:
        index: position of the row in the input, from 0.
        claim: index of the claim in the row.
        phrase: the words of the claim.
        decision: the verdict that was shown, "supported" or "contradicted".
        human: "accept" or "dispute".
    """

    index: int
    claim: int
    phrase: str
    decision: Decision
    human: Literal["accept", "dispute"]

    def __post_init__(self) -> None:
        if self.decision not in _OPPOSITE or self.human not in ("accept", "dispute"):
            raise InputError(
                "a person can accept or dispute only supported or contradicted verdicts, got "
                f"human={self.human!r} of "
                f"{self.decision!r} for row {self.index}; use the file that the report saves"
            )

    @property
    def truth(self) -> Decision:
        """The right decision, according to the person."""
        return self.decision if self.human == "accept" else _OPPOSITE[self.decision]


def read_human_verdicts(path: Path) -> tuple[HumanVerdict, ...]:
    """The verdicts in a JSON Lines file; of two for the same claim, the later one counts.

    Raises:
        InputError: a line has another form.
    """
    verdicts: dict[tuple[int, int], HumanVerdict] = {}
    with parsing(path, "verdicts that the report saved, one JSON object per line"):
        for _, line in iter_json_lines(path):
            verdict = HumanVerdict(**line)
            verdicts[int(verdict.index), int(verdict.claim)] = verdict
    return tuple(verdicts[key] for key in sorted(verdicts))


def digest(verdicts: Sequence[HumanVerdict]) -> str | None:
    """Digest of a list of verdicts; None for an empty list."""
    return hashlib.blake2b(repr(verdicts).encode(), digest_size=8).hexdigest() if verdicts else None


def with_human(
    index: int, claims: Sequence[Claim], verdicts: Sequence[Verdict], human: dict[tuple[int, int], HumanVerdict]
) -> list[Verdict]:
    """The verdicts of a row, where a person's verdict replaces an expert's.

    Raises:
        InputError: a person's verdict names words that this row does not have, so its file belongs to other captions.
    """
    return [_judged(claims[v.claim], v, human.get((index, v.claim))) for v in verdicts]


def _judged(claim: Claim, verdict: Verdict, human: HumanVerdict | None) -> Verdict:
    if human is None:
        return verdict
    if human.phrase != claim.phrase:
        raise InputError(
            f"the person's verdict on row {human.index} is about {human.phrase!r}, the row says {claim.phrase!r}; the "
            "file of verdicts belongs to other captions"
        )
    outcome = "accepted" if human.human == "accept" else "disputed"
    reason = f"{outcome} by a person" + (f"; {verdict.reason}" if verdict.reason else "")
    kept = verdict.replacement if human.truth == verdict.decision else None
    return replace(
        verdict,
        decision=human.truth,
        confidence=1.0,
        expert=PERSON,
        reason=reason,
        error=False,
        replacement=kept,
        asked=True,
    )
