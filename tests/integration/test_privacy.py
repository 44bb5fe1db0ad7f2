"""Nothing that a user wrote is in the log or in the metrics, whether requests go well or badly.

Ids of requests are the exception: they are in the log so that a caller can find a request again.
"""

import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from rolecall.v1 import feedback_pb2, generation_pb2, matching_pb2, model_pb2, types_pb2
from rolecall.v1 import matching_pb2 as pb
from rolecall.v1.feedback_pb2_grpc import FeedbackServiceStub
from rolecall.v1.generation_pb2_grpc import GenerationServiceStub
from rolecall.v1.matching_pb2_grpc import MatchingServiceStub
from rolecall.v1.model_pb2_grpc import ModelServiceStub
from rolecall_server.engine.fake import FakeBehaviour, FakeEngine
from rolecall_server.engine.fake_stepper import FakeGeneration
from rolecall_server.observability.logs import ConsoleFormatter, JsonFormatter
from rolecall_server.text.tokenizer import Tokenizer

from tests.servers import serve_here, serve_process

CANARY = "Zaphod金丝雀"
SECONDS = 60


def filled(message: Any, depth: int = 0) -> Any:
    """The message with the canary in each string and bytes field, at any depth; of a oneof the last one wins."""
    for field in message.DESCRIPTOR.fields:
        values: list[Any] = []
        if field.name == "request_id" or (field.message_type and field.message_type.GetOptions().map_entry):
            continue
        if field.type == FieldDescriptor.TYPE_STRING:
            values = [f"{CANARY} in {field.full_name}"]
        elif field.type == FieldDescriptor.TYPE_BYTES:
            values = [CANARY.encode()]
        elif field.message_type and depth < 5:
            made = getattr(message, field.name).add() if field.is_repeated else getattr(message, field.name)
            made.SetInParent()
            filled(made, depth + 1)
            continue
        if values and field.is_repeated:
            getattr(message, field.name).extend(values)
        elif values:
            setattr(message, field.name, values[0])
    return message


def profiles() -> list[types_pb2.Profile]:
    """One of each content; then those that fail."""
    text = f"{CANARY} worked here."
    good = [
        types_pb2.Profile(id=CANARY, text=text),
        types_pb2.Profile(id=CANARY, resume=filled(types_pb2.Resume())),
        types_pb2.Profile(id=CANARY, job=filled(types_pb2.Job())),
    ]
    bad = [
        types_pb2.Profile(id=CANARY * 30, text=text),
        types_pb2.Profile(language=CANARY, text=text),
        types_pb2.Profile(embedding=CANARY.encode()),
        types_pb2.Profile(text=f"{CANARY} " * 120_000),
        types_pb2.Profile(text=f"{CANARY}, a long text. " * 100),
    ]
    return [*good, *bad]


def requests() -> Iterator[Message]:
    for query in profiles():
        for truncation in (types_pb2.TRUNCATION_CHUNK, types_pb2.TRUNCATION_REJECT):
            yield pb.MatchRequest(query=query, documents=profiles(), truncation=truncation)
    yield pb.EmbedRequest(inputs=profiles())
    good = profiles()[:1]
    yield pb.MatchRequest(query=good[0], documents=good, model=CANARY)
    yield pb.MatchRequest(query=good[0], documents=good, model_version=CANARY)
    yield pb.MatchRequest(query=good[0], documents=good, weights=pb.ScoringWeights(weights={CANARY: 1}))
    yield pb.MatchRequest(query=good[0], documents=good, redact=True)
    yield pb.MatchRequest(request_id=CANARY * 30, query=good[0], documents=good)


