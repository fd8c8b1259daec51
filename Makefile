# Everything people and CI run. `make help` first.
SHELL := bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-shop demo-fraud test soak check bench clean schema

help: ## what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "python 3.11 or newer is missing: install it and run make again"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than 3.11: make PYTHON=python3.11 …"; exit 2; }
	@test -x $(BIN)/python || { echo "making $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing what constraints.txt pins"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(STAMP)

setup: $(STAMP) ## the virtual environment with everything in it

demo: $(STAMP) ## the airline, end to end, on the real stack with the local model
	@$(BIN)/python -m examples.airline.demo $(DEMO)

demo-shop: $(STAMP) ## the shop: nothing sold out is recommended, and every message is proved
	@$(BIN)/python -m examples.shop.demo $(DEMO)

demo-fraud: $(STAMP) ## the payment service: what looks like fraud is judged while the merchant waits
	@$(BIN)/python -m examples.fraud.demo $(DEMO)

test: $(STAMP) ## unit, stack and fault tests, reduced counts, side by side; the slower two each on a stack of their own
	@mkdir -p .wake
	@$(BIN)/python -m pytest tests/unit tests/containers > .wake/unit.log 2>&1 & unit=$$!; \
	$(BIN)/python -m pytest tests/faults --durations=10 --maxfail=10 > .wake/faults.log 2>&1 & faults=$$!; \
	$(BIN)/python -m pytest tests/stack --durations=15 --maxfail=10 2>&1 | tee .wake/stack.log; stack=$${PIPESTATUS[0]}; \
	wait $$faults; faulty=$$?; cat .wake/faults.log; \
	wait $$unit; quick=$$?; cat .wake/unit.log; \
	grep -E '^(FAILED|ERROR|E  ) ' .wake/stack.log .wake/faults.log .wake/unit.log | cut -c 1-400 | tail -n 40; \
	test $$stack -eq 0 -a $$faulty -eq 0 -a $$quick -eq 0

soak: $(STAMP) ## the same on the real stack with full counts
	@$(BIN)/wake model pull
	WAKE_SOAK=1 $(BIN)/python -m pytest tests/soak tests/stack tests/faults --timeout 7200

check: $(STAMP) ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports

bench: $(STAMP) ## the figures of the README, on the real stack
	$(BIN)/python -m benchmarks.run $(BENCH)

schema: $(STAMP) ## write wakestream/wake.schema.json anew
	$(BIN)/wake config schema > wakestream/wake.schema.json

clean: ## stop the local stack and remove what make made, downloads excepted
	@test ! -x $(BIN)/wake || $(BIN)/wake stack down --wipe --yes || true
	rm -rf .wake $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
