# `make demo` and `make test` set themselves up from nothing.
PYTHON ?= python3
BIN := .venv/bin
export OMP_NUM_THREADS ?= 2

.PHONY: install demo test test-slow lint types schema docs bench bench-gpu ci
install: .venv/installed
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

# What the demo leaves in the end: a label map, what it means, and a picture of it.
DEMO_LEAVES := segment/raw/*_seg.nii.gz segment/raw/*_seg.json segment/pictures/overlay.png

demo: install
	$(BIN)/brainmvp demo
	cd runs/demo && for file in $(DEMO_LEAVES); do \
	  test -s $$file || { echo "the demo left no $$file" >&2; exit 1; }; done

test: install
	$(BIN)/pytest -m "not slow and not gpu"

test-slow: install
	$(BIN)/pytest -m "slow and not gpu"

lint: install
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

schema: install
	$(BIN)/brainmvp schema all -o configs/schema --shipped

docs: install
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --fresh-env .github/docs build/docs

bench: install
	for name in masking templates step pipeline scaling prepare streaming scale registration plot plot_step; do \
	  $(BIN)/python benchmarks/$$name.py || exit 1; done

# All that a machine with GPUs is asked: tests, the step, the loader, several processes.
bench-gpu: install
	$(BIN)/pytest -m gpu
	taskset -c 0,1 $(BIN)/python benchmarks/pipeline.py --device cuda --network uniformer_small \
	  --size 96 --batch 3 --precision bf16 --spacing 1
	$(BIN)/python benchmarks/scaling.py --device cuda
	$(BIN)/python benchmarks/step.py --device cuda
	$(BIN)/python benchmarks/plot_step.py --results step_cuda --output .github/step_cuda.png

ci: lint types test
