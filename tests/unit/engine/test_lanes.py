import asyncio
import os
import threading
import time
from contextlib import aclosing

import pytest
from rolecall_server.engine.fake_stepper import FakeGeneration, FakeStepper
from rolecall_server.engine.lanes import GenerationLanes, Generator, LaneOptions
from rolecall_server.errors import DeadlineError, EngineError, InvalidInputError, UnavailableError
from rolecall_server.generation.types import Delta, Finished
from rolecall_server.types import ModelKey, Priority

from tests.observers import ListObserver
from tests.unit.engine.test_workers import SECONDS, Listener
from tests.unit.generation.machine import TOKENIZER, request

KEY = ModelKey("generator", "1")


class Held(FakeStepper):
    """Each decode waits for leave, and does once what it was told."""

    def __init__(self, *args):
        super().__init__(*args)
        self.decoding = threading.Event()
        self.leave = threading.Event()
        self.leave.set()
        self.next = None
        self.thread = threading.current_thread()

    def hold(self):
        self.leave.clear()
        self.decoding.clear()

    async def reached(self):
        assert await asyncio.to_thread(self.decoding.wait, SECONDS)

    def decode(self, step):
        self.decoding.set()
        assert self.leave.wait(SECONDS)
        error, self.next = self.next, None
        if error is not None:
            raise error
        return super().decode(step)


@pytest.fixture
async def listener():
    return Listener()


@pytest.fixture
async def make(listener):
    """Lanes that have started; their steppers, the newest last, are in `steppers`."""
    made = []

    async def make(*, rows=4, observer=None, failures=(), behaviour=FakeGeneration(), **options):  # noqa: B008
        steppers, coming = [], list(failures)

        def make_stepper():
            if coming and (error := coming.pop(0)) is not None:
                raise error
            steppers.append(Held(behaviour, rows))
            return steppers[-1]

        generator = Generator(KEY, behaviour.info(rows), make_stepper, TOKENIZER)
        lanes = GenerationLanes(
            generator, LaneOptions(**options), observer=observer or ListObserver(), on_change=listener
        )
        made.append((lanes, steppers))
        await asyncio.wait_for(lanes.start(), SECONDS)
        return lanes, steppers

    yield make
    for lanes, steppers in made:
        for stepper in steppers:
            stepper.leave.set()
        await asyncio.wait_for(lanes.close(), SECONDS)


def asked(text="hello", **given):
    now = time.monotonic()
    return request(0, text, **{"arrived": now, "deadline": now + 60, **given})


async def collect(lanes, wanted):
    return [event async for event in lanes.generate(wanted)]


async def text_of(lanes, wanted):
    return (await collect(lanes, wanted))[-1].hypotheses[0].text


async def until(condition):
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never came")


async def test_texts_come_from_threads_of_their_own(make):
    lanes, steppers = await make(lanes=2)
    texts = [f"text {number}" for number in range(20)]

    assert await asyncio.gather(*(text_of(lanes, asked(text)) for text in texts)) == texts

    assert lanes.leftovers() == 0
    assert len({stepper.thread for stepper in steppers} - {threading.current_thread()}) == 2


async def test_deltas_then_one_end(make):
    lanes, _ = await make()
    *deltas, end = await collect(lanes, asked("hello 你好", streams=True))

    assert isinstance(end, Finished)
    assert "".join(delta.text for delta in deltas) == "hello 你好"


async def test_text_that_is_not_fetched_is_joined(make):
    lanes, _ = await make()
    events = lanes.generate(asked("hello world", streams=True))
    first = await anext(events)
    await until(lambda: not lanes._queue.leftovers())

    rest = [event async for event in events]

    assert [type(event) for event in rest] in ([Delta, Finished], [Finished])
    assert first.text + "".join(event.text for event in rest[:-1]) == "hello world"


async def test_closing_frees_the_row_at_the_next_step(make):
    observer = ListObserver()
    lanes, _ = await make(rows=1, observer=observer, behaviour=FakeGeneration(seconds_per_step=0.01))
    async with aclosing(lanes.generate(asked("hello world " * 40, streams=True, max_new_tokens=400))) as events:
        await anext(events)

    assert await text_of(lanes, asked("next")) == "next"
    assert observer.cancelled == ["running"]
    assert lanes.leftovers() == 0


