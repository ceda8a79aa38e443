# Every command makes .venv first when it is missing or when setup.cfg changed.
# It needs make and python3 (3.10 or newer, with venv), nothing else.

PYTHON ?= python3
VENV ?= .venv
PIP = $(VENV)/bin/python -m pip -qq --disable-pip-version-check

.PHONY: help demo test test-long lint bench clean

help:
	@echo "make demo       two llama-servers, agents and a balancer on this machine, and one chat"
	@echo "make test       the tests, with real llama-servers too (some five minutes)"
	@echo "make test-long  the tests that take longer"
	@echo "make lint       ruff and mypy"
	@echo "make bench      Paddler beside HAProxy (three minutes; installs HAProxy, nginx and wrk)"
	@echo "make clean      remove $(VENV) and what was built"

demo: $(VENV)/.has-demo
	@$(VENV)/bin/paddler demo

test: $(VENV)/.has-test $(VENV)/.has-statsd
	@$(VENV)/bin/python -m tests

test-long: $(VENV)/.has-test
	@$(VENV)/bin/python -m tests --long

lint: $(VENV)/.has-test $(VENV)/.has-lint
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy

bench: $(VENV)/.has-fast
	@$(VENV)/bin/python benchmarks/bench_proxy.py

clean:
	rm -rf $(VENV) build dist *.egg-info _trial_temp* .hypothesis

# One stamp for each extra of setup.cfg.
$(VENV)/.has-%: setup.cfg pyproject.toml $(VENV)/.made
	@echo "installing paddler[$*] into $(VENV)"
	@$(PIP) install --editable '.[$*]'
	@touch $@

# The real StatsD daemon, for the tests in front of it; they are skipped where there is no npm.
$(VENV)/.has-statsd: $(VENV)/.made
	@if command -v npm >/dev/null; then \
	    echo "installing statsd into $(VENV)/statsd"; \
	    mkdir -p $(VENV)/statsd && npm install --silent --no-audit --no-fund --no-package-lock \
	        --omit=optional --ignore-scripts --prefix $(VENV)/statsd statsd@0.9.0 && touch $@ || echo "no statsd: no tests of it"; \
	fi

$(VENV)/.made:
	@echo "making $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

.PRECIOUS: $(VENV)/.has-% $(VENV)/.made
