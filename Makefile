# Every target sets up .venv if it is missing.
PYTHON ?= python3
# May contain options of pip: on Linux without a GPU, `--index-url` with the address of torch's CPU builds
# saves gigabytes of CUDA packages.
TORCH ?= torch==2.13.0
ARGS ?=
# How many processes `make test` runs tests in.
WORKERS ?= 2
BIN := .venv/bin
READY := .venv/.ready
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all lint clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20
	@echo '  Options: PYTHON=python3.12, TORCH="torch==2.13.0 --index-url URL", WORKERS=4, ARGS="--help"'

setup: $(READY) ## Make .venv, install everything, fetch the two embedded models

demo: $(READY) ## Run the whole chain on a starter domain and write a report
	$(BIN)/bundlewise demo $(ARGS)

# Many tests start a command, which takes a quarter longer where it compiles every module anew.
test test-all: export PYTHONDONTWRITEBYTECODE :=

test: $(READY) ## Run the tests, without the slow ones
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

test-all: $(READY) ## Run every test, one after the other
	$(BIN)/python -m pytest -m "" $(ARGS)

lint: $(READY) ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/mypy

clean: ## Remove .venv and the files of the tools; fetched models stay in the cache
	rm -rf .venv build dist *.egg-info .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# torch is installed first and alone, since the user chooses its build and later packages must not change it.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "bundlewise needs Python 3.11 or newer, got $$($(PYTHON) --version 2>&1); run: make $(MAKECMDGOALS) PYTHON=python3.11"; \
	  exit 1; }
	@echo "Setting up .venv: torch, the packages of constraints.txt, two models; this takes some minutes, once"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet $(TORCH)
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[test]"
	@$(BIN)/bundlewise models fetch smollm2-135m minilm
	@touch $@
