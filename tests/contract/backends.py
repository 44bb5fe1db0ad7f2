"""The backends that the contract suite runs on. A new one is a new entry here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.generators import beside
from tests.requirements import require_model


@dataclass(frozen=True)
class Backend:
    """flags: of `rolecall serve`, given the repository of the tiny encoder.

    name: what GetServerInfo says. prefixes: whether queries and documents are embedded differently. generates: whether
    it has a generator beside the encoder.
    """

    id: str
    name: str
    flags: Callable[[Path], Sequence[str]]
    prefixes: bool = True
    generates: bool = False


def _real(_: Path) -> Sequence[str]:
    version = require_model("encoder").folder
    return ("--model-repository", str(version.parent.parent))


BACKENDS = (
    Backend("fake", "fake", lambda _: ("--backend", "fake"), prefixes=False, generates=True),
    Backend("tiny", "embedded", lambda tiny: ("--model-repository", str(tiny))),
    Backend("real", "embedded", _real),
)


def _t5(tiny: Path) -> Sequence[str]:
    return ("--model-repository", str(beside(tiny)))


GENERATORS = (
    *(backend for backend in BACKENDS if backend.generates),
    Backend("t5", "embedded", _t5, generates=True),
)
"""Those that the cases of generation run on."""
