# `make` tells what there is. A fresh machine needs Python 3.11 or later with venv, make, and a package index.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.ONESHELL:
MAKEFLAGS += --warn-undefined-variables --no-builtin-rules
.SUFFIXES:

# The Python that makes the virtual environment: `make setup PYTHON=/path/to/python3.12`.
PYTHON ?=
VENV := .venv
PY := $(CURDIR)/$(VENV)/bin/python
READY := $(VENV)/.ready
# What the service and its sandbox need to run is a fifth of everything; where everything is there, it serves as well.
READY_TO_RUN := $(if $(wildcard $(READY)),$(READY),$(VENV)/.ready-to-run)
PYTEST_ARGS ?=
# Tests wait for processes and deadlines for more than half of their time, so that two run on each processor; those that
# share something slow to make stay together (tests/conftest.py). The slow ones keep processors busy with what they build.
PROCESSORS := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
PROCESSES := $(shell echo $$(( $(PROCESSORS) * 2 )))
SLOW_PROCESSES := $(shell echo $$(( $(PROCESSORS) + 1 )))
PYTEST := $(PY) -m pytest --dist loadgroup --numprocesses
FUZZ_SECONDS ?= 600
# `make mutation MUTATION_ARGS="service/domain --sample 20"`, or `--changed` for the lines that were changed.
MUTATION_ARGS ?=
# `make polyglot LANGUAGES="go java"` runs some of them.
LANGUAGES ?=
# `make lock LOCK_ARGS=--upgrade` takes newer versions too.
LOCK_ARGS ?=
# The contract with its comments, from which the server answers reflection.
DESCRIPTORS := generated/python/engagement/v1/descriptors.binpb
# Where the virtual environment's tools come first, buf finds the Python that has its plugins.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# Nothing in the virtual environment is compiled by uv. Where an environment says not to keep what Python compiles, each of
# the hundreds of processes that the tests start would compile all of it again, which takes three times as long.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: setup
setup: $(READY) ## Make the virtual environment with everything that is locked (once)

$(VENV)/.ready: requirements-dev.lock
$(VENV)/.ready-to-run: requirements-run.lock

$(VENV)/.ready $(VENV)/.ready-to-run: pyproject.toml clients/python/pyproject.toml
	@echo "Setting up $(VENV) (once)"
	candidates="$(PYTHON)"
	for python in $${candidates:-python3 python3.11 python3.12 python3.13 python3.14 python}; do
		if "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
			found="$$python"
			break
		fi
	done
	if [ -z "$${found:-}" ]; then
		echo "Python 3.11 or later with venv is needed; name one with: make setup PYTHON=/path/to/python3" >&2
		exit 1
	fi
	"$$found" tools/setup.py $(filter %.lock,$^)
	touch $@

.PHONY: demo
demo: $(READY_TO_RUN) ## Change a step at each provider through a real service, and show what happened
	@seqstep demo

.PHONY: test
test: setup ## Run the tests, without the slow ones
	@$(PYTEST) $(PROCESSES) -m "not slow" $(PYTEST_ARGS)
	echo "Without the slow tests (Envoy, packages, fuzzing, current tools, the cluster's page, replicas, the whole fault matrix): make test-slow runs them."

.PHONY: fuzz
fuzz: setup ## Search for input that breaks an update, for ten minutes and more unless FUZZ_SECONDS says otherwise
	@$(PY) -m tests.fuzz.differential --seed $$RANDOM
	$(PY) -m tests.fuzz --seconds $(FUZZ_SECONDS)

.PHONY: mutation
mutation: setup ## Change the code a little, again and again, and show which changes no test notices (docs/testing.md)
	@$(PY) tools/mutation.py $(MUTATION_ARGS)

.PHONY: check
check: lint types proto generated-fresh docs test-slow test ## Run everything that has to be right before a commit lands

