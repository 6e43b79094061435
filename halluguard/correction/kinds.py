"""The table of claim kinds: how each kind is extracted, and which field of the record holds what it claims.

To add a kind, name it in `halluguard.records.Kind`, write one module in `claims/` with a function
`read(answer, existence)`, and add one row here. Extraction, the yes-no questions and the columns of exported tables
follow the table.

Modules that a row names (such as `claims/counts.py`) never import this table. Those that walk it (such as
`claims/extract.py`) import the module, `from halluguard.correction import kinds`: the packages load each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from halluguard.correction.claims import attributes, counts, existence, relations, yes_no
from halluguard.correction.claims.predicates import ParsedAnswer
from halluguard.records import Claim, Kind

Extractor = Callable[[ParsedAnswer, Sequence[Claim]], list[Claim]]


@dataclass(frozen=True, slots=True)
class ClaimKind:
    """How one kind of claim is handled.

    Args:
        extract: reads the claims of this kind from a parsed answer, given its existence claims (none yet for the
            existence claims themselves).
        field: the field of `Claim` that holds the claimed value; None where the claim is the thing itself.
    """

    extract: Extractor
    field: str | None = None

    @property
    def is_property(self) -> bool:
        """Whether it claims a property of a thing, as numbers, attributes and relations do."""
        return self.field is not None

    def value(self, claim: Claim) -> int | str | None:
        """The claimed number, attribute or relation; None where the claim is the thing itself."""
        return None if self.field is None else getattr(claim, self.field)


KINDS: dict[Kind, ClaimKind] = {
    "existence": ClaimKind(existence.read),
    "count": ClaimKind(counts.read, "count"),
    "attribute": ClaimKind(attributes.read, "attribute"),
    "relation": ClaimKind(relations.read, "relation"),
    "answer": ClaimKind(yes_no.read),
}
"""Kind -> its handling, in the order in which an answer's claims are listed: from existence to the more specific."""
