.DEFAULT_GOAL := help
BIN := .venv/bin

help: ## Lists the commands.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: ## Installs what is missing and generates code from the protos.
	@./setup.sh

test: setup check ## Installs what is missing and passes all tests.
	@$(BIN)/pytest -q

test-fast: setup ## Runs the tests that need no virtual machine.
	@$(BIN)/pytest -q --ignore tests/system

check: setup ## Lint, format, types, protos, imports.
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/pyright
	@./libs/protos/check.sh
	@$(BIN)/lint-imports

format: setup ## Formats all Python.
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

lock: setup ## Writes requirements.lock anew from the projects' dependencies.
	@$(BIN)/uv lock -q && $(BIN)/uv export -q --format requirements-txt --no-emit-workspace --no-header -o requirements.lock

clean: ## Removes what the build made.
	@rm -rf .venv libs/protos/stoker_protos .pytest_cache .ruff_cache .hypothesis

.PHONY: help setup test test-fast check format lock clean
