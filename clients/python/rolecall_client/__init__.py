"""Client of Rolecall, the inference server for job matching: sync, asyncio and a command line."""

from rolecall_client.aio import AsyncClient
from rolecall_client.client import Client
from rolecall_client.errors import (
    AuthenticationError,
    DeadlineExceededError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    NotPermittedError,
    OverloadedError,
    RolecallError,
    UnavailableError,
    UnimplementedError,
)
from rolecall_client.generation import Candidate, GenerateQuery, GenerateUsage, Generation
from rolecall_client.profiles import ProfileLike
from rolecall_client.requests import EmbedQuery, MatchQuery
from rolecall_client.results import (
    Embeddings,
    Limits,
    Match,
    MatchResult,
    ModelInfo,
    ModelStamp,
    ServerInfo,
    StreamedMatch,
    Timing,
    TokenUsage,
)
from rolecall_client.text_stream import AsyncTextStream, TextStream

__all__ = [
    "AsyncClient",
    "AsyncTextStream",
    "AuthenticationError",
    "Candidate",
    "Client",
    "DeadlineExceededError",
    "EmbedQuery",
    "Embeddings",
    "FailedPreconditionError",
    "GenerateQuery",
    "GenerateUsage",
    "Generation",
    "InternalError",
    "InvalidArgumentError",
    "Limits",
    "Match",
    "MatchQuery",
    "MatchResult",
    "ModelInfo",
    "ModelStamp",
    "NotFoundError",
    "NotPermittedError",
    "OverloadedError",
    "ProfileLike",
    "RolecallError",
    "ServerInfo",
    "StreamedMatch",
    "TextStream",
    "Timing",
    "TokenUsage",
    "UnavailableError",
    "UnimplementedError",
]
