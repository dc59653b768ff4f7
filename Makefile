# make demo    see it work: two tunnels and a web server on this machine (ARGS=--once: and stop)
# make test    everything that is tested, real servers included where they can be installed
# make lint, make docs, make interop, make bench (QUICK=1, AGAINST=COMMIT, ARGS=--instructions), make clean

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

# What is measured beside packages of the system runs with the Python of the system, where there is one.
BENCH_PYTHON ?= $(firstword $(wildcard /usr/bin/python3) $(PYTHON))

.PHONY: help demo test interop lint docs bench clean
.NOTPARALLEL:

help:
	@sed -n 's/^# make/make/p' Makefile

demo: $(VENV)/.plain
	@$(RUN) -m tlstunnel demo $(ARGS)

test: $(VENV)/.test
	@tests/interop/install
	@$(RUN) -m tests.run $(ARGS)

interop: $(VENV)/.test
	@tests/interop/install
	@TLSTUNNEL_PICTURES=docs $(RUN) -m tests.run tests.interop

lint: $(VENV)/.dev
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check
	$(RUN) -m mypy
	$(VENV)/bin/lint-imports --no-logo

docs: $(VENV)/.docs
	@$(RUN) docs/options.py docs/tlstunnel.8 docs/tlstunnel.toml.5
	@$(RUN) docs/completion.py docs/completion
	@.ci/manual docs/tlstunnel.8
	@.ci/manual docs/tlstunnel.toml.5
	$(RUN) -m sphinx --quiet --fail-on-warning --keep-going --nitpicky docs docs/_build/html
	@echo "open docs/_build/html/index.html"

bench:
	@$(MAKE) --no-print-directory VENV=.venv-bench PYTHON=$(BENCH_PYTHON) .venv-bench/.plain
	@.venv-bench/bin/python -m benchmarks $(if $(QUICK),--quick) $(if $(AGAINST),--against '$(AGAINST)') $(ARGS)

clean:
	rm -rf $(VENV) .venv-bench build dist *.egg-info docs/_build _trial_temp* _interop .mypy_cache .ruff_cache .hypothesis

# One environment; a stamp in it for each set of packages, redone when setup.cfg changes.
$(VENV)/bin/python:
	@.ci/venv $(PYTHON) $(VENV)

$(VENV)/.plain: setup.cfg | $(VENV)/bin/python
	@echo "setting up $(VENV) (once; needs the network)"
	@$(RUN) -m pip --disable-pip-version-check install --quiet --editable .
	@touch $@

$(VENV)/.%: setup.cfg | $(VENV)/bin/python
	@echo "setting up $(VENV) for $* (once; needs the network)"
	@$(RUN) -m pip --disable-pip-version-check install --quiet --editable '.[$*]'
	@touch $@
