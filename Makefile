# make demo   watch a small network learn from real photos
# make test   the tests
# make setup  just .venv, with pinned versions
# make sanitize  native code and kernels under sanitizers, damaged files, a thousand schedules on the simulated GPU
# make soak   ten minutes of random breaks, resumes, faults and damaged files: nothing lost, nothing left behind
# make check  format, lint, types; the Dockerfile, too
# make bench  images per second beside torch's loader (and DALI and FFCV, after `make peers`), and what limits it
# make wheels wheels with native code for x86-64 and aarch64, tried without a compiler and under emulators
# make gpu    everything that needs a GPU: tests, compute-sanitizer, benchmarks; writes benchmarks/results/
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: setup demo test sanitize soak wheels check gpu bench peers docs clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[cuda13,demo,dev,frameworks]"
	touch $(READY)

demo: $(READY)
	$(BIN)/gpuload demo

# on up to four CPUs; a test that hangs shows where, and ends
test: $(READY)
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal \
		-o faulthandler_timeout=300 -o faulthandler_exit_on_timeout=true

sanitize: $(READY)
	$(BIN)/python -m tests.sanitize

soak: $(READY)
	$(BIN)/python -m tests.soak --minutes 10

wheels: $(READY)
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[wheels]"
	$(BIN)/python -m tests.wheels

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/hadolint docker/Dockerfile

# BASELINE=FOLDER adds gpuload from another checkout
AGAINST := $(if $(BASELINE),--baseline $(BASELINE))
bench: $(READY)
	$(BIN)/python -m benchmarks.race photos thumbnails large --avx2 $(AGAINST)
	$(BIN)/python -m benchmarks.ceiling
	$(BIN)/python -m benchmarks.startup $(AGAINST)
	$(BIN)/python -m benchmarks.folders

# DALI and FFCV, which `make bench` races if they are there, in an environment of their own
peers: .venv-peers/.ready

.venv-peers/.ready: benchmarks/peers.txt
	pkg-config --exists opencv4 libturbojpeg || apt-get install -y -q g++ pkg-config libopencv-dev libturbojpeg0-dev
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install -q --upgrade pip setuptools wheel
	.venv-peers/bin/python -m pip install -q -r benchmarks/peers.txt
	touch $@

# On a machine that has its own torch and no network: make gpu GPU_PYTHON=python3
GPU_PYTHON ?= $(BIN)/python
gpu:
	PYTHONPATH=".:$$PYTHONPATH" $(GPU_PYTHON) -m benchmarks.gpu

docs: $(READY)
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[docs]"
	$(BIN)/pdoc -o build/docs gpuload

clean:
	rm -rf .venv .venv-peers build dist demo-output .pytest_cache .mypy_cache .ruff_cache .hypothesis
