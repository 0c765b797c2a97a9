# The project's commands. `make` alone lists them; each makes what it needs in .venv first.
#
#   PYTHON=python3.12   which Python makes .venv (default: the first found that is 3.11 or later)
#   TORCH_INDEX=URL     where torch comes from, e.g. https://download.pytorch.org/whl/cpu

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help demo test lint types tsc browser bench soak screenshot clean

VENV := .venv
BIN := $(VENV)/bin
# A terminal gets pip's progress bars, a log only what matters.
PIP := $(BIN)/python -m pip --disable-pip-version-check $$([ -t 1 ] || echo --quiet)
TORCH_INDEX ?=
TYPESCRIPT := 5.9.3
PYTEST_ARGS ?=
BENCH_ARGS ?=

help:
	@echo 'make demo    train two small models and watch them on the page, until Ctrl-C'
	@echo 'make test    everything the suite needs, a browser included, then the whole suite'
	@echo 'make bench   measure all, beside a floor and peers  (ONLY="log_calls store" BENCH_ARGS="--quick")'
	@echo 'make soak    the long fault tests'
	@echo 'make clean   remove .venv, caches and build outputs'
	@echo 'Without a GPU: make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu'

demo: $(VENV)/.demo
	@exec $(BIN)/lossboard demo $(DEMO_ARGS)

# pytest comes last: its summary is the last line.
test: $(VENV)/.dev browser lint types tsc
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

types: $(VENV)/.dev
	$(BIN)/mypy

# TypeScript only checks the JSDoc of the page. It is no part of the product, so where Node is missing it is left out.
tsc:
	@if command -v node >/dev/null && command -v npx >/dev/null; then \
	  echo 'tsc --checkJs'; \
	  npx --yes --package typescript@$(TYPESCRIPT) tsc --project frontend/jsconfig.json; \
	else \
	  echo 'tsc --checkJs: skipped, Node is not installed'; \
	fi

# One that is installed, else Debian's where we are root, else Playwright's own. Ubuntu's package is
# only a pointer to a snap, which no container can run: hence the call of --version.
browser: $(VENV)/.dev
	@works() { for b in chromium chromium-browser google-chrome; do \
	    command -v $$b >/dev/null && $$b --version >/dev/null 2>&1 && return 0; done; return 1; }; \
	if works; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo 'Installing Chromium with apt-get …'; \
	  { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
	      chromium fonts-liberation; } >/dev/null; \
	  if works; then exit 0; fi; \
	fi; \
	echo 'Installing Chromium with Playwright …'; \
	$(BIN)/python -m playwright install chromium

# The peers go into an environment of their own inside .venv; BENCH_ARGS=--no-peers leaves them out.
bench: $(VENV)/.dev browser
	$(BIN)/python tests/benchmarks/run.py $(BENCH_ARGS) $(ONLY)

soak: $(VENV)/.dev browser
	$(BIN)/python -m pytest -m soak $(PYTEST_ARGS)

# The README's picture, from the real page.
screenshot: $(VENV)/.dev browser
	$(BIN)/python tests/page/screenshot.py

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find backend client tests -name __pycache__ -type d -prune -exec rm -rf {} +

# What follows makes .venv. Stamp files inside it make a second call instant.

$(VENV)/.made:
	@python=; for p in $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11 python); do \
	  if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$p; break; fi; done; \
	if [ -z "$$python" ]; then echo 'Python 3.11 or later is needed: make PYTHON=/path/to/python3' >&2; exit 1; fi; \
	echo "Making $(VENV) with $$($$python --version) …"; \
	$$python -m venv $(VENV)
	@touch $@

# The install is editable, so that demo and test share one .venv and new code needs no new install.
$(VENV)/.demo: $(VENV)/.made pyproject.toml constraints.txt
	@$(call install,demo)

$(VENV)/.dev: $(VENV)/.made pyproject.toml constraints.txt
	@$(call install,dev)
	@touch $(VENV)/.demo

define install
	if [ "$$(uname -s)" = Linux ] && [ -z '$(TORCH_INDEX)' ] && ! command -v nvidia-smi >/dev/null \
	    && ! $(BIN)/python -c 'import torch' 2>/dev/null; then \
	  echo 'No NVIDIA GPU seen. The torch that pip takes by default on Linux may bring CUDA libraries:'; \
	  echo 'several GB. The CPU build is a download of 0.19 GB and takes 0.75 GB on disk:'; \
	  echo '    make $(or $(MAKECMDGOALS),demo) TORCH_INDEX=https://download.pytorch.org/whl/cpu'; \
	  if [ -t 1 ]; then echo 'Going on with the default in 10 s; Ctrl-C stops.'; sleep 10; fi; \
	fi; \
	if [ -n '$(TORCH_INDEX)' ]; then \
	  echo 'Installing torch from $(TORCH_INDEX) …'; \
	  $(PIP) install --index-url '$(TORCH_INDEX)' --constraint constraints.txt torch || exit 1; \
	fi; \
	echo 'Installing lossboard[$(1)] …'; \
	$(PIP) install --constraint constraints.txt --editable '.[$(1)]' && touch $@
endef
