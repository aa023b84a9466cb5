# Everything a newcomer types. Each target does its own set-up, in .venv of this clone and nowhere else.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.ready
DOCS_STAMP := .venv/.docs-ready

.PHONY: setup demo test check docs bench bench-fuzz bench-crash clean
.DEFAULT_GOAL := setup

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else f"visagist needs Python 3.11 to 3.13, this is {v[0]}.{v[1]}; try make PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv (a few minutes the first time)" >&2
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch 1>&2
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]' 1>&2
	@touch $@

demo: $(STAMP)  ## swap the bundled speaker into the bundled target; the last line is the render's path
	@$(BIN)/visagist demo --output demo-output/swap.mp4

test: $(STAMP)  ## two processes: most tests leave the second core idle
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal

check: $(STAMP)
	@$(BIN)/ruff check src tests benchmarks tools
	@$(BIN)/ruff format --check src tests benchmarks tools
	@$(BIN)/basedpyright
	@$(BIN)/python -m pytest -q tests/test_imports.py

docs: $(DOCS_STAMP)  ## brings tables in docs/ up to date with the code, then builds the site into site/; broken links are errors
	@$(BIN)/python tools/docs_tables.py
	@$(BIN)/python tools/metrics_doc.py
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "open site/index.html, or for the search: $(BIN)/mkdocs serve"

$(DOCS_STAMP): $(STAMP)
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]' 1>&2
	@touch $@

bench: $(STAMP)
	@$(BIN)/python -m benchmarks

bench-fuzz: $(STAMP)  ## 100,000 hostile inputs to every reader, about half an hour
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.fuzz

bench-crash: $(STAMP)  ## kills and disk errors at every kind of write, at most an hour a call; a later call continues
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.crash

clean:
	rm -rf demo-output bench-output site
