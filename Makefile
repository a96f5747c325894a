PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-slow bench clean

demo: .venv/installed  ## the whole path on the toy world, ending with a page to look at
	$(BIN)/vinculum demo --out demo

test: .venv/installed  ## lint, types, tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -m "not slow" -n 2 --dist loadfile --durations=15

test-slow: .venv/installed  ## the tests that take minutes
	$(BIN)/pytest -m slow

bench: .venv/installed  ## measured ratios, printed
	VINCULUM_BENCH=full $(BIN)/pytest -m benchmark -s

clean:
	rm -rf .venv demo

.venv/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@
