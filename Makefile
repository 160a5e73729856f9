# The verbs, the same here and in CI.  make demo | test | check | bench | cluster | docs | clean
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
RUN := .venv/bin/python

help:  ## Show the verbs
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' Makefile

demo: .venv/ready  ## A vulnerable application meets the gate, then its repaired copy
	@$(RUN) examples/01-first-gate/demo.py

test: .venv/ready  ## All tests, unit to journeys, with the real scanners and a real Kubernetes
	@$(RUN) -m cluster.build || true
	@$(RUN) -m pytest

check: .venv/ready  ## Style, types, layers, sizes, generated documents
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy
	@.venv/bin/lint-imports
	@$(RUN) checks/sizes.py
	@$(RUN) checks/documents.py --check

bench: .venv/ready  ## Measure speed and memory against named baselines
	@for part in start pipeline calls federation memory scan screening reconcile; do $(RUN) -m bench.$$part || exit; done

cluster: .venv/ready  ## A real Kubernetes on this machine until Ctrl-C (without a node: NODE=no)
	@$(RUN) -m cluster $(if $(filter no,$(NODE)),--no-node)

docs: .venv/ready  ## Write the generated documents anew
	@$(RUN) checks/documents.py

clean:  ## Remove what the verbs made in this folder
	rm -rf .venv .uv out dist

.venv/ready: uv.lock pyproject.toml checks/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "pilotage needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "The venv module is missing: install it first (Debian, Ubuntu: apt-get install python3-venv)." >&2; exit 1; }
	@echo "Setting up .venv from uv.lock ..."
	@test -x .uv/bin/uv || $(PYTHON) -m venv .uv
	@.uv/bin/python -m pip install --quiet --require-hashes --requirement checks/uv.txt
	@.uv/bin/uv sync --quiet --frozen --python $(PYTHON)
	@touch $@

.PHONY: help demo test check bench cluster docs clean
