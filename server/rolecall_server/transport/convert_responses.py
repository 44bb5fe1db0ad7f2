"""Answers of the domain -> responses of the contract."""

import numpy as np
from google.rpc import status_pb2
from rolecall.v1 import matching_pb2 as pb
from rolecall.v1 import model_pb2, types_pb2

from rolecall_server.errors import RolecallError
from rolecall_server.tasks.embed import EmbeddedInput, EmbedOutput
from rolecall_server.tasks.match import MatchedDocument, MatchOutput
from rolecall_server.tasks.models import ListedModel, ModelState
from rolecall_server.tasks.scoring import SCORING_VERSION
from rolecall_server.transport.convert_fields import echoed
from rolecall_server.transport.limits import ServerFacts
from rolecall_server.transport.pacing import paced
from rolecall_server.transport.status import to_proto
from rolecall_server.types import ModelInfo, Timing, TokenUsage

_STATES = {
    ModelState.AVAILABLE: model_pb2.MODEL_STATE_AVAILABLE,
    ModelState.READY: model_pb2.MODEL_STATE_READY,
    ModelState.UNLOADING: model_pb2.MODEL_STATE_UNLOADING,
}


class _Statuses:
    """The statuses of one response's items. Items that failed for one and the same error share its status, so that
    a batch that failed is one entry in the log and one id."""

    def __init__(self) -> None:
        self._made: dict[int, status_pb2.Status] = {}

    def of(self, error: RolecallError) -> status_pb2.Status:
        status = self._made.get(id(error))
        if status is None:
            status = self._made[id(error)] = to_proto(error)
        return status


async def to_match_response(
    output: MatchOutput, request: pb.MatchRequest, *, request_id: str, total_seconds: float
) -> pb.MatchResponse:
    statuses = _Statuses()
    response = pb.MatchResponse(
        request_id=request_id,
        model=to_stamp(output.model, SCORING_VERSION),
        timing=to_timing(output.timing, total_seconds),
    )
    async for document in paced(output.results):
        document_id = echoed(request.documents[document.index].id)
        _add_result(response, document, document_id=document_id, statuses=statuses)
    return response


def _add_result(
    response: pb.MatchResponse, document: MatchedDocument, *, document_id: str, statuses: _Statuses
) -> None:
    if document.error is None:
        response.results.add(
            document_id=document_id,
            index=document.index,
            score=document.score,
            usage=_usage(document.usage),
            cache_hit=document.cache_hit,
        )
    else:
        response.results.add(document_id=document_id, index=document.index, status=statuses.of(document.error))


async def to_embed_response(
    output: EmbedOutput, vector_format: pb.EmbeddingFormat, *, request_id: str, total_seconds: float
) -> pb.EmbedResponse:
    statuses = _Statuses()
    response = pb.EmbedResponse(
        request_id=request_id, model=to_stamp(output.model), timing=to_timing(output.timing, total_seconds)
    )
    async for index, embedded in paced(enumerate(output.embeddings)):
        _add_embedding(response, embedded, index=index, vector_format=vector_format, statuses=statuses)
    return response


def _add_embedding(
    response: pb.EmbedResponse,
    embedded: EmbeddedInput,
    *,
    index: int,
    vector_format: pb.EmbeddingFormat,
    statuses: _Statuses,
) -> None:
    if embedded.error is not None or embedded.vector is None:
        status = None if embedded.error is None else statuses.of(embedded.error)
        response.embeddings.add(index=index, status=status)
        return
    kind = np.dtype("<f2" if vector_format == pb.EMBEDDING_FORMAT_FLOAT16 else "<f4")
    response.embeddings.add(
        index=index,
        vector=embedded.vector.astype(kind, copy=False).tobytes(),
        dimensions=len(embedded.vector),
        format=vector_format,
        usage=_usage(embedded.usage),
        cache_hit=embedded.cache_hit,
    )


def to_server_info(facts: ServerFacts, models: tuple[ListedModel, ...]) -> model_pb2.GetServerInfoResponse:
    """`models`: those that are loaded, oldest version first."""
    limits = facts.limits
    generator = next((model.info for model in reversed(models) if model.info.generates), None)
    return model_pb2.GetServerInfoResponse(
        version=facts.version,
        backend=facts.backend,
        limits=model_pb2.ServerLimits(
            max_message_bytes=limits.max_message_bytes,
            max_documents=limits.max_documents,
            max_text_chars=limits.max_text_chars,
            max_concurrent_requests=limits.max_concurrent_requests,
            max_stream_inflight=limits.max_stream_inflight,
            max_queue_tokens=limits.max_queue_tokens,
            max_batch_tokens=limits.max_batch_tokens,
            max_batch_requests=limits.max_batch_requests,
            default_deadline_seconds=limits.default_deadline_seconds,
            max_source_tokens=0 if generator is None else generator.max_tokens,
            max_new_tokens=0 if generator is None else generator.max_new_tokens,
            max_running_sequences=0 if generator is None else limits.max_running_sequences,
        ),
        models=[to_model_info(model) for model in models],
    )


def to_model_info(model: ListedModel) -> model_pb2.ModelInfo:
    info = model.info
    return model_pb2.ModelInfo(
        name=info.key.name,
        version=info.key.version,
        precision=info.precision,
        weights_hash=info.weights_hash,
        source=info.source,
        max_tokens=info.max_tokens,
        dimensions=info.dimensions,
        languages=info.languages,
        measured=info.measured,
        state=_STATES[model.state],
        licence=info.licence,
        family=info.family,
        max_new_tokens=info.max_new_tokens,
    )


def to_stamp(info: ModelInfo, scoring_version: str = "") -> types_pb2.ModelStamp:
    return types_pb2.ModelStamp(
        name=info.key.name,
        version=info.key.version,
        precision=info.precision,
        weights_hash=info.weights_hash,
        scoring_version=scoring_version,
    )


def to_timing(timing: Timing, total_seconds: float) -> types_pb2.Timing:
    return types_pb2.Timing(
        tokenize_seconds=timing.tokenize_seconds,
        queue_seconds=timing.queue_seconds,
        inference_seconds=timing.inference_seconds,
        total_seconds=total_seconds,
        batch_size=timing.batch_size,
        padded_tokens=timing.padded_tokens,
    )


def _usage(usage: TokenUsage) -> types_pb2.TokenUsage:
    return types_pb2.TokenUsage(
        input_tokens=usage.input_tokens, truncated_tokens=usage.truncated_tokens, chunks=usage.chunks
    )
