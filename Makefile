# Two commands do all the set-up: `make run` (the frozen submission on generated images) and `make test`.
PYTHON ?= python3
RUN_ENV := .venv-run
DEV_ENV := .venv
OUT := out

.PHONY: run env test test-all container-test mutants ray locks lint types imports check clean

$(RUN_ENV)/.done: requirements-inference.txt
	$(PYTHON) -m venv $(RUN_ENV)
	$(RUN_ENV)/bin/pip install --quiet --requirement requirements-inference.txt
	touch $@

$(DEV_ENV)/.done: requirements.txt requirements-inference.txt requirements-dev.txt
	$(PYTHON) -m venv $(DEV_ENV)
	$(DEV_ENV)/bin/pip install --quiet --requirement requirements.txt --requirement requirements-dev.txt
	touch $@

# Everything: inference, evaluation, training, tests.
env: $(DEV_ENV)/.done
	@echo "Activate it: . $(DEV_ENV)/bin/activate"

run: $(RUN_ENV)/.done
	rm -rf $(OUT)
	$(RUN_ENV)/bin/python test/phantoms --output $(OUT)/phantoms
	$(RUN_ENV)/bin/python inference.py --input $(OUT)/phantoms --output $(OUT)/predictions --report $(OUT)/run.json
	$(RUN_ENV)/bin/python -m evaluate check --data-root $(OUT)/phantoms --predictions $(OUT)/predictions
	$(RUN_ENV)/bin/python -m evaluate gallery --data-root $(OUT)/phantoms --predictions $(OUT)/predictions \
		--run-report $(OUT)/run.json --output $(OUT)/gallery
	@echo "Open $(OUT)/gallery/index.html"

test: $(DEV_ENV)/.done
	$(DEV_ENV)/bin/python -m pytest

# Slow tests may take longer than what ends a process that hangs.
test-all: $(DEV_ENV)/.done
	$(DEV_ENV)/bin/python -m pytest -m "not container" -o faulthandler_timeout=3660

container-test: $(DEV_ENV)/.done
	$(DEV_ENV)/bin/python -m pytest -m container -o faulthandler_timeout=3660 -v -rs --log-cli-level=INFO test/container

# Plants faults, one at a time, and checks that the tests notice; takes about a quarter of an hour.
mutants: $(DEV_ENV)/.done
	$(DEV_ENV)/bin/python test/mutants

# Without it the tests on a Ray cluster skip.
ray: $(DEV_ENV)/.done
	$(DEV_ENV)/bin/pip install --quiet --requirement requirements-ray.txt

locks: $(DEV_ENV)/.done
	PATH=$(DEV_ENV)/bin:$$PATH docker/lock.sh

lint: $(DEV_ENV)/.done
	$(DEV_ENV)/bin/ruff check .
	$(DEV_ENV)/bin/ruff format --check .

types: $(DEV_ENV)/.done
	$(DEV_ENV)/bin/mypy

imports: $(DEV_ENV)/.done
	$(DEV_ENV)/bin/lint-imports

# What every commit must pass, in under three minutes; the tests come on top.
check: lint types imports

clean:
	rm -rf $(OUT) $(RUN_ENV) $(DEV_ENV)
