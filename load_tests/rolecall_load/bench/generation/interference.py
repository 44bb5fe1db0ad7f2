"""What generation at full load does to Match: its latencies at the same open-loop rate, alone and beside it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rolecall_load.bench.generation.gateway import Gateway, Served, serve, tokenizer_of
from rolecall_load.bench.generation.workload import Answers, Job, make_prompts
from rolecall_load.bench.speed.measure import Spread
from rolecall_load.errors import LoadError
from rolecall_load.load import run_load
from rolecall_load.spec import LoadSpec
from rolecall_load.summary import Summary

_WARM_UP_SECONDS = 3.0
_PROMPTS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class InterferencePlan:
    """rate: Match requests a second, of `documents` jobs each, texts of `length` tokens
    on average. concurrency: generations that always wait or run."""

    repository: Path
    rate: float
    documents: int = 5
    length: float = 118.0
    seconds: float = 20.0
    rounds: int = 3
    concurrency: int = 32
    seed: int = 0
    server_options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InterferenceResult:
    """Milliseconds by round; ratio: p99 beside generation divided by p99 alone. tokens: generated a second, alone and
    beside Match."""

    ratio: Spread
    alone: Spread
    beside: Spread
    alone_p50: Spread
    beside_p50: Spread
    tokens_alone: float
    tokens_beside: Spread


def measure_interference(plan: InterferencePlan, say: Callable[[str], None]) -> InterferenceResult:
    """LoadError when the server can't be started, or Match is refused, late or failing: such figures say nothing."""
    with serve(plan.repository, plan.server_options) as served:
        prompts = make_prompts(_PROMPTS, seed=plan.seed)
        gateway = Gateway(served, prompts, tokenizer_of(plan.repository))
        say("generation alone")
        job = Job(numbers=tuple(range(_PROMPTS)), clients=plan.concurrency)
        gateway.run(job)
        tokens_alone = gateway.run(job).rate
        alone, beside, tokens = [], [], []
        for number in range(plan.rounds):
            say(f"round {number + 1} of {plan.rounds}: alone")
            alone.append(_match(plan, served, number=number))
            say(f"round {number + 1} of {plan.rounds}: beside generation")
            with _generating(gateway, job) as done:
                beside.append(_match(plan, served, number=number))
            tokens.append(sum(each.tokens for each in done) / sum(each.seconds for each in done))
    p99 = [(mine.latency_ok.p99, other.latency_ok.p99) for mine, other in zip(alone, beside, strict=True)]
    return InterferenceResult(
        ratio=Spread.of([other / mine for mine, other in p99]),
        alone=_milliseconds([each.latency_ok.p99 for each in alone]),
        beside=_milliseconds([each.latency_ok.p99 for each in beside]),
        alone_p50=_milliseconds([each.latency_ok.p50 for each in alone]),
        beside_p50=_milliseconds([each.latency_ok.p50 for each in beside]),
        tokens_alone=tokens_alone,
        tokens_beside=Spread.of(tokens),
    )


def _match(plan: InterferencePlan, served: Served, *, number: int) -> Summary:
    """The same arrivals and texts in both halves of a round, but for a mark that keeps them out of the cache."""
    spec = LoadSpec(
        address=served.address,
        scenario="match",
        documents=plan.documents,
        mode="open",
        rate=plan.rate,
        length=plan.length,
        duration=plan.seconds,
        warmup=_WARM_UP_SECONDS,
        seed=plan.seed + number,
    )
    summary = run_load(spec).summary
    if summary.ok < summary.sent:
        raise LoadError(f"{summary.sent - summary.ok} of {summary.sent} Match requests were refused: lower --rate")
    return summary


@contextmanager
def _generating(gateway: Gateway, job: Job) -> Iterator[list[Answers]]:
    """Clients that ask again and again for the time of the block; what they got is there afterwards."""
    stopping = threading.Event()
    done: list[Answers] = []
    failed: list[Exception] = []

    def work() -> None:
        try:
            while not stopping.is_set():
                done.append(gateway.run(job))
        except LoadError as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield done
    finally:
        stopping.set()
        thread.join()
    if failed:
        raise failed[0]


def _milliseconds(seconds: Sequence[float]) -> Spread:
    return Spread.of([each * 1000.0 for each in seconds])
