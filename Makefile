.DEFAULT_GOAL := help
BIN := .venv/bin

# Images of containers often set it, and each of the many processes here would compile itself anew.
unexport PYTHONDONTWRITEBYTECODE

# These wait for servers and processes as much as they compute, so more of them than processors run at a time.
TESTS_WITHOUT_VMS := $(BIN)/pytest --ignore tests/system --numprocesses 4 --dist loadfile

help: ## Lists the commands.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: setup ## Starts Stoker, deploys examples/hello, invokes it, and says what happened where.
	@./deploy/demo.sh

down: ## Stops Stoker: no process, virtual machine, mount or socket is left. Functions and keys are kept.
	@$(BIN)/stoker down

setup: ## Installs what running Stoker needs, and generates code from the protos.
	@./setup.sh

setup-test:
	@./setup.sh test

test: setup-test check ## Installs what is missing and passes all tests.
	@$(TESTS_WITHOUT_VMS)
	@$(BIN)/pytest tests/system

test-fast: setup-test ## Runs the tests that need neither a virtual machine nor much time.
	@$(TESTS_WITHOUT_VMS) -m "not thorough"

soak: setup-test ## Runs 30 minutes of churn on a Stoker of its own, and looks for what they leave behind.
	@STOKER_SOAK_MINUTES=30 $(BIN)/pytest tests/system/test_soak.py

check: setup ## Lint, format, types, protos, imports.
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/pyright
	@./libs/protos/check.sh
	@$(BIN)/lint-imports

format: setup ## Formats all Python.
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

bench: setup ## Measures speed, as ratios to a floor of the same run.
	@missed=; for benchmark in $$(grep -l __main__ benchmarks/*.py); do $(BIN)/python "$$benchmark" || missed=1; done; \
	[ -z "$$missed" ]

simulate: setup-test ## Compares the scheduler's policy with simpler ones in a simulated fleet; about half an hour.
	@$(BIN)/python -m tests.simulation $(ARGS)

lock: setup ## Writes requirements.lock anew from the projects' dependencies.
	@$(BIN)/uv lock -q && $(BIN)/uv export -q --format requirements-txt --no-emit-workspace --no-header -o requirements.lock

clean: ## Removes what the build made.
	@rm -rf .venv .build libs/protos/stoker_protos .pytest_cache .ruff_cache .hypothesis

.PHONY: help demo down setup setup-test soak test test-fast check format bench simulate lock clean
