# Everyday commands. Each sets up what it needs in .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH := .venv-torch
IO := .venv-io
INSTALLED := $(VENV)/installed

.PHONY: demo test test-backends test-io lint format

demo: $(INSTALLED)
	$(BIN)/python -m training.demo --workdir=runs/demo

# A file's tests share what they made, so they stay in one process. Compiled programs stay in memory:
# two processes came to 18 GB.
test: $(INSTALLED)
	$(BIN)/python -m pytest --numprocesses=auto --maxprocesses=2 --dist=loadfile

# Keras runs on one backend a process. PyTorch has an environment of its own, for its size.
test-backends: $(INSTALLED) $(TORCH)/installed
	KERAS_BACKEND=jax $(BIN)/python -m tests.backend_numbers
	KERAS_BACKEND=torch $(TORCH)/bin/python -m tests.backend_numbers

# The native part of tensorflow-io loads on TensorFlow 2.17 at most, so it has an environment too.
test-io: $(IO)/installed
	$(IO)/bin/python -m pytest tests/training/data/test_graph_decoding.py tests/training/data/test_decoding.py tests/training/data/test_folders.py

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# tinysoundfont asks for PyAudio, which it needs for live playback only and which must be compiled:
# without its dependencies it installs anywhere.
$(INSTALLED): setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 12) else "keras_s2l needs Python 3.11 or 3.12; this is %d.%d. Name one: make PYTHON=python3.12 ..." % v)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[train,test]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps 'tinysoundfont>=0.3.6,<0.4'
	touch $@

$(TORCH)/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(TORCH)
	$(TORCH)/bin/pip install --quiet --disable-pip-version-check torch==2.13.0 -e '.[test]'
	touch $@

$(IO)/installed: setup.cfg pyproject.toml tests/constraints-io.txt
	$(PYTHON) -m venv $(IO)
	$(IO)/bin/pip install --quiet --disable-pip-version-check -c tests/constraints-io.txt -e '.[train,test,io]'
	touch $@
