"""What a test needs beyond the default set-up: skipped with one clear line, or a failure in continuous integration."""

import importlib
import os
import shutil
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import pytest
from rolecall_server.errors import ModelNotFoundError
from rolecall_server.repository import Artifact, ModelRepository

_MODELS = Path(__file__).parents[1] / "model_repository"


def require_module(name: str) -> ModuleType:
    """The imported module `name`; where it is not installed, the test is skipped, or fails if ROLECALL_REQUIRE_ALL=1.

    Only the absence of the module itself is forgiven: one that is there but fails to import raises.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise
        _missing(f"needs the Python module {name}")


def require_program(name: str) -> str:
    """The path of the program `name`; where it is not installed, the test is skipped, or fails as above."""
    path = shutil.which(name)
    if path is None:
        _missing(f"needs the program {name} (make system-deps)")
    return path


def require_model(name: str) -> Artifact:
    """The newest exported version of the model `name`; where there is none, the test is skipped, or fails as above."""
    try:
        return ModelRepository(_MODELS).artifact(ModelRepository(_MODELS).latest(name))
    except ModelNotFoundError:
        _missing(f"needs an exported model {name} (make models)")


def _missing(reason: str) -> NoReturn:
    if os.environ.get("ROLECALL_REQUIRE_ALL") == "1":
        pytest.fail(f"{reason}, and ROLECALL_REQUIRE_ALL=1 forbids to skip", pytrace=False)
    pytest.skip(reason)
