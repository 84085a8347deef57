# Two commands to remember: `make demo` shows the whole product, `make test` runs the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SUITE ?=
ROWS ?=
LARGE := n8n llamafactory axolotl

.DEFAULT_GOAL := help
.PHONY: help setup demo stop check test test-real bench format openapi samples clean

help:  ## Show this list.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

setup: $(STAMP)  ## Make .venv with all that demo and tests need, and prepare the base model.

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make setup PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing packages (the first time this downloads a few hundred MB) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[train,serve,synthetic,dev]'
	@$(BIN)/tunesmith setup
	@touch $@

demo: setup  ## Household documents in, a tuned, measured, live model out (about 10 minutes on 2 cores).
	@$(BIN)/python scripts/demo.py

stop:  ## Stop the service that the demo started.
	@$(BIN)/python scripts/demo.py --stop

check: setup  ## Lint, types and architecture.
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q tests/test_architecture.py tests/test_openapi.py

test: check  ## All fast tests.
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile --ignore=tests/real

test-real: setup  ## Real counterparts; one of them with SUITE=name (tests/real/test_name*.py). The largest only so.
	@$(BIN)/python -m pytest -q $(if $(SUITE),tests/real/test_$(SUITE)*.py,tests/real $(LARGE:%=--ignore-glob='*/test_%*.py'))

bench: setup  ## Measured figures, each beside what it is compared with; with ROWS=file.jsonl, a bare job on your own rows.
	@$(BIN)/python $(if $(ROWS),scripts/bench_own_rows.py '$(ROWS)',scripts/bench.py)

format: setup  ## Format the code.
	@$(BIN)/ruff check --fix --quiet . && $(BIN)/ruff format --quiet .

openapi: setup  ## Write openapi/openapi.json again.
	@$(BIN)/tunesmith openapi > openapi/openapi.json

samples: setup  ## Write the sample files again (the result is the same: the generators are seeded).
	@$(BIN)/python examples/generate_documents.py
	@$(BIN)/python examples/generate_sql.py
	@$(BIN)/python examples/generate_tools.py

clean:  ## Remove the environment and the demo's data.
	rm -rf $(VENV) .demo
