# Every target sets up what it needs: a machine needs only Python (3.10 or newer), git and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SYSTEM_PACKAGES := chromium postgresql redis-server
PYTEST := $(BIN)/python -m pytest --dist loadgroup

# Not even collected in the quick loop: each test process would import what only slow tests need.
NOT_FAST := -p no:schemathesis $(addprefix --ignore tests/,integration properties sandbox/test_fuzz.py)

MAKEFLAGS += --no-print-directory
# Hundreds of processes import Airflow here: without its byte code each would compile it for 4 s.
unexport PYTHONDONTWRITEBYTECODE
.DEFAULT_GOAL := help
.PHONY: help demo demo-campaign ui test integration nightly test-matrix screenshots check lint format types \
	fast-tests bench bench-airflow bench-campaign docs dist constraints setup system-packages clean

help: ## Show this list
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1|\2/p' $(firstword $(MAKEFILE_LIST)) | column -t -s '|' 2>/dev/null \
	  || sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1: \2/p' $(firstword $(MAKEFILE_LIST))

demo: $(READY) ## Run a call through a real Airflow and show it live (about a minute)
	@$(BIN)/python -m devtools.demo

demo-campaign: $(READY) ## Call 200 contacts in one task, show it live and draw the report (under 3 minutes)
	@$(BIN)/python -m devtools.campaign_demo

ui: $(READY) ## The first demo, then keep Airflow's web interface running until Ctrl-C
	@$(BIN)/python -m devtools.demo --ui

test: $(READY) ## Run the tests, with coverage of the package
	@$(PYTEST) -n 4 -m "not integration and not nightly" --cov --cov-report=term $(PYTEST_ARGS)

integration: $(READY) ## Run what takes minutes: crashes, PostgreSQL, Celery (see make system-packages)
	@$(PYTEST) -n 3 -m "integration and not nightly" $(PYTEST_ARGS)

nightly: $(READY) ## Run all tests with a random seed and in more rounds (hours; SEED=... repeats one)
	@seed=$(or $(SEED),$$($(BIN)/python -c 'import random; print(random.randrange(1, 1_000_000))')); \
	  echo "Repeat this run with: make nightly SEED=$$seed"; \
	  HYPOTHESIS_PROFILE=thorough TELZINO_CRASH_ROUNDS=5 TELZINO_CRASH_SEED=$$seed \
	  $(PYTEST) -n 2 --hypothesis-seed=$$seed $(PYTEST_ARGS)

test-matrix: $(READY) ## Run the unit tests on every line of Airflow, with Python 3.10 to 3.13
	@$(BIN)/python -m nox $(ARGS)

screenshots: $(READY) ## Take the docs' pictures of web pages again
	@TELZINO_SCREENSHOTS=$(CURDIR)/docs/images $(BIN)/python -m pytest \
	  tests/integration/test_browser.py tests/integration/test_sandbox_page.py \
	  tests/integration/test_campaign_report.py

# Mypy needs one core, and most of the tests only wait.
check: lint ## The quick loop: lint, types, fast tests (under a minute)
	@$(MAKE) -j 2 types fast-tests

lint: $(READY) ## Check style, formatting, and which room imports which
	@$(BIN)/lint-imports
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

format: $(READY) ## Format the code, and fix what can be fixed automatically
	@$(BIN)/ruff check --fix-only --quiet
	@$(BIN)/ruff format

types: $(READY) ## Check types strictly
	@$(BIN)/mypy

fast-tests: $(READY) ## Run the tests that need no real Airflow
	@$(PYTEST) -n 4 -q -m "not slow and not integration and not nightly" $(NOT_FAST) $(PYTEST_ARGS)

bench: $(READY) ## Measure what a wait costs, compared with other ways to wait (ten minutes; QUICK=1: two)
	@$(BIN)/python -m benchmarks $(if $(QUICK),--quick)

bench-airflow: $(READY) ## The same for whole tasks of a real Airflow on PostgreSQL (15 minutes; QUICK=1: five)
	@$(BIN)/python -m benchmarks.whole_tasks $(if $(QUICK),--quick)

bench-campaign: $(READY) ## The same for a thousand calls in one task, and as many mapped tasks (20 minutes; QUICK=1: eight)
	@$(BIN)/python -m benchmarks.campaigns $(if $(QUICK),--quick)

docs: $(READY) ## Build the docs site into site/; a broken link or anchor is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict # not --quiet: then warnings would not count

dist: $(READY) ## Build the wheel and the sdist into dist/, and check both
	@rm -rf dist
	@$(BIN)/python -m build --no-isolation
	@$(BIN)/twine check --strict dist/*
	@$(BIN)/check-wheel-contents dist/*.whl

constraints: $(READY) ## Pin all that we develop and test against again: the newest, and older Airflows' own
	@$(BIN)/python -m devtools.constraints

setup: $(READY) ## Only create .venv

system-packages: ## Install what some tests need from Debian (as root): PostgreSQL, Redis, Chromium
	@dpkg -s $(SYSTEM_PACKAGES) > /dev/null 2>&1 || { apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends $(SYSTEM_PACKAGES); }

clean: ## Remove everything that make created
	rm -rf $(VENV) .work dist build site .coverage .coverage.* htmlcov .pytest_cache .mypy_cache .ruff_cache \
	  .hypothesis .import_linter_cache

$(READY): pyproject.toml constraints.txt devtools/set_up.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
	  echo "$(PYTHON) is not a Python 3.10 or newer ($$($(PYTHON) --version 2>&1)). Choose one: make PYTHON=python3.12 ..."; \
	  exit 1; } >&2
	@$(PYTHON) devtools/set_up.py
