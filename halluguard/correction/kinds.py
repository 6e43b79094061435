"""The table of claim kinds: how each kind is extracted, verified and repaired, and which field holds what it claims.

To add a kind, name it in `halluguard.records.Kind`, write one module in `claims/` with a function
`read(answer, existence)`, and add one row here (`docs/extending.md` has an example). Extraction, verdicts, repairs, the
yes-no questions and the columns of exported tables follow the table.

Modules that a row names (such as `claims/counts.py`) never import this table. Those that walk it (such as
`claims/extract.py`) import the module, `from halluguard.correction import kinds`: the packages load each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from halluguard.correction.claims import attributes, counts, existence, relations, written_words, yes_no
from halluguard.correction.claims.predicates import ParsedAnswer
from halluguard.correction.rewriting import repairs
from halluguard.correction.rewriting.edit_plan import EditPlan
from halluguard.correction.verification.answers import unverifiable, verify_answer
from halluguard.correction.verification.counts import verify_count
from halluguard.correction.verification.evidence import Evidence
from halluguard.correction.verification.existence import existence as verify_existence
from halluguard.correction.verification.properties import verify_property, verify_relation
from halluguard.correction.verification.written_words import verify_text
from halluguard.records import Claim, Kind, Verdict

Extractor = Callable[[ParsedAnswer, Sequence[Claim]], list[Claim]]
Verifier = Callable[[Claim, Evidence], Verdict]
Repairer = Callable[[EditPlan, int], dict[int, int]]


@dataclass(frozen=True, slots=True)
class ClaimKind:
    """The functions that handle one kind of claim.

    Args:
        extract: reads the claims of this kind from a parsed answer, given its existence claims (none yet for the
            existence claims themselves).
        verify: gives the verdict on a claim from the evidence of its image. Default: no expert judges the kind.
        repair: changes the text where a claim of this kind is contradicted, given the index of the verdict, and returns
            the tokens to cut instead (`rewriting/repairs.py`). Default: the text stays.
        field: the field of `Claim` that holds the claimed value; None where the claim is the thing itself.
    """

    extract: Extractor
    verify: Verifier = unverifiable
    repair: Repairer | None = None
    field: str | None = None

    def value(self, claim: Claim) -> int | str | None:
        """The claimed number, attribute or relation; None where the claim is the thing itself."""
        return None if self.field is None else getattr(claim, self.field)


KINDS: dict[Kind, ClaimKind] = {
    "existence": ClaimKind(existence.read, verify_existence, repairs.repair_denial),
    "count": ClaimKind(counts.read, verify_count, repairs.repair_count, "count"),
    "attribute": ClaimKind(attributes.read, verify_property, repairs.repair_attribute, "attribute"),
    "relation": ClaimKind(relations.read, verify_relation, repairs.repair_relation, "relation"),
    "text": ClaimKind(written_words.read, verify_text, repairs.repair_text),
    "answer": ClaimKind(yes_no.read, verify_answer),  # rewritten by `rewriting/yes_no.py`, before all others
}
"""Kind -> its handling, in the order in which an answer's claims are listed: from existence to the more specific."""
