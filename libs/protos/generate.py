"""Generates the package `stoker_protos` from `protos/`.

    python libs/protos/generate.py                generates what is out of date
    python libs/protos/generate.py --image FILE   writes all protos, compiled with comments, for `buf` to read

protoc names Python modules after proto files, so `stoker/v1/functions.proto` would become a module of the package
`stoker`, which is the SDK's. The generated modules are therefore put below `stoker_protos`, and their import lines with
them. `buf/validate/validate.proto` is not published as a file of its own: it is taken from the protovalidate package.
"""

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from importlib.resources import files
from pathlib import Path

from google.protobuf import (
    descriptor_pb2,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    timestamp_pb2,
)
from protovalidate._gen.buf.validate import validate_pb as validate  # the only copy of the rules' schema on PyPI

ROOT = Path(__file__).resolve().parents[2]
PROTOS = ROOT / "protos"
PACKAGE = Path(__file__).resolve().parent / "stoker_protos"
SCRIPTS = Path(sysconfig.get_path("scripts"))
VALIDATE = "buf/validate/validate.proto"
GUEST = ["stoker/guest/v1/guest.proto", "stoker/guest/v1/transport.proto"]


def main() -> None:
    """Parses the command line and does what it says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--image", type=Path, help="write a descriptor set for buf to this file instead")
    parser.add_argument("--protos", type=Path, default=PROTOS, help="the directory of the protos")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.image:
            write_image(arguments.protos, arguments.image, Path(scratch))
        else:
            generate(arguments.protos, Path(scratch))


def write_image(protos: Path, image: Path, scratch: Path) -> None:
    """Compiles all protos, with their comments and imports, into one descriptor set."""
    run_protoc(
        protos,
        scratch,
        ["--include_source_info", "--include_imports", f"--descriptor_set_out={image}", *proto_files(protos)],
    )


def generate(protos: Path, scratch: Path) -> None:
    """Writes the package anew, unless it was made from these very protos."""
    stamp = PACKAGE / ".made-from"
    digest = digest_of(protos)
    if stamp.exists() and stamp.read_text() == digest:
        return
    out = scratch / "out"
    out.mkdir()
    run_protoc(
        protos,
        scratch,
        [
            *[f"--plugin=protoc-gen-{kind}={SCRIPTS / f'protoc-gen-{kind}'}" for kind in ("mypy", "mypy_grpc")],
            *[f"--{kind}_out={out}" for kind in ("python", "grpc_python")],
            *[f"--{kind}_out=quiet:{out}" for kind in ("mypy", "mypy_grpc")],
            VALIDATE,
            *proto_files(protos),
        ],
    )
    run_protoc(protos, scratch, [f"--descriptor_set_out={out / 'guest.binpb'}", *GUEST])
    for path in [*out.rglob("*.py"), *out.rglob("*.pyi")]:
        path.write_text(move_imports(path.read_text()))
    for directory in [out, *(path for path in out.rglob("*") if path.is_dir())]:
        (directory / "__init__.py").touch()
    stoker = out / "stoker"
    for child in stoker.iterdir():
        if child.name != "__init__.py":
            shutil.move(child, out / child.name)
    shutil.rmtree(stoker)
    (out / "py.typed").touch()
    (out / ".made-from").write_text(digest)
    shutil.rmtree(PACKAGE, ignore_errors=True)
    shutil.copytree(out, PACKAGE)
    print(f"generated {PACKAGE.relative_to(ROOT)}")


def move_imports(source: str) -> str:
    """Rewrites import lines of `stoker.…` and `buf.…` to `stoker_protos.…` and `stoker_protos.buf.…`."""
    source = re.sub(r"^(from|import) stoker\.", r"\1 stoker_protos.", source, flags=re.MULTILINE)
    return re.sub(r"^(from|import) buf\.", r"\1 stoker_protos.buf.", source, flags=re.MULTILINE)


def run_protoc(protos: Path, scratch: Path, arguments: list[str]) -> None:
    """Runs protoc over `protos`; exits with its status if it fails."""
    dependencies = descriptor_pb2.FileDescriptorSet()
    for module in (descriptor_pb2, duration_pb2, timestamp_pb2, field_mask_pb2, empty_pb2):
        module.DESCRIPTOR.CopyToProto(dependencies.file.add())
    dependencies.file.add().MergeFromString(validate.desc().proto.to_binary())
    dependency_file = scratch / "dependencies.binpb"
    dependency_file.write_bytes(dependencies.SerializeToString())
    includes = str(files("grpc_tools") / "_proto")
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--descriptor_set_in={dependency_file}"]
    status = subprocess.run([*command, f"-I{protos}", f"-I{includes}", *arguments], check=False).returncode
    if status:
        sys.exit(status)


def proto_files(protos: Path) -> list[str]:
    """The proto files below `protos`, relative to it, in order."""
    return sorted(str(path.relative_to(protos)) for path in protos.rglob("*.proto"))


def digest_of(protos: Path) -> str:
    """The SHA-256 over the protos, this script, and the tools' versions."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    tools = subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", "--version"], capture_output=True, check=True
    ).stdout
    digest.update(tools)
    for name in proto_files(protos):
        digest.update(name.encode() + (protos / name).read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    main()
