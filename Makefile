PYTHON ?= python3
ENVIRONMENT := .venv
BIN := $(ENVIRONMENT)/bin

.PHONY: demo check test test-slow test-oldest bench clean

demo: $(ENVIRONMENT)/installed  ## the whole path on the toy world, ending with a page to look at
	$(BIN)/vinculum demo --out demo

check: $(ENVIRONMENT)/installed  ## lint, types, tests that start no other process
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -m "not slow and not processes" -n 2 --dist loadfile --durations=15

test: $(ENVIRONMENT)/installed  ## lint, types, tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder --durations=15

test-slow: $(ENVIRONMENT)/installed  ## the tests that take minutes
	$(BIN)/pytest -m slow

test-oldest: .venv-oldest/installed  ## make check, with the oldest release of each dependency that setup.cfg admits
	$(MAKE) check ENVIRONMENT=.venv-oldest

bench: $(ENVIRONMENT)/installed  ## measured ratios, printed
	VINCULUM_BENCH=full $(BIN)/pytest -m benchmark -s

clean:
	rm -rf .venv .venv-oldest demo

.venv/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --upgrade pip
	.venv/bin/python -m pip install --quiet --editable '.[test]'
	touch $@

.venv-oldest/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --upgrade pip uv
	.venv-oldest/bin/uv pip install --quiet --python .venv-oldest/bin/python --resolution lowest-direct --editable '.[test]'
	touch $@
