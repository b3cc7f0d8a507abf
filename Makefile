# Each target sets up what it needs: see tools/setup.

python := .venv/bin/python

.PHONY: help demo test docs pictures bench faults lint unit format test-all-pythons clean ready
# "make -j test" shall not mix the linters' words with pytest's
.NOTPARALLEL:

help:
	@echo 'make demo              record a command and show it again'
	@echo 'make test              lint and test everything'
	@echo 'make docs              build the pages: build/docs/index.html'
	@echo 'make pictures          draw the pictures that show the code'
	@echo 'make bench             measure what qrec costs (bench/README.md)'
	@echo 'make faults            kill qrec 1,000 times and more, at any moment, and look at what is left'
	@echo 'make lint              ruff and mypy only'
	@echo 'make unit              pytest only; make unit ARGS="-n0 -k store"'
	@echo 'make format            let ruff mend what it can'
	@echo 'make test-all-pythons  pytest on every Python found here'
	@echo 'make clean             remove environments, caches and builds'

demo:
	@tools/setup
	@PATH="$(CURDIR)/.venv/bin:$$PATH" tools/demo

test: lint unit

ready:
	@tools/setup test

lint: ready
	$(python) -m ruff check
	$(python) -m ruff format --check
	$(python) -m mypy

unit: ready
	$(python) -m pytest $(ARGS)

docs: ready
	$(python) -m sphinx -W --keep-going -n -q -b html -d build/doctrees docs build/docs
	@echo build/docs/index.html

pictures: ready
	$(python) docs/_ext/pictures.py

# In an environment of its own: an editable install would cost start-up time.
bench: ready
	$(python) -m venv .venvs/bench
	.venvs/bench/bin/python -m pip -q install . con-duct playwright pytest
	.venvs/bench/bin/python bench/speed.py
	.venvs/bench/bin/python bench/million.py --home .venvs/stores
	.venvs/bench/bin/python bench/endurance.py
	.venvs/bench/bin/python bench/terminal.py
	.venvs/bench/bin/python bench/queue.py
	.venvs/bench/bin/python bench/shell.py
	.venvs/bench/bin/python bench/dashboard.py --home .venvs/stores
	rm -rf .venvs/stores

faults: ready
	$(python) -m tests.faults.campaign $(ARGS)

format: ready
	$(python) -m ruff check --fix
	$(python) -m ruff format

test-all-pythons:
	@tools/test-all-pythons

clean:
	rm -rf .venv .venvs build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
