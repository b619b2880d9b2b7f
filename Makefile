# `make demo` and `make test` are the two to begin with; both set up what they need (README.md).
.PHONY: setup demo test drill check types quick up down bench lock clean
PYTHON = .venv/bin/python
# pytest keeps what it makes of the tests' sources, too.
unexport PYTHONDONTWRITEBYTECODE
# Two at a time, a file's tests one after the other; in alphabetical order, which begins with one of the longest.
PYTEST = $(PYTHON) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

setup:
	@.ci/setup

demo: setup  ## the main job on two hosts, step by step, and everything cleaned
	@$(PYTHON) -m topology.demo

test: setup  ## everything, as root: real switches, whole small clouds, PostgreSQL
	@$(PYTEST)

drill: setup  ## the random drills at full count
	@UNRYU_REQUESTS=5000 $(PYTHON) -m pytest -s tests/test_schemathesis.py
	@UNRYU_HISTORIES=200 $(PYTHON) -m pytest -s tests/controller/test_history.py
	@UNRYU_RACES=2000 $(PYTHON) -m pytest -s tests/controller/test_races.py tests/controller/test_router_races.py
	@UNRYU_MATRICES=200 UNRYU_HOSTS=3 $(PYTHON) -m pytest -s tests/groups/test_matrix.py
	@UNRYU_LISTENERS=1100 $(PYTHON) -m pytest -s tests/test_broadcast.py
	@UNRYU_SILENCE=15 $(PYTHON) -m pytest -s tests/outside
	@UNRYU_CROSSINGS=100 $(PYTHON) -m pytest -s tests/outside/test_matrix.py
	@UNRYU_MOVES=all $(PYTHON) -m pytest -s tests/test_moving.py
	@UNRYU_FAULTS=1 $(PYTHON) -m pytest -s tests/faults
	@UNRYU_CONTROLLERS=3 UNRYU_OUTAGE=60 $(PYTHON) -m pytest -s tests/test_controllers.py
	@UNRYU_ORDERS=all $(PYTHON) -m pytest -s tests/drill/test_hitless.py
	@UNRYU_KILLS=1000 $(PYTHON) -m pytest -s tests/drill/test_drill.py
	@UNRYU_KILLS=300 UNRYU_DRILL_DATABASE=postgresql $(PYTHON) -m pytest -s tests/drill/test_drill.py

check: setup  ## the quick loop: style, types, and what needs no switch
	@.venv/bin/ruff check
	@$(MAKE) --no-print-directory --jobs types quick

types:
	@.venv/bin/mypy

quick:
	@$(PYTEST) -m "not system"

up: setup  ## leave a cloud running to play with
	@.venv/bin/unryu up

down:
	@.venv/bin/unryu down

bench: setup  ## figures, always against a peer or a limit in the same run
	@$(PYTHON) -m bench

lock:  ## write constraints.txt anew
	@.ci/lock

clean: ## forget the environment; a running cloud is `make down`'s
	@rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .hypothesis
