"""10,000 generations with everything going wrong beside them, on the real lanes, scheduler, loop and event loop."""

import asyncio
import gc
import logging
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing

import numpy as np
import pytest
from rolecall_server.engine.fake import FAKE_GENERATOR_KEY, FakeBehaviour, FakeEngine
from rolecall_server.engine.fake_stepper import FakeGeneration
from rolecall_server.engine.fake_tokenizer import byte_tokenizer
from rolecall_server.engine.generators import GenerationOptions
from rolecall_server.engine.mailbox import Mailbox
from rolecall_server.errors import DeadlineError, EngineError, UnavailableError
from rolecall_server.generation.types import Decoding, Delta, Event, Finished, GenerationRequest
from rolecall_server.types import Priority

from tests.observers import ListObserver

REQUESTS = 10_000
WARM_UP = 3_000
CONCURRENCY = 200
TOKENIZER = byte_tokenizer()
BAD_TEXT = "ÿ"  # its bytes are in no other text here
WORDS = ("python", "sql", "go", "你好", "工程师", "lead", "😀")

BEHAVIOUR = FakeBehaviour(
    generation=FakeGeneration(
        max_new_tokens=64,
        wander=0.1,
        fail_prefill_rate=0.01,
        fail_decode_rate=0.01,
        die_rate=0.002,
        fail_on_token=TOKENIZER.encode(BAD_TEXT).ids[1],
    ),
    generation_rows=8,
    generation_lanes=2,
)

DECODINGS = (
    *({},) * 6,
    {"max_new_tokens": 4},
    {"stop": ("sql",)},
    {"num_beams": 2},
    {"do_sample": True, "num_return_sequences": 3, "temperature": 3.0},
)


class Crowd:
    """Callers who cancel, leave, hurry and insist. seen: how their requests ended."""

    def __init__(self, engine: FakeEngine, seed: int) -> None:
        self.seen: Counter[str] = Counter()
        self._engine = engine
        self._random = random.Random(seed)

    async def send(self, count: int) -> None:
        left = iter(range(count))

        async def caller() -> None:
            for _ in left:
                self.seen[await self._one()] += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(CONCURRENCY):
                group.create_task(caller())

    async def _one(self) -> str:
        """How one request ended, told once."""
        dice = self._random
        task = asyncio.create_task(self._listen(self._request(), leaves_after=dice.choice((None, None, None, 1, 3))))
        if dice.random() < 0.15:
            await asyncio.sleep(dice.random() * 0.02)
            task.cancel()
        try:
            return await task
        except asyncio.CancelledError:
            return "cancelled"
        except DeadlineError:
            return "late"
        except (EngineError, UnavailableError) as error:
            return type(error).__name__

    async def _listen(self, request: GenerationRequest, *, leaves_after: int | None) -> str:
        heard = 0
        async with aclosing(self._engine.generate(FAKE_GENERATOR_KEY, request)) as events:
            async for event in events:
                heard += 1
                if isinstance(event, Finished):
                    assert [left async for left in events] == []
                    assert len(event.hypotheses) == request.decoding.num_return_sequences
                    return "finished"
                assert isinstance(event, Delta)
                if heard == leaves_after:
                    return "left"
        raise AssertionError("no end")

    def _request(self) -> GenerationRequest:
        dice = self._random
        words = [BAD_TEXT] if dice.random() < 0.02 else dice.choices(WORDS, k=dice.randint(1, 3))
        now = time.monotonic()
        return GenerationRequest(
            id=0,
            source=np.array(TOKENIZER.encode(" ".join(words)).ids),
            decoding=Decoding(**{"max_new_tokens": 40, **dice.choice(DECODINGS)}),
            priority=dice.choice(tuple(Priority)),
            arrived=now,
            deadline=now + (dice.random() * 0.2 if dice.random() < 0.2 else 60.0),
            streams=dice.random() < 0.5,
        )


@pytest.fixture
async def told_twice(monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    """Ends that come after an end."""
    found = []
    put = Mailbox.put

    def watched(mailbox: Mailbox, event: Event) -> None:
        if mailbox.end is not None and not isinstance(event, Delta):
            found.append(event)
        put(mailbox, event)

    monkeypatch.setattr(Mailbox, "put", watched)
    return found


@pytest.fixture(autouse=True)
def no_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """pytest would keep thousands of records."""
    monkeypatch.setattr(logging.getLogger("rolecall_server.engine.lane"), "disabled", True)


@pytest.fixture
async def engine() -> AsyncIterator[FakeEngine]:
    observer = ListObserver(generation=Forgetful(), queue=Forgetful())
    options = GenerationOptions(niceness=0)
    made = FakeEngine(BEHAVIOUR, lambda serving, reason: None, observer=observer, generation=options)
    await made.load(FAKE_GENERATOR_KEY)
    yield made
    await asyncio.wait_for(made.close(), 10)


class Forgetful(list):
    """What the observer hears is no part of the memory that must stay flat."""

    def append(self, item: object) -> None:
        pass


async def settled(engine: FakeEngine) -> None:
    """What was cancelled leaves with the next step, and dead lanes are replaced."""
    for _ in range(500):
        if not engine.leftovers() and await engine.health():
            return
        await asyncio.sleep(0.01)


def blocks() -> int:
    gc.collect()
    return sys.getallocatedblocks()


async def test_each_request_ends_once_and_nothing_is_kept_of_it(engine: FakeEngine, told_twice: list[Event]) -> None:
    threads = threading.active_count()
    crowd = Crowd(engine, seed=7)
    await crowd.send(WARM_UP)
    await settled(engine)
    before = blocks()

    await crowd.send(REQUESTS - WARM_UP)

    await settled(engine)
    assert crowd.seen.total() == REQUESTS
    assert set(crowd.seen) == {"finished", "left", "cancelled", "late", "EngineError", "UnavailableError"}
    assert min(crowd.seen.values()) >= REQUESTS // 1000
    assert crowd.seen["finished"] > REQUESTS // 4
    assert told_twice == []
    assert engine.leftovers() == 0
    assert blocks() - before < 3_000
    assert threading.active_count() <= threads
    assert await engine.health()
