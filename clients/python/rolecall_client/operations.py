"""What each method does, written once for the sync and the asyncio client.

An operation is a generator: it yields the calls to make, gets their answers in the same order, and returns the
result. It does no input or output itself; the clients do, each in its way.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar

import grpc
import numpy as np
from numpy.typing import NDArray
from rolecall.v1 import matching_pb2, model_pb2, types_pb2

from rolecall_client.errors import RolecallError, from_item_status, invalid, make_error
from rolecall_client.generation import GenerateQuery, Generation
from rolecall_client.requests import EmbedQuery, MatchQuery, to_profiles
from rolecall_client.results import (
    Embeddings,
    Match,
    MatchResult,
    ModelInfo,
    ModelStamp,
    ServerInfo,
    Timing,
    TokenUsage,
)
from rolecall_client.splitting import Split, budget_for, split

Method: TypeAlias = Literal["Match", "Embed", "Generate", "GetServerInfo", "ListModels"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call:
    """One unary call; the request is a message of the method's own type."""

    method: Method
    request: Any


Operation: TypeAlias = Generator[Iterable[Call], list[Any], T]


class Session:
    """What a client keeps: the server's info, asked once, for the limits in it."""

    def __init__(self, max_message_bytes: int) -> None:
        self.max_message_bytes = max_message_bytes
        self._info: ServerInfo | None = None

    def server_info(self) -> Operation[ServerInfo]:
        """Asks anew, and so also renews the limits."""
        (answer,) = yield (Call("GetServerInfo", model_pb2.GetServerInfoRequest()),)
        self._info = ServerInfo.from_message(answer)
        return self._info

    def known_info(self) -> Operation[ServerInfo]:
        """What was asked before, or asks."""
        return self._info if self._info is not None else (yield from self.server_info())

    def models(self) -> Operation[tuple[ModelInfo, ...]]:
        (answer,) = yield (Call("ListModels", model_pb2.ListModelsRequest()),)
        return tuple(ModelInfo.from_message(model) for model in answer.models)

    def match(self, query: MatchQuery) -> Operation[MatchResult]:
        planned = PlannedMatch(query)
        planned.split((yield from self.known_info()), self.max_message_bytes)
        answers = yield (Call("Match", request) for request in planned.requests())
        return planned.merge(answers)

    def embed(self, query: EmbedQuery) -> Operation[Embeddings]:
        head = query.to_message()
        inputs = to_profiles(query.inputs, "inputs")
        budget = budget_for((yield from self.known_info()), self.max_message_bytes, vectors=True)
        plan = split(inputs, head.ByteSize(), budget)
        answers = yield (Call("Embed", _with_inputs(head, inputs, part)) for part in plan.parts)
        return _merge_embeddings(len(inputs), plan, answers)

    def generate(self, query: GenerateQuery) -> Operation[Generation]:
        request = query.to_message()
        self.check_size(request)
        (answer,) = yield (Call("Generate", request),)
        return Generation.from_message(answer)

    def check_size(self, request: Any) -> None:
        """Raise what the server would answer to a prompt that is too large to be sent."""
        if self.max_message_bytes and request.ByteSize() > self.max_message_bytes:
            raise invalid("prompt.text", f"larger than a message may be ({self.max_message_bytes} bytes)")


