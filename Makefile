# Each target does its own set-up: a fresh Debian with Python 3.11 needs nothing else.
.PHONY: help setup demo check test versions bench crash sim components clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*##/\1	/p' Makefile

setup:
	@scripts/setup

demo: setup  ## the ticket shop, killed with SIGKILL on the way
	@.venv/bin/python -m examples.tickets.demo

check: setup  ## format, lint, types, import contract, fast tests (about a minute)
	@scripts/check

test: setup  ## the whole suite
	@.venv/bin/pytest -n auto -rfEs

versions: setup  ## the author's side and the engine, with every other Python from 3.12 on that is here
	@scripts/versions

bench: setup  ## benchmarks, beside the raw disk of the same run
	@.venv/bin/python -m benchmarks

crash: setup  ## a long crash test with a report (CYCLES=1000 SEED=...)
	@.venv/bin/python -m tests.crash.lab $(if $(CYCLES),--cycles $(CYCLES)) $(if $(SEED),--seed $(SEED))

sim: setup  ## simulated crashes: SEEDS=1000 runs, or the trace of one with SEED=k
	@.venv/bin/python -m perdure.testing.sim $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),1000))
	@$(if $(SEED),,.venv/bin/python -m perdure.testing.sim --seeds $$(( ($(or $(SEEDS),1000) + 4) / 5 )) --theme remote)

components: setup  ## Restate's server, command line and TypeScript SDK, for the tests that use them
	@.venv/bin/python scripts/components

clean:  ## remove what the targets made
	rm -rf .venv .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
