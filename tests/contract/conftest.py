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
from rolecall.v1 import generation_pb2, model_pb2, types_pb2
from rolecall.v1 import matching_pb2 as pb
from rolecall.v1.generation_pb2_grpc import GenerationServiceStub
from rolecall.v1.matching_pb2_grpc import MatchingServiceStub
from rolecall.v1.model_pb2_grpc import ModelServiceStub

from tests.contract.backends import BACKENDS, GENERATORS, Backend
from tests.servers import CHANNEL_OPTIONS, serve_process

SECONDS = 60.0


@dataclass
class Contract:
    """A server under test, by its contract alone."""

    backend: Backend
    channel: grpc.Channel
    matching: MatchingServiceStub
    generation: GenerationServiceStub
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

    def generate(self, prompt: str, /, **options: Any) -> generation_pb2.GenerateResponse:
        """options: fields of Decoding, and those of the request."""
        return self.generation.Generate(generate_request(prompt, **options), timeout=SECONDS)

    def stream(self, prompt: str, /, **options: Any) -> list[generation_pb2.GenerateStreamResponse]:
        request = generate_request(prompt, **options)
        fields = {field.name: value for field, value in request.ListFields()}
        made = generation_pb2.GenerateStreamRequest(**fields)
        return list(self.generation.GenerateStream(made, timeout=SECONDS))

    @cached_property
    def generator(self) -> model_pb2.ModelInfo:
        return self.models.GetModel(model_pb2.GetModelRequest(name="generator"), timeout=SECONDS).model

    @cached_property
    def model(self) -> model_pb2.ModelInfo:
        return self.models.GetModel(model_pb2.GetModelRequest(name="encoder"), timeout=SECONDS).model

    @cached_property
    def limits(self) -> model_pb2.ServerLimits:
        return self.models.GetServerInfo(model_pb2.GetServerInfoRequest(), timeout=SECONDS).limits


def generate_request(prompt: str, /, **options: Any) -> generation_pb2.GenerateRequest:
    names = generation_pb2.Decoding.DESCRIPTOR.fields_by_name
    decoding = {name: value for name, value in options.items() if name in names}
    others = {name: value for name, value in options.items() if name not in names}
    return generation_pb2.GenerateRequest(
        **({"prompt": generation_pb2.FreeText(text=prompt), "decoding": decoding} | others)
    )


def profile(content: Any) -> types_pb2.Profile:
    return content if isinstance(content, types_pb2.Profile) else types_pb2.Profile(text=content)


@pytest.fixture(scope="session", params=BACKENDS, ids=lambda backend: backend.id)
def server(request: pytest.FixtureRequest, tiny_models: Path) -> Iterator[Contract]:
    yield from _serve(request.param, tiny_models)


@pytest.fixture(scope="session", params=GENERATORS, ids=lambda backend: backend.id)
def writer(request: pytest.FixtureRequest, tiny_models: Path) -> Iterator[Contract]:
    """A server with a generator."""
    yield from _serve(request.param, tiny_models)


def _serve(backend: Backend, tiny_models: Path) -> Iterator[Contract]:
    with (
        serve_process(*backend.flags(tiny_models)) as served,
        grpc.insecure_channel(served.address, options=CHANNEL_OPTIONS) as channel,
    ):
        stubs = (MatchingServiceStub(channel), GenerationServiceStub(channel), ModelServiceStub(channel))
        yield Contract(backend, channel, *stubs)


@pytest.fixture
def unseen() -> Callable[[str], str]:
    """Makes a text that no server has seen before out of one that all have."""
    return lambda text: f"{uuid4().hex} {text}"
