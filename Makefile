# Every target sets up what it needs first: a virtual environment in .venv, from the lock file.
PYTHON ?= python3
BIN := .venv/bin
# Never an index of this machine's configuration; one that the environment names is used.
UV_INSTALL = $(BIN)/uv pip install --no-config --quiet --python $(BIN)/python

.PHONY: demo case-study up test check faults soak zoo bench proto stubs lock

# Explains a photo end to end: starts everything, writes ./demo-output, stops everything.
demo: .venv/ready
	$(BIN)/python -m expound_deploy.demo

# Trains the small CIFAR-10 network of the tutorials, serves it and explains test photos; DATA is a
# folder with train/CLASS/* and test/CLASS/*, without it CIFAR-10 is downloaded.
VARIANT ?= modules
EPOCHS ?= 2
case-study: .venv/ready
	$(BIN)/python -m expound_deploy.case_study --variant $(VARIANT) --epochs $(EPOCHS) \
	  $(if $(DATA),--data $(DATA))

# Starts everything for this machine, until Ctrl-C.
up: .venv/ready
	$(BIN)/expound up

test: check
	$(BIN)/pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

check: .venv/ready
	$(BIN)/ruff format --check --quiet
	$(BIN)/ruff check --quiet
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest --quiet tests/protos/test_lint.py tests/protos/test_stubs.py

# Kills, loses and breaks what it can, in real processes; all that is long is in here.
faults: .venv/ready
	$(BIN)/pytest tests/faults tests/server/test_fuzz.py -m "long or not long"

# Mixed load for MINUTES while a worker or a server is killed every 20 s.
MINUTES ?= 10
soak: .venv/ready
	$(BIN)/python -m tests.faults.soak --minutes $(MINUTES)

# Runs every method on every classifier of torchvision and writes tests/zoo/results.*; an hour, and
# an interrupted run goes on where it was. MODELS="resnet18 ..." runs those alone.
zoo: .venv/ready
	$(BIN)/python -m tests.zoo $(MODELS)

# Prints the benchmark tables.
bench: .venv/ready
	$(BIN)/python -m tests.bench

# Makes what is made from the .proto files: the stubs, and the client's classes of methods.
proto: stubs
	$(BIN)/python client/generate_methods.py

# The stubs alone, into the source tree or into another folder.
STUBS ?= protos
SITE_PACKAGES = $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
# google/rpc/status.proto comes with the googleapis-common-protos wheel.
PROTOC = $(BIN)/python -m grpc_tools.protoc --proto_path=protos --proto_path=$(SITE_PACKAGES) \
  --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy \
  --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc

stubs: .venv/ready
	$(PROTOC) --python_out=$(STUBS) --mypy_out=quiet:$(STUBS) protos/expound/v1/*.proto
	$(PROTOC) --grpc_python_out=$(STUBS) --mypy_grpc_out=quiet:$(STUBS) \
	  protos/expound/v1/*_service.proto

# Brings the lock file up to date with pyproject.toml; versions that still fit stay.
lock: .venv/ready
	$(BIN)/uv pip compile pyproject.toml --extra all --group dev --generate-hashes --no-config \
	  --python-version 3.11 --quiet --output-file requirements.lock

.venv/ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
	$(UV_INSTALL) --require-hashes --requirement requirements.lock
	$(UV_INSTALL) --no-deps --editable .
	touch $@