async def test_a_cancelled_request_that_waits_never_runs(make):
    observer = ListObserver()
    lanes, (stepper,) = await make(rows=1, observer=observer)
    stepper.hold()
    running = asyncio.create_task(text_of(lanes, asked("first")))
    await stepper.reached()
    waiting = asyncio.create_task(text_of(lanes, asked("second")))
    await asyncio.sleep(0)
    assert lanes.backlog(Priority.INTERACTIVE).queued_tokens > 0

    waiting.cancel()
    await asyncio.wait([waiting])

    assert lanes.backlog(Priority.INTERACTIVE).queued_tokens == 0
    assert observer.cancelled == ["queue"]
    assert observer.queue[-1][2:] == (0, 0)
    stepper.leave.set()
    assert await running == "first"


async def test_one_that_is_given_up_in_the_queue_at_its_deadline_was_shed(make):
    """The lane is in a long step and has not seen yet that the request is late."""
    observer = ListObserver()
    lanes, (stepper,) = await make(rows=1, observer=observer)
    stepper.hold()
    running = asyncio.create_task(text_of(lanes, asked("first")))
    await stepper.reached()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await text_of(lanes, asked("second", deadline=time.monotonic() + 0.01))
    stepper.leave.set()

    assert await running == "first"
    assert (observer.shed, observer.cancelled) == (["deadline"], [])


async def test_a_deadline_in_the_queue_and_one_at_work(make):
    observer = ListObserver()
    lanes, (stepper,) = await make(rows=1, observer=observer)
    stepper.hold()
    running = asyncio.create_task(text_of(lanes, asked("first", deadline=time.monotonic() + 0.02)))
    await stepper.reached()
    waiting = asyncio.create_task(text_of(lanes, asked("second", deadline=time.monotonic() + 0.02)))
    await asyncio.sleep(0.05)
    stepper.leave.set()

    for task in (running, waiting):
        with pytest.raises(DeadlineError):
            await task
    assert observer.shed == ["deadline"]
    assert observer.cancelled == []


async def test_a_step_that_fails_is_run_again_for_who_has_heard_nothing(make):
    lanes, (stepper,) = await make()
    stepper.next = EngineError("out of memory")
    assert await text_of(lanes, asked("first")) == "first"


async def test_an_exception_fails_its_requests_and_the_lane_lives_on(make, caplog):
    lanes, (stepper,) = await make()
    stepper.next = ZeroDivisionError("of some text")
    with pytest.raises(EngineError, match="ZeroDivisionError"):
        await text_of(lanes, asked("first"))

    assert await text_of(lanes, asked("second")) == "second"
    assert lanes.whole
    assert "a step of a generator broke its contract" in caplog.text


async def test_a_dead_lane_fails_what_ran_in_it_and_is_replaced(make, listener):
    observer = ListObserver()
    lanes, steppers = await make(rows=1, observer=observer)
    steppers[0].hold()
    running = asyncio.create_task(text_of(lanes, asked("first")))
    await steppers[0].reached()
    steppers[0].next = SystemExit()
    steppers[0].leave.set()

    with pytest.raises(UnavailableError):
        await running

    await listener.until(True)
    assert [whole for whole, _ in listener.changes] == [False, True]
    assert await text_of(lanes, asked("second")) == "second"
    assert len(steppers) == 2
    assert lanes.leftovers() == 0
    await until(lambda: observer.running == 0)


async def test_what_waits_goes_to_the_lane_that_lives(make, listener):
    lanes, steppers = await make(rows=1, lanes=2, failures=[None, None, EngineError("not yet")])
    for stepper in steppers:
        stepper.hold()
    running = [asyncio.create_task(text_of(lanes, asked(text))) for text in ("first", "second")]
    for stepper in steppers:
        await stepper.reached()
    waiting = asyncio.create_task(text_of(lanes, asked("third")))
    await asyncio.sleep(0)
    steppers[0].next = SystemExit()
    steppers[0].leave.set()
    await listener.until(False)
    steppers[1].leave.set()

    outcomes = await asyncio.gather(*running, return_exceptions=True)

    assert sorted(type(outcome) for outcome in outcomes if not isinstance(outcome, str)) == [UnavailableError]
    assert await waiting == "third"


async def test_a_replacement_that_cannot_be_made_is_tried_again(make, listener):
    lanes, steppers = await make(failures=[None, EngineError("no memory"), MemoryError()])
    steppers[0].next = SystemExit()
    with pytest.raises(UnavailableError):
        await text_of(lanes, asked("first"))
    with pytest.raises(UnavailableError):
        await text_of(lanes, asked("second"))

    await listener.until(True)

    assert await text_of(lanes, asked("third")) == "third"


