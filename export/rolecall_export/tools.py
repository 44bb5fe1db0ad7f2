"""What takes part in an export, by version: two exports with the same tools and source give the same artifact."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from importlib import metadata, resources

_ONLY_TALK = ("cli.py", "commands/", "compare.py", "errors.py", "progress.py")
_ALWAYS = ("rolecall", "numpy", "onnx", "onnxruntime", "onnxruntime-gpu", "tokenizers")


def versions(packages: Iterable[str] = ()) -> dict[str, str]:
    """Version of each tool that is installed, `packages` beside those that every export uses."""
    found = {}
    for name in (*_ALWAYS, *packages):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {**found, "rolecall-export": _code_hash()}


def _code_hash() -> str:
    """Of the exporter's own source: its conversions may change while the version of the package does not.

    What only talks to the user is left out.
    """
    digest = hashlib.sha256()
    root = resources.files(__package__)
    pending = [("", root)]
    sources = {}
    while pending:
        path, folder = pending.pop()
        for entry in folder.iterdir():
            if entry.is_dir():
                pending.append((f"{path}{entry.name}/", entry))
            elif entry.name.endswith((".py", ".json")) and not (path + entry.name).startswith(_ONLY_TALK):
                sources[path + entry.name] = entry.read_bytes()
    for name in sorted(sources):
        digest.update(f"{name} {len(sources[name])}\n".encode())
        digest.update(sources[name])
    return digest.hexdigest()[:16]
