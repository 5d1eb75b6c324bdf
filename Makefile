# `make` lists the targets. The environment is made once, from the locks in
# requirements/, and made anew when one of them changes.

VENV := .venv
UV := uv==0.13.9

# The first supported Python among these; an environment made before keeps its own.
# Another one by hand: make PYTHON=/path/to/python3.12 test
CANDIDATES := $(VENV)/bin/python python3 python3.12 python3.11 python3.10
SUPPORTED := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))
ifndef PYTHON
PYTHON := $(shell for p in $(CANDIDATES); do \
	if "$$p" -c '$(SUPPORTED)' 2>/dev/null; then echo "$$p"; break; fi; done)
endif

.PHONY: help python env env-dev demo bench test lint lock clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1|\2/p' Makefile | awk -F '|' \
		'{ printf "%-14s %s\n", $$1, $$2 }'

python:
	@test -n "$(PYTHON)" || { echo "deepreg_meta: expected Python 3.10, 3.11 or 3.12" \
		"on the PATH, found none. Install one, or name it:" \
		"make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }

env: python  ## create .venv with the locked run-time packages and this project
	@$(PYTHON) requirements/make_env.py

env-dev: python  ## the same, with pytest, ruff and mypy
	@$(PYTHON) requirements/make_env.py --dev

demo: env  ## train on generated phantom cases, adapt, show numbers and a figure
	$(VENV)/bin/python demos/meta_trus/demo_data.py
	$(VENV)/bin/python demos/meta_trus/demo_train.py
	$(VENV)/bin/python demos/meta_trus/demo_predict.py

bench: env  ## measure speed and memory; options by: make bench BENCH="--only steps"
	$(VENV)/bin/python bench/run.py $(BENCH)

test: env-dev  ## run the tests; options by: make test PYTEST="-m 'not slow'"
	$(VENV)/bin/python -m pytest -n auto --maxprocesses 8 --dist loadfile $(PYTEST)

lint: env-dev  ## check style, format and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# One lock for Python 3.10 to 3.12 on every platform, `fewest` for the same version of
# each package on all of them. Delete a .txt first to take the newest of everything.
LOCK := uv pip compile --quiet --no-config --universal --fork-strategy fewest \
	--python-version 3.10 --generate-hashes --only-binary :all: \
	--custom-compile-command "make lock"
lock: python  ## write requirements/*.txt anew from requirements/*.in
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet $(UV)
	cd requirements && PATH="$(CURDIR)/$(VENV)-lock/bin:$$PATH" && \
		$(LOCK) pip.in -o pip.txt && $(LOCK) run.in -o run.txt && \
		$(LOCK) dev.in -c run.txt -o dev.txt
	rm -rf $(VENV)-lock

clean:  ## remove the environment, builds and caches; data and logs stay
	rm -rf $(VENV) $(VENV)-lock $(VENV)-old build dist *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# TensorFlow's own start-up notes would bury the results.
demo bench test: export TF_CPP_MIN_LOG_LEVEL ?= 2
