# Every target ends with one line that says what it did, in figures.
# PYTHON is only asked to create .venv; everything else runs in there.

PYTHON ?= python3
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
BIN := .venv/bin
# Half of the tests wait for processes and disks, so two workers a core are worth it.
WORKERS ?= 4
READY := .venv/ready

.PHONY: help up test quick sim chaos boot-test check fix build bench bench-tls bench-cluster bench-units lock clean

help: ## say what each target does
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

up: $(READY) ## start a node on 127.0.0.1:2379, its data under ./data
	@exec $(BIN)/corenode up --data-dir data

test: lint ## everything CI runs
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

quick: $(READY) ## the fast tests, under a minute
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -q -m 'not slow'

SEEDS ?= 2000
WORLDS ?= 20
sim: $(READY) ## whole clusters in simulated time: SEEDS=n of them and WORLDS=n with units, or SEED=k alone with its trace
	@$(BIN)/python -m tests.raft.simulator $(if $(SEED),--seed $(SEED),--seeds $(SEEDS))
	@$(if $(SEED),true,$(BIN)/python -m tests.units.simulator --seeds $(WORLDS))

MINUTES ?= 1
chaos: $(READY) ## real nodes in network namespaces under faults: MINUTES=n, NODES=3 or 5, SEED=k
	@$(BIN)/python -m tests.chaos --minutes $(MINUTES) $(if $(NODES),--nodes $(NODES)) $(if $(SEED),--seed $(SEED))

boot-test: $(READY) ## real firmware under emulation: an update, one that panics, one that hangs, with all that is shipped
	@CORENODE_BOOT_WHOLE=1 $(BIN)/python -m pytest -q -n 3 --dist worksteal tests/boot

check: lint ## look, change nothing: lint, format, types, layers, sizes
	@$(BIN)/python -m pytest -q -p no:cacheprovider tests/rules
	@echo "check: $$(git ls-files '*.py' | wc -l) files with $$(git ls-files -z '*.py' | xargs -0 cat | wc -l) lines" \
		"keep to lint, format, types, layers and sizes"

.PHONY: lint
lint: $(READY)
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet || { echo "check: not formatted: run make fix"; exit 1; }
	@$(BIN)/mypy

fix: $(READY) ## repair what can be repaired: format, import order, lint
	@$(BIN)/ruff check --fix --quiet || true
	@$(BIN)/ruff format
	@$(BIN)/ruff check

build: $(READY) ## write dist/corenode, the whole program as one file
	@$(BIN)/python tools/onefile/build.py dist/corenode

bench: $(READY) ## this node beside Debian's etcd, in alternation, recorded: ARGS='--only "v3 put" --rounds 3' narrows it
	@$(BIN)/python -m bench --record $(ARGS)

bench-tls: $(READY) ## handshakes of mutual TLS beside etcd
	@$(BIN)/python -m bench.tls

bench-cluster: $(READY) ## three members beside etcd's three: fail-over, a new member
	@$(BIN)/python -m bench.cluster

bench-units: $(READY) ## units on real nodes beside fleet's bounds, recorded: ARGS='--only death' narrows it
	@$(BIN)/python -m bench.units --record $(ARGS)

lock: $(READY) ## pin the newest dependencies that pyproject.toml allows
	@tools/lock.sh

clean: ## remove what was built, but never ./data
	@rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@echo "clean: environment, build and caches removed; ./data kept"

$(READY): requirements-dev.lock tools/environment.sh
	@PYTHON=$(PYTHON) tools/environment.sh
