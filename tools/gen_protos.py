"""Generate the stubs beside the protos; with --check, only say whether the committed ones are fresh."""

import filecmp
import shutil
import sys
import sysconfig
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent / "proto"
SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")


def generate(target: Path) -> None:
    protos = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("rolecall/**/*.proto"))
    well_known = resources.files("grpc_tools") / "_proto"
    scripts = Path(sysconfig.get_path("scripts"))
    arguments = [
        "protoc",
        f"-I{ROOT}",
        f"-I{well_known}",
        f"-I{sysconfig.get_path('purelib')}",  # google/rpc/*.proto of googleapis-common-protos
        f"--plugin=protoc-gen-mypy_grpc={scripts / 'protoc-gen-mypy_grpc'}",
        f"--python_out={target}",
        f"--pyi_out={target}",
        f"--grpc_python_out={target}",
        f"--mypy_grpc_out={target}",
        *protos,
    ]
    if protoc.main(arguments) != 0:
        raise SystemExit("protoc failed")


def stubs(folder: Path) -> dict[str, Path]:
    found = (path for path in folder.rglob("*_pb2*") if path.name.endswith(SUFFIXES))
    return {str(path.relative_to(folder)): path for path in found}


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        fresh_folder = Path(name)
        generate(fresh_folder)
        fresh, committed = stubs(fresh_folder), stubs(ROOT)
        stale = sorted(
            path
            for path in fresh.keys() | committed.keys()
            if path not in fresh
            or path not in committed
            or not filecmp.cmp(fresh[path], committed[path], shallow=False)
        )
        if "--check" in sys.argv[1:]:
            for path in stale:
                print(f"stale stub: proto/{path} (run `make proto`)")
            return 1 if stale else 0
        for path in stale:
            if path in fresh:
                shutil.copyfile(fresh[path], ROOT / path)
            else:
                committed[path].unlink()
        print(f"{len(fresh)} stubs, {len(stale)} changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
