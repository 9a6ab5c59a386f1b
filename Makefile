# Every target sets up by itself what it needs: a machine needs only Python (3.10 or newer), git and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Not even collected in the quick loop: each test process would load what only slow tests need.
NOT_FAST := -p no:schemathesis $(addprefix --ignore tests/,integration properties sandbox/test_sandbox_fuzz.py)

MAKEFLAGS += --no-print-directory
# Hundreds of processes import Airflow here: without its byte code each would compile it for 4 s.
unexport PYTHONDONTWRITEBYTECODE
.DEFAULT_GOAL := help
.PHONY: help demo ui test integration test-matrix screenshots check lint format types fast-tests bench bench-airflow dist constraints setup system-packages clean

help: ## Show this list
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1|\2/p' $(firstword $(MAKEFILE_LIST)) | column -t -s '|' 2>/dev/null \
	  || sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1: \2/p' $(firstword $(MAKEFILE_LIST))

demo: $(READY) ## Run a call through a real Airflow and show it live (about a minute)
	@$(BIN)/python -m devtools.demo

ui: $(READY) ## The same, then leave Airflow's web interface running until Ctrl-C
	@$(BIN)/python -m devtools.demo --ui

test: $(READY) ## Run the tests, with coverage of the package
	@$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not integration" --cov --cov-report=term $(PYTEST_ARGS)

integration: $(READY) ## Run what needs minutes: crashes, PostgreSQL, Celery (see make system-packages)
	@$(BIN)/python -m pytest -n 2 --dist loadgroup -m integration $(PYTEST_ARGS)

test-matrix: $(READY) ## Run the unit tests on every line of Airflow, with Python 3.10 to 3.13
	@$(BIN)/python -m nox $(ARGS)

screenshots: $(READY) ## Take the docs' pictures of Airflow's web interface anew
	@TELZINO_SCREENSHOTS=$(CURDIR)/docs/images $(BIN)/python -m pytest tests/integration/test_browser.py

check: lint types fast-tests ## The quick loop: lint, types, fast tests (under a minute)

lint: $(READY) ## Check style, formatting, and which room imports which
	@$(BIN)/lint-imports
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

format: $(READY) ## Put code into the project's format and fix what can be fixed by machine
	@$(BIN)/ruff check --fix-only --quiet
	@$(BIN)/ruff format

types: $(READY) ## Check types strictly
	@$(BIN)/mypy

fast-tests: $(READY) ## Run the tests that need no real Airflow
	@$(BIN)/python -m pytest -n 4 --dist loadgroup -q -m "not slow and not integration" $(NOT_FAST) $(PYTEST_ARGS)

bench: $(READY) ## Measure what a wait costs, beside other ways to wait (ten minutes; QUICK=1: two)
	@$(BIN)/python -m benchmarks $(if $(QUICK),--quick)

bench-airflow: $(READY) ## The same for whole tasks of a real Airflow on PostgreSQL (15 minutes; QUICK=1: five)
	@$(BIN)/python -m benchmarks.whole_tasks $(if $(QUICK),--quick)

dist: $(READY) ## Build the wheel and the sdist into dist/
	@rm -rf dist
	@$(BIN)/python -m build --no-isolation

constraints: $(READY) ## Pin all that we develop and test against anew: the newest, and older Airflows' own
	@$(BIN)/python -m devtools.constraints

setup: $(READY) ## Only set up .venv

system-packages: ## Install what some tests need of Debian (as root): PostgreSQL, Redis, Chromium
	@$(PYTHON) -m devtools.system_packages

clean: ## Remove everything that make made
	rm -rf $(VENV) .work dist build .coverage .coverage.* htmlcov .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(READY): pyproject.toml constraints.txt devtools/set_up.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
	  echo "$(PYTHON) is not a Python 3.10 or newer ($$($(PYTHON) --version 2>&1)). Name one: make PYTHON=python3.12 ..."; \
	  exit 1; } >&2
	@$(PYTHON) devtools/set_up.py
