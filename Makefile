# Both targets do all set-up from a clean clone. PYTHON, TORCH and VENV can be given: make demo PYTHON=python3.12
PYTHON ?= python3
VENV ?= .venv
# torch is installed first and by its exact version: any later, looser demand then finds it there, and no CUDA packages
# come along where the index has a CPU build of it. README.md has the lines for a GPU.
TORCH ?= torch==2.13.0

.PHONY: demo test test-slow lint clean

demo: $(VENV)/.ready
	$(VENV)/bin/stlm train demo

test: $(VENV)/.ready-test
	$(VENV)/bin/python -m pytest -n 2 -m "not slow"

# shapes are checked where the calls are of parts of a model; elsewhere models are called too often for it
SHAPED = tests/generate tests/model tests/nn tests/optim tests/train
SLOWLY = $(VENV)/bin/python -m pytest -n 2 --hypothesis-profile thorough

test-slow: $(VENV)/.ready-slow
	STLM_SHAPES=1 $(SLOWLY) -m "slow or shapes or hypothesis" $(SHAPED)
	$(SLOWLY) -m "slow or hypothesis" $(SHAPED:%=--ignore %)

lint: $(VENV)/.ready-test
	$(VENV)/bin/ruff check src tests benchmarks recipes
	$(VENV)/bin/mypy

$(VENV)/.torch:
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet $(TORCH)
	touch $@

$(VENV)/.ready: $(VENV)/.torch pyproject.toml
	$(VENV)/bin/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.ready-test: $(VENV)/.torch pyproject.toml
	$(VENV)/bin/python -m pip install --quiet --editable ".[test]"
	touch $@ $(VENV)/.ready

# what the slow cases compare with: lm-evaluation-harness and transformers
$(VENV)/.ready-slow: $(VENV)/.ready-test
	$(VENV)/bin/python -m pip install --quiet --editable ".[test,hf,harness]"
	touch $@

clean:
	rm -rf $(VENV) runs .pytest_cache .ruff_cache .mypy_cache .hypothesis
