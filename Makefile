# Only Python >= 3.11 (as python3), pip and make are assumed.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# AWS's CDK is large and needs Node.js, so it lives apart and nothing else waits for it.
CDK    ?= .venv-cdk
# A file's tests share what they start, so files are what the processes share out; those of one
# running system stay together, and how many processes there are is in tests/conftest.py.
ON_EVERY_CORE := --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
# What is compiled once serves every process: the tests start hundreds, which would each compile us.
export PYTHONDONTWRITEBYTECODE :=
# Simulated histories, each from one seed, before processes are killed in earnest.
HISTORIES ?= 5000
# localstack-native runs it as processes; localstack in Docker.
LOCALSTACK ?= localstack-native
TESTS      ?= tests/integration tests/contract
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
           --no-emit-index-url --no-emit-find-links --no-annotate

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-localstack paths mutants house bench chaos lint up synth wheel lock clean

help:  ## Show this help.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{sub(/:.*/, "", $$1); printf "  make %-15s %s\n", $$1, $$2}'

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "sharpwave needs Python 3.11 or newer as '$(PYTHON)'; try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the locked dependencies into $(VENV) (once)"
	@$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

setup: $(STAMP)  ## Create .venv and install the locked dependencies.

demo: setup  ## Replay real market history through the whole system, then verify every count.
	@$(BIN)/sharpwave demo

test: setup  ## Run the tests (under five minutes on two cores).
	@$(BIN)/python -m sharpwave.infra.local ministack
	@$(BIN)/python -m tests.chaos.proxy
	@$(BIN)/pytest -q $(ON_EVERY_CORE) $(ARGS)

test-localstack: setup  ## Run the tests that meet a backend on LocalStack; LOCALSTACK=localstack is Docker's.
	@$(BIN)/python -m sharpwave.infra.local ministack
	@$(BIN)/python -m tests.chaos.proxy
	@test $(LOCALSTACK) = localstack || $(BIN)/python -m sharpwave.infra.local localstack
	@SHARPWAVE_TEST_BACKEND=$(LOCALSTACK) $(BIN)/pytest -q $(TESTS) $(ARGS)

paths: setup  ## Run unit and contract tests; name error paths none takes, count branches taken.
	@$(BIN)/python -m sharpwave.infra.local ministack
	@$(BIN)/python -m pytest -q $(ON_EVERY_CORE) -p tests.error_paths tests/unit tests/contract $(ARGS)

mutants: setup  ## Break the product a little, many times, and name what no test notices; ARGS="keys".
	@$(BIN)/python -m tests.mutation $(ARGS)

house: setup  ## Count lines, rooms, arrows and comments, and how far a signal walks; ARGS="--json".
	@$(BIN)/python -m tests.house $(ARGS)

bench: setup  ## Measure router, broker and pipeline beside their peers; ARGS="--quick".
	@$(BIN)/python -m tests.bench $(ARGS)

chaos: setup  ## Kill, freeze and break the system at random, then count what it lost; ARGS="--seed 7".
	@$(BIN)/python -m tests.simulation --seeds $(HISTORIES)
	@$(BIN)/python -m tests.chaos $(ARGS)

lint: setup  ## Check style and types; changes nothing.
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

up: setup  ## Run the whole system here until Ctrl-C; ARGS="--port 4566 --agent my-agent".
	@$(BIN)/sharpwave up $(ARGS)

$(CDK)/.installed: infra/cdk.lock
	@command -v node >/dev/null || { echo "make synth needs Node.js 20 or newer as 'node'" >&2; exit 1; }
	@test -x $(CDK)/bin/python || $(PYTHON) -m venv $(CDK)
	@echo "installing AWS's CDK and what checks templates into $(CDK) (once)"
	@$(CDK)/bin/python -m pip install --quiet --require-hashes --requirement infra/cdk.lock
	@$(CDK)/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

synth: $(CDK)/.installed  ## Write the stacks for AWS into build/synth, and test them; ARGS="--profile production".
	@$(CDK)/bin/sharpwave synth $(ARGS)
	@$(CDK)/bin/pytest -q --confcutdir tests/synth tests/synth

wheel: setup  ## Build the package into dist/, to be installed anywhere by pip.
	@$(BIN)/uv build --quiet --wheel --no-build-isolation --out-dir dist

lock: setup  ## Rewrite the locks from pyproject.toml.
	@echo "numpy>=2; python_version >= '3.13'" | $(COMPILE) pyproject.toml - --extra demo --extra propose --extra parquet --extra metrics --extra traces --group dev \
	  --custom-compile-command 'make lock' --output-file requirements.lock
	@echo hatchling | $(COMPILE) pyproject.toml - --extra local --no-header -c requirements.lock \
	  --output-file infra/sharpwave/infra/local/locks/image.lock
	@printf 'boto3>=1.40\npydantic>=2.12,<3\npydantic-settings>=2.7\nmsgspec>=0.19\ndramatiq>=2.2,<3\n' | $(COMPILE) - \
	  --no-header -c requirements.lock --output-file infra/sharpwave/infra/aws/lambda.lock
	@printf 'pytest>=8\npytest-timeout>=2.3\nhatchling\n' | $(COMPILE) pyproject.toml - --extra cdk \
	  -c requirements.lock --custom-compile-command 'make lock' --output-file infra/cdk.lock
	@echo mutmut | $(COMPILE) - --no-header -c requirements.lock \
	  --output-file tests/mutation/mutmut.lock

clean:  ## Remove what the other targets made here.
	@rm -rf $(VENV) $(CDK) .sharpwave build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
