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
run: $(VENV)/.installed $(CONFIG) web-if-possible ## Serve localhost with the embedded store and a web client (accounts: see what it prints)
	@exec $(BIN)/xmppd run --config $(CONFIG)

.PHONY: test
test: $(VENV)/.installed-test ## Install and start what the tests need, and run them all, two at a time
	@tests/prepare.sh $(BIN)/python
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

ONE_HOME := tests/storage tests/simulation
.PHONY: homes
homes: $(VENV)/.installed-test ## The tests again, with each account and room at one of two homes
	@tests/prepare.sh $(BIN)/python
	@XMPPD_TEST_HOMES=2 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ONE_HOME:%=--ignore=%) $(ARGS)

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

# What is done on a server of MongoDB's protocol (hours; nothing if it is empty): XMPPD_TEST_MONGODB_SERVER=mongod|ferretdb|java
# chooses it.
TAKEN ?= --mongodb --kills 200 --pauses 50 --takeovers 34 --deaf 17 --stills 17

# The tests in which all owners leave whenever the server is quiet (nothing if it is empty).
LEAVE ?= tests/plugins tests/talks

.PHONY: faults
faults: $(VENV)/.installed-test ## The long trials; then kill the server 1,000 times under load and account for every message
	@tests/prepare.sh $(BIN)/python
	@$(BIN)/python -m pytest -m trial
	@if [ -n "$(LEAVE)" ]; then XMPPD_TEST_LEAVE=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(LEAVE); fi
	@$(BIN)/python -m tests.faults $(ARGS)
	@$(BIN)/python -m tests.faults --domains $(ARGS)
	@if [ -n "$(TAKEN)" ]; then $(BIN)/python -m pytest -m long && $(BIN)/python -m tests.faults $(TAKEN); fi

.PHONY: fresh
fresh: ## Build updated Debian 12 and 13 systems and do there what the README says (root; before a release)
	@SUITES="$(SUITES)" STEPS="$(STEPS)" ARGS="$(ARGS)" tests/fresh/fresh.sh

# The web client: npm packages whose hashes are in the lock file, so it is the same each time.
WEB ?= $(VENV)/share/xmppd/web
NPM_LOCK := plugins/web_client/npm/package-lock.json

.PHONY: web
web: $(WEB)/.installed ## Bring the web client (Converse.js; needs npm), for the plugin web_client

$(WEB)/.installed: $(NPM_LOCK)
	@echo "bringing the web client into $(WEB) …"
	@plugins/web_client/npm/bring.sh $(WEB)

# Without npm, or without a network, the server starts all the same.
.PHONY: web-if-possible
web-if-possible:
	@[ -e $(WEB)/.installed -a ! $(NPM_LOCK) -nt $(WEB)/.installed ] || { echo "bringing the web client …" && \
		plugins/web_client/npm/bring.sh $(WEB); } || echo "starting without it; \`make web\` brings it later" >&2

.PHONY: docs
docs: $(VENV)/.installed ## Write docs/reference anew from the code
	@$(BIN)/python -m docs.generate

.PHONY: clean
clean: ## Remove the virtual environment and caches (not var/)
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# A copy that is yours: what you change in it is no change of the checkout, and a newer template does not undo it.
xmppd.yaml:
	@cp config/localhost.yaml $@

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
