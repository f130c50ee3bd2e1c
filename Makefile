# Everything a newcomer or CI runs.  Needs Python 3.11 (or 3.12, 3.13: README, Limits) and a package index; test-stack and bench also apt, as root.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# A variable that some machines set: every process would compile this project anew, a quarter of its start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install demo test coverage test-stack test-compose test-faults test-all check shell airflow fuzz bench before-after sbom audit lock clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 18

install: $(VENV)/.installed  ## set up .venv with the locked dependencies

$(VENV)/.installed: requirements.lock requirements-torch.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "$(PYTHON) is $$($(PYTHON) --version 2>&1); Python 3.11 to 3.13 is needed: make PYTHON=python3.12 install"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-torch.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/pip check --quiet --disable-pip-version-check
	@touch $@

demo: install  ## two nights of the DAG on the bundled sample, through Airflow and an embedded S3
	@$(BIN)/python -m demo.demo

check: install  ## lint and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Files go to the two workers in pytest's own order.  xdist's order puts those of few tests last: a real Airflow or thirty nights, minutes each.
PYTEST := $(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test: check  ## lint, types and the whole test suite
	@tests/apt.sh suite
	$(PYTEST) tests/unit $(MEASURE)
	$(PYTEST) tests --ignore tests/unit

coverage: MEASURE := --cov
coverage: test  ## make test, which also fails when unit tests run less of the package than before

# Two Cephs: while the evening of test_stack waits for Airflow, the other worker asks the gateway.
test-stack: install  ## the deployment without Docker: two Celery workers, PostgreSQL, Redis, Ceph, and what may befall them
	tests/apt.sh stack
	$(PYTEST) tests/stack --durations 15

test-compose: install  ## docker-compose.yml in real containers, engine and base images from Debian's packages: 20 minutes on shared cores, 8 GB
	@tests/apt.sh compose
	$(BIN)/pytest tests/compose --log-cli-level=INFO

test-faults: install  ## every fault at every request of a build, 200 builds with faults at random, 200 in a row, death at every request, too little of everything; hours
	$(BIN)/python -m tests.faults.sweep
	$(BIN)/python -m tests.faults.sweep --schedules 200
	$(BIN)/python -m tests.faults.soak --builds 200
	$(BIN)/python -m tests.faults.death
	$(BIN)/python -m tests.faults.shortage
	$(BIN)/python -m tests.faults.dag_runs

test-all: test test-stack test-compose test-faults  ## every test there is; hours

shell: install  ## a shell with the embedded S3 and Airflow set up; make shell CMD='…' runs one command in it
	@$(BIN)/python demo/sandbox.py shell $(if $(CMD),sh -c '$(subst ','\'',$(CMD))',$${SHELL:-/bin/sh})

airflow: install  ## Airflow's web UI with the DAGs and the samples
	@$(BIN)/python demo/sandbox.py airflow airflow standalone

fuzz: install  ## 20,000 damaged photos through the converter, in a bounded child process
	$(BIN)/python -m tests.fuzz.fuzz_photo --inputs 20000 --seed 0

bench: install  ## builds and readers against the bare codec and against peers: benchmarks/RESULTS.md; ONLY=readers runs one group
	@$(BIN)/python benchmarks/bench.py $(if $(ONLY),--only $(ONLY))

before-after: install  ## the origin's post: serialised tensors against JPEGs and this project's readers, with enough memory and with too little
	@$(BIN)/python benchmarks/bench.py --only origin

sbom: install  ## what .venv has installed, as CycloneDX: .sandbox/sbom.json
	@mkdir -p .sandbox
	@$(BIN)/python deploy/list_packages.py > .sandbox/sbom.json
	@echo .sandbox/sbom.json

audit: install  ## whether a locked package has a weakness that is known; says "not audited" where nobody can be asked
	@mkdir -p .sandbox
	@$(BIN)/python deploy/audit.py .sandbox/audit requirements.lock

COMPILE := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --quiet
DEPLOYED := --extra airflow --extra cluster --extra excel --extra tensorflow-cpu
# requirements-torch.txt pins torch; what its build for GPUs needs comes with it, where the index has that build
GPU := cuda-bindings cuda-pathfinder cuda-toolkit triton $(addprefix nvidia-,cublas cuda-cupti cuda-nvrtc cuda-runtime \
  cudnn-cu13 cufft cufile curand cusolver cusparse cusparselt-cu13 nccl-cu13 nvjitlink nvshmem-cu13 nvtx)
TESTED := --extra torch --extra grain --extra openlineage --extra demo --extra dev --constraint requirements-torch.txt \
  $(addprefix --no-emit-package ,torch $(GPU))

lock:  ## resolve pyproject.toml anew: requirements.lock, and what an image needs of it (needs uv)
	$(COMPILE) $(DEPLOYED) $(TESTED) --upgrade -o requirements.lock
	$(COMPILE) $(DEPLOYED) --constraint requirements.lock -o requirements-image.lock

clean:  ## delete the environment, every sandbox and what benchmarks made
	rm -rf $(VENV) .sandbox .bench
