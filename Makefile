# Each target sets up what it needs: `make test` in a fresh clone is enough.

PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/.installed
FOLDERS := setup.py tfrec_zoo trainers export tests $(wildcard benchmarks docs)

.PHONY: help setup demo test test-distributed lint format clean

help:
	@echo "make demo    train GRU4Rec on generated sessions, evaluate, export and query it"
	@echo "make test    run the tests"
	@echo "make test-distributed    kill the tasks of distributed trainings, one after the other"
	@echo "make lint    check format and style (make format mends what can be mended)"
	@echo "make setup   create $(VENV) and install the zoo, which the others do by themselves"
	@echo "make clean   remove $(VENV) and everything that was built"

setup: $(INSTALLED)

$(INSTALLED): setup.py pyproject.toml
	@echo "== Creating the environment $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@echo "== Installing TensorFlow and the other packages: some minutes, 2.5 GB"
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $(INSTALLED)
	@echo "== Installed"

demo: $(INSTALLED)
	@echo "== Running the demo"
	@$(VENV)/bin/python -m tfrec_zoo.trainers.demo

test: $(INSTALLED)
	@echo "== Running the tests"
	@$(VENV)/bin/python -m pytest

test-distributed: $(INSTALLED)
	@echo "== Training by real processes, some of which are killed: some minutes"
	@$(VENV)/bin/python -m pytest tests/distributed -m "distributed or not distributed"

lint: $(INSTALLED)
	@echo "== Checking format and style"
	@$(VENV)/bin/ruff format --check $(FOLDERS)
	@$(VENV)/bin/ruff check $(FOLDERS)

format: $(INSTALLED)
	@echo "== Mending format and style"
	@$(VENV)/bin/ruff format $(FOLDERS)
	@$(VENV)/bin/ruff check --fix $(FOLDERS)

clean:
	@echo "== Removing $(VENV), builds and caches"
	@rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
