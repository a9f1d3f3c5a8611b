"""Runs grpcio-tools' Python gRPC generator as a protoc plugin, and marks the packages as typed.

grpcio-tools has its gRPC generator only inside its own protoc, while buf wants plugins: programs that read a
CodeGeneratorRequest from standard input and write a CodeGeneratorResponse to standard output.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from google.protobuf.compiler import plugin_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet


def main() -> None:
    """Answers one generation request."""
    request = plugin_pb2.CodeGeneratorRequest.FromString(sys.stdin.buffer.read())
    response = plugin_pb2.CodeGeneratorResponse(
        supported_features=plugin_pb2.CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL
    )
    with tempfile.TemporaryDirectory() as scratch:
        descriptors = Path(scratch, "descriptors.binpb")
        descriptors.write_bytes(FileDescriptorSet(file=request.proto_file).SerializeToString())
        out = Path(scratch, "out")
        out.mkdir()
        subprocess.run(
            [
                sys.executable,
                "-m",
                "grpc_tools.protoc",
                f"--descriptor_set_in={descriptors}",
                f"--grpc_python_out={out}",
                *request.file_to_generate,
            ],
            check=True,
        )
        for path in sorted(out.rglob("*.py")):
            response.file.add(name=path.relative_to(out).as_posix(), content=path.read_text(encoding="utf-8"))
    # Tells type checkers that what is installed has types.
    for package in sorted({file.partition("/")[0] for file in request.file_to_generate}):
        response.file.add(name=f"{package}/py.typed", content="")
    sys.stdout.buffer.write(response.SerializeToString())


if __name__ == "__main__":
    main()
