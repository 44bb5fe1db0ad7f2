"""Publish a finished version into a model repository so that its readers never see a half of it.

The version is written into a hidden folder beside the others, inside the model's own folder (one file system, so a
rename suffices), every file and folder is flushed to the disk, and one rename gives it its name. A version that is
there already is exchanged with the new one in a single system call (Linux: renameat2 with RENAME_EXCHANGE): whoever
opens `1/model.onnx` gets the old file or the new one, never none, and whoever holds the old one open keeps it. A reader
that opens several files around the exchange may get one of each; the hashes in the manifest tell it to start again.
Where the file system can't exchange (some network ones), two renames follow each other and the name is absent for an
instant.

A crash leaves at most a folder `.exporting-...`, which Triton and the gateway ignore (its name is no number) and which
the next export removes. The model's folder is locked while an export runs: a second one into it is refused.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rolecall_export.errors import ExportError

_TEMPORARY = ".exporting-"
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_CANT_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


class ModelFolder:
    """The folder of one model in a repository, `<repository>/<name>/`."""

    def __init__(self, repository: Path, name: str) -> None:
        self.path = repository / name

    def versions(self) -> list[int]:
        """The versions that are there, ascending."""
        if not self.path.is_dir():
            return []
        names = (entry.name for entry in self.path.iterdir() if entry.is_dir())
        return sorted(int(name) for name in names if name.isascii() and name.isdigit())

    def version(self, number: int) -> Path:
        return self.path / str(number)

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A hidden empty folder to write a version into; gone at the end unless it was published.

        Locks the model's folder meanwhile and removes what a crashed export left. ExportError when another export
        holds the lock or the folder can't be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise ExportError(f"model folder {self.path} can't be used: {error.strerror}") from error
        try:
            _lock(lock, self.path)
            self._sweep()
            with self._temporary() as folder:
                yield folder
        finally:
            os.close(lock)
            with suppress(OSError):  # it has content unless the first export into it failed
                self.path.rmdir()

    def publish(self, staged: Path, number: int) -> Path:
        """Give a staged folder its version number, replacing the version that has it; returns its path."""
        _flush_tree(staged)
        target = self.version(number)
        if not target.exists():
            staged.rename(target)
        elif not _exchange(staged, target):
            aside = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=self.path))
            target.rename(aside / "old")
            try:
                staged.rename(target)
            except OSError:
                (aside / "old").rename(target)
                raise
            shutil.rmtree(aside)
        _flush(self.path)
        return target

    @contextmanager
    def replaced_text(self, name: str, text: str) -> Iterator[None]:
        """`write_text`, and the file as it was if the block fails."""
        path = self.path / name
        before = path.read_text(encoding="utf8") if path.is_file() else None
        self.write_text(name, text)
        try:
            yield
        except BaseException:
            if before is None:
                path.unlink()
            else:
                self.write_text(name, before)
            raise

    def write_text(self, name: str, text: str) -> None:
        """Write a file beside the versions, by rename; one that has this content already is not touched."""
        path = self.path / name
        if path.is_file() and path.read_text(encoding="utf8") == text:
            return
        with self._temporary() as folder:
            fresh = folder / name
            fresh.write_text(text, encoding="utf8")
            _flush(fresh)
            fresh.replace(path)
        _flush(self.path)

    @contextmanager
    def _temporary(self) -> Iterator[Path]:
        folder = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=self.path))
        try:
            folder.chmod(0o755)  # mkdtemp makes it private; the server may run as another user
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _sweep(self) -> None:
        for left in self.path.glob(f"{_TEMPORARY}*"):
            shutil.rmtree(left)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where an export goes."""

    repository: Path
    name: str
    version: int | None
    """None: the latest one that is there, replacing it, or 1."""

    @property
    def folder(self) -> ModelFolder:
        return ModelFolder(self.repository, self.name)

    @property
    def number(self) -> int:
        return self.version if self.version is not None else (self.folder.versions() or [1])[-1]


def _lock(descriptor: int, path: Path) -> None:
    """Taken by the kernel back from a process that dies, so a crash locks nobody out."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ExportError(f"another export into {path} is running") from error


def _exchange(first: Path, second: Path) -> bool:
    """Swap two paths in one step; False where the system or the file system can't."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _CANT_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), str(second))


def _flush_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        _flush(path)
    _flush(folder)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
