# Every target makes .venv and installs into it what is missing or out of date.

PYTHON ?= python3
SMOKE ?=
BIN := .venv/bin
DEMO := vitrina-demo

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test chaos lint audit bench bench-quality serve clean peers bench-baselines bench-training bench-serving-peer

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

demo: .venv/.installed ## From a year of real purchases to a page of recommendations (SMOKE=1: a slice, then exit)
	$(BIN)/vitrina demo $(if $(filter-out 0,$(SMOKE)),--smoke)

test: .venv/.installed ## Run the tests (ARGS="tests/index -k recall" for some of them)
	$(BIN)/python -m pytest $(or $(ARGS),--numprocesses auto --dist loadfile)

chaos: .venv/.installed ## Break each part under a running server and print what shoppers saw (ARGS="--table FILE": writes it, too)
	$(BIN)/python -m pytest tests/chaos --whole $(ARGS)

lint: .venv/.installed ## Check style, formatting, types, the dependency rule, and for what is insecure
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict src
	$(BIN)/lint-imports

audit: .venv-audit/.installed ## Look for known vulnerabilities in the packages of constraints.txt (over the network)
	.venv-audit/bin/pip-audit --strict --no-deps --disable-pip -r constraints.txt

bench: .venv/.installed ## Measure what benchmarks/README.md claims (after make demo)
	$(BIN)/python benchmarks/ingest.py
	$(BIN)/python benchmarks/lake.py
	$(BIN)/python benchmarks/losses.py
	$(BIN)/python benchmarks/state.py
	$(BIN)/python benchmarks/request.py --config $(DEMO)/vitrina.toml

bench-quality: .venv/.installed ## Retrieval beside the field's published tables (ARGS="--quick": one data set)
	$(BIN)/python benchmarks/quality.py $(ARGS)

bench-baselines: .venv/.installed ## Well-known methods on the data sets of bench-quality (ARGS="--peers 60": RecTools, too, after make peers)
	$(BIN)/python benchmarks/baselines.py $(ARGS)

bench-training: .venv/.installed .venv-peers/.installed ## How fast the towers learn, next to SASRec of RecTools (half an hour)
	$(BIN)/python benchmarks/training.py $(ARGS)

bench-serving-peer: .venv/.installed .venv-peer-serving/.installed ## The load of serving.py on LibRecommender's serving, side by side (ARGS="--shop FOLDER")
	$(BIN)/python benchmarks/serving_peer.py $(ARGS)

peers: .venv-peers/.installed ## Install RecTools in an environment of its own, .venv-peers, to compare with

serve: .venv/.installed ## Serve the demo's bundle and its page again
	$(BIN)/vitrina serve --config $(DEMO)/vitrina.toml

clean: ## Remove .venv, caches and builds; the demo's folder stays
	rm -rf .venv .venv-audit .venv-peers .venv-peer-serving build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

# The stamp is written last, so an interrupted installation is taken up again. A .venv that has no
# working pip (interrupted while it was made, or its Python is gone) is made anew.
.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "Vitrina needs Python 3.11 or newer. Name one: make $(MAKECMDGOALS) PYTHON=python3.11"; \
	    exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[train,spark,postgres,redis,qdrant,s3,client,scann,otel,demo,dev]' -c constraints.txt
	@touch $@

# RecTools and its NumPy have no wheels for some newer Pythons.
.venv-peers/.installed: benchmarks/peers/requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' || { \
	    echo "RecTools is compared under Python 3.11 or 3.12. Name one: make $(MAKECMDGOALS) PYTHON=python3.12"; \
	    exit 1; }
	@.venv-peers/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

.venv-peer-serving/.installed: benchmarks/peers/serving.txt
	@.venv-peer-serving/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv-peer-serving
	.venv-peer-serving/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# Apart from lint, which needs no network: where the list of vulnerabilities cannot be
# reached, pip-audit fails for each package instead of passing it unseen (--strict).
.venv-audit/.installed:
	$(PYTHON) -m venv --clear .venv-audit
	.venv-audit/bin/python -m pip install --quiet --disable-pip-version-check 'pip-audit>=2.10'
	@touch $@
