"""The tensors of a Hugging Face folder as numpy arrays, in the types they are stored in."""

from __future__ import annotations

import importlib
import json
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from rolecall_export.errors import ExportError
from rolecall_export.weights import Array

_SAFETENSORS = "model.safetensors"
_PICKLED = "pytorch_model.bin"
_UNREADABLE = (RuntimeError, UnpicklingError, EOFError, LookupError, TypeError, ValueError, zipfile.BadZipFile)
"""What unpickling raises for a file that is damaged, cut short or no pickle at all."""


def read_tensors(folder: Path) -> dict[str, Array]:
    """Every tensor by name, bfloat16 ones as that type of ml_dtypes.

    Reads safetensors, one file or shards under an index; where there are none, pytorch_model.bin through torch, which
    then has to be installed. ExportError when there is neither or they are damaged.
    """
    for name, reader in ((_SAFETENSORS, _read_safetensors), (_PICKLED, _read_pickled)):
        files = _files(folder, name)
        if files:
            return {key: tensor for file in files for key, tensor in reader(folder / file).items()}
    raise ExportError(f"folder {folder.name} holds no weights: neither {_SAFETENSORS} nor {_PICKLED}")


def _files(folder: Path, name: str) -> list[str]:
    """The file of that name or the shards that its index lists; none where there is neither."""
    if (folder / name).is_file():
        return [name]
    index = folder / f"{name}.index.json"
    if not index.is_file():
        return []
    try:
        return sorted(set(map(str, json.loads(index.read_text(encoding="utf8"))["weight_map"].values())))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ExportError(f"{index.name} is damaged: {error}") from error


def _read_safetensors(path: Path) -> dict[str, Array]:
    import ml_dtypes  # noqa: F401  (its import teaches numpy, and so safetensors, what bfloat16 is)
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
    except FileNotFoundError as error:
        raise ExportError(f"{path.name} is missing, though the index lists it") from error
    except (SafetensorError, TypeError) as error:  # TypeError: a type that numpy does not have
        raise ExportError(f"{path.name} can't be read: {error}") from error


def _read_pickled(path: Path) -> dict[str, Array]:
    try:
        torch = importlib.import_module("torch")
    except ModuleNotFoundError as error:
        raise ExportError(f"{path.name} needs torch: pip install 'rolecall[hub]'") from error
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ExportError(f"{path.name} is missing, though the index lists it") from error
    except _UNREADABLE as error:
        reason = str(error) or type(error).__name__
        raise ExportError(f"{path.name} can't be read: {reason.splitlines()[0]}") from error
    if not isinstance(state, dict) or not all(isinstance(each, torch.Tensor) for each in state.values()):
        raise ExportError(f"{path.name} holds something other than tensors by name")
    # numpy itself has no bfloat16; in float32 nothing of it is lost.
    return {name: (t.float() if t.dtype == torch.bfloat16 else t).numpy() for name, t in state.items()}
