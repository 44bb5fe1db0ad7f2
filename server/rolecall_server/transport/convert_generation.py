"""Generation: requests of the contract -> the domain's, and its answers back. Generate and GenerateStream have the same
fields, so both go one way."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from rolecall.v1 import generation_pb2 as pb
from rolecall.v1 import types_pb2

from rolecall_server.errors import InvalidInputError, NotImplementedYetError
from rolecall_server.generation.types import Decoding, EarlyStopping, FinishReason
from rolecall_server.tasks.generate import GenerateInput, GenerateOutput
from rolecall_server.transport.convert_fields import check_chars, check_id, check_language, known
from rolecall_server.transport.convert_requests import check_redact
from rolecall_server.transport.convert_responses import to_stamp, to_timing
from rolecall_server.transport.limits import ServerLimits
from rolecall_server.types import Truncation

GenerationMessage: TypeAlias = pb.GenerateRequest | pb.GenerateStreamRequest

_TRUNCATIONS: Mapping[int, Truncation] = {
    types_pb2.TRUNCATION_UNSPECIFIED: Truncation.TRUNCATE,
    types_pb2.TRUNCATION_CHUNK: Truncation.CHUNK,
    types_pb2.TRUNCATION_TRUNCATE: Truncation.TRUNCATE,
    types_pb2.TRUNCATION_REJECT: Truncation.REJECT,
}
_EARLY_STOPPINGS: Mapping[int, EarlyStopping] = {
    pb.EARLY_STOPPING_UNSPECIFIED: EarlyStopping.FALSE,
    pb.EARLY_STOPPING_FALSE: EarlyStopping.FALSE,
    pb.EARLY_STOPPING_TRUE: EarlyStopping.TRUE,
    pb.EARLY_STOPPING_NEVER: EarlyStopping.NEVER,
}
_FINISH_REASONS: Mapping[FinishReason, pb.FinishReason] = {
    FinishReason.EOS: pb.FINISH_REASON_EOS,
    FinishReason.LENGTH: pb.FINISH_REASON_LENGTH,
    FinishReason.STOP: pb.FINISH_REASON_STOP,
    FinishReason.CANCELLED: pb.FINISH_REASON_CANCELLED,
}
_COUNTS = ("min_new_tokens", "num_beams", "no_repeat_ngram_size", "top_k", "num_return_sequences")
_NUMBERS = ("length_penalty", "repetition_penalty", "temperature", "top_p")


def to_generate_input(request: GenerationMessage, limits: ServerLimits) -> GenerateInput:
    """InvalidInputError where the request breaks the contract, as far as this can be seen without a model;
    NotImplementedYetError for the tasks that are declared and not built."""
    prompt = _prompt(request, limits)
    check_redact(redact=request.redact)
    check_language(request.language, "language")
    decoding = request.decoding
    return GenerateInput(
        prompt=prompt,
        decoding=_to_decoding(decoding),
        max_new_tokens=decoding.max_new_tokens if decoding.HasField("max_new_tokens") else None,
        seed=decoding.seed if decoding.HasField("seed") else None,
        truncation=known(request.truncation, _TRUNCATIONS, "truncation"),
        model=check_id(request.model, "model"),
        model_version=check_id(request.model_version, "model_version"),
    )


def _prompt(request: GenerationMessage, limits: ServerLimits) -> str:
    task = request.WhichOneof("task")
    if task is None:
        raise InvalidInputError("task", "is not set; this version of the server takes prompt")
    if task != "prompt":
        raise NotImplementedYetError(f"{task}: this task is not built in this version of the server; prompt is")
    text = request.prompt.text
    check_chars(len(text), "prompt.text", limits.max_text_chars)
    return text


def _to_decoding(message: pb.Decoding) -> Decoding:
    given: dict[str, Any] = {name: getattr(message, name) for name in _COUNTS if message.HasField(name)}
    given |= {name: _as_written(getattr(message, name)) for name in _NUMBERS if message.HasField(name)}
    early_stopping = known(message.early_stopping, _EARLY_STOPPINGS, "decoding.early_stopping")
    return Decoding(early_stopping=early_stopping, do_sample=message.do_sample, stop=tuple(message.stop), **given)


def _as_written(value: float) -> float:
    """The decimal number that the client wrote: 0.9, of which the wire's 32 bits make 0.8999999761581421."""
    return float(str(np.float32(value)))


def to_generate_response(output: GenerateOutput, *, request_id: str, total_seconds: float) -> pb.GenerateResponse:
    response = pb.GenerateResponse(
        request_id=request_id,
        usage=_usage(output),
        model=to_stamp(output.model),
        timing=to_timing(output.timing, total_seconds),
        seed=output.seed,
    )
    for candidate in output.candidates:
        response.candidates.add(
            text=candidate.text,
            score=candidate.score,
            finish_reason=_FINISH_REASONS[candidate.finish_reason],
            token_count=len(candidate.token_ids),
        )
    return response


def to_last_message(output: GenerateOutput, *, request_id: str, total_seconds: float) -> pb.GenerateStreamResponse:
    """What ends a stream."""
    best = output.candidates[0]
    return pb.GenerateStreamResponse(
        request_id=request_id,
        finish_reason=_FINISH_REASONS[best.finish_reason],
        usage=_usage(output),
        model=to_stamp(output.model),
        timing=to_timing(output.timing, total_seconds),
        seed=output.seed,
        score=best.score,
    )


def _usage(output: GenerateOutput) -> pb.GenerateUsage:
    return pb.GenerateUsage(
        prompt_tokens=output.prompt_tokens,
        truncated_tokens=output.truncated_tokens,
        generated_tokens=sum(len(candidate.token_ids) for candidate in output.candidates),
    )
