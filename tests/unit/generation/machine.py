"""Scheduler, lanes' loops and fake steppers on one thread and a clock of the test's own."""

import random
from dataclasses import dataclass, field, replace

import numpy as np
from rolecall_server.engine.fake_stepper import FakeGeneration, FakeStepper
from rolecall_server.engine.fake_tokenizer import byte_tokenizer
from rolecall_server.engine.lane_queue import LaneQueue
from rolecall_server.generation.loop import GenerationLoop, Outcome
from rolecall_server.generation.scheduler import GenerationScheduler, SchedulerLimits
from rolecall_server.generation.stepper import Stepper
from rolecall_server.generation.text import Detokenizer
from rolecall_server.generation.types import (
    Decoding,
    Delta,
    Event,
    Failed,
    Finished,
    GenerationRequest,
    Hypothesis,
)
from rolecall_server.types import Priority

TOKENIZER = byte_tokenizer()
FOREVER = 1e9


def request(
    number: int = 0,
    text: str = "hello",
    *,
    priority: Priority = Priority.INTERACTIVE,
    arrived: float = 0.0,
    deadline: float = FOREVER,
    streams: bool = False,
    **decoding: object,
) -> GenerationRequest:
    """With the bytes of `text` and an end token as its source."""
    return GenerationRequest(
        id=number,
        source=np.array(TOKENIZER.encode(text).ids),
        decoding=Decoding(**decoding),  # type: ignore[arg-type]
        priority=priority,
        arrived=arrived,
        deadline=deadline,
        streams=streams,
    )


@dataclass
class Machine:
    """events: of each request, in their order. steppers: one for each lane; fake ones, where there are none."""

    behaviour: FakeGeneration = FakeGeneration()
    lanes: int = 1
    rows: int = 8
    prefill_tokens: int = 64
    seconds_per_step: float = 1.0
    now: float = 0.0
    events: dict[int, list[Event]] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    steppers: list[Stepper] = field(default_factory=list)
    tokenizer: Detokenizer = TOKENIZER

    def __post_init__(self) -> None:
        scheduler = GenerationScheduler(SchedulerLimits(self.rows, self.prefill_tokens))
        self.queue = LaneQueue(scheduler, self.clock)
        if not self.steppers:
            self.steppers = [FakeStepper(self.behaviour, self.rows, seed=lane) for lane in range(self.lanes)]
        self.loops = [GenerationLoop(stepper, self.tokenizer, clock=self.clock) for stepper in self.steppers]
        for lane in range(self.lanes):
            self.queue.add_lane(lane)

    def clock(self) -> float:
        return self.now

    def push(self, *requests: GenerationRequest) -> None:
        for asked in requests:
            self.events[asked.id] = []
            self.queue.push(asked)

    def cancel(self, request_id: int) -> None:
        """As the engine does: a request that waits is simply gone, and its caller with it."""
        if self.queue.cancel(request_id) == "queue":
            del self.events[request_id]

    def step(self, lane: int = 0) -> Outcome:
        work = self.queue.take(lane, busy=True)
        assert work is not None
        outcome = self.loops[lane].step(work.joining, work.cancelled)
        outcome.events.extend(Failed(queued.request.id, TimeoutError()) for queued in work.expired)  # type: ignore[arg-type]
        assert self.queue.done(lane, outcome) == []
        for event in outcome.events:
            self.events[event.request_id].append(event)
        self.queue.handed_out(lane, [event.request_id for event in outcome.events if not isinstance(event, Delta)])
        self.outcomes.append(outcome)
        self.now += self.seconds_per_step
        return outcome

    def run(self, chooser: random.Random | None = None) -> None:
        """Step until nothing waits or runs."""
        for _ in range(100_000):
            if not self.queue.leftovers():
                return
            lanes = list(range(self.lanes))
            if chooser is not None:
                chooser.shuffle(lanes)
            for lane in lanes:
                self.step(lane)
        raise AssertionError("it does not end")

    def end(self, request_id: int) -> Finished | Failed:
        *deltas, end = self.events[request_id]
        assert all(isinstance(event, Delta) for event in deltas)
        assert isinstance(end, Finished | Failed)
        return end

    def text(self, request_id: int) -> str:
        end = self.end(request_id)
        assert isinstance(end, Finished), end
        return end.hypotheses[0].text


def alone(asked: GenerationRequest, behaviour: FakeGeneration, *, rows: int = 8) -> tuple[Hypothesis, ...]:
    """What a request gives with nothing beside it, nothing drafted and nothing going wrong."""
    sound = replace(behaviour, max_width=1, fail_prefill_rate=0.0, fail_decode_rate=0.0, die_rate=0.0)
    machine = Machine(sound, rows=rows)
    machine.push(replace(asked, deadline=FOREVER))
    machine.run()
    end = machine.end(asked.id)
    assert isinstance(end, Finished)
    return end.hypotheses
