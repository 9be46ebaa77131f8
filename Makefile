# What a developer needs, on a machine with Python 3.11 or later and make. `make help` lists it.

PYTHON  ?= python3
WORKERS ?= 2
RUNS    ?= 20
ARGS    ?=

VENV := .venv
BIN  := $(VENV)/bin
PIP  := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test lint format types imports drift squawk check coverage integration test-containers test-compose \
	test-versions test-flaky report load bench bench-compare bench-queues wheel clean distclean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.all ## A fleet of agents examines a source tree [URL=… PATH_=DIR ARGS=…]
	@$(BIN)/agentmem demo $(if $(URL),--url '$(URL)') $(if $(PATH_),--path '$(PATH_)') $(ARGS)

test: $(VENV)/.dev ## Run all tests, with real PostgreSQL and Redis servers [ARGS='-k name' WORKERS=0]
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

lint: $(VENV)/.dev ## Check style and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: $(VENV)/.dev ## Format the code and mend what can be mended
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: $(VENV)/.dev ## Check types: mypy, strict
	@$(BIN)/mypy

imports: $(VENV)/.dev ## Check that imports point one way
	@$(BIN)/lint-imports --no-cache --no-logo

drift: $(VENV)/.dev ## Check that the migrations make what the models say
	@set -e; directory=$$(mktemp -d); trap 'rm -rf "$$directory"' EXIT; \
	export AGENTMEM_URL="sqlite:///$$directory/drift.db"; \
	$(BIN)/alembic upgrade head; $(BIN)/alembic check

squawk: $(VENV)/.dev ## Read the SQL of the migrations for locks that last
	@$(BIN)/python -m pytest -q tests/migrations/test_squawk.py

check: lint types imports drift test ## Everything that must be green before a change is merged

coverage: $(VENV)/.dev ## Run all tests; show what none of them reaches, and fail below 90 %
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --cov --cov-report=term-missing --cov-report=html $(ARGS)

integration: $(VENV)/.dev ## Run the 80 integration tests, on servers of your choice [ARGS='--servers local --fast']
	@./run-integration-tests.sh $(ARGS)

test-containers: $(VENV)/.dev ## The same on the official images, by testcontainers
	@./run-integration-tests.sh --servers containers $(ARGS)

test-compose: $(VENV)/.dev ## The same on docker-compose-test.yml
	@./run-integration-tests.sh --servers compose $(ARGS)

test-versions: $(VENV)/.dev ## Unit tests and contract on the oldest dependencies, PostgreSQL 15 and Redis 6.2
	@.ci/oldest $(ARGS)

test-flaky: $(VENV)/.dev ## Run them 20 times in other orders, and say how many runs were green [RUNS=20]
	@green=0; for run in $$(seq $(RUNS)); do \
	$(BIN)/python -m pytest tests/integration -n $(WORKERS) -q $(ARGS) && green=$$((green + 1)); done; \
	echo "$$green of $(RUNS) runs were green"; [ "$$green" -eq $(RUNS) ]

report: $(VENV)/.dev ## Run them and write docs/integration-tests-report.md from what came [ARGS='--servers local']
	@$(BIN)/python -m benchmarks.report $(ARGS)

load: $(VENV)/.dev ## 64 threads in 4 processes on each backend, for a minute [ARGS='redis --seconds 10']
	@$(BIN)/python -m benchmarks.load $(ARGS)

bench: $(VENV)/.dev ## Compare with raw drivers and peers, in one run [BACKEND=postgresql ARGS='--rounds 3']
	@$(BIN)/python -m benchmarks $(BACKEND) --peers $(ARGS)

bench-compare: $(VENV)/.dev ## Fail where a ratio fell by more than 20 % since the stored run [BACKEND=redis ARGS=--save]
	@$(BIN)/python -m benchmarks.compare $(BACKEND) $(ARGS)

bench-queues: $(VENV)/.dev ## Compare work queues with the same work by hand, and with peers [BACKEND=postgresql ARGS='--rounds 3']
	@$(BIN)/python -m benchmarks.queues $(BACKEND) $(ARGS)

wheel: $(VENV)/.dev ## Build the sdist, and the wheel from it, into dist/
	@$(BIN)/python -m build --no-isolation

clean: ## Remove what was built or cached, but not the environment
	rm -rf dist build htmlcov .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +

distclean: clean ## Remove the environment too
	rm -rf $(VENV)

# A stamp is newer than pyproject.toml when what it lists is installed.
$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.12 …")'
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.all: pyproject.toml | $(VENV)/.python
	@echo "Installing agentmem and its drivers into $(VENV) (once)"
	@$(PIP) --editable '.[all]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/.python
	@echo "Installing agentmem, its drivers and the developers' tools into $(VENV) (once)"
	@$(PIP) --editable '.[all,dev]'
	@touch $(VENV)/.all $@