async def test_a_start_that_fails_leaves_no_thread(make):
    before = threading.active_count()
    with pytest.raises(UnavailableError, match="EngineError"):
        await make(lanes=2, failures=[EngineError("no memory")])

    assert threading.active_count() == before


async def test_closing_ends_what_runs_and_what_waits(make):
    lanes, (stepper,) = await make(rows=1)
    stepper.hold()
    tasks = [asyncio.create_task(text_of(lanes, asked("x" * 50))) for _ in range(2)]
    await stepper.reached()
    closing = asyncio.create_task(lanes.close())
    await asyncio.sleep(0)
    stepper.leave.set()
    await asyncio.wait_for(closing, SECONDS)

    for task in tasks:
        with pytest.raises(UnavailableError):
            await task
    with pytest.raises(UnavailableError):
        await text_of(lanes, asked())
    assert lanes.leftovers() == 0


async def test_closing_tells_nothing_twice(make):
    observer = ListObserver()
    slow = FakeGeneration(max_width=1, seconds_per_step=0.005)
    lanes, (stepper,) = await make(rows=1, observer=observer, behaviour=slow)
    text = "".join(map(chr, range(ord("0"), ord("z"))))
    heard = []

    async def listen():
        async for event in lanes.generate(asked(text, streams=True)):
            heard.append(event.text)  # noqa: PERF401 - what came before the error counts

    listening = asyncio.create_task(listen())
    await until(lambda: len(heard) > 1)
    stepper.hold()
    await stepper.reached()
    closing = asyncio.create_task(lanes.close())
    await asyncio.sleep(0)
    stepper.leave.set()
    await asyncio.wait_for(closing, SECONDS)
    with pytest.raises(UnavailableError):
        await listening

    assert len("".join(heard)) > 2
    assert text.startswith("".join(heard))
    assert sum(report.tokens for report in observer.generation) == len("".join(heard))


async def test_lanes_that_could_not_start_change_nothing(listener):
    """Whoever waits for the start hears of it; the health of what serves beside them is not theirs."""
    behaviour = FakeGeneration()
    generator = Generator(KEY, behaviour.info(4), lambda: 1 / 0, TOKENIZER)
    for _ in range(20):
        lanes = GenerationLanes(generator, LaneOptions(lanes=4), observer=ListObserver(), on_change=listener)
        with pytest.raises(UnavailableError, match="could not start"):
            await asyncio.wait_for(lanes.start(), SECONDS)
    assert listener.changes == []


@pytest.mark.parametrize(
    "given",
    [
        {"text": "x" * 100},
        {"max_new_tokens": 65},
        {"max_new_tokens": 0},
        {"do_sample": True, "num_return_sequences": 5},
        {"num_beams": 0, "num_return_sequences": 0},
    ],
)
async def test_what_could_never_run_is_refused(make, given):
    lanes, _ = await make(behaviour=FakeGeneration(max_source_tokens=50, max_new_tokens=64))
    with pytest.raises(InvalidInputError):
        await text_of(lanes, asked(**given))
    assert lanes.leftovers() == 0


async def test_what_the_observer_hears(make):
    observer = ListObserver()
    lanes, _ = await make(observer=observer)
    await asyncio.gather(*(text_of(lanes, asked("abc" * 20)) for _ in range(6)))
    await until(lambda: sum(len(report.first_token_seconds) for report in observer.generation) == 6)

    reports = observer.generation
    assert {report.model for report in reports} == {KEY}
    assert sum(report.tokens for report in reports) == 6 * 61
    assert sum(len(report.queue_seconds) for report in reports) == 6
    assert sum(report.drafted for report in reports) >= sum(report.accepted for report in reports) > 0
    assert all(seconds >= 0 for report in reports for seconds in report.inter_token_seconds)
    assert {entry[0] for entry in observer.queue} == {"generator"}
    await until(lambda: observer.running == 0)


async def test_numbers_that_are_none_are_counted(make):
    observer = ListObserver()
    bad = TOKENIZER.token_to_id("x")
    lanes, _ = await make(observer=observer, behaviour=FakeGeneration(nonfinite_on_token=bad))
    with pytest.raises(EngineError):
        await text_of(lanes, asked("x"))
    assert observer.nonfinite == 1


async def test_its_threads_stand_back(make):
    own = os.getpriority(os.PRIO_PROCESS, 0)
    _, (stepper,) = await make(niceness=3)
    assert os.getpriority(os.PRIO_PROCESS, stepper.thread.native_id) == min(19, own + 3)
    assert os.getpriority(os.PRIO_PROCESS, 0) == own
