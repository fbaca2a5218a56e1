# Everything here works on a machine that has Python 3.11 or newer and make. Start with `make run`.
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check
# Two workers suit most machines: several tests start servers of their own. A file stays on one worker, with its servers.
# the files come in the order of tests/conftest.py, the longest first.
PYTEST_ARGS ?= -n 2 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run test check lint types layers locks lock bench image clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-6s  %s\n", $$1, $$2}' Makefile

run: $(VENV)/.runtime ## See a bad version being rolled back, in a sandbox (Ctrl-C ends it)
	@$(BIN)/responder demo

test: $(VENV)/.dev ## Run all tests, naming what had to be skipped
	@scripts/install-test-tools
	@PATH="$(CURDIR)/$(BIN):$$PATH:/usr/sbin:/sbin" $(BIN)/python -m pytest $(PYTEST_ARGS)

check: locks lint types layers test ## What CI runs: style, types, layers, lock files, tests

lint: $(VENV)/.dev
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

types: $(VENV)/.dev
	@$(BIN)/mypy

layers: $(VENV)/.dev
	@$(BIN)/lint-imports --no-logo

locks: $(VENV)/.dev
	@$(BIN)/python scripts/lock.py --check

lock: $(VENV)/.dev ## Write the lock files anew from pyproject.toml (make lock UPGRADE=--upgrade for newer versions)
	@$(BIN)/python scripts/lock.py $(UPGRADE)

bench: $(VENV)/.dev ## Measure the intake and the evaluator (make bench BENCH=--write updates docs/benchmarks.md)
	@scripts/install-test-tools
	@$(BIN)/python -m bench.evaluator
	@$(BIN)/python -m bench.intake $(BENCH)

image: ## Build the container image responder:latest
	docker build --tag responder:latest .

clean: ## Remove the virtual environment and everything that tools left behind
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps are newer than what they were made from, so a second `make` does nothing.
$(VENV)/.created: scripts/create-venv
	@scripts/create-venv $(VENV)
	@touch $@

$(VENV)/.runtime: $(VENV)/.created requirements.lock requirements-build.lock pyproject.toml
	@echo "Installing what Responder needs (requirements.lock)"
	@$(PIP) install --require-hashes --requirement requirements.lock --requirement requirements-build.lock
	@$(PIP) install --no-deps --no-build-isolation --no-index --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.lock
	@echo "Installing what the tests and checks need (requirements-dev.lock)"
	@$(PIP) install --require-hashes --requirement requirements-dev.lock
	@touch $@