def generations() -> Iterator[dict[str, Any]]:
    """Fields of Generate and GenerateStream: one that goes well, then those that fail."""
    good: dict[str, Any] = {"prompt": generation_pb2.FreeText(text=f"{CANARY} worked here.")}
    yield good
    yield {**good, "decoding": generation_pb2.Decoding(stop=[CANARY, "Zap"], num_beams=2)}
    yield {**good, "decoding": generation_pb2.Decoding(stop=[CANARY * 30])}
    yield {**good, "language": CANARY}
    yield {**good, "model": CANARY}
    yield {**good, "model_version": CANARY}
    yield {**good, "redact": True}
    long = generation_pb2.FreeText(text=f"{CANARY} and so on. " * 1000)
    yield {"prompt": long}
    yield {"prompt": long, "truncation": types_pb2.TRUNCATION_REJECT}
    yield {"chat": generation_pb2.Chat(turns=[generation_pb2.Turn(role=CANARY, text=CANARY)])}


def quietly(call: Any, *arguments: Any, **options: Any) -> str:
    """The words of the failure, if it is one."""
    try:
        answer = call(*arguments, timeout=SECONDS, **options)
        return "".join(map(str, answer)) if isinstance(answer, Iterator) else ""
    except grpc.RpcError as error:
        return f"{error.code()} {error.details()}"  # type: ignore[attr-defined]


def ask_everything(channel: grpc.Channel) -> None:
    matching, generation = MatchingServiceStub(channel), GenerationServiceStub(channel)
    metadata = (("x-canary-bin", CANARY.encode()), ("authorization", "Bearer Zaphod"))
    for request in requests():
        if isinstance(request, pb.EmbedRequest):
            quietly(matching.Embed, request, metadata=metadata)
        else:
            quietly(matching.Match, request, metadata=metadata)
            quietly(matching.MatchStream, iter([pb.MatchStreamRequest(request=request)]), metadata=metadata)
    quietly(matching.AnalyzeProfile, filled(matching_pb2.AnalyzeProfileRequest()))
    for fields in generations():
        quietly(generation.Generate, generation_pb2.GenerateRequest(**fields), metadata=metadata)
        quietly(generation.GenerateStream, generation_pb2.GenerateStreamRequest(**fields), metadata=metadata)
    quietly(generation.Generate, filled(generation_pb2.GenerateRequest()))
    quietly(generation.GenerateStream, filled(generation_pb2.GenerateStreamRequest()))
    quietly(FeedbackServiceStub(channel).RecordFeedback, filled(feedback_pb2.RecordFeedbackRequest()))
    for name in ("GetModel", "LoadModel", "UnloadModel"):
        quietly(getattr(ModelServiceStub(channel), name), filled(getattr(model_pb2, f"{name}Request")()))
    quietly(health_pb2_grpc.HealthStub(channel).Check, health_pb2.HealthCheckRequest(service=CANARY))
    for method in ("MatchingService/Match", "MatchingService/Zaphod"):
        quietly(channel.unary_unary(f"/rolecall.v1.{method}"), b"\xff" + CANARY.encode())


def assert_clean(text: str) -> None:
    for form in (CANARY, "Zaphod", CANARY.encode("unicode_escape").decode()[-12:], repr(CANARY.encode())[9:20]):
        assert form not in text


def test_neither_log_nor_metrics_hold_a_users_text(tiny_models: Path) -> None:
    flags = ("--model-repository", str(tiny_models), "--allow-model-control")
    with serve_process(*flags, log_level="debug") as served:
        with grpc.insecure_channel(served.address) as channel:
            ask_everything(channel)
        metrics = served.metrics()
        assert metrics.value("rolecall_requests_total") > 40
        assert metrics.value("rolecall_requests_total", code="OK") > 5
        assert_clean(metrics.page)
        assert served.stop() == 0
    assert sum(record["message"] == "rpc" for record in served.log.records()) > 40
    assert_clean(served.log.text)


