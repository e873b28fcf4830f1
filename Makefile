# Set-up, demo, tests and checks on Linux and macOS; `make` alone lists the targets. The only requirement is Python 3.9
# to 3.12: install.py makes .venv. On Windows: see the commands in install.py and README.md.

# The Python for .venv, as in `make PYTHON=python3.10 test`; by default the first suitable one.
PYTHON =

# How many processes share the tests, as in `make JOBS=2 test`; without it, one.
JOBS =

# Arguments for `make fuzz`, as in `make FUZZ="--inputs 5000 recipes" fuzz`.
FUZZ =

# Arguments for `make clients`, as in `make CLIENTS="--run runs/sa_resnet/001" clients`.
CLIENTS =

# Arguments for `make notebook`, as in `make NOTEBOOK="--output executed.ipynb" notebook`.
NOTEBOOK =

# Arguments for `make gpu-check`, as in `make GPU_CHECK="--batch 128" gpu-check`.
GPU_CHECK =

# Arguments for `make gpu-sanitize`, as in `make GPU_SANITIZE="--tools memcheck" gpu-sanitize`.
GPU_SANITIZE =

# The demo writes only to this folder: work/dataset and runs/ belong to the user.
DEMO           := work/demo
DEMO_DATA      := $(DEMO)/dataset
DEMO_RUNS      := $(DEMO)/runs
DEMO_NETS      := sa_resnet resnet
DEMO_PER_CLASS := 60
DEMO_TRAIN     := --data $(DEMO_DATA) --runs_dir $(DEMO_RUNS) --config recipes/demo.yaml
DEMO_EVAL      := --data $(DEMO_DATA) --runs_dir $(DEMO_RUNS)
DEMO_COMPARE   := $(DEMO_TRAIN) --nets $(DEMO_NETS)
DEMO_PICTURES  := $(foreach net,$(DEMO_NETS),$(DEMO_RUNS)/$(net)/001/curves.png \
                  $(DEMO_RUNS)/$(net)/001/eval/confusion_matrix.png) $(DEMO_RUNS)/compare/001/comparison.png $(DEMO_RUNS)/compare/001/index.html

VENV_PYTHON := .venv/bin/python
# Any Python from 3.6 on can run install.py; pyenv puts commands on PATH that do not start.
ANY_PYTHON = $(shell for python in python3 python3.12 python3.11 python3.10 python3.9 python; do \
	$$python -S -c 'import sys; sys.exit(sys.version_info < (3, 6))' 2>/dev/null && echo $$python && break; done)
INSTALL = $(or $(PYTHON),$(ANY_PYTHON),python3) install.py $(if $(PYTHON),--python $(PYTHON))

.PHONY: help setup setup-dev demo test test-matrix clients fuzz hostile hostile-serve browser torture notebook lint format docs \
        bench cluster learn gpu-check gpu-sanitize clean
.NOTPARALLEL:

help:
	@echo 'make demo    draw ten kinds of animals, train two networks on them, evaluate and compare: $(DEMO)'
	@echo 'make test    run all tests'
	@echo 'make test-matrix  run the tests on Python 3.10, on Python 3.12 and with Paddle 2.6.2, each in a folder .venv-...'
	@echo 'make clients run an exported network in ONNX Runtime, Paddle Inference, OpenVINO and PaddleX, each in .venv-clients/'
	@echo 'make fuzz    try the readers of lists, recipes, checkpoints, weights, archives with 100,000 damaged inputs each; on Linux'
	@echo 'make hostile run every script on hostile data folders, damaged photographs and runs of strangers: an hour and a half'
	@echo 'make hostile-serve  send serve.py 2,000 hostile uploads: a few minutes; on Linux'
	@echo 'make browser use the pages of serve.py and compare.py in a headless Chromium, where there is one; screenshots go to work/browser'
	@echo 'make torture kill trainings 200 times, single ones of several processes 50 times, and train every network twice: an hour; on Linux'
	@echo 'make notebook  run docs/ai_studio.ipynb, the notebook in Chinese, in a temporary copy: less than ten minutes'
	@echo 'make lint    check style with ruff, the order of imports with import-linter, types with mypy'
	@echo 'make format  format the code with ruff'
	@echo 'make docs    write docs/settings.md and docs/settings.zh.md, the tables of all settings, from config.py'
	@echo 'make bench   time data loading, a training step, the cost of attention and serving'
	@echo 'make cluster  train on two machines, which are two launches on this one, lose one, go on; the same on a Ray cluster: some minutes; on Linux'
	@echo 'make learn   train the defaults and the original recipe for equal times on the folder of LEARN="--data FOLDER"'
	@echo 'make gpu-check  check the fused operators on a GPU, and print a block of text to report'
	@echo 'make gpu-sanitize  run the CUDA kernels on small feature maps under compute-sanitizer; needs a GPU'
	@echo 'make setup   make .venv and install what this machine needs; all of the above do this first'
	@echo 'make clean   remove the demo and caches; .venv, work/dataset and runs/ stay'

