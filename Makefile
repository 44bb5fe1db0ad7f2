# `make demo` and `make test` are the whole set-up: each makes what it needs and is quick the second time.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint tools/constraints.txt
ENCODER := model_repository/encoder/1/manifest.json

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)

# What running needs: no torch, no model hub.
$(VENV)/.run: $(BIN)/python pyproject.toml tools/constraints.txt
	@echo "installing what the server and the export need (about 150 MB)"
	$(PIP) --editable '.[server,export]'
	@touch $@

# What the tests need beside it: torch and transformers for the export of Hugging Face checkpoints.
$(VENV)/.dev: $(VENV)/.run
	@echo "installing what the tests need (torch among it)"
	$(PIP) --editable '.[server,export,hub,load,dev]'
	@touch $@

# The exporter knows for itself whether what lies there is what it would make.
.PHONY: models
models: $(VENV)/.run  ## export the default encoder into model_repository
	$(BIN)/rolecall-export encoder --repository model_repository --if-missing

.PHONY: demo
demo: models  ## export, serve, and rank the example jobs for the example resumes
	$(BIN)/python tools/demo.py

.PHONY: serve
serve: models  ## run the server on 127.0.0.1:50051
	$(BIN)/rolecall serve

.PHONY: test
test: $(VENV)/.dev models lint  ## everything that must hold: lint, then all tests
	$(BIN)/python -m pytest -q

.PHONY: lint
lint: $(VENV)/.dev  ## ruff, mypy, import contracts, protos, fresh stubs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/gen_protos.py --googleapis .cache/googleapis
	$(BIN)/buf lint
	$(BIN)/python tools/gen_protos.py --check

.PHONY: proto
proto: $(VENV)/.dev  ## generate the stubs
	$(BIN)/python tools/gen_protos.py

.PHONY: system-deps
system-deps:  ## install the Debian packages that some tests want (as root)
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends prometheus

.PHONY: clean
clean:  ## remove what was made here: environment, caches, exported models
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache model_repository/*/[0-9]*

.PHONY: help
help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14
