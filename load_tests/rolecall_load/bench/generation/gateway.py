"""Our server over gRPC, as its clients ask it: each request by itself."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
from rolecall.v1 import generation_pb2 as pb
from rolecall.v1.generation_pb2_grpc import GenerationServiceStub
from tokenizers import Tokenizer

from rolecall_load.bench.generation.peers import MANY, ONE, POISSON
from rolecall_load.bench.generation.workload import LONGEST_NEW, Answers, Job, Kind, Prompt
from rolecall_load.bench.speed.processes import free_port, server_process
from rolecall_load.errors import LoadError
from rolecall_load.observe import parse_gauges, scrape

if TYPE_CHECKING:
    from rolecall.v1.generation_pb2_grpc import GenerationServiceAsyncStub

_CALL_SECONDS = 300.0
_CONNECT_SECONDS = 60.0
_PROBE_SECONDS = 20.0
_MODEL = "generator"


@dataclass(frozen=True, slots=True)
class Drafts:
    """Tokens proposed from sources so far, and those of them that held."""

    proposed: float = 0.0
    accepted: float = 0.0


@dataclass(frozen=True, slots=True)
class Served:
    """A running server. pid: of its process."""

    address: str
    metrics_url: str
    pid: int

    def drafts(self) -> Drafts:
        text = scrape(self.metrics_url)
        lines = [line for line in text.splitlines() if line.startswith("rolecall_draft_tokens_total")]
        accepted = [line for line in lines if 'outcome="accepted"' in line]
        name = ("rolecall_draft_tokens_total",)
        # One sample of a family can be parsed without its header.
        return Drafts(
            parse_gauges("\n".join(lines) + "\n", name).get(name[0], 0.0),
            parse_gauges("\n".join(accepted) + "\n", name).get(name[0], 0.0),
        )


@dataclass(slots=True)
class _Record:
    """What came of one request; seconds on this process's clock."""

    sent: float
    ended: float = 0.0
    text: str = ""
    tokens: int = 0
    at_end: bool = False
    times: list[float] = field(default_factory=list)


class Gateway:
    """One way to ask the server. Without drafting: a least length of one token asks for the same text and rules drafts
    out, because they are for plain greedy decoding only."""

    kind: Kind = "gateway"

    def __init__(
        self,
        served: Served,
        prompts: Sequence[Prompt],
        tokenizer: Tokenizer,
        *,
        drafting: bool = False,
        streaming: bool = False,
    ) -> None:
        more = [name for name, on in (("drafting", drafting), ("streaming", streaming)) if on]
        self.name = "gateway" + "".join(f", {name}" for name in more)
        self.cases = frozenset({ONE, MANY, POISSON})
        self.client_cores = 0.0
        self._served, self._prompts, self._tokenizer = served, prompts, tokenizer
        self._drafting, self._streaming = drafting, streaming

    def run(self, job: Job) -> Answers:
        cpu = time.process_time()
        seconds, records = asyncio.run(self._run(job))
        self.client_cores = (time.process_time() - cpu) / seconds
        return Answers(
            seconds=seconds,
            outputs=tuple(self._ids(record) for record in records),
            latencies=tuple(record.ended - record.sent for record in records),
            first=tuple(record.times[0] - record.sent for record in records if record.times),
            gaps=tuple(
                after - before
                for record in records
                for before, after in zip(record.times, record.times[1:], strict=False)
            ),
        )

    def _ids(self, record: _Record) -> tuple[int, ...]:
        """The text's token ids, with the end-of-sequence token where the model wrote it."""
        ids = self._tokenizer.encode(record.text).ids
        return tuple(ids if record.at_end else ids[:-1])

    async def _run(self, job: Job) -> tuple[float, list[_Record]]:
        async with _stub(self._served.address) as stub:
            records = [_Record(0.0) for _ in job.numbers]
            started = time.perf_counter()

            async def at(index: int) -> None:
                await asyncio.sleep(max(0.0, started + job.offsets[index] - time.perf_counter()))
                await self._ask(stub, job.numbers[index], records[index])

            indexes = iter(range(len(job.numbers)))

            async def client() -> None:
                for index in indexes:
                    await self._ask(stub, job.numbers[index], records[index])

            try:
                if job.offsets:
                    await asyncio.gather(*(at(index) for index in range(len(job.numbers))))
                else:
                    await asyncio.gather(*(client() for _ in range(job.clients)))
            except grpc.aio.AioRpcError as error:
                raise LoadError(f"{self.name}: {error.code().name}: {error.details()}") from error
            return time.perf_counter() - started, records

    async def _ask(self, stub: GenerationServiceAsyncStub, number: int, record: _Record) -> None:
        decoding = pb.Decoding(max_new_tokens=LONGEST_NEW)
        if not self._drafting:
            decoding.min_new_tokens = 1
        prompt = pb.FreeText(text=self._prompts[number].text)
        record.sent = time.perf_counter()
        if self._streaming:
            request = pb.GenerateStreamRequest(prompt=prompt, decoding=decoding)
            async for message in stub.GenerateStream(request, timeout=_CALL_SECONDS):
                if message.delta:
                    record.times.append(time.perf_counter())
                    record.text += message.delta
                record.at_end = message.finish_reason == pb.FINISH_REASON_EOS
        else:
            answer = await stub.Generate(pb.GenerateRequest(prompt=prompt, decoding=decoding), timeout=_CALL_SECONDS)
            record.text = answer.candidates[0].text
            record.at_end = answer.candidates[0].finish_reason == pb.FINISH_REASON_EOS
        record.ended = time.perf_counter()


@asynccontextmanager
async def _stub(address: str) -> AsyncIterator[GenerationServiceAsyncStub]:
    async with grpc.aio.insecure_channel(address) as channel:
        await asyncio.wait_for(channel.channel_ready(), _CONNECT_SECONDS)
        yield GenerationServiceStub(channel)


def _serving(address: str) -> bool:
    """Whether it generates; before that it may listen and still be loading."""
    with grpc.insecure_channel(address) as channel:
        request = pb.GenerateRequest(prompt=pb.FreeText(text="ready?"), decoding=pb.Decoding(max_new_tokens=1))
        try:
            GenerationServiceStub(channel).Generate(request, timeout=_PROBE_SECONDS)
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                return False
            raise LoadError(f"gateway: {error.code().name}: {error.details()}") from error
    return True


@contextmanager
def serve(repository: Path, options: Sequence[str] = ()) -> Iterator[Served]:
    """`rolecall serve` on that repository for the time of the block; `options` are more flags for it."""
    port, metrics_port = free_port(), free_port()
    program = Path(sys.executable).with_name("rolecall")
    command = [str(program) if program.is_file() else shutil.which("rolecall") or "rolecall", "serve"]
    command += ["--model-repository", str(repository.resolve()), "--port", str(port)]
    command += ["--metrics-port", str(metrics_port), "--log-level", "warning", *options]
    address = f"127.0.0.1:{port}"
    with server_process("rolecall serve", command, ready=lambda: _serving(address)) as process:
        yield Served(address, f"http://127.0.0.1:{metrics_port}/metrics", process.pid)


def tokenizer_of(repository: Path) -> Tokenizer:
    """Of the generator's newest version."""
    versions = [int(path.name) for path in (repository / _MODEL).glob("[0-9]*") if path.name.isdigit()]
    if not versions:
        raise LoadError(f"{repository} has no {_MODEL}; see rolecall-export t5")
    return Tokenizer.from_file(str(repository / _MODEL / str(max(versions)) / "tokenizer.json"))
