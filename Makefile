# Everything a person or CI runs. `make help` lists the targets; the two that matter first are `make demo` and `make test`.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
unexport PYTHONDONTWRITEBYTECODE # compiled once, torch and kopf import in half the time

PYTHON3 ?= python3
VENV := .venv
PY := $(VENV)/bin/python
RUN := PYTHONPATH=hack $(PY) -m
# What has torch_neuronx; on AWS's images /opt/aws_neuronx_venv_…/bin/python.
HARDWARE_PYTHON ?= $(if $(EMULATED),$(PY),$(PYTHON3))
SOURCES := operator runtime hack tests examples
K ?=
CASE ?=
PEERS ?=

##@ Everyday

.PHONY: help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(VENV)/.ready ## Create .venv with everything the other targets need

$(VENV)/.ready: requirements/dev.txt pyproject.toml hack/setup.sh
	@PYTHON3=$(PYTHON3) bash hack/setup.sh $(VENV)

.PHONY: fmt
fmt: setup ## Format the code
	@$(VENV)/bin/ruff format -q $(SOURCES)
	$(VENV)/bin/ruff check -q --fix-only $(SOURCES)

.PHONY: lint
lint: setup ## Style, import layers
	@$(VENV)/bin/ruff format -q --check $(SOURCES)
	$(VENV)/bin/ruff check -q $(SOURCES)
	PYTHONPATH=operator:runtime:hack $(VENV)/bin/lint-imports --no-cache --no-logo

.PHONY: types
types: setup ## mypy --strict over source and tests
	@$(VENV)/bin/mypy

.PHONY: unit
unit: setup ## Unit tests (K=expression picks some)
	@$(PY) -m pytest -q -p no:schemathesis -p no:anyio -m "not integration and not e2e" --ignore tests/integration --ignore tests/e2e $(if $(K),-k "$(K)")

.PHONY: check
check: lint types unit ## The quick loop: lint, types, unit tests

##@ Generate

.PHONY: generate
generate: setup ## Write the CRD, its chart copy, the instance catalog and the reference pages
	@for generator in hack/gen_*.py; do $(PY) $$generator; done

.PHONY: verify
verify: setup ## Fail, naming the file, when something generated is stale
	@stale=0
	for generator in hack/gen_*.py; do $(PY) $$generator --check || stale=1; done
	exit $$stale

.PHONY: lock
lock: setup ## Resolve requirements/*.txt again (hashes, no registry addresses)
	@bash hack/lock.sh

##@ Cluster (a real Kubernetes on this machine)

.PHONY: cluster-up
cluster-up: setup ## Build once, then start API server, kubelets and two emulated inf2 nodes
	@$(RUN) cluster up

.PHONY: cluster-down
cluster-down: setup ## Stop it and leave nothing behind
	@$(RUN) cluster down

.PHONY: cluster-status
cluster-status: setup ## What runs, what does not
	@$(RUN) cluster status

.PHONY: cluster-logs
cluster-logs: setup ## Logs of every component (K=name for one)
	@$(RUN) cluster logs $(K)

##@ Try it

.PHONY: demo
demo: setup ## The whole product: cluster, chart, a real model, its answers
	@$(RUN) demo up

.PHONY: demo-down
demo-down: setup ## Remove what the demo made, cluster included
	@$(RUN) demo down

.PHONY: reload
reload: setup ## Bring the working tree's operator and runtime into the running cluster
	@$(RUN) images reload operator
	$(RUN) images reload runtime

.PHONY: images
images: setup ## Build the operator and runtime images
	@$(RUN) images build all

.PHONY: bundle
bundle: setup ## Build the demo's model bundles (real weights, a trained sentiment head)
	@$(RUN) demo bundles

##@ Measure

.PHONY: bench
bench: setup ## Measure the figures of docs/benchmarks.md, at most 15 minutes (PEERS=1: beside other servers, K=name for one)
	@$(RUN) bench $(K) $(if $(PEERS),--peers)

.PHONY: bench-full
bench-full: setup ## The same for every row of AWS's table and a million requests
	@$(RUN) bench $(K) $(if $(PEERS),--peers) --full

.PHONY: bench-operator
bench-operator: setup ## Measure the figures of docs/operator-benchmarks.md, some 40 minutes (K=name for one)
	@$(RUN) cluster build
	$(RUN) operator_bench $(K)

.PHONY: bench-operator-full
bench-operator-full: setup ## The same with 1,000 models, and 5,000 left alone for ten minutes; an hour or more
	@$(RUN) cluster build
	$(RUN) operator_bench $(K) --full

##@ Tests

.PHONY: integration
integration: setup ## Against a real API server, S3 server and runtime processes
	@$(RUN) cluster build
	$(PY) -m pytest -q -m integration --ignore tests/browser $(if $(K),-k "$(K)")

.PHONY: browser
browser: setup ## The runtime's page in headless Chromium, in a process of its own: the driver brings its own event loop
	@$(RUN) cluster build
	$(PY) -m pytest -q tests/browser $(if $(K),-k "$(K)")

.PHONY: e2e
e2e: setup ## Stories on the real cluster (CASE=expression picks some)
	@$(PY) -m pytest -q -m e2e tests/e2e $(if $(CASE),-k "$(CASE)")

.PHONY: verify-on-hardware
verify-on-hardware: ## On an Inf2 instance: the emulator's contract tests on silicon, and a report to send (EMULATED=1 to see one)
	@PYTHONPATH=hack $(HARDWARE_PYTHON) -m hardware $(if $(EMULATED),--emulated) $(if $(K),--only "$(K)")

.PHONY: test
test: check verify integration browser e2e ## Everything CI runs
