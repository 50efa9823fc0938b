# `make sweep` and `make test` need Python 3.11 to 3.13, make and access to a package index; they set up .venv themselves.
PYTHON ?= python3
PRESET ?= quickstart
STORAGE ?= ./runs
ARGS ?=

bin := .venv/bin
# Locked versions. pip uses only the entries that this platform needs, so one list serves every platform.
pip := $(bin)/python -m pip install --quiet --constraint constraints.txt

.PHONY: sweep quick test test-all bench lint format docs lock clean

sweep: .venv/.runtime
	@$(bin)/python run_sweep.py $(PRESET) --storage '$(STORAGE)' $(ARGS)

# Two processes; each first runs its group of the tests that start Ray, one after another (tests/conftest.py).
test: .venv/.development
	$(bin)/python -m pytest --numprocesses 2 --dist loadgroup $(ARGS)

lint: .venv/.development
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy

format: .venv/.development
	$(bin)/ruff check --fix .
	$(bin)/ruff format .

# Measure the tables of docs/performance.md: eleven minutes on an otherwise idle machine with 2 cores.
bench: .venv/.development
	$(bin)/python -m benchmarks.speed.training_loop --pairs wrn-16-2:wrn-16-1 --threads 1 --repeats 2
	$(bin)/python -m benchmarks.speed.training_loop --no-compile --threads 2 --repeats 2
	$(bin)/python -m benchmarks.speed.evaluation --threads 1 2
	$(bin)/python -m benchmarks.speed.transition_curves --images 8 --plain-images 1 --steps 10 --repeats 3 --threads 1 2
	$(bin)/python -m benchmarks.speed.sweep_overhead
	$(bin)/python -m benchmarks.speed.growth --trials 300

docs: .venv/.development
	$(bin)/python docs/make_reference.py
	$(bin)/mkdocs build --strict --quiet

# Resolve the newest versions that pyproject.toml allows, in a new environment, and write them to constraints.txt.
lock:
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet '.[dev,docs]'
	.venv-lock/bin/python -m pip freeze --exclude zskt > constraints.txt
	rm -rf .venv-lock

clean:
	rm -rf .venv .venv-lock build *.egg-info

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo 'zskt needs Python 3.11 to 3.13; name one with: make PYTHON=/path/to/python3.13'; exit 1; }
	@$(PYTHON) -m venv .venv || { echo 'On Debian and Ubuntu: apt-get install python3-venv'; rm -rf .venv; exit 1; }

.venv/.runtime: .venv/bin/python pyproject.toml constraints.txt
	@echo 'Installing into .venv; torch brings its CUDA libraries, so this takes some minutes and 6 GB ...'
	@$(pip) --editable .
	@touch $@

.venv/.development: .venv/.runtime
	@$(pip) --editable '.[dev,docs]'
	@touch $@
