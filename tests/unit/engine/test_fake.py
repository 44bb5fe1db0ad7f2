import asyncio

import numpy as np
import pytest
from rolecall_server.engine.fake import (
    FAKE_GENERATOR_KEY,
    FAKE_KEY,
    FakeBehaviour,
    FakeEngine,
    fake_embedding,
    fake_generator_info,
)
from rolecall_server.engine.fake_stepper import FakeGeneration
from rolecall_server.engine.fake_tokenizer import VOCABULARY_SIZE, byte_tokenizer
from rolecall_server.errors import EngineError, ModelNotFoundError, ModelNotLoadedError, UnavailableError
from rolecall_server.text.tokenizer import Tokenizer
from rolecall_server.types import ModelKey, TextKind, Truncation

from tests.observers import ListObserver
from tests.unit.generation.machine import request

BATCH = [np.arange(4, 9), np.arange(4, 7)]


async def make(**behaviour):
    changes = []
    engine = FakeEngine(
        FakeBehaviour(**behaviour), lambda serving, reason: changes.append(serving), observer=ListObserver()
    )
    await engine.load(FAKE_KEY)
    return engine, changes


async def test_embeddings_are_unit_vectors_that_depend_on_the_ids_alone():
    engine, _ = await make(dimensions=16)
    output = await engine.embed(FAKE_KEY, BATCH)
    alone = await engine.embed(FAKE_KEY, BATCH[1:])

    assert output.embeddings.shape == (2, 16)
    assert output.embeddings.dtype == np.float32
    assert np.allclose(np.linalg.norm(output.embeddings, axis=1), 1)
    assert (output.embeddings[1] == alone.embeddings[0]).all()
    assert not (output.embeddings[0] == output.embeddings[1]).any()
    assert output.padded_tokens == 2 * 5


def test_embeddings_are_the_same_in_every_process():
    assert fake_embedding(np.array([1, 2, 3]), 3).tolist() == pytest.approx([0.22691, -0.20733, 0.95159], abs=1e-4)


async def test_a_batch_takes_the_time_it_was_given():
    engine, _ = await make(seconds_per_batch=0.01, seconds_per_token=0.001)

    output = await engine.embed(FAKE_KEY, BATCH)

    assert output.inference_seconds == pytest.approx(0.01 + 10 * 0.001)


async def test_it_fails_on_the_batches_and_the_token_it_was_told():
    engine, changes = await make(fail_every=3, fail_on_token=99)
    await engine.embed(FAKE_KEY, BATCH)
    with pytest.raises(EngineError):
        await engine.embed(FAKE_KEY, [np.array([4, 99])])
    with pytest.raises(EngineError):
        await engine.embed(FAKE_KEY, BATCH)
    await engine.embed(FAKE_KEY, BATCH)

    assert changes == [True]


async def test_it_dies_with_all_that_runs_and_comes_back():
    engine, changes = await make(die_every=2, parallelism=2, seconds_per_batch=0.001, recovery_seconds=0.01)
    outcomes = await asyncio.gather(*(engine.embed(FAKE_KEY, BATCH) for _ in range(3)), return_exceptions=True)
    assert isinstance(outcomes[1], UnavailableError)
    assert isinstance(outcomes[2], UnavailableError)
    assert not await engine.health()

    await asyncio.sleep(0.05)

    assert changes == [True, False, True]
    assert await engine.health()
    assert (await engine.embed(FAKE_KEY, BATCH)).embeddings.shape == (2, 384)


async def test_loading_and_unloading():
    engine, changes = await make(versions=("1", "2"))
    second = await engine.load(ModelKey("encoder", "2"))
    assert [model.info.key.version for model in engine.loaded()] == ["1", "2"]
    assert second.info.weights_hash != engine.loaded()[0].info.weights_hash
    with pytest.raises(ModelNotFoundError):
        await engine.load(ModelKey("encoder", "3"))

    await engine.unload(FAKE_KEY)

    with pytest.raises(ModelNotLoadedError):
        await engine.embed(FAKE_KEY, BATCH)
    with pytest.raises(ModelNotLoadedError):
        await engine.unload(FAKE_KEY)
    await engine.unload(ModelKey("encoder", "2"))
    assert changes == [True, False]


async def test_closing_waits_for_what_runs():
    engine, changes = await make(seconds_per_batch=0.02)
    running = asyncio.create_task(engine.embed(FAKE_KEY, BATCH))
    await asyncio.sleep(0)
    await engine.close()

    assert changes == [True, False]
    with pytest.raises(UnavailableError):
        await engine.embed(FAKE_KEY, BATCH)
    assert (await running).embeddings.shape == (2, 384)


async def test_it_generates_on_real_lanes():
    engine, changes = await make(generation=FakeGeneration(max_source_tokens=99), generation_rows=3, generation_lanes=1)
    model = await engine.load(FAKE_GENERATOR_KEY)
    try:
        assert model.info == fake_generator_info(FAKE_GENERATOR_KEY, FakeGeneration(max_source_tokens=99))
        assert (model.generation.rows, model.info.max_tokens, model.info.generates) == (3, 99, True)
        assert [loaded.info.key for loaded in engine.loaded()] == [FAKE_KEY, FAKE_GENERATOR_KEY]

        events = [event async for event in engine.generate(FAKE_GENERATOR_KEY, request(text="hello"))]

        assert events[-1].hypotheses[0].text == "hello"
        assert engine.generation_backlog(FAKE_GENERATOR_KEY).queued_tokens == 0
        await engine.unload(FAKE_GENERATOR_KEY)
        with pytest.raises(ModelNotLoadedError):
            engine.generate(FAKE_GENERATOR_KEY, request())
        assert changes == [True]
    finally:
        await engine.close()


async def test_health_is_down_while_a_lane_is_replaced():
    engine, changes = await make(generation=FakeGeneration(die_rate=1.0))
    await engine.load(FAKE_GENERATOR_KEY)
    try:
        with pytest.raises(UnavailableError):
            await anext(engine.generate(FAKE_GENERATOR_KEY, request()))
        for _ in range(1000):
            if len(changes) == 3:
                break
            await asyncio.sleep(0.005)
        assert changes == [True, False, True]
        assert await engine.health()
    finally:
        await engine.close()


def test_its_tokenizer_takes_any_text():
    tokenizer = byte_tokenizer()
    encoding = tokenizer.encode("a 你😀\u202e\x00")

    assert max(encoding.ids) < VOCABULARY_SIZE
    assert len(encoding.ids) == 2 + len("a 你😀\u202e\x00".encode())
    assert tokenizer.decode(encoding.ids) == "a 你😀\u202e\x00"


def test_its_tokenizer_works_under_the_text_package():
    text = "软件开发 engineer. " * 20
    tokenizer = Tokenizer(byte_tokenizer(), max_tokens=64, prefixes={"query": "query: "})

    (windows,) = tokenizer.encode([text], kind=TextKind.QUERY, truncation=Truncation.CHUNK)

    assert max(len(window) for window in windows.windows) <= 64
    assert sum(windows.weights) >= len(text.strip().encode())
