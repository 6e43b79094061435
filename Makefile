# Two commands work from a bare clone: `make demo` and `make test`. Each sets up what it needs and is quick when repeated.
# PYTHON chooses the interpreter (3.11+); PIP_ARGS is passed to pip, e.g. to name another package index.
PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
BIN = $(VENV)/bin
WORKERS ?= 2

.PHONY: demo test test-slow test-groundingdino compat fuzz lint docs clean
demo: $(VENV)/.installed
	$(BIN)/halluguard demo

test: $(VENV)/.installed
	$(BIN)/python -m pytest -q -n $(WORKERS) -m "not slow"

test-slow: $(VENV)/.installed
	$(BIN)/python -m pytest -q -m slow

# Mutate and generate input for every reader, the document reader and the report; what failed once is kept as a corpus.
FUZZ_ARGS ?= --seconds 900
fuzz: $(VENV)/.installed
	$(BIN)/python -W ignore -m tests.fuzz $(FUZZ_ARGS)

# The official Grounding DINO needs torchvision, which the other tests must do without: an environment of its own.
# The plug-in declares the operators of a torchvision that was built for another torch than the one installed.
test-groundingdino: .venv-groundingdino/.installed
	.venv-groundingdino/bin/python -m pytest -q -s -p tests.detectors.operators \
		tests/detectors/test_groundingdino_py.py \
		tests/detectors/test_zero_shot.py::test_omdet_loads_where_torchvision_is

# Tests with other versions of transformers, each laid over the environment in a folder of its own.
compat: $(VENV)/.installed
	$(BIN)/python benchmarks/compat.py 5.8.1 5.17.0 5.23.0 5.24.0 --results .venv-compat/results.json

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Strict: a broken link, an unknown reference or a docstring that names a missing argument is an error.
docs: $(VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# torch first and alone: its CPU build, where the index has one, then admits no other.
$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(PIP_ARGS) --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install $(PIP_ARGS) --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

.venv-groundingdino/.installed: setup.cfg constraints.txt
	test -x .venv-groundingdino/bin/python || $(PYTHON) -m venv .venv-groundingdino
	.venv-groundingdino/bin/python -m pip install $(PIP_ARGS) --quiet --constraint constraints.txt torch
	.venv-groundingdino/bin/python -m pip install $(PIP_ARGS) --quiet --constraint constraints.txt \
		--editable ".[groundingdino]" hypothesis pytest
	touch $@

clean:
	rm -rf $(VENV) .venv-groundingdino .venv-compat build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache
