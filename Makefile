# Everything a developer types. `make help` lists it.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip -c constraints.txt
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

.PHONY: setup
setup: $(STAMP) ## make .venv and install vae3d with its tools

.PHONY: demo
demo: $(STAMP) ## train a small VAE on phantoms for two minutes, score it, show pictures
	$(BIN)/vae3d train +experiment=demo $(if $(STEPS),trainer.steps=$(STEPS))
	$(BIN)/vae3d eval run=runs/demo mode=full
	$(BIN)/vae3d eval run=runs/demo mode=patch evaluation.media=[png] evaluation.report=false
	@echo "pictures: runs/demo/report/full/cases and runs/demo/report/patch/cases"

.PHONY: check
check: lint types test-all ## the whole gate: lint, types, tests, faults

.PHONY: lint
lint: $(STAMP) ## Python, the report's JavaScript, docstrings, plain words
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/oxlint --deny-warnings --allow no-unused-vars vae3d/report/assets
	$(BIN)/interrogate --quiet vae3d
	$(BIN)/python scripts/check_words.py

.PHONY: types
types: $(STAMP) ## mypy --strict
	$(BIN)/mypy

# One process a core; one that has nothing left to do takes tests from another.
PYTEST := $(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist worksteal
GATE := -m "not slow and not gpu and not rehearsal and not faults and not extras"

.PHONY: test-all
test-all: $(STAMP) ## the tests and the faults of the gate, in one session
	$(PYTEST) $(GATE)

.PHONY: test
test: $(STAMP) ## the tests without the faults
	$(PYTEST) $(GATE) --ignore=tests/faults --ignore=tests/security

.PHONY: faults
faults: $(STAMP) ## what breaks and what is malicious: kills, signals, ranks, damaged files
	$(PYTEST) $(GATE) tests/faults tests/security

.PHONY: test-extras
test-extras: $(STAMP) ## agreement with MONAI and browsers, the examples
	$(PYTEST) -m "extras and not slow and not gpu and not rehearsal"

.PHONY: test-slow
test-slow: $(STAMP) ## the tests that take longer
	$(BIN)/python -m pytest -q -m slow

.PHONY: test-faults
test-faults: $(STAMP) ## the same by the thousand, over night; continued by the same command
	$(BIN)/python scripts/nightly.py

# WHEELS: a folder from gpu-wheels, on a machine without a package index and without a .venv.
PART ?= all
GPU := scripts/measure_gpu.py $(PART) $(if $(TINY),--tiny) $(if $(OUT),--out $(OUT))

.PHONY: gpu
gpu: $(if $(WHEELS),,$(STAMP)) ## test and measure on a CUDA device: PART=tests, ...; TINY=1 on a CPU
	$(if $(WHEELS),$(PYTHON),$(BIN)/python) $(GPU) $(if $(WHEELS),--wheels $(WHEELS))

.PHONY: gpu-wheels
gpu-wheels: ## download into WHEELS what make gpu needs on a machine without a package index
	$(PYTHON) scripts/measure_gpu.py --download $(WHEELS)

.PHONY: bench
bench: $(STAMP) ## the tables of docs/benchmarks.md; what was measured on this commit is kept
	$(BIN)/python scripts/bench.py $(if $(QUICK),--quick) $(if $(ONLY),--only $(ONLY))

.PHONY: settings
settings: $(STAMP) ## write docs/settings.md from the settings' own sentences
	$(BIN)/python scripts/write_settings.py

.PHONY: format
format: $(STAMP) ## ruff format and its safe fixes
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: clean
clean: ## remove what was built, but no run
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
