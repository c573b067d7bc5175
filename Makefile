# Every target is one command that you could have typed. Variables: see help.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
DATA ?= digits
SEED ?= 0
# for commands that take the run's own data unless told otherwise
OTHER_DATA := $(if $(filter file,$(origin DATA)),,--data $(DATA))

MODELS := $(basename $(notdir $(wildcard configs/model/*.yaml)))
DATASETS := $(basename $(notdir $(wildcard configs/data/*.yaml)))

.DEFAULT_GOAL := help
.PHONY: help setup train probe finetune report reproduce evaluate zoo zoo-readme test test-slow torture bench check clean

help: ## Show this list
	@echo "make TARGET [VARIABLE=VALUE …]"
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F'\t' '{printf "  %-12s %s\n", $$1, $$2}'
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

probe: $(VENV)/.ready ## Linear probe of an encoder: MODEL=NAME|RUN|CKPT [DATA=mnist] [ARGS="--layer all --json"]
	@$(if $(MODEL),$(BIN)/daezoo probe $(MODEL) $(OTHER_DATA) $(ARGS),echo "make probe needs MODEL=NAME|RUN|CKPT" >&2; exit 2)

finetune: $(VENV)/.ready ## Train an encoder and a classifier: MODEL=NAME|RUN|CKPT [DATA=mnist] [SEED=0] [ARGS="--labels-per-class 10"]
	@$(if $(MODEL),$(BIN)/daezoo finetune $(MODEL) $(OTHER_DATA) --seed $(SEED) $(ARGS),\
	  echo "make finetune needs MODEL=NAME|RUN|CKPT" >&2; exit 2)

report: $(VENV)/.ready ## All there is to see of a run on one page, RUN/report.html: RUN=RUN_DIR
	@$(if $(RUN),$(BIN)/daezoo report $(RUN) $(ARGS),echo "make report needs RUN=RUN_DIR" >&2; exit 2)

reproduce: $(VENV)/.ready ## Train and judge the models of a study, render docs/results.md: STUDY=features|finetuning|corruptions|vincent2010|patches|restoration|anomaly|family|matrix|imputation|samples [BUDGET=smoke|minutes|full] [ARGS="--seeds 3"]
	@$(if $(STUDY),$(BIN)/daezoo reproduce $(STUDY) $(if $(BUDGET),--budget $(BUDGET)) $(ARGS),echo "make reproduce needs STUDY=…" >&2; exit 2)

zoo: $(VENV)/.ready ## Download all pretrained models and check digest, strict load and golden output [ARGS="--metrics"]
	@$(BIN)/daezoo zoo verify $(ARGS)

zoo-readme: $(VENV)/.ready ## Render zoo/README.md from the entries
	@$(BIN)/daezoo zoo readme

evaluate: $(VENV)/.ready ## Measure a trained model: RUN=NAME|RUN|CKPT [ARGS="--corruption Gaussian --level 0.3 --json"]
	@$(if $(RUN),$(BIN)/daezoo evaluate $(RUN) $(ARGS),echo "make evaluate needs RUN=NAME|RUN|CKPT" >&2; exit 2)

test: $(VENV)/.ready ## Run the quick tests, on all cores [ARGS="-k …"]
	$(BIN)/python -m pytest -n auto --dist loadfile $(ARGS)

test-slow: $(VENV)/.ready ## Run all tests, the slow ones too
	$(BIN)/python -m pytest -n auto --dist loadfile -m "slow or not slow" $(ARGS)

torture: $(VENV)/.ready ## Kill trainings, fill disks, spoil data, again and again; render docs/reliability.md [ARGS="--only SIGKILL"]
	OMP_NUM_THREADS=1 $(BIN)/python tests/torture $(ARGS)
	test -f docs/studies/long-run.csv || OMP_NUM_THREADS=1 $(BIN)/python tests/torture/long_run.py

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
