# Two commands do everything: `make run` and `make test`. Only Python (>= 3.11) and make are needed.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.ready
COMPAT := $(VENV)/compat
COMPAT_PY := $(COMPAT)/bin/python
COMPAT_STAMP := $(COMPAT)/.ready

.PHONY: env run test compat stress bench smoke lint lock clean

env: $(STAMP)  ## the environment in .venv; quick when it stands

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) and sys.platform == "linux" else "bmac_stream needs Python >= 3.11 on Linux, found " + sys.version.split()[0] + " on " + sys.platform)'
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

run: env  ## embedded exchange + collector + engine + sample strategy, with a live view until Ctrl-C
	@$(PY) -m bmac_stream run examples/run.json

lint: env
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

test: lint  ## everything but load: under 10 minutes on 2 cores from a cold cache
	$(PY) -m pytest -n 4 --dist loadfile -m "not stress and not network"

# BMAC's own pins; there are wheels of them for Python 3.10 to 3.12
$(COMPAT_STAMP): tests/compat/requirements.txt
	@for python in $(PYTHON) python3.11 python3.12 python3.10; do \
	  $$python -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null \
	    && $$python -m venv --clear $(COMPAT) && exit 0; \
	done; echo "make compat needs Python 3.10, 3.11 or 3.12 for BMAC's own pins" >&2; exit 1
	$(COMPAT_PY) -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r $<
	@touch $@

compat: env $(COMPAT_STAMP)  ## BMAC's run directory of every trade_type, read with BMAC's own pandas and pyarrow
	@out=$$(mktemp -d) && trap 'rm -rf "$$out"' EXIT \
	  && $(PY) tests/compat/write.py "$$out" && $(COMPAT_PY) tests/compat/reader.py "$$out"

stress: env  ## minutes of load on the store and the collector
	$(PY) -m pytest -m stress -s --timeout=1800

bench: env  ## every benchmark, one after the other; nothing else should run meanwhile
	$(PY) bench/store.py && $(PY) bench/ingest.py && $(PY) bench/init.py && $(PY) bench/factors.py && \
	  $(PY) bench/compat.py

smoke: env  ## against the real Binance; skips where there is no network
	$(PY) -m pytest -m network -rs

lock:  ## write requirements.lock again from pyproject.toml (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --all-extras --group dev pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
