"""Servers that many tests share, each started once."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.fixtures_models import tiny_repository
from tests.servers import CHANNEL_OPTIONS, Served, serve_process


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository that holds one version of the tiny encoder."""
    return tiny_repository(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def tiny_server(tiny_models: Path) -> Iterator[Served]:
    """The embedded engine on the tiny encoder, all else by default; for tests that leave it as it is."""
    with serve_process("--model-repository", str(tiny_models)) as served:
        yield served


@pytest.fixture
def tiny_channel(tiny_server: Served) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(tiny_server.address, options=CHANNEL_OPTIONS) as channel:
        yield channel
