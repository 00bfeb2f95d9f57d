# Every target sets up what it needs; `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
BIN := .venv/bin
PYTHON ?= $(BIN)/python
UV := VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Make .venv from the lock; install Java 17 and Python where missing (root) or name the command
	@hack/setup.sh

.PHONY: run
run: setup ## Run the main job: detect and track vehicles in a sample that is rendered first
	@$(BIN)/carpool sample out/sample
	@$(BIN)/carpool run examples/local-oracle.yaml

.PHONY: test
test: setup ## Run the tests that need no cluster (minutes)
	@$(BIN)/python -m pytest

.PHONY: jobs
jobs: setup ## Run the tests of whole jobs on this machine, on local Spark (minutes)
	@$(BIN)/python -m pytest tests/local

.PHONY: faults
faults: setup ## Run the tests that kill things: drivers, workers, hosts, writers, operators (minutes)
	@$(BIN)/python -m pytest tests/faults
	@$(BIN)/python -m pytest -n 0 -m faults tests/integration

.PHONY: bench-cluster
bench-cluster: setup ## Measure allocator, operator and agent; write docs/performance-on-clusters.md (half an hour)
	@for name in allocator.bench_allocator allocator.bench_assignment operator.bench_jobs agent.bench_agent; do \
		echo "== $$name"; \
		PYTHONPATH=tests $(BIN)/python -m benchmarks.$$name || exit 1; \
	done
	@$(BIN)/python -m benchmarks.cluster_page

.PHONY: bench-host
bench-host: setup ## Measure the model host on an idle machine; write docs/performance.md (15 minutes)
	@for name in ipc scheduling whole_job sharing_memory; do \
		echo "== $$name"; \
		PYTHONPATH=tests $(BIN)/python -m benchmarks.host.bench_$$name || exit 1; \
	done
	@$(BIN)/python -m benchmarks.host.plots
	@$(BIN)/python -m benchmarks.host.page

.PHONY: bench-sharing
bench-sharing: setup ## Measure what sharing a model buys, on this processor and a simulated device (10 minutes)
	@PYTHONPATH=job/src:tests $(BIN)/python -m benchmarks.sharing.bench_sharing
	@$(BIN)/python -m benchmarks.sharing.plots
	@$(BIN)/python -m benchmarks.sharing.page

.PHONY: bench-gpu
bench-gpu: ## The same on a GPU, in pieces: run it until nothing is missing (GPU_OPTIONS=--help; PYTHON=python3)
	@PYTHONPATH=job/src:tests:$(PYTHONPATH) $(PYTHON) -m benchmarks.sharing.bench_gpu $(GPU_OPTIONS)
	@PYTHONPATH=job/src:tests:$(PYTHONPATH) $(PYTHON) -m benchmarks.sharing.plots
	@PYTHONPATH=job/src:tests:$(PYTHONPATH) $(PYTHON) -m benchmarks.sharing.page

CUDA_TESTS ?= $(sort $(shell grep -rl --include='test_*.py' 'mark\.cuda\b' tests))

.PHONY: test-cuda
test-cuda: ## Run the tests of a GPU (minutes); needs neither Spark nor Java (CUDA_TESTS=FILES; PYTHON=python3)
	@PYTHONPATH=job/src:tests:$(PYTHONPATH) $(PYTHON) -m pytest -m cuda -p no:benchmark \
		-o addopts=--import-mode=importlib -o filterwarnings=default -ra $(CUDA_TESTS)

.PHONY: integration
integration: setup ## Run the tests on a real Kubernetes API server (the first time builds it: minutes)
	@$(BIN)/python -m pytest -m "not faults" tests/integration

.PHONY: apiserver
apiserver: setup ## Start such an API server in the foreground, for kubectl; Ctrl-C ends it
	@PYTHONPATH=tests $(BIN)/python -m support.control_plane

.PHONY: generate
generate: setup ## Write crds/, the chart's copy and docs/reference.md from carpool.spec
	@$(BIN)/python hack/generate

.PHONY: lint
lint: setup ## Check format, lint rules, types, the direction of imports, Dockerfiles
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python hack/check_tree.py
	@$(BIN)/hadolint $$(git ls-files '*Dockerfile')

.PHONY: format
format: setup ## Format the code and apply the safe fixes
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

.PHONY: hooks
hooks: setup ## Install the pre-commit hooks (local: they run the tools of .venv)
	@$(BIN)/pre-commit install

.PHONY: lock
lock: ## Bring requirements.lock up to the pyproject.toml (LOCK_OPTIONS=--upgrade: newest versions)
	@$(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url $(LOCK_OPTIONS) \
		--python-version 3.11 job/pyproject.toml operator/pyproject.toml --all-extras --group pyproject.toml:dev \
		--no-emit-package carpool --custom-compile-command "make lock" -o requirements.lock

.PHONY: cluster
cluster: setup ## Have a Kubernetes cluster on this machine: kind, a shared folder, an S3 server
	@$(BIN)/python hack/cluster up

.PHONY: cluster-down
cluster-down: setup ## Remove the cluster: containers, networks, mounts, volumes, processes
	@$(BIN)/python hack/cluster down

.PHONY: images
images: setup ## Build the images (IMAGES="job-without-torch operator" for some of them)
	@$(BIN)/python hack/cluster images $(IMAGES:%=--only=%)

.PHONY: e2e
e2e: ## Run the tests on Kubernetes, with the cluster and images they need
	@$(MAKE) --no-print-directory cluster
	@$(MAKE) --no-print-directory images IMAGES="job-without-torch operator"
	@$(BIN)/python hack/cluster load
	@$(BIN)/python hack/cluster load carpool/operator:dev
	@$(BIN)/python -m pytest -n 0 tests/e2e || \
		{ $(BIN)/python hack/cluster diagnose out/e2e-diagnosis; exit 1; }

.PHONY: smoke
smoke: setup ## Run one whole job on a cluster of its own, as .ci/run does, and remove the cluster
	@.ci/smoke

.PHONY: clean
clean: ## Remove what the other targets made, .venv included
	@rm -rf .venv out .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
