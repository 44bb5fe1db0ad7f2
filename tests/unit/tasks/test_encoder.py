"""From texts to embeddings on the fake engine: cache, single flight, windows, errors of single texts."""

import asyncio
import dataclasses
import math
import threading

import numpy as np
import pytest
from rolecall_server.engine.fake import fake_embedding
from rolecall_server.engine.fake_tokenizer import byte_tokenizer
from rolecall_server.errors import (
    DeadlineError,
    EngineError,
    InvalidInputError,
    OverloadedError,
    RolecallError,
    UnavailableError,
)
from rolecall_server.tasks import tokenization
from rolecall_server.tasks.encoder import Encoded
from rolecall_server.tasks.tokenization import Text
from rolecall_server.types import Backlog, Priority, RequestContext, TextKind, Timing, TokenUsage, Truncation

from tests.unit.tasks.pieces import CONTEXT, assembled, make_encoder, settled


def texts(*contents, kind=TextKind.DOCUMENT):
    return [Text(content, kind, f"documents[{place}].text") for place, content in enumerate(contents)]


async def encode(it, *contents, truncation=Truncation.CHUNK, context=CONTEXT, timing=None):
    return await it.encoder.encode(texts(*contents), truncation=truncation, context=context, timing=timing or Timing())


def alone(text):
    return fake_embedding(np.array(byte_tokenizer().encode(text).ids), 16)


async def test_each_text_gets_what_it_gets_alone(monkeypatch):
    monkeypatch.setattr(tokenization, "PIECE_CHARS", 40)  # about five texts a piece
    words = [f"text {number}" for number in range(50)]
    async with assembled() as it:
        found = await encode(it, *words)
    for word, encoded in zip(words, found, strict=True):
        assert (encoded.vector == alone(word)).all()
        assert encoded.usage == TokenUsage(len(word) + 2, 0, 1)


async def test_known_texts_are_hits_and_new_ones_are_not():
    async with assembled() as it:
        first = await encode(it, "a", "b", "a")
        second = await encode(it, "b", "c")
        assert [encoded.cache_hit for encoded in first] == [False, False, False]
        assert [encoded.cache_hit for encoded in second] == [True, False]
        assert it.observer.cache == [(0, 2), (1, 1)]
        assert sum(report.size for report in it.observer.batches) == 3


async def test_nothing_to_encode_is_no_work():
    async with assembled() as it:
        assert await encode(it) == []
        assert it.observer.batches == []


async def test_the_windows_of_a_long_text_are_weighed_by_their_tokens():
    long = "x" * 62 + "y" * 31
    async with assembled() as it:
        (encoded,) = await encode(it, long)
        windows = it.encoder._tokenizer.encode([long], kind=TextKind.DOCUMENT, truncation=Truncation.CHUNK)[0]
        parts = np.stack([fake_embedding(ids, 16) for ids in windows.windows]).astype(np.float64)
        mean = np.array(windows.weights) @ parts
        assert encoded.vector == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)
        assert encoded.usage == TokenUsage(93 + 2 * len(parts), 0, len(parts))
        assert sum(windows.weights) == 93


async def test_a_text_too_long_fails_alone_under_the_path_of_each_place():
    async with assembled() as it:
        first, good, second = await encode(it, "x" * 100, "a", "x" * 100, truncation=Truncation.REJECT)
        assert isinstance(good, Encoded)
        assert [error.field for error in (first, second)] == ["documents[0].text", "documents[2].text"]
        assert "102 tokens" in first.message
        assert it.encoder._flights._landing == {}


async def test_how_a_text_is_cut_is_part_of_what_is_cached():
    async with assembled() as it:
        for truncation in (Truncation.TRUNCATE, Truncation.CHUNK, Truncation.TRUNCATE):
            (encoded,) = await encode(it, "x" * 100, truncation=truncation)
        assert (encoded.usage.truncated_tokens, encoded.cache_hit) == (38, True)


