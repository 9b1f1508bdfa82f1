# Short names for the scripts; nothing here needs make.
.PHONY: demo test check docs bench simulate

demo:
	scripts/demo
test:
	scripts/test
check:
	scripts/check
docs:
	scripts/install dev && .venv/bin/python -m tools.docs
bench:
	scripts/install dev && .venv/bin/python -m benchmarks --write && .venv/bin/python -m tools.docs
# a long campaign: make simulate SEEDS=0:1000000
SEEDS ?= 0:20000
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
simulate:
	scripts/install dev && .venv/bin/python -m sopwith.testing.simulator --seeds $(SEEDS) -j $(JOBS) --summary
# each rule of core, engine and stores taken away in turn, and found: make mutants ONLY=core/due.py
ONLY ?=
mutants:
	scripts/install dev && .venv/bin/python -m tools.mutants -j $(JOBS) --only "$(ONLY)"
.PHONY: mutants
# long fuzzing of the parsers and the state machine: make fuzz EXAMPLES=100
EXAMPLES ?= 20
fuzz:
	scripts/install dev && SOPWITH_EXAMPLES=$(EXAMPLES) .venv/bin/python -m pytest -n auto tests/parse tests/core
.PHONY: fuzz
# kill -9 at every write-path call of the reference scenario, power cuts, and so many kills at random moments
KILLS ?= 10000
crash:
	scripts/install dev
	.venv/bin/python -m tools.crash sweep -j 2
	.venv/bin/python -m tools.crash power
	.venv/bin/python -m tools.crash kills -j 2 --count $(KILLS)
.PHONY: crash