class PlannedMatch:
    """A Match as the requests that it takes, and their answers put together."""

    def __init__(self, query: MatchQuery) -> None:
        self._query = query
        self._head = query.to_message()
        self._documents = to_profiles(query.documents, "documents")
        self._plan = Split([], [])

    def split(self, info: ServerInfo, max_message_bytes: int) -> None:
        budget = budget_for(info, max_message_bytes)
        if budget.message_bytes and self._head.ByteSize() >= budget.message_bytes:
            raise invalid("query", f"larger than a message may be ({budget.message_bytes} bytes)")
        self._plan = split(self._documents, self._head.ByteSize(), budget)

    @property
    def parts(self) -> int:
        return len(self._plan.parts)

    def requests(self) -> Iterable[matching_pb2.MatchRequest]:
        """One for each part, made when asked for, so that one part at a time takes memory."""
        return (self.request(part) for part in range(self.parts))

    def request(self, part: int) -> matching_pb2.MatchRequest:
        request = matching_pb2.MatchRequest()
        request.CopyFrom(self._head)
        request.documents.extend(self._documents[index] for index in self._plan.parts[part])
        return request

    def merge(self, answers: Sequence[matching_pb2.MatchResponse]) -> MatchResult:
        """Best first, ties by index in the caller's list, failed documents last: as one large call would answer.

        Each part was asked for its own top_k, so the best top_k of all are among the answers.
        """
        model = _one_stamp([answer.model for answer in answers])
        matches = [
            Match.from_message(result, indices[result.index])
            for answer, indices in zip(answers, self._plan.parts, strict=True)
            for result in answer.results
        ]
        scored = [match for match in matches if match.error is None]
        if self.parts > 1:
            scored.sort(key=lambda match: (-match.score, match.index))
            scored = scored[: self._query.top_k or None]
        failed = [match for match in matches if match.error is not None]
        failed += [self._unsendable(index) for index in self._plan.unsendable]
        failed.sort(key=lambda match: match.index)
        return MatchResult(
            request_id=self._query.request_id or (answers[0].request_id if answers else ""),
            matches=(*scored, *failed),
            model=model or ModelStamp("", "", "", ""),
            timing=Timing.from_messages([answer.timing for answer in answers]) if answers else Timing(),
        )

    def _unsendable(self, index: int) -> Match:
        document_id = self._documents[index].id
        return Match(index, document_id, float("nan"), error=_too_large(f"documents[{index}]", index))


def raise_first(embeddings: Embeddings) -> NDArray[np.float32]:
    """The vectors, [n, dimensions], or the error of the first input that failed."""
    for error in embeddings.errors.values():
        raise error
    return embeddings.vectors


def _with_inputs(
    head: matching_pb2.EmbedRequest, inputs: Sequence[types_pb2.Profile], part: Sequence[int]
) -> matching_pb2.EmbedRequest:
    request = matching_pb2.EmbedRequest()
    request.CopyFrom(head)
    request.inputs.extend(inputs[index] for index in part)
    return request


def _merge_embeddings(count: int, plan: Split, answers: Sequence[matching_pb2.EmbedResponse]) -> Embeddings:
    model = _one_stamp([answer.model for answer in answers])
    errors = {index: _too_large(f"inputs[{index}]", index) for index in plan.unsendable}
    rows = {}
    usage = np.zeros(3, dtype=np.int64)
    for answer, indices in zip(answers, plan.parts, strict=True):
        for item in answer.embeddings:
            index = indices[item.index]
            usage += (item.usage.input_tokens, item.usage.truncated_tokens, item.usage.chunks)
            if item.HasField("status") and item.status.code != 0:
                errors[index] = from_item_status(item.status, "inputs", sent=item.index, index=index)
            else:
                rows[index] = np.frombuffer(item.vector, dtype="<f4")
    dimensions = len(next(iter(rows.values()))) if rows else 0
    vectors = np.full((count, dimensions), np.nan, dtype=np.float32)
    for index, row in rows.items():
        vectors[index] = row
    missing = next((index for index in range(count) if index not in rows and index not in errors), None)
    if missing is not None:
        raise make_error(grpc.StatusCode.INTERNAL, "the server's answer leaves this input out", index=missing)
    return Embeddings(vectors, dict(sorted(errors.items())), model, TokenUsage(*(int(total) for total in usage)))


def _one_stamp(stamps: Sequence[types_pb2.ModelStamp]) -> ModelStamp | None:
    """The stamp of all parts; scores of different models can't be compared."""
    if any(stamp != stamps[0] for stamp in stamps[1:]):
        message = "the server changed its model between the parts of this call; repeat it"
        raise make_error(grpc.StatusCode.ABORTED, message)
    return ModelStamp.from_message(stamps[0]) if stamps else None


def _too_large(field: str, index: int) -> RolecallError:
    return invalid(field, "larger than a message to this server may be", index=index)
