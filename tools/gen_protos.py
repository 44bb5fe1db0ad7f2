"""Generate the stubs beside the protos.

--check only says whether the committed ones are fresh. --googleapis DIR only puts google/rpc/*.proto, which ours import
and buf wants as files, under DIR.
"""

import argparse
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


def copy_googleapis(target: Path) -> None:
    folder = target / "google" / "rpc"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(str(resources.files("google.rpc") / "status.proto"), folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--googleapis", type=Path)
    arguments = parser.parse_args()
    if arguments.googleapis:
        copy_googleapis(arguments.googleapis)
        return 0
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
        if arguments.check:
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
