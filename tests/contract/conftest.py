"""One server for each backend, started when its first case comes; the same cases run on all."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from rolecall.v1 import matching_pb2 as pb
from rolecall.v1 import model_pb2, types_pb2
from rolecall.v1.matching_pb2_grpc import MatchingServiceStub
from rolecall.v1.model_pb2_grpc import ModelServiceStub

from tests.contract.backends import BACKENDS, Backend
from tests.servers import CHANNEL_OPTIONS, serve_process

SECONDS = 60.0


@dataclass
class Contract:
    """A server under test, by its contract alone."""

    backend: Backend
    channel: grpc.Channel
    matching: MatchingServiceStub
    models: ModelServiceStub

    def match(self, query: Any, documents: Any, **options: Any) -> pb.MatchResponse:
        """Profiles, or texts that become profiles."""
        request = pb.MatchRequest(query=profile(query), documents=[profile(d) for d in documents], **options)
        return self.matching.Match(request, timeout=SECONDS)

    def embed(self, inputs: Any, **options: Any) -> pb.EmbedResponse:
        return self.matching.Embed(pb.EmbedRequest(inputs=[profile(i) for i in inputs], **options), timeout=SECONDS)

    def vectors(self, inputs: Any, **options: Any) -> NDArray[np.float32]:
        """float32 [inputs, dimensions]."""
        found = self.embed(inputs, **options).embeddings
        assert not any(embedding.HasField("status") for embedding in found)
        return np.stack([np.frombuffer(embedding.vector, "<f4") for embedding in found])

    @cached_property
    def model(self) -> model_pb2.ModelInfo:
        return self.models.GetModel(model_pb2.GetModelRequest(name="encoder"), timeout=SECONDS).model

    @cached_property
    def limits(self) -> model_pb2.ServerLimits:
        return self.models.GetServerInfo(model_pb2.GetServerInfoRequest(), timeout=SECONDS).limits


def profile(content: Any) -> types_pb2.Profile:
    return content if isinstance(content, types_pb2.Profile) else types_pb2.Profile(text=content)


@pytest.fixture(scope="session", params=BACKENDS, ids=lambda backend: backend.id)
def server(request: pytest.FixtureRequest, tiny_models: Path) -> Iterator[Contract]:
    backend: Backend = request.param
    with (
        serve_process(*backend.flags(tiny_models)) as served,
        grpc.insecure_channel(served.address, options=CHANNEL_OPTIONS) as channel,
    ):
        yield Contract(backend, channel, MatchingServiceStub(channel), ModelServiceStub(channel))


@pytest.fixture
def unseen() -> Callable[[str], str]:
    """Makes a text that no server has seen before out of one that all have."""
    return lambda text: f"{uuid4().hex} {text}"
