"""Claims as a spaCy pipeline component: `nlp.add_pipe("halluguard_claims")`, then `doc._.claims`.

    import spacy, halluguard.correction.claims.spacy_component
    nlp = spacy.load("en_core_web_sm")
    nlp.add_pipe("halluguard_claims", last=True)
    [claim.phrase for claim in nlp("Two dogs on a couch.")._.claims]     # ['dogs', 'couch', 'Two dogs', ...]

The records are those of `claims.extract`, read from the pipeline's own parse of the whole text; `extract` parses
paragraphs and list items apart, so texts of several lines can be read a little differently.
"""

from __future__ import annotations

from typing import Any

from spacy.language import Language
from spacy.tokens import Doc

from halluguard.correction.claims.extract import from_parse
from halluguard.correction.text.reading import of_doc
from halluguard.errors import SettingsError


@Language.factory("halluguard_claims", assigns=["doc._.claims"], requires=["token.dep", "token.tag", "doc.sents"])
def make_component(nlp: Language, name: str) -> ClaimsComponent:
    """The factory that spaCy calls for `nlp.add_pipe("halluguard_claims")`."""
    return ClaimsComponent()


class ClaimsComponent:
    """Sets `doc._.claims`, a list of `halluguard.records.Claim`; their spans index into `doc.text`."""

    def __init__(self) -> None:
        if not Doc.has_extension("claims"):
            Doc.set_extension("claims", default=None)

    def __call__(self, doc: Doc) -> Doc:
        if len(doc) and not (doc.has_annotation("DEP") and doc.has_annotation("TAG")):
            raise SettingsError(
                "halluguard_claims needs a tagger and a parser before it, got a document without; "
                "load an English pipeline such as en_core_web_sm and add the component last"
            )
        extension: Any = doc._
        extension.claims = from_parse(of_doc(doc)) if len(doc) else []
        return doc