def test_neither_do_they_where_texts_are_written() -> None:
    with serve_process("--backend", "fake", "--allow-model-control", log_level="debug") as served:
        with grpc.insecure_channel(served.address) as channel:
            stub = GenerationServiceStub(channel)
            for fields in generations():
                if not fields.keys() & {"model", "model_version"}:  # a name that is not there is named
                    assert_clean(quietly(stub.Generate, generation_pb2.GenerateRequest(**fields)))
            ask_everything(channel)
        metrics = served.metrics()
        assert metrics.value("rolecall_requests_total", code="OK", method="rolecall.v1.GenerationService/Generate") > 3
        assert metrics.value("rolecall_generated_tokens_total") > 100
        assert_clean(metrics.page)
        assert served.stop() == 0
    assert_clean(served.log.text)


def test_an_answer_names_the_field_and_not_its_text(tiny_channel: grpc.Channel) -> None:
    for query in profiles()[3:]:
        said = quietly(
            MatchingServiceStub(tiny_channel).Match,
            pb.MatchRequest(query=query, documents=profiles()[:1], truncation=types_pb2.TRUNCATION_REJECT),
        )
        assert "INVALID_ARGUMENT" in said
        assert_clean(said)


@pytest.fixture
def written() -> Iterator[list[io.StringIO]]:
    """Everything logged, in both shapes."""
    handlers = []
    for formatter in (JsonFormatter(), ConsoleFormatter()):
        handler = logging.StreamHandler(io.StringIO())
        handler.setFormatter(formatter)
        handlers.append(handler)
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.DEBUG)
    for handler in handlers:
        root.addHandler(handler)
    yield [handler.stream for handler in handlers]
    root.setLevel(level)
    for handler in handlers:
        root.removeHandler(handler)


async def broken_engine(*_: Any) -> None:
    raise ValueError(f"cannot read {CANARY}")


def broken_tokenizer(own: Tokenizer, texts: Any, **_: Any) -> None:
    raise KeyError(texts[0])


@pytest.mark.parametrize("what", ["engine says no", "engine breaks", "tokenizer breaks"])
async def test_our_own_faults_are_told_without_the_text(
    written: list[io.StringIO], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], what: str
) -> None:
    if what == "engine breaks":
        monkeypatch.setattr(FakeEngine, "embed", broken_engine)
    elif what == "tokenizer breaks":
        monkeypatch.setattr(Tokenizer, "encode", broken_tokenizer)
    async with serve_here(fake=FakeBehaviour(fail_every=1)) as it:
        good = profiles()[:3]
        stub = MatchingServiceStub(it.channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Match(pb.MatchRequest(query=good[0], documents=good[1:]), timeout=SECONDS)
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        assert_clean(caught.value.details() or "")
        error_id = (caught.value.details() or "").rpartition(" ")[2]
        metrics = await it.metrics()
    captured = capfd.readouterr()
    for text in (*(stream.getvalue() for stream in written), captured.err, captured.out, metrics.page):
        assert_clean(text)
    assert all(error_id in stream.getvalue() for stream in written)


@pytest.mark.parametrize("what", ["stepper fails", "tokenizer breaks"])
@pytest.mark.parametrize("method", ["Generate", "GenerateStream"])
async def test_faults_while_a_text_is_written_are_told_without_it(
    written: list[io.StringIO], monkeypatch: pytest.MonkeyPatch, what: str, method: str
) -> None:
    if what == "tokenizer breaks":
        monkeypatch.setattr(Tokenizer, "encode", broken_tokenizer)
    behaviour = FakeBehaviour(generation=FakeGeneration(fail_prefill_rate=1.0))
    async with serve_here(fake=behaviour) as it:
        kind = getattr(generation_pb2, f"{method}Request")
        call = getattr(GenerationServiceStub(it.channel), method)(kind(**next(generations())), timeout=SECONDS)
        assert await call.code() is grpc.StatusCode.INTERNAL
        assert_clean(await call.details())
    for stream in written:
        assert_clean(stream.getvalue())
        assert "internal error" in stream.getvalue()
