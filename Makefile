# Each target installs what it needs. You need only Python 3.10 or newer and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
READY := $(VENV)/.ready
DOCS_READY := $(VENV)/.docs-ready
OLDEST := .venv-oldest

# With LOCKED=1, the packages of .ci/lock.txt with their hashes, if they can be installed here; else the newest
# releases.
LOCKED ?=
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PLAIN := $(PIP) --editable .
GROUP = { $(PIP) --upgrade 'pip>=25.1' && $(PIP) --group $(1); }

# Python and pytest keep what they have compiled: without that, each run and each process compiles it again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test slow oldest quick lint types site dist clean

run: $(INSTALLED)            ## score data/ on the built-in simulator
	@rm -rf out
	$(BIN)/batchscore score data/ -o out --simulate --task embeddings -m text-embedding-3-small --column text
	$(BIN)/batchscore score data/ -o out --simulate --task chat -m gpt-4o-mini --column text
	@echo; echo "The results are in out/; the first two records of each:"
	@head -qn 2 out/embeddings/part-notes-*.jsonl | cut -c 1-100 | sed 's/$$/ .../'
	@head -qn 2 out/chat/part-notes-*.jsonl

# With worksteal, a worker begins with whole files, which share fixtures, and in the end all workers share what is left.
test: $(READY)               ## the default tests, with one worker more than there are cores, since many tests wait
	$(BIN)/pytest --dist worksteal -n $$($(BIN)/python -c 'import os; print(os.cpu_count() + 1)')

# Load disturbs some tests, which run afterwards, one by one.
slow: $(READY)               ## the tests that need much time or memory
	$(BIN)/pytest -n 2 --dist worksteal -m "slow and not alone" --timeout 900
	$(BIN)/pytest -m "slow and alone" --timeout 900

# All tests that read, write or send through third-party libraries. tests/mlflow_model is last: it has its own conftest.
oldest: $(OLDEST)/.ready     ## the tests that use libraries, with the oldest releases that pyproject.toml allows
	$(OLDEST)/bin/pytest -n auto tests/api tests/azureml tests/endpoint tests/read tests/request tests/output \
	    tests/cli/test_cli_commands.py tests/cli/test_cli_formats.py tests/mlflow_model

# One case of each test, in two processes, each with its own rooms: it imports and finds only those, and only the second
# half imports OpenAI's SDK. The Azure ML SDK is left out, since to import it takes seconds, and tests/cli, where nearly
# all tests start processes: even to find them takes time.
QUICK := HYPOTHESIS_PROFILE=quick $(BIN)/pytest -q -p no:xdist -p no:randomly --cases 1 -m "not slow and not process"
SECOND_HALF := $(addprefix tests/,batch endpoint engine finetune house provider simulator)
FIRST_HALF := $(filter-out $(SECOND_HALF) tests/cli,$(patsubst %/,%,$(sort $(dir $(wildcard tests/*/test_*.py)))))

quick: $(READY)              ## the tests that need no server and no process, in seconds
	@$(QUICK) $(FIRST_HALF) --ignore tests/azureml/test_check.py > $(VENV)/.first-half 2>&1 & first=$$!; \
	$(QUICK) $(SECOND_HALF); second=$$?; \
	wait $$first; first=$$?; cat $(VENV)/.first-half; exit $$((first | second))

lint: $(READY)               ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)              ## mypy --strict
	$(BIN)/mypy

site: $(DOCS_READY)          ## build docs/ as a site: open site/index.html
	$(BIN)/python docs/generate.py
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going docs site

dist: $(READY)               ## build the release into dist/, with LOCKED=1 by locked packages alone
	$(BIN)/python -m hatchling build

clean:                       ## remove the environments and all results
	rm -rf $(VENV) $(OLDEST) out site dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(INSTALLED): pyproject.toml $(if $(LOCKED),.ci/lock.txt)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "batchscore needs Python 3.10 or newer; choose one with make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "Python's venv module is missing; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@rm -f $(VENV)/.locked
	@if test -z "$(LOCKED)"; then $(PLAIN); \
	  else .ci/install-locked $(BIN)/python && touch $(VENV)/.locked || { test $$? -eq 3 && $(PLAIN); }; fi
	@touch $@

# pip compiles what it installs, but not what is editable: else both halves of `make quick` would compile it at once.
$(READY): $(INSTALLED)
	@test -e $(VENV)/.locked || $(call GROUP,dev)
	@$(BIN)/python -m compileall -q src
	@touch $@

$(DOCS_READY): $(INSTALLED)
	@test -e $(VENV)/.locked || $(call GROUP,docs)
	@touch $@

$(OLDEST)/.ready: pyproject.toml .ci/oldest.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "batchscore needs Python 3.10 or newer; choose one with make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv --clear $(OLDEST)
	@$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check --constraint .ci/oldest.txt \
	  --editable . --group dev
	@touch $@
