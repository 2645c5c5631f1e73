# Everything runs in .venv, which the first target builds and any change of the dependencies renews.
# make lab LAB_ARGS=--no-browser · make test PYTEST_ARGS="-x -k ring" WORKERS=0 · make lab PYTHON=python3.12
PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= 2
UV := $(BIN)/uv pip

# What one process has compiled the next need not: a whole test run starts about sixty of them.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: lab site site-test test test-fast check bench gpu data requirements clean

# The repository is Lab's root, and not notebooks/, because the notebooks send the reader to gantutor/*.py.
# Memory that a training step frees stays with its kernel (gantutor.scale.speed.keep_memory says why), and a toggle's
# picture does not wait 40 ms in the server (gantutor.lab.server).
lab test: export MALLOC_TRIM_THRESHOLD_ ?= 1073741824
lab test: export MALLOC_MMAP_THRESHOLD_ ?= 33554432
# Half of the processors train. The browser and the server want the rest, and a step of a small network waits long for
# threads that find no processor free.
lab: export OMP_NUM_THREADS ?= $(shell $(PYTHON) -c 'import os; print(max(1, os.cpu_count() // 2))')
lab: .venv/.ready
	$(BIN)/jupyter lab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb \
		--ServerApp.kernel_websocket_connection_class=gantutor.lab.server.PromptConnection $(if $(filter 0,$(shell id -u)),--allow-root) $(LAB_ARGS)

# The course as web pages, in site/. SITE_ARGS=--small makes the one that the tests look at.
site: .venv/.ready
	$(BIN)/python docs/site/build.py $(SITE_ARGS)

site-test: export GANTUTOR_SITE := site
site-test: site
	$(BIN)/pytest $(PYTEST_ARGS) tests/browser/test_site.py

# One run, so that one closing line tells all. A file's tests stay together, so that they share what they prepare once.
# Of the solutions tests/checks runs every cell, in one process instead of seven kernels.
test: export OMP_NUM_THREADS ?= 1
test: .venv/.ready
	$(BIN)/pytest -n $(WORKERS) --no-loadscope-reorder --nbval-lax $(PYTEST_ARGS) tests $(wildcard notebooks/*.ipynb)

# The unit tests alone, without the slow ones.
test-fast: export OMP_NUM_THREADS ?= 1
test-fast: .venv/.ready
	$(BIN)/pytest -n $(WORKERS) --no-loadscope-reorder -m "not browser and not slow" $(PYTEST_ARGS) tests

check: .venv/.ready
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && MYPYPATH=docs/site $(BIN)/mypy docs/site/*.py && $(BIN)/oxlint --deny-warnings gantutor/lab/front docs/site/static

bench: .venv/.ready
	@set -e; for script in $(filter-out benchmarks/gpu.py benchmarks/mutants.py,$(wildcard benchmarks/*.py)); do echo "$$script"; $(BIN)/python "$$script"; done

# On a machine with an NVIDIA GPU, by the Python that is there: .venv's, or else PYTHON, with torch in it.
gpu:
	PYTHONPATH=. $(or $(wildcard $(BIN)/python),$(PYTHON)) benchmarks/gpu.py $(GPU_ARGS)

# Every builder whose sources are there; the status 3 says that they are not, and the extra "data" installs some.
data: .venv/.ready
	@for script in data/build_*.py; do $(BIN)/python "$$script" || [ $$? -eq 3 ] || exit 1; done

requirements: .venv/.ready
	$(UV) compile --universal --python-version 3.11 pyproject.toml --extra dev --no-header --no-annotate --quiet -o requirements.txt

# Keeps what the learner made or fetched: runs/ and data/downloads/.
clean:
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

.venv/.ready: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; old = sys.version_info < (3, 11); sys.exit("gantutor needs Python 3.11 or newer, but $(PYTHON) is %d.%d; name another: make PYTHON=python3.12" % sys.version_info[:2] if old else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(UV) install --python $(BIN)/python --constraints requirements.txt -e ".[dev]"
	@touch $@
