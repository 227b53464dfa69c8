# Two commands do all their own set-up: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
export IMAGE

.PHONY: demo run test slow chaos check format tests clean help

help:  ## what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort

demo: .venv/.installed  ## animate a sample picture, or IMAGE=photo.jpg, without Discord
	@$(BIN)/python -m console demo -- $${IMAGE:+"$$IMAGE"}

run: .venv/.installed  ## everything on this machine; needs DISCORD_TOKEN
	@$(BIN)/python -m console up

test: check tests  ## format, lint, types, import walls, and the suite but for what is slow

slow: .venv/.installed  ## the tests that take long
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m slow

chaos: .venv/.installed  ## hundreds of jobs while everything that can die dies; ten minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.chaos

check: .venv/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

tests: .venv/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadfile -m "not slow"

format: .venv/.installed  ## let ruff write what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.venv/.installed: pyproject.toml constraints.txt
	@echo "Setting up .venv (a minute or two, once) …"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt ".[worker,dev]"
	@touch $@

clean:  ## forget the environment and what was made
	rm -rf .venv out build
