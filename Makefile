# Everything a newcomer needs:  make demo  and  make test
#
# A virtual environment is made in .venv on first use, with the versions of constraints.txt.
#   make PYTHON=python3.12 ...        another interpreter (3.11 or later)
#   make TORCH_INDEX=URL ...          another build of PyTorch, see docs/how-to/install.md

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
TORCH_INDEX ?=
JOBS ?= auto

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt

CLIENTS := $(VENV)-clients
CLIENTS_PIP := $(CLIENTS)/bin/python -m pip install --disable-pip-version-check --quiet -c tests/clients/constraints.txt

.PHONY: help venv dev demo test search test-slow test-clients test-browser docs lint clean

help:
	@echo "make demo   segment a real slide with the shipped weights; results in demo/"
	@echo "make test   run the tests and the examples in docstrings, one process per core"
	@echo "make search     run the tests of properties on examples that were never tried"
	@echo "make test-slow  run those that take minutes"
	@echo "make test-clients  let spatialdata, squidpy, geopandas, napari's reader and others read results"
	@echo "make lint   style, types, import contracts and spelling"
	@echo "make test-browser  drive the viewer in Chromium, as a person does"
	@echo "make docs   the documentation site, into docs/_build/html"
	@echo "make venv   only install, into $(VENV)"
	@echo "make clean  remove $(VENV), $(CLIENTS), demo/ and caches"

venv: $(VENV)/.installed
dev: $(VENV)/.installed-dev

# PyTorch on its own, so that another index serves nothing but PyTorch.
$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "Installing into $(VENV) (a minute or two) ..."
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
	$(PIP) --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@# Dependency groups need pip 25.1 or later.
	$(PIP) --upgrade pip
	$(PIP) --group test --group lint
	@touch $@

demo: venv
	$(BIN)/wsinuc segment examples/data/CMU-1-Small-Region.svs --output demo --overwrite
	@echo "What each output is: docs/reference/results.md"

# One thread for each process: several would get in each other's way. Whoever has nothing left to do takes tests from
# another process, of which the rest stays in the order of the files, so that what tests share is made once.
test: dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(JOBS) --dist worksteal --ignore tests/browser

# Hypothesis draws new examples each time; a failure is kept in .hypothesis and tried first by the next search.
search: dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(JOBS) --dist worksteal --ignore tests/browser -m 'hypothesis and not slow' --hypothesis-profile search

test-slow: dev
	$(BIN)/python -m pytest -m slow

# Other programs, with versions of their own in an environment of their own.
$(CLIENTS)/.installed: pyproject.toml tests/clients/constraints.txt
	@echo "Installing into $(CLIENTS) (several minutes) ..."
	$(PYTHON) -m venv $(CLIENTS)
	@# Dependency groups need pip 25.1 or later.
	$(CLIENTS_PIP) --upgrade pip
	$(CLIENTS_PIP) torch torchvision $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
	$(CLIENTS_PIP) --editable '.[spatialdata]' --group test --group clients
	@touch $@

test-clients: $(CLIENTS)/.installed
	MPLBACKEND=agg OMP_NUM_THREADS=1 $(CLIENTS)/bin/python -m pytest tests/clients --disable-warnings

# Chromium is the system's (apt install chromium; CHROMIUM=... names another), else Playwright's own, fetched once.
CHROMIUM ?= $(shell command -v chromium || command -v chromium-browser)

$(VENV)/.installed-browser: $(VENV)/.installed-dev tests/browser/constraints.txt
	$(PIP) -c tests/browser/constraints.txt --editable '.[view]' --group browser
	$(if $(CHROMIUM),,$(BIN)/python -m playwright install --with-deps chromium-headless-shell)
	@touch $@

test-browser: $(VENV)/.installed-browser
	OMP_NUM_THREADS=1 CHROMIUM=$(CHROMIUM) $(BIN)/python -m pytest tests/browser

docs: dev
	$(PIP) --group docs
	$(BIN)/python -m sphinx --fail-on-warning --keep-going -b html docs docs/_build/html

lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

clean:
	rm -rf $(VENV) $(CLIENTS) demo build dist docs/_build .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache
