# Everything a person does with a checkout. `make help` lists it.
.DEFAULT_GOAL := help
.PHONY: help up down test check unit lifecycle e2e thorough truth faults bench engine lab clean
SHELL := /bin/bash

PYTHON ?= python3
ENV := . .lab/env
STACK ?= dev
# The language host asks pip for the list of packages at every start; older ones take three times as long.
PIP := 26.3
# As many labs as there are cores on a small machine: with more, everything that waits for a host takes too long.
SIDE_BY_SIDE := --numprocesses 2

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

up: engine lab .lab/env  ## from a fresh clone to a running, verified fabric (stack dev on the lab)
	@$(ENV) && pulumi stack select --create $(STACK) >/dev/null && pulumi up --yes --skip-preview --stack $(STACK)
	@$(ENV) && python -m verify --stack $(STACK)

down: .lab/env  ## destroy the stack and stop the lab
	@$(ENV) && if pulumi stack select $(STACK) 2>/dev/null; then pulumi destroy --yes --skip-preview --stack $(STACK); fi
	@$(PYTHON) -m lab down

test: check unit lifecycle e2e  ## everything that proves the project

check: .venv/.dev  ## style and types
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy

unit: .venv/.dev  ## the pure parts, and the hosts in memory
	@.venv/bin/pytest $(SIDE_BY_SIDE) --dist worksteal tests/unit tests/property

lifecycle: .venv/.dev engine  ## the real engine on hosts in memory
	@.venv/bin/pytest $(SIDE_BY_SIDE) --dist worksteal tests/lifecycle

bench: .venv/.dev engine lab-image  ## the tutorial beside a hand-written shell, timed
	@.venv/bin/python -m bench.bench_tutorial

e2e: .venv/.dev engine lab-image  ## the real engine on real hosts
	@.venv/bin/pytest $(SIDE_BY_SIDE) --dist loadfile tests/e2e -m "not thorough"

thorough: .venv/.dev engine lab-image  ## those tests on real hosts that take too long for `make test`
	@.venv/bin/pytest $(SIDE_BY_SIDE) --dist loadfile tests/e2e -m thorough

truth: .venv/.dev engine lab-image  ## N random topologies (25) from seed SEED (1) on: predictions against the wire
	@.venv/bin/python -m tests.e2e.truth --count $(or $(N),25) --seed $(or $(SEED),1)

faults: .venv/.dev engine lab-image  ## everything that can go wrong goes wrong (RECORD=file: go on where a run was ended)
	@.venv/bin/python -m tests.faults --seed $(or $(SEED),1) $(if $(RECORD),--record $(RECORD)) --document docs/reliability.md

engine:  ## build the Pulumi engine if there is none
	@$(PYTHON) -m engine build

lab-image: ## build the lab's kernel and root file system if they are not there
	@$(PYTHON) -m lab packages && $(PYTHON) -m lab build

lab: lab-image  ## boot the lab's three hosts
	@$(PYTHON) -m lab up

.lab/env: .venv/.made engine
	@mkdir -p .lab .state && $(PYTHON) -m engine env --state .state --venv .venv > $@.new && mv $@.new $@
.PHONY: .lab/env

.venv/.made: requirements.txt
	@echo "virtual environment: installing requirements.txt (half a minute, once)"
	@$(PYTHON) -m venv .venv && .venv/bin/pip install -q "pip==$(PIP)" && .venv/bin/pip install -q -r requirements.txt && touch $@

.venv/.dev: requirements-dev.txt .venv/.made
	@.venv/bin/pip install -q -r requirements-dev.txt && touch $@
