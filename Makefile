# Each target does its own set-up: a fresh machine needs Python 3.11-3.13 and make, nothing else.
PYTHON ?= python3
CONSTRAINTS ?= constraints.txt
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEV := $(VENV)/.dev

.PHONY: report test real real-fetch real-test check bench soak devices clean

report: $(READY)  ## score the bundled model and write runs/mini/report/
	$(BIN)/reportgen run mini

test: $(DEV)  ## all tests, offline
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 --dist worksteal

real: real-fetch  ## fetch two real models, score SmolLM2 with every suite, and test what is found
	$(BIN)/reportgen run "$$($(BIN)/python -m tests.real.fetch smollm2)" --name smollm2-135m-instruct
	$(MAKE) real-test

real-fetch: $(DEV)
	$(BIN)/python -m tests.real.fetch

real-test: $(DEV)  ## the tests of real models alone: minutes
	$(BIN)/python -m pytest -n 2 --dist loadscope -m real tests/real

check: $(DEV)  ## ruff, mypy --strict, and oxlint for the page's scripts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/oxlint --deny-warnings templates

bench: $(DEV)  ## timings as ratios against a plain reference, one run
	$(BIN)/python -m benchmarks

devices: $(DEV)  ## every suite on pretend cuda and mps; needs a C++ compiler
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m devices tests/devices

soak: $(DEV)  ## the long version of the tests
	HYPOTHESIS_PROFILE=soak $(BIN)/python -m pytest -n 2 -m 'not real and not devices'

define environment
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else "reportgen needs Python 3.11-3.13; type: make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e
endef

$(READY): pyproject.toml $(CONSTRAINTS)
	$(environment) '.[gguf]'
	touch $(READY)

$(DEV): pyproject.toml $(CONSTRAINTS)  # everything that READY has, too: one installation does for both
	$(environment) '.[dev,gguf]'
	touch $(READY) $(DEV)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .hypothesis runs
