"""GenerateTask on the fake engine: what a request is judged by, what it costs, and how it ends."""

import asyncio
import math
import time
from contextlib import aclosing
from dataclasses import replace

import pytest
from rolecall_server.engine.fake import FakeEngine
from rolecall_server.engine.fake_stepper import FakeGeneration
from rolecall_server.errors import (
    DeadlineError,
    EngineError,
    InvalidInputError,
    ModelNotFoundError,
    OverloadedError,
    UnavailableError,
)
from rolecall_server.generation.types import Decoding, FinishReason
from rolecall_server.tasks.catalog import Section
from rolecall_server.tasks.generate import GenerateInput, GenerateOutput, GenerateTask
from rolecall_server.tasks.generator import Generator
from rolecall_server.text.tokenizer import Tokenizer
from rolecall_server.types import ModelKey, Priority, RequestContext, Truncation

from tests.unit.tasks.pieces import CONTEXT, assembled, generating, settled, until

PROMPT = "A nurse for a small ward."
SLOW = FakeGeneration(seconds_per_step=0.01)


def asked(prompt=PROMPT, **fields):
    return GenerateInput(prompt=prompt, **fields)


async def streamed(task, request, context=CONTEXT):
    """The pieces of the text, and the output."""
    async with aclosing(task.stream(request, context)) as events:
        found = [event async for event in events]
    return found[:-1], found[-1]


async def test_the_fake_writes_its_prompt_and_everything_is_counted():
    async with generating() as (it, task):
        output = await task.run(asked(max_new_tokens=99), CONTEXT)
        (text,) = output.candidates

    assert (text.text, text.finish_reason) == (PROMPT, FinishReason.EOS)
    assert output.prompt_tokens == len(PROMPT) + 2  # <s> and </s>
    assert (output.truncated_tokens, output.seed) == (0, None)
    assert str(output.model.key) == "generator/1"
    assert output.timing.tokenize_seconds > 0
    assert output.timing.inference_seconds > 0
    assert output.timing.queue_seconds >= 0
    assert output.timing.batch_size == 1
    assert len(it.observer.tokenized) == 1


@pytest.mark.parametrize("decoding", [Decoding(), Decoding(num_beams=3), Decoding(do_sample=True, temperature=0.1)])
async def test_a_stream_is_the_text_in_pieces_and_then_the_output(decoding):
    async with generating() as (_, task):
        pieces, output = await streamed(task, asked("写一份简历", decoding=decoding, max_new_tokens=99, seed=1))
        whole = await task.run(asked("写一份简历", decoding=decoding, max_new_tokens=99, seed=1), CONTEXT)

    assert "".join(pieces) == output.candidates[0].text == "写一份简历"
    assert output.candidates == whole.candidates
    assert all(pieces)


async def test_what_a_slow_reader_did_not_fetch_is_not_lost():
    async with generating() as (_, task):
        pieces = []
        async with aclosing(task.stream(asked(max_new_tokens=99), CONTEXT)) as events:
            async for event in events:
                pieces.append(event)
                await asyncio.sleep(0.05)
    assert "".join(pieces[:-1]) == PROMPT
    assert isinstance(pieces[-1], GenerateOutput)


async def test_what_is_left_open_is_chosen_by_the_model():
    async with generating(generation=FakeGeneration(max_new_tokens=7)) as (_, task):
        output = await task.run(asked(), CONTEXT)
        assert (len(output.candidates[0].token_ids), output.candidates[0].finish_reason) == (7, FinishReason.LENGTH)
    async with generating() as (_, task):
        output = await task.run(asked("x" * 500), CONTEXT)
        assert len(output.candidates[0].token_ids) == 128


async def test_a_seed_that_is_not_given_is_drawn_anew_and_told():
    async with generating() as (_, task):
        sampled = asked(decoding=Decoding(do_sample=True), max_new_tokens=5)
        seeds = {(await task.run(sampled, CONTEXT)).seed for _ in range(4)}
        assert len(seeds) == 4
        assert (await task.run(replace(sampled, seed=0), CONTEXT)).seed == 0


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"prompt": ""}, "prompt.text"),
        ({"prompt": " \n\u200b", "path": "elsewhere"}, "elsewhere"),
        ({"truncation": Truncation.CHUNK}, "truncation"),
        ({"prompt": "x" * 3000, "truncation": Truncation.REJECT}, "prompt.text"),
        ({"max_new_tokens": 0}, "decoding.max_new_tokens"),
        ({"max_new_tokens": 513}, "decoding.max_new_tokens"),
        ({"decoding": Decoding(num_beams=1000)}, "decoding.num_beams"),
        ({"decoding": Decoding(temperature=math.nan, do_sample=True)}, "decoding.temperature"),
        ({"seed": 2**64}, "decoding.seed"),
        ({"model": "encoder"}, "model"),
    ],
    ids=str,
)
async def test_what_can_not_be_done_names_its_field(fields, field):
    async with generating() as (it, task):
        with pytest.raises(InvalidInputError) as caught:
            await task.run(asked(**fields), CONTEXT)
        with pytest.raises(InvalidInputError) as streaming:
            await streamed(task, asked(**fields))
        assert it.engine.leftovers() == 0
    assert caught.value.field == streaming.value.field == field


