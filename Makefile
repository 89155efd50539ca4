# make demo    de-identify an averaged head and say where the report is
# make test    run the tests
# make heads   run the tests on real heads, exhaustive ones included; CPMAE_TEST_HEADS names a BIDS dataset
# make faults  inject faults of every kind and count what goes wrong after them; takes an hour
# make example draw the example picture of the README from the demo
# make benchmark HEADS=dataset OUT=folder    measure this tool and its peers on the test split of a BIDS dataset
# All set up their own environment in .venv once. Need Python 3.11 and a network that pip can use.

PYTHON ?= python3.11
VENV ?= .venv
# cpu, cuda or a pip requirement picks the build of PyTorch; by default docker/install_torch.sh chooses.
TORCH ?=
# Two test processes of one thread each: the models of the tests are too small to share among threads.
PYTEST_ARGS ?= -n 2 --dist loadfile
DEMO ?= demo-output
DEMO_ARGS ?=
BENCHMARK_ARGS ?= --nprocs 2

BIN = $(VENV)/bin
READY = $(VENV)/.ready

.PHONY: help venv demo example test test-fast heads faults benchmark lint format docs lock image slurm clean

help:
	@sed -n 's/^# make/make/p' Makefile

venv: $(READY)

$(READY): docker/requirements.lock docker/requirements-dev.lock docker/torch-cpu.lock docker/torch-cuda.lock docker/install_torch.sh setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "Python 3.11 is needed: make PYTHON=...")'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r docker/requirements.lock -r docker/requirements-dev.lock
	docker/install_torch.sh $(BIN)/python $(TORCH)
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	$(BIN)/python -m pip check
	touch $@

demo: $(READY)
	$(BIN)/python demo/make_dataset.py $(DEMO)/dataset
	$(BIN)/cpmae-bids $(DEMO)/dataset $(DEMO)/derivatives participant --seed 2 $(DEMO_ARGS)
	@echo "The report: file://$(abspath $(DEMO))/derivatives/sub-average.html"

example: demo
	$(BIN)/python demo/make_example.py $(DEMO)/derivatives docs/example.png

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_ARGS)

# Without the tests that run models or registration.
test-fast: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" $(PYTEST_ARGS)

heads: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_ARGS) -m 'exhaustive or not exhaustive' tests/test_*_heads.py

faults: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.report

# HEADS has participants.tsv with a column "split"; OUT shows original faces and lies outside of the repository.
benchmark: $(READY)
	$(if $(and $(HEADS),$(OUT)),,$(error name the dataset and a folder: make benchmark HEADS=... OUT=...))
	$(BIN)/python -m pip install --quiet --editable '.[benchmarks]'
	$(BIN)/python -m benchmarks.run $(HEADS) $(OUT) $(BENCHMARK_ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The pages of docs/ as a site in site/; a broken link is an error.
docs: $(READY)
	$(BIN)/mkdocs build --strict

# UV=... names the uv to use; it is needed here only.
lock:
	docker/lock.sh $(or $(UV),uv)

image: $(READY)
	docker/test_image.sh

# Both recipes of docs/hpc.md on a SLURM cluster of one node, which it sets up: root on Debian.
slurm: $(READY)
	docker/slurm_test.sh $(HEADS)

clean:
	rm -rf $(VENV) $(DEMO) build dist site *.egg-info
