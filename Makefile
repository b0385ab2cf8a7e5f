# Every target works on a fresh machine with Python >= 3.11 and make alone.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# A test waits for processes, ports and clocks half of its time.
WORKERS ?= $(shell expr 3 \* $$(getconf _NPROCESSORS_ONLN))
REPORT ?= .dodai/reports/tests.xml

.DEFAULT_GOAL := help
.PHONY: help rehearse test test-whole lint format docs plan bench fuzz interop mutate soak lock clean

help:                ## show the targets
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 18

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("dodai needs Python >= 3.11, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	@echo "installing dodai and what its tests need into $(VENV), once: one to four minutes, no output until it is done"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

rehearse: $(STAMP)   ## the main job: the whole runbook on this machine, faults included
	$(BIN)/dodai rehearse --manifest examples/quiz/dodai.toml $(ARGS)

test: $(STAMP)       ## the suite, three workers per processor (ARGS="-k token" for some, WORKERS=0 for one after the other)
	@mkdir -p $(dir $(REPORT))
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --junit-xml=$(REPORT) $(ARGS)

test-whole:          ## the same with every case of the largest grids, as CI does at night (tests/levels.py)
	DODAI_TEST_LEVEL=whole $(MAKE) test

lint: $(STAMP)       ## style, types, dependency rules, fresh documents, the example against every rule
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/dodai docs --check --manifest examples/quiz/dodai.toml
	$(BIN)/dodai check --manifest examples/quiz/dodai.toml

format: $(STAMP)     ## rewrite the code in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP)       ## write the generated documents, those of the example and the reference
	$(BIN)/dodai docs --manifest examples/quiz/dodai.toml
	$(BIN)/dodai explain manifest --schema > src/dodai/manifest.schema.json
	$(BIN)/cog -I docs -r docs/reference/*.md examples/quiz/docs/Phase2/implementation-plan*.md

plan: $(STAMP)       ## judge every sentence of the plan from the reports of test and rehearse (STRICT=1: todo is red)
	$(BIN)/python tests/plan/judge.py

bench: $(STAMP)      ## measure beside the peers, write benchmarks/results.md
	$(BIN)/python -m pip install --quiet -e '.[bench]'
	for file in benchmarks/*_benchmark.py; do $(BIN)/python $$file || exit 1; done

fuzz: $(STAMP)       ## a million hostile inputs against the CSRF layer (minutes; writes benchmarks/csrf_fuzz.json)
	$(BIN)/python -m tests.csrf.fuzz --inputs 1000000 --write benchmarks/csrf_fuzz.json

mutate: $(STAMP)     ## what check and docs --check say of seeded faults (minutes; writes benchmarks/mutations.md)
	$(BIN)/python -m tests.mutations.mutate $(ARGS)

soak: $(STAMP)       ## an hour of the example: deploys, rotations, migrations, faults (writes benchmarks/quiz_soak.json)
	$(BIN)/python benchmarks/quiz_soak.py $(ARGS)

interop: $(STAMP)    ## the newest Prometheus and VictoriaLogs, built with go in .dodai/interop (many minutes, once)
	$(BIN)/python benchmarks/interop.py .dodai/interop

clean:               ## remove the environment and every local state
	rm -rf $(VENV) .dodai examples/quiz/.dodai plan.md plan.json

lock:                ## pin every dependency, with hashes
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header -p 3.11 --extra dev pyproject.toml -o requirements.lock
