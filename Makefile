# Two commands: `make demo` and `make test`. Each sets up everything it needs.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: demo test lint ui up down clean install bench-quality help
unexport PYTHONDONTWRITEBYTECODE

help:
	@echo "make demo   install, start a real Airflow, train and score the shipped table and pictures, show what was found"
	@echo "make test   lint, types, import contracts and all tests"
	@echo "make ui     serve the demo's Airflow for a browser"
	@echo "make up     an Airflow with Celery workers in Docker; its secrets are made, and kept in .env"
	@echo "make down   stop it; data and secrets stay"
	@echo "make clean  undo all of it"
	@echo "make bench-quality   measure detection, alarms, cells, repair and the guard beside their peers (hours)"

demo: $(STAMP)
	@$(BIN)/python -m tools.demo

ui: $(STAMP)
	@$(BIN)/python -m tools.local_airflow

lint: $(STAMP)
	$(BIN)/ruff check --no-cache .
	$(BIN)/ruff format --no-cache --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	@tools/packages.sh
	$(BIN)/python -m pytest -n 2 --no-loadscope-reorder

up:
	@docker compose version >/dev/null 2>&1 || { echo "docker compose is missing: install Docker with its Compose plugin (version 2)"; exit 2; }
	@$(PYTHON) tools/compose_env.py .env
	docker compose up --build --detach --remove-orphans
	@echo "$$(docker compose port api-server 8080): user admin, password AIRFLOW_ADMIN_PASSWORD in .env"

down:
	docker compose down

# Hours on two cores; stopped, it goes on where it was. The data is no part of the repository.
DATA ?= ../shared/data
bench-quality: $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	@$(BIN)/python -m benchmarks.quality --data $(DATA) --write

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@echo "installing into .venv (a few minutes the first time)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "python3 is older than 3.11: install a newer one, or say make PYTHON=python3.12"; exit 2; }
	@tools/venv.sh $(PYTHON)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@$(BIN)/python -m compileall -q -j 2 .venv/lib >/dev/null 2>&1 || true
	@touch $(STAMP)

clean:
	@if [ -e $(STAMP) ]; then $(BIN)/python -m tools.local_airflow --stop; fi
	rm -rf .venv .airflow .spark .bench out landing dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