async def test_one_failing_text_is_one_error_and_is_not_kept():
    async with assembled(fail_on_token=byte_tokenizer().token_to_id("Z")) as it:
        for _ in range(2):
            good, bad = await encode(it, "a", "Z")
            assert isinstance(good, Encoded)
            assert isinstance(bad, EngineError)
        assert good.cache_hit


async def test_an_engine_that_is_gone_ends_the_request_and_leaves_no_flight():
    async with assembled(die_every=1, recovery_seconds=0.0) as it:
        with pytest.raises(UnavailableError):
            await encode(it, "a")
        assert it.encoder._flights._landing == {}


async def test_a_queue_that_is_full_refuses_before_the_engine_sees_it(monkeypatch):
    async with assembled(max_queue_tokens=100) as it:
        monkeypatch.setattr(it.batcher, "backlog", lambda *of: Backlog(queued_tokens=99, wait_seconds=0.0))
        with pytest.raises(OverloadedError):
            await encode(it, "ab")
        assert it.observer.shed == ["tokens"]
        assert it.observer.batches == []


async def test_a_deadline_that_is_gone_is_not_even_tokenised():
    async with assembled() as it:
        with pytest.raises(DeadlineError):
            await encode(it, "a", context=RequestContext("r", -math.inf))
        assert it.observer.tokenized == []


class Gate:
    """Stops batches on their way into the engine."""

    def __init__(self, it, monkeypatch):
        self.arrived, self.open = asyncio.Semaphore(0), asyncio.Event()
        embed = it.engine.embed

        async def held(model, sequences):
            self.arrived.release()
            await self.open.wait()
            return await embed(model, sequences)

        monkeypatch.setattr(it.engine, "embed", held)


async def test_the_same_text_in_two_requests_runs_once(monkeypatch):
    async with assembled(cache_bytes=0) as it:
        gate = Gate(it, monkeypatch)
        first = asyncio.create_task(encode(it, "same", "one"))
        await gate.arrived.acquire()
        second = asyncio.create_task(encode(it, "two", "same"))
        await under_way(it, "two")
        gate.open.set()
        one, two = await asyncio.gather(first, second)
        assert (one[0].vector == two[1].vector).all()
        assert ([e.cache_hit for e in one], [e.cache_hit for e in two]) == ([False, False], [False, True])
        assert sum(report.size for report in it.observer.batches) == 3
        assert it.encoder._flights._landing == {}


async def under_way(it, *contents):
    """Wait until the computation of these texts has begun."""
    keys = await it.encoder._keys(texts(*contents), Truncation.CHUNK)
    async with asyncio.timeout(10):
        while not all(it.encoder._flights.under_way(key, Priority.INTERACTIVE) for key in keys):
            await settled()


async def test_requests_that_lead_each_other_do_not_wait_in_a_circle(monkeypatch):
    """Each leads one text and follows the other's."""
    async with assembled(cache_bytes=0, parallelism=2) as it:
        gate = Gate(it, monkeypatch)
        first = asyncio.create_task(encode(it, "a"))
        second = asyncio.create_task(encode(it, "b"))
        await under_way(it, "a", "b")
        rest = [asyncio.create_task(encode(it, *pair)) for pair in (("a", "b", "c"), ("b", "a", "d"), ("c", "d"))]
        await under_way(it, "c")
        gate.open.set()
        async with asyncio.timeout(10):
            for done in await asyncio.gather(first, second, *rest):
                assert not any(isinstance(encoded, RolecallError) for encoded in done)


async def test_a_leader_that_is_cancelled_leaves_the_work_to_who_waits(monkeypatch):
    async with assembled() as it:
        gate = Gate(it, monkeypatch)
        leader = asyncio.create_task(encode(it, "same"))
        await gate.arrived.acquire()
        followers = [asyncio.create_task(encode(it, "same")) for _ in range(3)]
        await asyncio.sleep(0)
        leader.cancel()
        await asyncio.wait([leader])
        gate.open.set()
        answers = await asyncio.wait_for(asyncio.gather(*followers), 10)
        assert sorted(encoded.cache_hit for (encoded,) in answers) == [False, True, True]
        assert it.observer.cancelled == ["running"]


