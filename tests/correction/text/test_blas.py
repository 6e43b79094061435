"""The library that multiplies spaCy's matrices is chosen by a name, for our pipeline alone, and changes no parse."""

import pytest
from thinc.api import NumpyOps, get_current_ops
from threadpoolctl import threadpool_info

from halluguard.correction.text import parse_many, pipeline
from halluguard.correction.text.blas import choose_blas, one_thread
from halluguard.errors import SettingsError

TEXTS = ["A red dog sits on a bench near two cars.", "There is no cat. A man, who wears a hat, is riding a horse."]


@pytest.fixture
def restored():
    yield
    choose_blas(pipeline(), "numpy")


def libraries():
    return {node.ops.use_blis for _, pipe in pipeline().pipeline for node in pipe.model.walk()}


def test_parses_do_not_depend_on_the_library(restored):
    choose_blas(pipeline(), "blis")
    assert libraries() == {True}
    before = list(parse_many(TEXTS))
    choose_blas(pipeline(), "numpy")
    assert libraries() == {False}
    assert list(parse_many(TEXTS)) == before
    assert type(get_current_ops()) is not NumpyOps or get_current_ops().use_blis, "other pipelines are left alone"


def test_the_environment_chooses_and_a_wrong_name_is_refused(monkeypatch, restored):
    monkeypatch.setenv("HALLUGUARD_BLAS", "blis")
    choose_blas(pipeline())
    assert libraries() == {True}
    monkeypatch.setenv("HALLUGUARD_BLAS", "mkl")
    with pytest.raises(SettingsError, match="numpy or blis, got 'mkl'"):
        choose_blas(pipeline())


def test_one_thread_multiplies():
    pipeline()
    with one_thread():
        assert {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"} == {1}
