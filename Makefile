# make demo    install, then the whole way: train, calibrate, export, evaluate, listen (ARGS="--fast", "--phrase ...")
# make test    install, then all tests in two processes (ARGS="tests/test_metrics.py", JOBS=0 for one)
# make system  the Debian packages that the two use, by apt-get (asks for a password with sudo)
# make emulate install, then the demo's model as C in emulated processors (ARGS="--targets m4 rv32 --seconds 10")
# make lint    ruff     make bench  speed and memory     make clean  remove the environment and what the demo made
#
# PYTHON=python3.12 picks the interpreter, PIP_ARGS="..." is passed to pip install.

PYTHON ?= python3
VENV ?= .venv
EXTRAS ?= train,tts,phrase,test
PIP_ARGS ?=
ARGS ?=
JOBS ?= 2

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LISTEN := libportaudio2 ffmpeg espeak-ng
SOUND_CARD := pulseaudio pulseaudio-utils libasound2-plugins
# For one test, which skips without it: 96 MB to fetch, 301 MB on disk, half a minute.
BROWSER := chromium-headless-shell
# For one test of the same kind: what `export --format web` copies from; 148 MB on disk, a quarter of a minute.
WEB := onnxruntime-web@1.30.0
# Compilers and emulators: of each target whose tools are missing, benchmarks/embedded.py says so.
EMULATE := gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm gcc-riscv64-unknown-elf \
  picolibc-riscv64-unknown-elf qemu-system-misc gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user

.PHONY: demo test emulate emulators lint bench system clean python

demo: $(STAMP)
	@.ci/system $(LISTEN)
	$(BIN)/python recipes/demo/run.py $(ARGS)

test: $(STAMP)
	@.ci/system $(LISTEN) $(SOUND_CARD) $(BROWSER)
	@.ci/npm $(WEB)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

emulators:
	@.ci/system $(EMULATE)

emulate: $(STAMP) emulators
	@test -e demo/computer.wakeword || $(MAKE) demo ARGS="--acoustic micro"
	rm -rf demo/computer-c
	$(BIN)/wakeword export demo/computer.wakeword --format c --output demo/computer-c \
	  --calibrate-on $(addprefix demo/data/,positives.jsonl.gz negatives.jsonl.gz noise.jsonl.gz)
	$(BIN)/python benchmarks/embedded.py demo/computer-c --audio demo/stream.wav $(ARGS)

lint: $(STAMP)
	@$(BIN)/python -c "import ruff" 2>/dev/null || $(BIN)/python -m pip install $(PIP_ARGS) ruff
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

bench: $(STAMP)
	$(BIN)/python benchmarks/speed.py $(ARGS)

system:
	@.ci/system --ask make python3-venv $(LISTEN) $(SOUND_CARD) $(BROWSER)

clean:
	rm -rf $(VENV) node_modules demo build *.egg-info

# An environment that exists already (with the same stamp) asks nothing of the system's Python.
$(STAMP): pyproject.toml | python
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(PIP_ARGS) -e '.[$(EXTRAS)]'
	@touch $@

python:
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null || \
	  { echo "make: $(PYTHON) is missing or not 3.10 to 3.13: install one and say make PYTHON=python3.12 ..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || .ci/system python3-venv
	@test -x $(BIN)/python || $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "make: $(PYTHON) cannot make environments: apt-get install python3-venv (or 'make system')"; exit 1; }