setup:
	@$(INSTALL)

setup-dev:
	@$(INSTALL) --dev

demo: setup
	rm -rf $(DEMO)
	$(VENV_PYTHON) sample_animals.py --data $(DEMO_DATA) --per_class $(DEMO_PER_CLASS)
	$(VENV_PYTHON) train_val_split.py --data $(DEMO_DATA)
	$(VENV_PYTHON) train.py --net sa_resnet $(DEMO_TRAIN)
	$(VENV_PYTHON) train.py --net resnet $(DEMO_TRAIN)
	$(VENV_PYTHON) eval.py --net sa_resnet $(DEMO_EVAL)
	$(VENV_PYTHON) eval.py --net resnet $(DEMO_EVAL)
	$(VENV_PYTHON) compare.py $(DEMO_COMPARE)
	@echo 'The demo is done. Look at:'
	@ls -1 $(DEMO_PICTURES)

test: setup-dev
	$(VENV_PYTHON) -m pytest $(if $(JOBS),--numprocesses $(JOBS) --dist loadfile)

test-matrix:
	$(or $(PYTHON),$(ANY_PYTHON),python3) .ci/test_matrix.py $(MATRIX)

# The programs that an exported network is for; PaddleX requires exact versions of many packages, so each has its own folder.
clients: setup-dev
	$(VENV_PYTHON) tests/clients/run_clients.py $(CLIENTS)

# Installs the fuzzer only here, to save time in every other .venv: the short form in `make test` does not need it.
fuzz: setup-dev
	$(VENV_PYTHON) -m pip install -q --disable-pip-version-check -r requirements-fuzz.txt
	$(VENV_PYTHON) tests/fuzz/long_run.py $(FUZZ)

hostile: setup-dev
	PYTHONPATH=.:tests $(VENV_PYTHON) tests/hostile_runs.py
	PYTHONPATH=.:tests $(VENV_PYTHON) tests/hostile_run_folders.py
	$(VENV_PYTHON) tests/attacks.py

hostile-serve: setup-dev
	PYTHONPATH=.:tests $(VENV_PYTHON) tests/hostile_serve.py

browser: setup-dev
	$(VENV_PYTHON) tests/browser_runs.py
	$(VENV_PYTHON) tests/browser_comparison.py

torture: setup-dev
	$(VENV_PYTHON) tests/torture/torture.py --kills 200
	$(VENV_PYTHON) tests/torture/same_again.py
	$(VENV_PYTHON) tests/torture/killed_members.py --kills 50

# Installs the packages that run a notebook only here, as `make fuzz` does its own.
notebook: setup-dev
	$(VENV_PYTHON) -m pip install -q --disable-pip-version-check -r requirements-notebook.txt
	$(VENV_PYTHON) -m pytest tests/test_notebook.py
	$(VENV_PYTHON) docs/run_notebook.py $(NOTEBOOK)

lint: setup-dev
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .
	.venv/bin/lint-imports
	$(VENV_PYTHON) -m mypy

format: setup-dev
	$(VENV_PYTHON) -m ruff check --fix .
	$(VENV_PYTHON) -m ruff format .

docs: setup
	$(VENV_PYTHON) docs/write_settings.py

# In one block of text: what the fused operators do on this machine's GPU, or, without one, on its CPU.
gpu-check: setup
	@$(VENV_PYTHON) benchmarks/gpu_check.py $(GPU_CHECK)

# Ends with exit code 2 where there is no GPU or no compute-sanitizer.
gpu-sanitize: setup
	@$(VENV_PYTHON) benchmarks/gpu_sanitize.py $(GPU_SANITIZE)

bench: setup
	$(VENV_PYTHON) benchmarks/input_pipeline.py
	$(VENV_PYTHON) benchmarks/train_step.py
	$(VENV_PYTHON) benchmarks/attention_cost.py
	$(VENV_PYTHON) benchmarks/serving.py --net resnet18 --rounds 1

cluster: setup-dev
	CLUSTER=1 $(VENV_PYTHON) -m pytest tests/test_processes.py tests/test_ray.py -k "machines or cluster or node"

# Trains both recipes on a folder of photographs: make learn LEARN="--data photographs --epochs 24"
learn: setup
	$(VENV_PYTHON) benchmarks/learn.py $(LEARN)

clean:
	rm -rf $(DEMO) .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
	find . -name ".venv*" -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
