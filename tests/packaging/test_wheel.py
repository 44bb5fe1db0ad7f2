"""What the wheel holds: every package, its data files, nothing else."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"rolecall", "rolecall_client", "rolecall_export", "rolecall_load", "rolecall_server"}


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


def test_every_module_is_in_it_and_no_other_top_level_name(names: set[str]) -> None:
    roots = [ROOT / folder for folder in ("proto", "server", "export", "clients/python", "load_tests")]
    modules = {path.relative_to(root).as_posix() for root in roots for path in root.glob("rolecall*/**/*.py")}
    assert len(modules) > 100
    assert modules <= names
    assert {top for name in names if not (top := name.split("/")[0]).endswith(".dist-info")} == PACKAGES


@pytest.mark.parametrize(
    "name",
    [
        "rolecall/v1/matching_pb2.pyi",
        "rolecall/v1/matching.proto",
        "rolecall/py.typed",
        "rolecall_client/service_config.json",
        "rolecall_client/py.typed",
        "rolecall_server/py.typed",
        "rolecall_export/data/verify.json",
    ],
)
def test_data_files_travel(names: set[str], name: str) -> None:
    assert name in names


def test_no_weights_and_no_tests(names: set[str]) -> None:
    assert not [name for name in names if name.endswith((".onnx", ".npy")) or "test_" in Path(name).name]
