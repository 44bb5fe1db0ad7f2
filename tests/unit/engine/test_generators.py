import asyncio
import time

import pytest
from rolecall_server.engine.base import LoadedModel
from rolecall_server.engine.fake import fake_generator_info
from rolecall_server.engine.fake_stepper import FakeGeneration, FakeStepper
from rolecall_server.engine.generators import Generators
from rolecall_server.engine.lanes import Generator, LaneOptions
from rolecall_server.errors import ModelNotLoadedError
from rolecall_server.types import ModelKey, Priority

from tests.observers import ListObserver
from tests.unit.engine.test_lanes import until
from tests.unit.generation.machine import TOKENIZER, request

OLD, NEW = ModelKey("generator", "1"), ModelKey("generator", "2")
SLOW = FakeGeneration(seconds_per_step=0.01, max_width=1)


async def add(generators, key):
    info = SLOW.info(1)
    model = LoadedModel(fake_generator_info(key, SLOW), "none", generation=info)
    await generators.add(Generator(key, info, lambda: FakeStepper(SLOW, 1), TOKENIZER), model, LaneOptions())


async def text_of(generators, key, text):
    now = time.monotonic()
    wanted = request(0, text, arrived=now, deadline=now + 60)
    return [event async for event in generators.generate(key, wanted)][-1].hypotheses[0].text


async def test_versions_of_a_model_have_one_queue_to_whoever_watches():
    observer = ListObserver()
    generators = Generators(observer, lambda whole, reason: None)
    for key in (OLD, NEW):
        await add(generators, key)
    others = [asyncio.create_task(text_of(generators, OLD, "x" * 100)) for _ in range(4)]
    await until(lambda: ("generator", Priority.INTERACTIVE, 3, 3 * (102 + 128)) in observer.queue)

    assert await text_of(generators, NEW, "y") == "y"

    name, priority, size, _ = observer.queue[-2]
    assert (name, priority, size) == ("generator", Priority.INTERACTIVE, 3)
    for other in others:
        other.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await generators.remove(OLD)
    with pytest.raises(ModelNotLoadedError):
        await text_of(generators, OLD, "z")
    assert await text_of(generators, NEW, "z") == "z"
    await generators.close()
