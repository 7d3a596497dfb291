"""The compiled contract, with the comments of its source."""

import sysconfig
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2
from grpc_tools import protoc

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def image_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """File of the descriptor set of all .proto files and their imports, with source info."""
    path = tmp_path_factory.mktemp("protos") / "image.binpb"
    sources = [str(source) for source in sorted((ROOT / "protos").rglob("*.proto"))]
    code = protoc.main(
        [
            "protoc",
            f"--proto_path={ROOT / 'protos'}",
            f"--proto_path={sysconfig.get_path('purelib')}",
            f"--proto_path={Path(protoc.__file__).parent / '_proto'}",
            "--include_imports",
            "--include_source_info",
            f"--descriptor_set_out={path}",
            *sources,
        ]
    )
    assert code == 0
    return path


@pytest.fixture(scope="session")
def files(image_path: Path) -> list[descriptor_pb2.FileDescriptorProto]:
    """Descriptors of the contract's own files."""
    image = descriptor_pb2.FileDescriptorSet.FromString(image_path.read_bytes())
    return [file for file in image.file if file.package.startswith("expound.")]
