# Daily commands. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
UV_VERSION := $(shell sed -n 's/^UV_VERSION = "\(.*\)"/\1/p' devtools/cache.py)
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/triton-vllm-operator
UV := $(CACHE)/uv-$(UV_VERSION)/bin/uv
VENV := .venv/bin/python
# Bytecode is kept, but not in the tree.
export PYTHONPYCACHEPREFIX := $(CACHE)/bytecode
unexport PYTHONDONTWRITEBYTECODE
export PATH := $(dir $(UV)):$(PATH)

.PHONY: help demo test down env gen release release-check verify test-unit test-apiserver test-engine test-clients test-oracle test-e2e faults bench-operator bench-webhook bench-autoscaling bench-capacity bench-gpu bench-serving oracle-walk test-gpu record-triton-kernels fuzz check-cuda mutation test-upgrade

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-22s %s\n", $$1, $$2}'

demo: ## bring up a cluster with the chart and a sample LLMDeployment, and print the answer of a client pod
	@$(PYTHON) -m e2e.demo

test: $(VENV) ## run every check and test: verify, unit, API server, engine, whole cluster
	@$(VENV) -m e2e.suite

down: ## remove the cluster and everything else that runs; caches are kept
	@$(PYTHON) -m e2e.cluster down

env: $(VENV) ## print the shell variables of the cluster: eval "$$(make -s env)"
	@$(PYTHON) -m e2e.cluster env

gen: $(VENV) ## write the generated files
	@$(VENV) -m tools.generate

release: $(VENV) ## add a release to the catalog and check every table that depends on it: R=26.11 (ARGS="--vllm 0.34.0")
	@$(VENV) -m tools.release add $(R) $(ARGS)

release-check: $(VENV) ## check what becomes outdated with time, the table of CVEs; for a release or a schedule, not for a commit
	@$(VENV) -m tools.release check

verify: $(VENV) ## check generated files, format, lint, types, layers, duplicates, style; read-only
	@$(VENV) -m tools.verify

test-unit: $(VENV) ## unit and property tests, without a cluster
	@$(VENV) -m pytest -q -n auto --dist worksteal -m "not apiserver and not engine and not oracle and not cuda and not e2e and not clients" operator/tests tools devtools e2e images

mutation: $(VENV) ## changes of one expression that no unit test notices, a sample (ARGS="--all", "--packages observed"); minutes to hours
	@$(VENV) -m tools.mutation $(ARGS)

test-apiserver: $(VENV) ## tests against a real etcd and kube-apiserver, started as plain processes
	@$(VENV) -m e2e.cluster binaries
	@$(VENV) -m pytest -q -n 4 --dist worksteal -m apiserver operator/tests

test-upgrade: $(VENV) ## replace the operator of another revision: it must write no child (FROM=v0.1.0)
	@$(VENV) -m e2e.cluster binaries
	@FROM=$(FROM) $(VENV) -m pytest -q operator/tests/apiserver/upgrade_from.py

faults: $(VENV) ## inject kills, API faults, broken watches and a second operator, with a seed (SEED=1); about 20 minutes
	@cd operator && PYTHONPATH=src:.:.. ../$(VENV) -m tests.faults --seed $(or $(SEED),1)

bench-operator: $(VENV) ## measure memory, CPU and latency of the operator with 300, 1,000 and 3,000 LLMDeployments
	@cd operator && PYTHONPATH=src:.:.. ../$(VENV) -m tests.bench $(ARGS)

bench-webhook: $(VENV) ## measure the latency of the webhook with 1,000 LLMDeployments; about 5 minutes
	@cd operator && PYTHONPATH=src:.:.. ../$(VENV) -m tests.bench.reviews $(ARGS)

bench-autoscaling: $(VENV) ## simulate the autoscaler under synthetic loads, with seeds (ARGS="--write"); about a minute
	@cd operator && PYTHONPATH=src:.:.. ../$(VENV) -m tests.bench.autoscaling $(ARGS)

test-engine: $(VENV) ## tests of the serving backend in a real tritonserver with a real vLLM
	@$(VENV) -m pytest -q -n 2 --dist loadfile -m engine images operator/tests

test-clients: $(VENV) ## clients that people use against the serving image; the first time they are downloaded, 2 GB
	@$(VENV) -m pytest -q -m clients images

bench-serving: $(VENV) ## compare the serving image with vllm serve and the stock backend; one to three hours (ARGS="--quick", "--help")
	@cd images/triton-vllm && PYTHONPATH=.:../.. ../../$(VENV) -m bench $(ARGS)

# Where the engine is there already (TRITON_VLLM_ENGINE), its own Python runs the tests, and nothing is installed.
ENGINE_PYTHON := $(if $(TRITON_VLLM_ENGINE),$(TRITON_VLLM_ENGINE)/bin/python3,../../$(VENV))
test-gpu: $(if $(TRITON_VLLM_ENGINE),,$(VENV)) ## tests of the serving image on this host's GPUs: starts, faults, speed (ARGS="--list", "--help")
	@cd images/triton-vllm && PYTHONPATH=.:../..:../../operator $(ENGINE_PYTHON) -m gpu $(ARGS)

record-triton-kernels: $(if $(TRITON_VLLM_ENGINE),,$(VENV)) ## record on this host's GPU which Triton kernels a start uses, for the image's build
	@cd images/triton-vllm && PYTHONPATH=.:../..:../../operator $(ENGINE_PYTHON) -m gpu.kernels

fuzz: $(VENV) ## send hostile requests to a server that it starts itself (MINUTES=60 SEED=1 MODEL=llama)
	@cd images/triton-vllm && PYTHONPATH=.:../.. ../../$(VENV) -m fuzz --minutes $(or $(MINUTES),60) --seed $(or $(SEED),1) --model $(or $(MODEL),llama)

test-oracle: $(VENV) ## compare the planner with vLLM's own code
	@$(VENV) -m pytest -q -m oracle operator/tests

oracle-walk: $(VENV) ## compare every architecture of vLLM's registry and write which are planned (ARGS="ARCHITECTURE ...")
	@PYTHONPATH=operator:operator/src:. $(VENV) -m tests.oracle.walk $(or $(ARGS),--write)

check-cuda: $(VENV) ## check the packages, compilers and kernels of the GPU image without a GPU; once, 9 GB and ten minutes
	@$(VENV) -m pytest -q -n 2 --dist worksteal -m cuda images

bench-capacity: $(VENV) ## measure the planner and write the results into operator/docs/accuracy.md
	@PYTHONPATH=operator:operator/src $(VENV) -m tests.capacity.figures

bench-gpu: ## start engines on this host's GPUs with the vLLM of PYTHON, and print planned and measured memory (ARGS="--help")
	@cd operator && PYTHONPATH=src:. $(PYTHON) -m tests.gpu $(ARGS)

test-e2e: $(VENV) ## tests in a whole cluster: brings it up if needed
	@$(VENV) -m pytest -q -n 2 --dist loadfile -m "e2e and not alone" e2e
	@$(VENV) -m pytest -q -m alone e2e

$(UV):
	@$(PYTHON) -m devtools.cache > /dev/null

$(VENV): pyproject.toml uv.lock | $(UV)
	@$(UV) sync --frozen --quiet --python ">=3.11,<3.13"
	@touch $(VENV)
