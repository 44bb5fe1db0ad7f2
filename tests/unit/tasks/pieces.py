"""A whole way from tasks to an engine, in one process and without a wire, for the tests of this folder."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from typing import Any

from rolecall_server.batching.admission import Admission, AdmissionLimits
from rolecall_server.batching.batcher import Batcher
from rolecall_server.batching.queue import BatchLimits
from rolecall_server.cache.embedding_cache import EmbeddingCache
from rolecall_server.engine.fake import FAKE_GENERATOR_KEY, FAKE_KEY, FakeBehaviour, FakeEngine
from rolecall_server.engine.fake_tokenizer import byte_tokenizer
from rolecall_server.profiles import Profile
from rolecall_server.tasks.catalog import Catalog, Section
from rolecall_server.tasks.encoder import Encoder, Shared
from rolecall_server.tasks.generate import GenerateTask
from rolecall_server.tasks.generator import GenerationParts, Generator
from rolecall_server.tasks.tokenization import TokenizationThreads
from rolecall_server.text.tokenizer import Tokenizer
from rolecall_server.types import RequestContext

from tests.observers import ListObserver

CONTEXT = RequestContext("r", math.inf)


@dataclass
class Pieces:
    engine: FakeEngine
    batcher: Batcher
    admission: Admission
    catalog: Catalog
    encoders: Section[Encoder]
    encoder: Encoder
    observer: ListObserver
    shared: Shared


@asynccontextmanager
async def assembled(
    *, max_queue_tokens: int = 10_000, cache_bytes: int = 1 << 20, **fake: Any
) -> AsyncIterator[Pieces]:
    """The fake engine with one version loaded, and everything between it and the tasks."""
    observer = ListObserver()
    behaviour = FakeBehaviour(**{"dimensions": 16, "max_tokens": 64, **fake})
    engine = FakeEngine(behaviour, lambda serving, reason: None, observer=observer)
    info = (await engine.load(FAKE_KEY)).info
    limits = BatchLimits(max_tokens=4096, max_sequences=32, max_delay=0.0)
    batcher = Batcher(engine, limits=limits, observer=observer, on_failure=lambda reason: None)
    batcher.start()
    admission = Admission(AdmissionLimits(100, max_queue_tokens), observer)
    with closing(TokenizationThreads(2)) as threads:
        shared = Shared(
            batcher=batcher,
            cache=EmbeddingCache(cache_bytes, observer),
            admission=admission,
            tokenization=threads,
            observer=observer,
        )
        encoder = make_encoder(info, shared)
        catalog = Catalog("encoder", lambda name, version: (name, version) == ("encoder", "7"))
        catalog.add(encoder)
        encoders = Section(catalog, Encoder, "encoder")
        yield Pieces(engine, batcher, admission, catalog, encoders, encoder, observer, shared)
        await batcher.close()
        await engine.close()


@asynccontextmanager
async def generating(**options: Any) -> AsyncIterator[tuple[Pieces, GenerateTask]]:
    """`assembled`, with the fake generator loaded as well and the task that runs it."""
    async with assembled(**options) as it:
        loaded = await it.engine.load(FAKE_GENERATOR_KEY)
        assert loaded.generation is not None
        tokenizer = Tokenizer(byte_tokenizer(), max_tokens=loaded.info.max_tokens, prefixes={})
        parts = GenerationParts(it.engine, it.admission, it.shared.tokenization, it.observer)
        it.catalog.add(Generator(loaded.info, tokenizer, stepper=loaded.generation, parts=parts))
        yield it, GenerateTask(Section(it.catalog, Generator, "generator"))


def make_encoder(info: Any, shared: Shared) -> Encoder:
    return Encoder(info, Tokenizer(byte_tokenizer(), max_tokens=info.max_tokens, prefixes={}), shared=shared)


def profiles(texts: Sequence[Any], field: str = "documents") -> tuple[Profile, ...]:
    return tuple(Profile(f"{field}[{place}]", str(place), content) for place, content in enumerate(texts))


async def settled() -> None:
    """Let everything run that can run without waiting for a thread."""
    for _ in range(20):
        await asyncio.sleep(0)


async def until(true: Callable[[], bool]) -> None:
    """Wait for what a thread does that tells nobody."""
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110  no event tells of it
            await asyncio.sleep(0.01)
