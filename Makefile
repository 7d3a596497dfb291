PYTHON ?= python3
BIN := .venv/bin
PROTOS := $(wildcard protos/expound/v1/*.proto)

.venv/ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
	$(BIN)/uv pip install --no-config --quiet --require-hashes --requirement requirements.lock
	$(BIN)/uv pip install --no-config --quiet --no-deps --editable .
	touch $@

# google/rpc/status.proto comes with the googleapis-common-protos wheel.
PROTOC = $(BIN)/python -m grpc_tools.protoc --proto_path=protos --proto_path=$(wildcard .venv/lib/python3*/site-packages) \
  --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc

proto: .venv/ready
	$(PROTOC) --python_out=protos --mypy_out=quiet:protos protos/expound/v1/*.proto
	$(PROTOC) --grpc_python_out=protos --mypy_grpc_out=quiet:protos protos/expound/v1/*_service.proto
