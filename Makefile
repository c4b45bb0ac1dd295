# Two commands matter: `make run` and `make test`. `make help` lists the rest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CONFIG ?= xmppd.yaml

.DEFAULT_GOAL := help

.PHONY: help
help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.PHONY: run
run: $(VENV)/.installed $(CONFIG) ## Serve localhost with the embedded store (accounts: see what it prints)
	@exec $(BIN)/xmppd run --config $(CONFIG)

.PHONY: test
test: $(VENV)/.installed-test ## Install and start what the tests need, and run them all, two at a time
	@tests/prepare.sh $(BIN)/python
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

.PHONY: dev
dev: $(VENV)/.installed-test ## Install what the tests of plugins need (docs/howto/write-a-plugin.md)

.PHONY: lint
lint: $(VENV)/.installed-dev ## Style, formatting and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

.PHONY: types
types: $(VENV)/.installed-dev ## mypy --strict on xmppd and plugins
	$(BIN)/mypy

.PHONY: bench
bench: $(VENV)/.installed-test ## CPU per unit of work, beside Prosody where it is installed
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: faults
faults: $(VENV)/.installed-test ## The long trials; then kill the server 1,000 times under load and account for every message
	@tests/prepare.sh $(BIN)/python
	@$(BIN)/python -m pytest -m trial
	@$(BIN)/python -m tests.faults $(ARGS)

.PHONY: fresh
fresh: ## Build updated Debian 12 and 13 systems and do there what the README says (root; before a release)
	@SUITES="$(SUITES)" STEPS="$(STEPS)" ARGS="$(ARGS)" tests/fresh/fresh.sh

CONVERSE := 14.0.0

.PHONY: web
web: $(BIN)/python ## Bring the web client (Converse.js; needs npm), for the plugin web_client
	@command -v npm >/dev/null || { echo "the web client comes by npm: install it first (Debian: apt install npm)" >&2; exit 1; }
	@mkdir -p build/web-client
	@npm install --silent --no-audit --no-fund --ignore-scripts --prefix build/web-client converse.js@$(CONVERSE)
	@rm -rf $(VENV)/share/xmppd/web && mkdir -p $(VENV)/share/xmppd
	@cp -r build/web-client/node_modules/converse.js/dist $(VENV)/share/xmppd/web
	@find $(VENV)/share/xmppd/web -name '*.map' -delete
	@echo "the web client is there; docs/howto/web-client.md says how to switch it on"

.PHONY: docs
docs: $(VENV)/.installed ## Write docs/reference anew from the code
	@$(BIN)/python -m docs.generate

.PHONY: clean
clean: ## Remove the virtual environment and caches (not var/)
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# A copy that is yours: what you change in it is no change of the checkout, and a newer template does not undo it.
xmppd.yaml:
	@cp config/xmppd.yaml $@

# Debian splits venv from python3; as root (or by sudo) it is installed.
$(BIN)/python:
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || { tests/packages.sh python3-venv && $(PYTHON) -m venv --clear $(VENV); }

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	@echo "installing into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

# A weather of one's own (docs/howto/write-a-plugin.md) stays: it has the same name as that of the tests.
$(VENV)/.installed-test: pyproject.toml $(VENV)/.installed
	@echo "installing what tests need into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]' \
		$$($(BIN)/python -c 'import xmppd_weather' 2>/dev/null || echo --editable ./tests/third_party/weather)
	@touch $@

$(VENV)/.installed-dev: pyproject.toml $(VENV)/.installed-test
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,dev]'
	@touch $@
