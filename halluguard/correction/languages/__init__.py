"""Extractors for languages other than English: one module per language, found by its attribute `LANGUAGE`.

    LANGUAGE = "ko"                     ISO 639-1 code, as the identifier of `text/language.py` names it

    def version() -> str:               name and version of the package that reads; "" where it is missing
        ...

    def load() -> Extractor:            raises MissingExtraError where a package is missing
        ...

To add a language, add such a module to this folder, or call `register` in a program (example: `docs/extending.md`).
The identifier says per block which language it is in. A block whose language has an extractor is read by it, any other
stays unread, and the coverage of the answer says so.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple, Protocol, cast

from halluguard.correction.text.budget import not_counted
from halluguard.errors import MissingExtraError
from halluguard.records import Claim, Edit, Verdict


class Extractor(Protocol):
    """Reads and corrects blocks of an answer that are in one language.

    A block is a paragraph, a list item, a line "label: value", a keyword, a cell or a JSON string; inline markup is
    taken out before. Names of claims are the English ones of `halluguard.vocabulary`, because detectors are asked with
    them.
    """

    def extract(self, text: str, question: str | None = None) -> list[Claim]:
        """The claims of one block.

        Args:
            text: the words of the block; spans of the claims, and indices inside them, refer to it and to the list.
            question: the question that the answer belongs to, in any language; for the first block of an answer only.
        """
        ...

    def correct(self, text: str, claims: Sequence[Claim], verdicts: Sequence[Verdict]) -> list[Edit]:
        """The edits of one block, sorted, without overlap; `Edit.verdicts` are indices in `verdicts`.

        Words that are contradicted and cannot be edited without breaking the sentence get a flag: an edit with the
        decision "flagged" that leaves the words. An edit that deletes all words of a block deletes the block.

        Args:
            text: the words of the block.
            claims: what `extract` read from it.
            verdicts: one verdict per claim, in the same order.
        """
        ...


class LanguageModule(Protocol):
    """The members of a module of this folder."""

    LANGUAGE: str

    def version(self) -> str:
        """Name and version of the package that reads; "" where it is missing."""
        ...

    def load(self) -> Extractor:
        """The extractor, or MissingExtraError where a package is missing."""
        ...


class Registered(NamedTuple):
    """An extractor that a program has registered: see `register`."""

    language: str
    load: Callable[[], Extractor]
    version: str


_REGISTERED: dict[str, Registered] = {}


def register(language: str, load: Callable[[], Extractor], version: str = "") -> None:
    """Let blocks of a language be read, in this process; call it before any answer is read.

    An audit registers it in its worker processes too, where `load` is a function of a module that they can import.

    Args:
        language: ISO 639-1 code.
        load: gives the extractor; called once, when the first block of the language is read.
        version: gives the name and version of what reads, for the settings of an audit.
    """
    _REGISTERED[language] = Registered(language, load, version)
    _loaded.cache_clear()


def registered() -> tuple[Registered, ...]:
    """The registrations of this process; another process calls `register(*one)` for each."""
    return tuple(_REGISTERED.values())


def versions() -> dict[str, str]:
    """Language -> version of what reads it, for all that can be read; nothing is loaded."""
    shipped = {language: module.version() for language, module in _shipped().items()}
    return {**{k: v for k, v in shipped.items() if v}, **{k: one.version for k, one in _REGISTERED.items()}}


def extractor_for(language: str) -> Extractor | None:
    """The extractor for a language; None where there is none, or a package of it is not installed."""
    extractor = _loaded(language) if language else None
    return None if isinstance(extractor, MissingExtraError) else extractor


def why_not(language: str) -> str:
    """Advice on the package that reads a language; "" where no package helps."""
    extractor = _loaded(language)
    return str(extractor) if isinstance(extractor, MissingExtraError) else ""


@cache
def _loaded(language: str) -> Extractor | MissingExtraError | None:
    source = _REGISTERED.get(language) or _shipped().get(language)
    try:
        with not_counted():
            return source.load() if source is not None else None
    except MissingExtraError as error:
        return error


@cache
def _shipped() -> dict[str, LanguageModule]:
    """Language -> its module, for the modules of this folder."""
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    modules = [cast(LanguageModule, importlib.import_module(f"{__name__}.{name}")) for name in names]
    return {module.LANGUAGE: module for module in modules}