.PHONY: test-slow
test-slow: setup ## Run the slow tests: Envoy, packages, fuzzing, current tools, the cluster's page, replicas, the whole fault matrix
	@$(PYTEST) $(SLOW_PROCESSES) -m slow $(PYTEST_ARGS)

.PHONY: lint
lint: setup ## Check style, formatting and the Dockerfile
	@ruff check
	ruff format --check
	hadolint Dockerfile

.PHONY: types
types: setup ## Check types
	@mypy $(wildcard service sandbox clients/python/src/seqstep_client tests bench tools)

.PHONY: proto
proto: setup ## Check the contract: style, formatting, and that no client breaks
	@buf lint
	buf format --diff --exit-code
	tools/breaking.sh

.PHONY: generated-fresh
generated-fresh: setup ## Check that the checked-in stubs are what the contract gives
	@scratch="$$(mktemp -d)"
	trap 'rm -rf "$$scratch"' EXIT
	buf generate --output "$$scratch"
	buf build --as-file-descriptor-set --output "$$scratch/$(DESCRIPTORS)"
	diff --recursive --exclude=__pycache__ generated/python "$$scratch/generated/python" ||
		{ echo "The stubs are not fresh; run make generate and commit what it changes." >&2; exit 1; }

.PHONY: generate
generate: setup ## Make the stubs and the tables of the documentation again
	@buf generate
	buf build --as-file-descriptor-set --output $(DESCRIPTORS)
	$(PY) tools/docs.py

.PHONY: docs
docs: setup ## Build the documentation as a site, in build/site
	@$(PY) -m sphinx --quiet --fresh-env --fail-on-warning --keep-going --conf-dir tools/site . build/site

.PHONY: manifests
manifests: setup ## Make the plain manifests from the chart again (needs Helm)
	@$(PY) tools/manifests.py

.PHONY: serve
serve: $(READY_TO_RUN) ## Run the service in the foreground, with a database and customers of the sandbox in var/
	@$(PY) tools/dev.py

.PHONY: sandbox
sandbox: $(READY_TO_RUN) ## Run the stand-ins for Apollo and Outreach in the foreground
	@seqstep sandbox

.PHONY: polyglot
polyglot: setup ## Run the clients in all languages against one service
	@$(PY) tools/polyglot.py $(LANGUAGES)

.PHONY: packages
packages: setup ## Build the packages of all languages, in build/packages/
	@$(PY) tools/packages.py $(LANGUAGES)

.PHONY: first-calls
first-calls: setup ## Install each package outside the tree, and make a first call with it
	@$(PY) tools/packages.py --call $(LANGUAGES)

.PHONY: bench
bench: setup ## Measure the service
	@$(PY) -m bench

.PHONY: lock
lock: setup ## Lock the dependencies again, with hashes and without naming an index
	@$(PY) -m venv build/lock
	build/lock/bin/python -m pip install --quiet --disable-pip-version-check uv
	compile=(build/lock/bin/uv pip compile --quiet --universal --python-version 3.11)
	compile+=(--generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links)
	compile+=(--no-emit-package seqstep-client)
	"$${compile[@]}" $(LOCK_ARGS) pyproject.toml --extra postgresql --extra tracing --output-file requirements.lock
	"$${compile[@]}" $(LOCK_ARGS) --group build --output-file requirements-build.lock
	"$${compile[@]}" $(LOCK_ARGS) pyproject.toml --all-extras --group dev --output-file requirements-dev.lock
	"$${compile[@]}" pyproject.toml --extra sandbox --group install --constraint requirements-dev.lock --output-file requirements-run.lock
	echo uv | "$${compile[@]}" $(LOCK_ARGS) - --output-file requirements-uv.lock

.PHONY: release
release: setup ## Make packages, checksums, notes and a tag of what is committed, in dist/
	@$(PY) tools/release.py

.PHONY: clean
clean: ## Remove what was made: the virtual environment, caches, the development database
	@rm -rf $(VENV) build dist var .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
