"""Korean: existence, denial, numbers, yes and no, over COCO's names, their synonyms and common scenery.

    "강아지 두 마리가 있고 고양이는 없다."     dog, asserted, 2 · cat, denied

Words are told apart by kiwipiepy, a morphological analyser that ships its model (extra `korean`); the things that they
name are in `words.txt`. Attributes and relations are not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata

from halluguard.correction.languages.korean.edits import corrections
from halluguard.correction.languages.korean.reading import claims_of
from halluguard.correction.languages.korean.tokens import analyser
from halluguard.records import Claim, Edit, Verdict

LANGUAGE = "ko"


class Korean:
    """The extractor for Korean; see `halluguard.correction.languages.Extractor`."""

    def extract(self, text: str, question: str | None = None) -> list[Claim]:
        """The claims of one block."""
        return claims_of(text, question)

    def correct(self, text: str, claims: Sequence[Claim], verdicts: Sequence[Verdict]) -> list[Edit]:
        """The edits of one block: whole sentences and clauses, list members, numbers, yes and no; otherwise flags."""
        return corrections(text, claims, verdicts)


def version() -> str:
    """Version of the rules and of the analyser; "" where it is not installed."""
    try:
        return f"korean-1 kiwipiepy-{metadata.version('kiwipiepy')}"
    except metadata.PackageNotFoundError:
        return ""


def load() -> Korean:
    """The extractor, with its analyser loaded.

    Raises:
        MissingExtraError: kiwipiepy is not installed.
    """
    analyser()
    return Korean()
