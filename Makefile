# Two commands for a newcomer: `make run` and `make test`. Both work on a fresh machine.
PYTHON ?= python3
VENV   ?= .venv
PY     := $(VENV)/bin/python
# Test processes side by side, each with brokers of its own: more than there are cores, for most tests wait. A file's
# functions, or a class, stay in one process.
WORKERS ?= 6
SPREAD := --dist loadscope --no-loadscope-reorder

# Tests that failed are run once more, alone: a deadline that a busy machine misses is no fault of the code. They are
# named, for what they wait for is to be mended. With ARGS=... `make test` and `make unit` show the first run as it is.
AGAIN = || { [ $$? -eq 1 ] && echo "failed beside other tests; once more, alone:" && \
	$(PY) -m pytest -v --last-failed --last-failed-no-failures none --maxfail 3 $(AGAIN_IN); }

WITHOUT_BROKERS := tests/unit tests/in_memory tests/models tests/tools tests/processes tests/deploy tests/page

# The tests start hundreds of Python processes: compiled files are kept, whatever the environment says.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help run test unit brokers4 soak cluster check docs man bench release clean

help:            ## this list
	@grep -E '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

# One stamp a requirements file: a changed file installs again, an unchanged one costs nothing.
$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) not found; Python 3.11 or later is needed (PYTHON=python3.12 make ...)"; exit 1; }
	@$(PYTHON) -c '' || { echo "make: $(PYTHON) does not run; give the path of another one: PYTHON=/path/to/python3.12 make ..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $(PYTHON) is older than 3.11; say which one to use: PYTHON=python3.12 make ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "make: the venv module is missing; on Debian: apt-get install python3-venv"; exit 1; }

$(VENV)/.run: $(VENV)/bin/python requirements/base.txt pyproject.toml setup.py $(wildcard evbus_like/speedups/*.[ch])
	$(PY) -m pip install --quiet --editable . --config-settings editable_mode=compat
	@touch $@

$(VENV)/.test: $(VENV)/.run requirements/test.txt requirements/docs.txt
	$(PY) -m pip install --quiet -r requirements/test.txt
	@touch $@

$(VENV)/.check: $(VENV)/.test requirements/check.txt
	$(PY) -m pip install --quiet -r requirements/check.txt
	@touch $@

run: $(VENV)/.run        ## send 329 real webhooks through the bus
	@$(VENV)/bin/evbus demo

test: $(VENV)/.test      ## every test, on a real RabbitMQ and a real Kafka that are started for it
	@$(PY) -m tests.brokers install
ifdef ARGS
	@$(PY) -m pytest -n $(WORKERS) $(SPREAD) $(ARGS)
else
	@$(PY) -m coverage erase
	@$(PY) -m coverage run -m pytest --cache-clear -n auto $(SPREAD) $(WITHOUT_BROKERS)$(AGAIN)
	@$(PY) -m pytest --cache-clear -n $(WORKERS) $(SPREAD) $(WITHOUT_BROKERS:%=--ignore %)$(AGAIN)
	@$(PY) -m coverage combine --quiet
	@echo "branch coverage of the tests without brokers: $$($(PY) -m coverage report --format=total) % (of each file: $(PY) -m coverage report)"
endif

# Without it, processes that could not collect would bring in tests with brokers.
unit: AGAIN_IN := tests/unit
unit: $(VENV)/.test      ## the tests of the parts alone, in half a minute: no broker, no process
ifdef ARGS
	@$(PY) -m pytest -n 3 $(SPREAD) --hypothesis-profile quick tests/unit $(ARGS)
else
	@$(PY) -m pytest --cache-clear -n 3 $(SPREAD) --hypothesis-profile quick tests/unit$(AGAIN)
endif

brokers4: $(VENV)/.test  ## the tests that use RabbitMQ, on RabbitMQ 4, which Debian's next release has; needs root
	@EVBUS_TEST_RABBITMQ=4 $(PY) -m tests.brokers install
ifdef ARGS
	@EVBUS_TEST_RABBITMQ=4 $(PY) -m pytest -n $(WORKERS) $(SPREAD) -m rabbitmq $(ARGS)
else
	@export EVBUS_TEST_RABBITMQ=4; $(PY) -m pytest --cache-clear -n $(WORKERS) $(SPREAD) -m rabbitmq \
		$(WITHOUT_BROKERS:%=--ignore %)$(AGAIN)
endif

soak: $(VENV)/.test      ## an hour of random faults and 50 kills (ARGS="--minutes 5": less), then 100,000 failing events
	@$(PY) -m tests.brokers install
	@$(PY) -m tests.faults.damage --rounds 500 >&2
	@$(PY) -m tests.faults.soak $(ARGS)
	@$(PY) -m tests.faults.stress
	@$(PY) -m tests.faults.stress --count 20000 --cut 2
	@$(PY) -m tests.faults.poison
	@$(PY) -m tests.faults.fuzz
	@$(PY) -m tests.faults.kafka_stress
	@$(PY) -m tests.faults.kafka_stress --count 20000 --cut 5
	@$(PY) -m tests.faults.kafka_poison
	@$(PY) -m tests.faults.kafka_fuzz
	@$(PY) -m tests.faults.speedups_fuzz
	@$(PY) -m tests.faults.postgres_kills

cluster: $(VENV)/.test   ## clusters of three nodes, which are killed, frozen and restarted under load (ARGS="--rounds 1": once)
	@$(PY) -m tests.brokers install
	@$(PY) -m tests.faults.rabbitmq_cluster $(ARGS)
	@$(PY) -m tests.faults.kafka_cluster $(ARGS)

check: $(VENV)/.check    ## lint, types, docs
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -m tools.check_house
	$(PY) -m sphinx -W --keep-going -q -c . docs docs/_build

docs: $(VENV)/.check     ## the documentation, in docs/_build
	$(PY) -m sphinx -W --keep-going -q -c . docs docs/_build

man: $(VENV)/.test       ## the man page of the command, build/man/evbus.1
	@$(PY) -m tools.man

bench: $(VENV)/.test     ## the bus beside its peers and its limits (ARGS=--quick: within three minutes)
	@$(PY) -m tests.brokers install
	@$(PY) -m benchmarks $(ARGS)

$(VENV)/.release: $(VENV)/.test requirements/release.txt
	$(PY) -m pip install --quiet -r requirements/release.txt
	@touch $@

release: $(VENV)/.release ## build wheel and sdist, check them, try them on 3.11 to 3.13 (ARGS="--url https://host/owner/name")
	@$(PY) -m tools.release $(ARGS)

clean:           ## remove what the other targets made
	rm -rf $(VENV) build dist *.egg-info docs/_build .pytest_cache .mypy_cache .ruff_cache .coverage*
