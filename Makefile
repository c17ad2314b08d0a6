# `make demo` and `make test` set themselves up from nothing.
PYTHON ?= python3
BIN := .venv/bin
export OMP_NUM_THREADS ?= 2

.PHONY: install demo test test-slow lint types bench ci
install: .venv/installed
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: install
	$(BIN)/brainmvp demo

test: install
	$(BIN)/pytest -m "not slow and not gpu"

test-slow: install
	$(BIN)/pytest -m "slow and not gpu"

lint: install
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

bench: install
	for name in masking templates prepare streaming scale registration plot; do \
	  $(BIN)/python benchmarks/$$name.py || exit 1; done

ci: lint types test