async def test_a_stream_has_one_text():
    async with generating() as (_, task):
        several = asked(decoding=Decoding(num_beams=3, num_return_sequences=2), max_new_tokens=9)
        assert len((await task.run(several, CONTEXT)).candidates) == 2
        with pytest.raises(InvalidInputError) as caught:
            await streamed(task, several)
    assert caught.value.field == "decoding.num_return_sequences"


async def test_a_long_prompt_is_read_from_its_beginning():
    async with generating(generation=FakeGeneration(max_source_tokens=20)) as (_, task):
        output = await task.run(asked("abc " * 20, max_new_tokens=99), CONTEXT)
        assert (output.prompt_tokens, output.truncated_tokens) == (20, 62)
        assert output.candidates[0].text == ("abc " * 20)[:18]


async def test_a_request_counts_as_all_that_it_may_come_to():
    """Source and, for each row, what it may write: 27 and 4 x 20 tokens."""
    for limit, fits in ((27 + 80, True), (27 + 79, False)):
        async with generating(max_queue_tokens=limit) as (_, task):
            request = asked(decoding=Decoding(num_beams=4), max_new_tokens=20)
            if fits:
                assert await task.run(request, CONTEXT)
            else:
                with pytest.raises(InvalidInputError, match="107 tokens") as caught:
                    await task.run(request, CONTEXT)
                assert caught.value.field == "prompt.text"


async def test_what_has_no_chance_is_not_even_tokenised(monkeypatch):
    async with generating(max_queue_tokens=1000, generation=SLOW, generation_rows=1, generation_lanes=1) as (it, task):
        first, second = (task.stream(asked(max_new_tokens=500), CONTEXT) for _ in range(2))
        await anext(first)
        waiting = asyncio.ensure_future(anext(second))
        await until(lambda: it.engine.generation_backlog(ModelKey("generator", "1")).queued_tokens > 0)
        monkeypatch.setattr(Tokenizer, "encode", None)
        with pytest.raises(OverloadedError) as caught:
            await task.run(asked(max_new_tokens=500), CONTEXT)
        assert caught.value.retry_after is not None
        assert "tokens" in it.observer.shed
        waiting.cancel()
        await asyncio.wait([waiting])
        await first.aclose()
        await second.aclose()


@pytest.mark.parametrize("how", ["closed", "cancelled"])
async def test_who_leaves_leaves_nothing_behind(how):
    async with generating(generation=SLOW) as (it, task):
        stream = task.stream(asked("x" * 400, max_new_tokens=500), CONTEXT)
        await anext(stream)
        if how == "closed":
            await stream.aclose()
        else:
            reading = asyncio.ensure_future(anext(stream))
            await settled()
            reading.cancel()
            await asyncio.wait([reading])
        await until(lambda: it.engine.leftovers() == 0)


async def test_a_deadline_that_passes_is_told():
    async with generating(generation=SLOW) as (it, task):
        late = RequestContext("r", time.monotonic() + 0.1)
        with pytest.raises(DeadlineError):
            await task.run(asked("x" * 400, max_new_tokens=500), late)
        assert it.engine.leftovers() == 0


async def test_bulk_requests_are_bulk_to_the_engine(monkeypatch):
    seen = []

    async def note(own, model, request):
        seen.append((model, request.priority, request.deadline, request.streams, request.decoding.rows))
        raise UnavailableError("noted")
        yield

    monkeypatch.setattr(FakeEngine, "generate", note)
    async with generating() as (_, task):
        context = RequestContext("r", 1e12, Priority.BULK)
        with pytest.raises(UnavailableError):
            await task.run(asked(decoding=Decoding(num_beams=2)), context)
        with pytest.raises(UnavailableError):
            await streamed(task, asked(), context)
    key = ModelKey("generator", "1")
    assert seen == [(key, Priority.BULK, 1e12, False, 2), (key, Priority.BULK, 1e12, True, 1)]


async def test_an_engine_that_ends_without_an_answer_is_our_fault(monkeypatch):
    async def nothing(own, model, request):
        return
        yield

    monkeypatch.setattr(FakeEngine, "generate", nothing)
    async with generating() as (_, task):
        with pytest.raises(EngineError):
            await task.run(asked(), CONTEXT)
        with pytest.raises(EngineError):
            await streamed(task, asked())


async def test_a_version_in_use_is_not_unloaded_under_a_text():
    async with generating(generation=SLOW) as (it, task):
        stream = task.stream(asked("x" * 200, max_new_tokens=300), CONTEXT)
        pieces = [await anext(stream)]
        retiring = asyncio.create_task(it.catalog.retire(ModelKey("generator", "1"), it.engine.unload))
        await settled()
        pieces += [event async for event in stream]
        await asyncio.wait_for(retiring, 10)
        assert "".join(pieces[:-1]) == "x" * 200
        with pytest.raises(ModelNotFoundError):
            await task.run(asked(), CONTEXT)


async def test_without_a_generator_its_name_is_told():
    async with assembled() as it:
        with pytest.raises(ModelNotFoundError, match="generator"):
            await GenerateTask(Section(it.catalog, Generator, "generator")).run(asked(), CONTEXT)
