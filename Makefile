# Only Python >= 3.11 (as python3), pip and make are assumed.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup test lint lock clean

help:  ## Show this help.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-8s %s\n", $$1, $$2}'

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "sharpwave needs Python 3.11 or newer as '$(PYTHON)'; try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

setup: $(STAMP)  ## Create .venv and install the locked dependencies.

test: setup  ## Run the tests (under five minutes on two cores).
	$(BIN)/pytest -q

lint: setup  ## Check style and types; changes nothing.
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

lock: setup  ## Rewrite requirements.lock from pyproject.toml.
	$(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 \
	  --extra demo --group dev --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate \
	  --custom-compile-command 'make lock' --output-file requirements.lock

clean:  ## Remove what the other targets made.
	rm -rf $(VENV) .sharpwave build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
