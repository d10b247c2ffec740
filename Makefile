# Vision-LSTM, step by step.  `make help` lists what can be made.
# Variables:
#   PYTHON       the Python that the environment is made of (3.10 or newer)           PYTHON=python3.12
#   VENV         where the environment is                                             VENV=.venv
#   TORCH_INDEX  where torch comes from; the default also downloads CUDA, some gigabytes.
#                The CPU-only build is about 200 MB:   make book TORCH_INDEX=https://download.pytorch.org/whl/cpu
#   NAME         one experiment, or some notebooks:    make experiments NAME=digits        make colab-trial NAME="03 project"
#   TRIAL        options of book/_tools/colab_trial.py make colab-trial TRIAL="--python here --form stubs"
PYTHON      ?= python3
VENV        ?= .venv
TORCH_INDEX ?=
NAME        ?= [!_]*
TRIAL       ?=
BIN         := $(VENV)/bin
PY          := $(BIN)/python
READY       := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help book test clients serve pdf archive lab lint student numbers grade-demo experiments constraints matrix colab-trial clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F '\t' '{ printf "  make %-12s %s\n", $$1, $$2 }'

book: $(READY) ## execute what changed, build the book into _build/html and check its pages
	@$(PY) book/_tools/build.py

test: $(READY) ## run the tests, those of `make clients` apart (builds the book first if it is stale: some read its outputs)
	@$(PY) book/_tools/build.py --if-stale
	@$(PY) -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder --ignore=tests/clients

clients: $(VENV)/.clients ## run the models in other people's programs (smp, lightning, torchao, transformers ...; 380 MB)
	@$(PY) -m pytest tests/clients
	@$(PY) book/_tools/timm_tests.py

serve: $(READY) ## show the book at http://localhost:8000
	@$(PY) book/_tools/build.py --if-stale
	@echo "== http://localhost:8000  (stop with Ctrl-C)"
	@$(PY) -m http.server 8000 --bind 127.0.0.1 --directory _build/html

pdf: $(READY) ## the whole book as one PDF of at most 40 MB beside its pages; the landing page links it (needs Chromium)
	@$(PY) book/_tools/build.py --if-stale
	@$(PY) book/_tools/pdf.py

archive: $(READY) ## one file for a room without a network: built book, wheel of the library, student notebooks
	@$(PY) book/_tools/build.py --if-stale
	@$(PY) book/_tools/archive.py

lab: $(VENV)/.lab ## open the student notebooks in JupyterLab (the chapters with solutions are in book/)
	@$(BIN)/jupyter lab --notebook-dir . student

lint: $(READY) ## ruff, types, spelling, clean and complete notebooks, student notebooks up to date
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@git ls-files -z '*.py' '*.md' '*.ipynb' '*.yml' '*.toml' '*.cff' '*.css' '*.js' Makefile | xargs -0 $(BIN)/codespell
	@git ls-files -z '*.ipynb' | xargs -0 -r $(BIN)/nbstripout --verify --keep-id
	@$(PY) book/_tools/lint_notebooks.py
	@$(PY) book/_tools/student.py --check

student: $(READY) ## write student/: the chapters without solutions (a notebook in which you have worked is kept)
	@$(PY) book/_tools/student.py

numbers: $(READY) ## record what the executed notebooks computed for their sentences (book/glued.json), and write student/ with it
	@$(PY) book/_tools/build.py --if-stale
	@$(PY) book/_tools/glued.py
	@$(PY) book/_tools/student.py

grade-demo: $(READY) ## grade a small invented class, as a teacher would: _build/grade-demo
	@rm -rf _build/grade-demo && $(PY) examples/class/make.py _build/grade-demo/submissions
	@$(PY) -m vil_lite.grade examples/class/assignment.toml _build/grade-demo/submissions _build/grade-demo/results

experiments: $(READY) ## make the recorded results again: book/results/*.json (long; a GPU helps)
	@for script in experiments/$(NAME).py; do echo "== $$script"; $(PY) $$script || exit 1; done
	@$(PY) book/_tools/glance.py

constraints: $(READY) ## choose new exact versions: constraints.txt (then build, test and commit)
	@$(PY) -m pip install --quiet uv
	@{ echo "# Exact versions the book was last built with, for Python 3.10 to 3.14 (markers choose). Made by \`make constraints\`."; \
	   $(BIN)/uv pip compile --universal --python-version 3.10 --extra test --extra lab --extra clients --upgrade --no-annotate --no-header --quiet pyproject.toml; \
	} > constraints.new && mv constraints.new constraints.txt

matrix: $(READY) ## run the library's tests on every Python found here, newest and oldest versions (long; some gigabytes)
	@$(PY) -m pip install --quiet uv
	@$(PY) book/_tools/matrix.py

colab-trial: $(READY) ## run the student notebooks outside this checkout, in an environment like Colab's, with and without solutions
	@$(PY) book/_tools/colab_trial.py $(TRIAL) $(filter-out [!_]*,$(NAME))

clean: ## remove what was built, executed outputs too; the environment stays
	@rm -rf _build build dist vil_lite.egg-info/SOURCES.txt .pytest_cache .ruff_cache .hypothesis
	@find book vil_lite tests -name __pycache__ -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "Python 3.10 or newer is needed; set PYTHON=/path/to/python3"; exit 1; }
	@test -x $(PY) || { echo "== Creating the virtual environment $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "== Installing the packages into $(VENV) (once; some gigabytes with the default torch, see TORCH_INDEX)"
	@$(PY) -m pip install --quiet --upgrade pip
	@$(if $(TORCH_INDEX),$(PY) -m pip install --quiet --index-url $(TORCH_INDEX) -c constraints.txt torch torchvision)
	@$(PY) -m pip install --quiet -c constraints.txt -e ".[test]"
	@touch $@
	@echo "== Environment ready"

$(VENV)/.clients: $(READY)
	@echo "== Installing the programs that tests/clients run into $(VENV) (once)"
	@$(PY) -m pip install --quiet -c constraints.txt -e ".[clients]"
	@touch $@

$(VENV)/.lab: $(READY)
	@echo "== Installing JupyterLab into $(VENV) (once)"
	@$(PY) -m pip install --quiet -c constraints.txt -e ".[lab]"
	@touch $@
