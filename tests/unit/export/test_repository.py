"""Publishing: whole versions or none, an old version replaced in one step, nothing left behind."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from rolecall_export import repository
from rolecall_export.errors import ExportError
from rolecall_export.repository import ModelFolder

from tests.unit.export.exporting import contents


def publish(folder: ModelFolder, number: int, text: str) -> None:
    with folder.staging() as staged:
        (staged / "model.onnx").write_text(text)
        (staged / "manifest.json").write_text(text)
        folder.publish(staged, number)


def fail_half_way(folder: ModelFolder) -> None:
    with folder.staging() as staged:
        (staged / "model.onnx").write_text("half")
        raise RuntimeError("no luck")


def test_a_first_version_appears_whole_and_alone(tmp_path: Path):
    folder = ModelFolder(tmp_path / "repository", "encoder")
    assert folder.versions() == []
    publish(folder, 1, "new")
    assert folder.versions() == [1]
    assert contents(folder.path) == {"1/model.onnx": b"new", "1/manifest.json": b"new"}
    assert os.stat(folder.version(1)).st_mode & 0o777 == 0o755


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_version_is_replaced_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool):
    if not can_exchange:
        monkeypatch.setattr(repository, "_exchange", lambda first, second: False)
    folder = ModelFolder(tmp_path, "encoder")
    publish(folder, 1, "old")
    publish(folder, 1, "new")
    assert contents(folder.path) == {"1/model.onnx": b"new", "1/manifest.json": b"new"}
    assert [path.name for path in folder.path.iterdir()] == ["1"]


def test_a_version_that_can_not_be_put_in_its_place_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """On a file system that can't exchange, and fails after the old version has made way."""
    monkeypatch.setattr(repository, "_exchange", lambda first, second: False)
    folder = ModelFolder(tmp_path, "encoder")
    publish(folder, 1, "old")
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if (self / "model.onnx").is_file() and (self / "model.onnx").read_text() == "new":
            raise OSError("no luck")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="no luck"):
        publish(folder, 1, "new")
    assert folder.versions() == [1]
    assert contents(folder.version(1))["model.onnx"] == b"old"


def test_other_versions_stay(tmp_path: Path):
    folder = ModelFolder(tmp_path, "encoder")
    publish(folder, 2, "two")
    publish(folder, 10, "ten")
    assert folder.versions() == [2, 10]
    assert contents(folder.version(2))["model.onnx"] == b"two"


def test_names_that_are_no_versions_are_not_counted(tmp_path: Path):
    for name in ("1", ".exporting-2", "configs", "٣", "-4"):
        (tmp_path / "encoder" / name).mkdir(parents=True)
    (tmp_path / "encoder" / "5").write_text("a file")
    assert ModelFolder(tmp_path, "encoder").versions() == [1]


def test_readers_always_find_a_whole_version_while_it_is_replaced(tmp_path: Path):
    folder = ModelFolder(tmp_path, "encoder")
    publish(folder, 1, "0")
    done = threading.Event()
    seen: set[str] = set()
    errors: list[OSError] = []

    def read() -> None:
        while not done.is_set():
            try:
                seen.add((folder.version(1) / "model.onnx").read_text())
            except OSError as error:
                errors.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for round_ in range(1, 40):
            publish(folder, 1, str(round_))
    finally:
        done.set()
        reader.join()
    assert errors == []
    assert "" not in seen
    assert seen <= {str(number) for number in range(40)}


def test_a_failed_export_leaves_no_trace(tmp_path: Path):
    folder = ModelFolder(tmp_path, "encoder")
    with pytest.raises(RuntimeError, match="no luck"):
        fail_half_way(folder)
    assert not folder.path.exists()
    publish(folder, 1, "old")
    before = contents(folder.path)
    with pytest.raises(RuntimeError, match="no luck"):
        fail_half_way(folder)
    assert contents(folder.path) == before


def test_a_killed_export_leaves_only_what_the_next_one_removes(tmp_path: Path):
    folder = ModelFolder(tmp_path, "encoder")
    publish(folder, 1, "old")
    code = (
        "import os, signal, sys; from pathlib import Path; from rolecall_export.repository import ModelFolder\n"
        "with ModelFolder(Path(sys.argv[1]), 'encoder').staging() as staged:\n"
        "    (staged / 'model.onnx').write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    left = [path.name for path in folder.path.iterdir() if path.name != "1"]
    assert len(left) == 1
    assert left[0].startswith(".exporting-")
    assert folder.versions() == [1]
    publish(folder, 2, "new")
    assert sorted(path.name for path in folder.path.iterdir()) == ["1", "2"]


def test_two_exports_at_once_are_refused(tmp_path: Path):
    folder = ModelFolder(tmp_path, "encoder")
    publish(folder, 1, "old")
    descriptor = os.open(folder.path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(ExportError, match="another export"), folder.staging():
            pytest.fail("got in")
    finally:
        os.close(descriptor)
    assert contents(folder.path)["1/model.onnx"] == b"old"


def test_a_repository_that_is_a_file_is_a_readable_error(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="can't be used"), ModelFolder(tmp_path / "file", "encoder").staging():
        pytest.fail("got in")


def test_text_beside_the_versions_is_written_once(tmp_path: Path):
    folder = ModelFolder(tmp_path, "encoder")
    publish(folder, 1, "old")
    folder.write_text("config.pbtxt", "name: 1")
    first = (folder.path / "config.pbtxt").stat()
    folder.write_text("config.pbtxt", "name: 1")
    assert (folder.path / "config.pbtxt").stat().st_ino == first.st_ino
    folder.write_text("config.pbtxt", "name: 2")
    assert (folder.path / "config.pbtxt").read_text() == "name: 2"
    assert sorted(path.name for path in folder.path.iterdir()) == ["1", "config.pbtxt"]
