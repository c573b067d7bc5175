# Every target is one command that you could have typed. Variables: see help.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
DATA ?= digits
SEED ?= 0

MODELS := $(basename $(notdir $(wildcard configs/model/*.yaml)))
DATASETS := $(basename $(notdir $(wildcard configs/data/*.yaml)))

.DEFAULT_GOAL := help
.PHONY: help setup train evaluate test test-slow bench check clean

help: ## Show this list
	@echo "make TARGET [VARIABLE=VALUE …]"
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F'\t' '{printf "  %-10s %s\n", $$1, $$2}'
	@echo "models: $(MODELS)"
	@echo "data:   $(DATASETS)"

setup: $(VENV)/.ready ## Make .venv with everything installed, if it is missing or out of date

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/pip install --quiet --constraint constraints.txt --group dev --editable .
	@touch $@

train: known $(VENV)/.ready ## Train: MODEL=stacked [DATA=digits] [SEED=0] [NAME=…] [LOGGER=wandb|tensorboard] [RESUME=RUN_DIR] [ARGS="--trainer.max_epochs 3"]
	@$(BIN)/daezoo fit $(if $(RESUME),--resume $(RESUME),\
	  --config configs/trainer.yaml --config configs/data/$(DATA).yaml --config configs/model/$(MODEL).yaml \
	  --seed_everything $(SEED) $(if $(NAME),--name $(NAME)) $(if $(LOGGER),--logger $(LOGGER))) $(ARGS)

evaluate: $(VENV)/.ready ## Measure a trained model: RUN=RUN_OR_CKPT [ARGS="--corruption Gaussian --level 0.3 --json"]
	@$(if $(RUN),$(BIN)/daezoo evaluate $(RUN) $(ARGS),echo "make evaluate needs RUN=RUN_OR_CKPT" >&2; exit 2)

test: $(VENV)/.ready ## Run the quick tests [ARGS="-k …"]
	$(BIN)/python -m pytest $(ARGS)

test-slow: $(VENV)/.ready ## Run all tests, the slow ones too
	$(BIN)/python -m pytest -m "slow or not slow" $(ARGS)

bench: $(VENV)/.ready ## Measure speed and memory against a bare loop and others [QUICK=1]; see benchmarks/README.md
	$(BIN)/python -m benchmarks $(if $(QUICK),--quick)
	$(BIN)/python -m benchmarks.growth $(if $(QUICK),--quick)

check: $(VENV)/.ready ## Check format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

clean: ## Remove .venv and caches; runs and data stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist

.PHONY: known
known:
ifndef RESUME
	@$(if $(filter $(MODEL),$(MODELS)),,echo "MODEL='$(MODEL)' is not known. Known models: $(MODELS)" >&2; exit 2)
	@$(if $(filter $(DATA),$(DATASETS)),,echo "DATA='$(DATA)' is not known. Known data: $(DATASETS)" >&2; exit 2)
else ifdef MODEL
	@case "/$(RESUME)" in */$(MODEL)-*) ;; *) echo "RESUME=$(RESUME) is no run of MODEL=$(MODEL)." >&2; exit 2;; esac
endif
