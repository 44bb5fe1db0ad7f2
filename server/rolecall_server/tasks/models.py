"""Models: what the repository holds, what is loaded, and loading and unloading where allowed."""

from dataclasses import dataclass
from enum import Enum

from rolecall_server.types import ModelInfo


class ModelState(Enum):
    AVAILABLE = "available"
    READY = "ready"
    UNLOADING = "unloading"


@dataclass(frozen=True, slots=True)
class ListedModel:
    info: ModelInfo
    state: ModelState


class ModelTask:
    """Empty version means the newest (loaded one for `get`, one in the repository for `load`)."""

    async def list(self) -> tuple[ListedModel, ...]: ...

    async def get(self, name: str, version: str) -> ListedModel: ...

    async def load(self, name: str, version: str) -> ListedModel: ...

    async def unload(self, name: str, version: str) -> None: ...
