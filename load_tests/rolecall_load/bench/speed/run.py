"""The speed bench put together: who takes part, warm-up, rounds, comparison."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

from rolecall_load.bench.embedders import DirectEncoder, Tokens
from rolecall_load.bench.speed.direct import DirectContender
from rolecall_load.bench.speed.gateway import GatewayContender, gateway
from rolecall_load.bench.speed.infinity import infinity
from rolecall_load.bench.speed.measure import Contender, Quality, SpeedResult, compare, quality_of, run_rounds
from rolecall_load.bench.speed.offline import sentence_transformers
from rolecall_load.bench.speed.texts import choose_texts, marked

DIRECT_SIZES = (8, 32)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedPlan:
    """`peers`: folder made by tools/bench_peers.sh; `reference`: a repository of preset cpu-fp32, for the cosines."""

    repository: Path
    reference: Path | None = None
    peers: Path | None = None
    texts: int = 640
    mean_tokens: float = 118.0
    rounds: int = 5
    concurrency: int = 32
    threads: int = 0
    seed: int = 0
    server_options: tuple[str, ...] = ()


def measure_speed(plan: SpeedPlan, say: Callable[[str], None]) -> SpeedResult:
    """LoadError when a contender can't be started or fails. `say` hears what is going on."""
    threads = plan.threads or len(os.sched_getaffinity(0))
    shared = DirectEncoder(plan.repository, threads=threads)
    texts = choose_texts(shared, plan.texts, mean_tokens=plan.mean_tokens, seed=plan.seed)
    tokens = shared.tokenize([marked(text, 0) for text in texts], "document")
    with ExitStack() as stack:
        say("starting the gateway")
        ours = stack.enter_context(
            gateway(plan.repository, texts, concurrency=plan.concurrency, options=plan.server_options)
        )
        say("warming up the gateway")
        ours.run(0)
        contenders: list[Contender] = [ours, *_direct(plan, shared, tokens, size=ours, threads=threads)]
        prefixed = [shared.prefix("document") + marked(text, 0) for text in texts]
        for name, peer in _peers(plan, prefixed, threads=threads):
            say(f"starting {name}")
            contenders.append(stack.enter_context(peer))
        quality = _warm_up(plan, contenders, texts, say=say)
        found = run_rounds(contenders, plan.rounds, advance=say)
    facts = {
        "preset": shared.preset,
        "threads": threads,
        "gateway's mean batch": round(ours.mean_batch_size, 2),
        "mean tokens": round(sum(len(ids) for ids in tokens.ids) / len(texts), 1),
    }
    return compare(contenders, found, texts=len(texts), quality=quality, facts=facts)


def _direct(
    plan: SpeedPlan, shared: DirectEncoder, tokens: Tokens, *, size: GatewayContender, threads: int
) -> list[Contender]:
    """The bare graph with the gateway's batch size and others, as one run on all threads and as one run a thread."""
    alone = DirectEncoder(plan.repository, threads=1) if threads > 1 else shared
    sizes = sorted({max(1, round(size.mean_batch_size)), *DIRECT_SIZES})
    found: list[Contender] = []
    for each in sizes:
        found.append(DirectContender(shared, tokens, size=each, runs=1, threads=threads))
        if threads > 1:
            found.append(DirectContender(alone, tokens, size=each, runs=threads, threads=1))
    return found


def _peers(
    plan: SpeedPlan, texts: Sequence[str], *, threads: int
) -> Iterator[tuple[str, AbstractContextManager[Contender]]]:
    """Those that are installed below plan.peers, not yet started."""
    if plan.peers is None:
        return
    checkpoint, graph = plan.peers / "checkpoint", plan.peers / "checkpoint-onnx"
    python = plan.peers / "infinity" / "bin" / "python"
    engines = [("torch", "float32", checkpoint), ("torch", "bfloat16", checkpoint), ("optimum", "float32", graph)]
    for engine, dtype, model in engines:
        if python.exists() and model.is_dir():
            yield (
                f"infinity, {engine} {dtype}",
                infinity(
                    python,
                    model,
                    texts,
                    engine=engine,
                    dtype=dtype,
                    threads=threads,
                    concurrency=plan.concurrency,
                ),
            )
    python = plan.peers / "sentence_transformers" / "bin" / "python"
    for dtype in ("float32", "bfloat16"):
        if python.exists() and checkpoint.is_dir():
            yield (
                f"sentence-transformers, {dtype}",
                sentence_transformers(python, checkpoint, texts, dtype=dtype, threads=threads),
            )


def _warm_up(
    plan: SpeedPlan, contenders: Sequence[Contender], texts: Sequence[str], *, say: Callable[[str], None]
) -> dict[str, Quality]:
    """Every contender once; with a reference, how near its embeddings come."""
    reference = None
    if plan.reference is not None:
        say("embedding with the float model")
        reference = DirectEncoder(plan.reference).embed([marked(text, 0) for text in texts], "document")
    quality = {}
    for contender in contenders:
        say(f"warming up {contender.name}")
        vectors = contender.embed()
        if reference is not None:
            quality[contender.name] = quality_of(vectors, reference)
    return quality