async def test_timing_takes_in_what_was_spent():
    async with assembled(seconds_per_batch=0.01) as it:
        timing = Timing()
        await encode(it, "a", "bb", timing=timing)
        assert timing.tokenize_seconds > 0
        assert timing.inference_seconds == 0.01
        assert (timing.batch_size, timing.padded_tokens) == (2, 8)
        known = Timing()
        await encode(it, "a", "bb", timing=known)
        assert known == Timing()


async def test_a_panic_while_tokenising_is_an_answer_and_not_silence(monkeypatch):
    class PanicError(BaseException):
        """What native code raises when it panics."""

    def panic(*args, **kwargs):
        raise PanicError

    async with assembled() as it:
        monkeypatch.setattr(it.encoder._tokenizer, "encode", panic)
        with pytest.raises(EngineError, match="PanicError"):
            await asyncio.wait_for(encode(it, "a"), 5)


async def test_versions_of_the_same_weights_with_other_windows_share_no_embedding():
    async with assembled() as it:
        wide, narrow = it.encoder.info, dataclasses.replace(it.encoder.info, max_tokens=16)
        first, second = make_encoder(wide, it.shared), make_encoder(narrow, it.shared)
        long = texts("one sentence. another sentence. a third.")
        for encoder, chunks in ((first, 1), (second, 4)):
            (found,) = await encoder.encode(long, truncation=Truncation.CHUNK, context=CONTEXT, timing=Timing())
            assert not found.cache_hit
            assert found.usage.chunks == chunks


async def test_one_text_beyond_the_queue_fails_alone_and_all_together_fail_the_request():
    async with assembled(max_queue_tokens=100) as it:
        large, fine = await encode(it, "x" * 200, "ward nurse")
        assert isinstance(large, InvalidInputError)
        assert large.field == "documents[0].text"
        assert (fine.vector == alone("ward nurse")).all()
        with pytest.raises(InvalidInputError) as refused:
            await encode(it, *(f"{number} " + "x" * 40 for number in range(5)))
        assert refused.value.field == "documents"


async def test_characters_under_tokenisation_are_bounded():
    async with assembled(max_queue_tokens=100) as it:
        with pytest.raises(InvalidInputError) as refused:
            await encode(it, "x" * 1601)
        assert refused.value.field == "documents"
        with it.admission.characters(1500), pytest.raises(OverloadedError):
            await encode(it, "x" * 101)
        assert not isinstance((await encode(it, "short"))[0], RolecallError)


async def test_long_texts_leave_a_thread_for_the_others(monkeypatch):
    monkeypatch.setattr(tokenization, "LONG_CHARS", 10)
    running, go = [], threading.Event()

    async with assembled() as it:
        tokenize = it.encoder._tokenizer.encode

        def held(contents, **options):
            if len(contents[0]) > 10:
                running.append(contents[0])
                assert go.wait(10)
            return tokenize(contents, **options)

        monkeypatch.setattr(it.encoder._tokenizer, "encode", held)
        long = [asyncio.create_task(encode(it, f"a long text {number}")) for number in range(3)]
        assert len(await asyncio.wait_for(encode(it, "short"), 5)) == 1
        assert len(running) <= 1
        go.set()
        for found in await asyncio.gather(*long):
            assert not isinstance(found[0], RolecallError)


async def test_a_text_to_be_truncated_is_not_refused_for_what_is_cut_off(monkeypatch):
    async with assembled() as it:
        asked = []
        backlog = it.batcher.backlog
        monkeypatch.setattr(it.batcher, "backlog", lambda model, n, p: asked.append(n) or backlog(model, n, p))
        for truncation, expected in ((Truncation.TRUNCATE, 64), (Truncation.CHUNK, 600)):
            await encode(it, "x" * 3000, truncation=truncation)
            assert asked[0] == expected
            asked.clear()
