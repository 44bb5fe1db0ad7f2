"""Whatever comes, goes and fails beside it: a request's texts are those it gives alone, and it gets one answer."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from rolecall_server.engine.fake_stepper import FakeGeneration
from rolecall_server.errors import DeadlineError, EngineError
from rolecall_server.generation.types import EarlyStopping, Failed, Finished, FinishReason
from rolecall_server.types import Priority

from tests.unit.generation.machine import Machine, alone, request

TEXTS = st.text("ab cde 你好😀", max_size=16)

DECODINGS = st.one_of(
    st.fixed_dictionaries({"max_new_tokens": st.integers(1, 30), "stop": st.sampled_from([(), ("a",), ("b c", "好")])}),
    st.fixed_dictionaries(
        {
            "max_new_tokens": st.integers(1, 20),
            "num_beams": st.integers(2, 4),
            "num_return_sequences": st.integers(1, 2),
            "early_stopping": st.sampled_from(EarlyStopping),
            "length_penalty": st.sampled_from([-1.0, 0.0, 1.0, 2.0]),
        }
    ),
    st.fixed_dictionaries(
        {
            "max_new_tokens": st.integers(1, 20),
            "do_sample": st.just(True),
            "num_return_sequences": st.integers(1, 4),
            "temperature": st.sampled_from([0.5, 2.0, 5.0]),
            "top_k": st.sampled_from([0, 5, 50]),
            "top_p": st.sampled_from([0.7, 1.0]),
            "seed": st.integers(0, 9),
        }
    ),
    st.fixed_dictionaries(
        {
            "max_new_tokens": st.integers(3, 20),
            "min_new_tokens": st.integers(0, 3),
            "repetition_penalty": st.sampled_from([0.8, 1.5]),
            "no_repeat_ngram_size": st.integers(0, 3),
        }
    ),
)

REQUESTS = st.lists(
    st.tuples(
        TEXTS,
        DECODINGS,
        st.sampled_from(Priority),
        st.booleans(),  # streams
        st.integers(0, 12),  # arrives before this round
        st.one_of(st.none(), st.integers(0, 30)),  # is cancelled
        st.one_of(st.none(), st.integers(1, 40)),  # has so long
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(
    asked=REQUESTS,
    lanes=st.integers(1, 3),
    fail_decode=st.sampled_from([0.0, 0.02, 0.2]),
    fail_prefill=st.sampled_from([0.0, 0.1]),
    seed=st.integers(0, 99),
)
def test_alone_is_batched_and_each_request_has_one_answer(asked, lanes, fail_decode, fail_prefill, seed):
    behaviour = FakeGeneration(wander=0.2, fail_decode_rate=fail_decode, fail_prefill_rate=fail_prefill, seed=seed)
    machine = Machine(behaviour, lanes=lanes)
    requests, cancelled = {}, set()
    chooser = random.Random(seed)
    for moment in range(41):
        for number, (text, decoding, priority, streams, arrives, cancel, patience) in enumerate(asked):
            if arrives == moment:
                deadline = 1e9 if patience is None else machine.now + patience
                requests[number] = request(
                    number, text, priority=priority, arrived=machine.now, deadline=deadline, streams=streams, **decoding
                )
                machine.push(requests[number])
            if cancel is not None and number in requests and cancel + arrives == moment:
                cancelled.add(number)
                machine.cancel(number)
        lane = chooser.randrange(lanes)
        machine.step(lane)
        taken = sum(stepper.rows for stepper in machine.steppers)
        assert taken <= lanes * machine.rows
    machine.run(chooser)

    for number in machine.events:
        check(machine, number, requests[number], behaviour, gone=number in cancelled)
    assert set(requests) - set(machine.events) <= cancelled
    assert [stepper.rows for stepper in machine.steppers] == [0] * lanes
    assert machine.queue.leftovers() == 0


def check(machine, number, asked, behaviour, *, gone):
    end = machine.end(number)
    if isinstance(end, Failed):
        late = isinstance(end.error, DeadlineError | TimeoutError)
        assert late or isinstance(end.error, EngineError)
        assert not late or asked.deadline <= machine.now
        return
    assert isinstance(end, Finished)
    if not end.hypotheses:
        assert gone
        return
    assert end.hypotheses == alone(asked, behaviour)
    deltas = machine.events[number][:-1]
    if asked.streams and asked.decoding.rows == 1:
        assert "".join(delta.text for delta in deltas) == end.hypotheses[0].text
    else:
        assert deltas == []
    assert sum(delta.tokens for delta in deltas) <= len(end.hypotheses[0].token_ids)
    assert all(hypothesis.finish_reason is not FinishReason.CANCELLED for hypothesis in end.hypotheses)
