import numpy as np
import pytest
from rolecall_server.engine.fake_stepper import FakeGeneration, FakeStepper
from rolecall_server.errors import DeadlineError, EngineError, NonFiniteOutputError, UnavailableError
from rolecall_server.generation.loop import GenerationLoop
from rolecall_server.generation.queue import Queued
from rolecall_server.generation.stepper import Need
from rolecall_server.generation.types import Delta, Failed, Finished, FinishReason

from tests.unit.generation.machine import TOKENIZER, Machine, request

BAD = TOKENIZER.token_to_id("x")


class Recorder(FakeStepper):
    """Notes its calls; fails those it is told to."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.calls = []
        self.steps = []
        self.fail = {}

    def called(self, name, size):
        self.calls.append((name, size))
        error = self.fail.pop(name, None)
        if error is not None:
            raise error

    def prefill(self, sources):
        self.called("prefill", len(sources))
        super().prefill(sources)

    def decode(self, step):
        self.called("decode", len(step.tokens))
        self.steps.append(step)
        return super().decode(step)

    def keep(self, rows):
        self.called("keep", len(rows))
        super().keep(rows)


def machine(**given):
    made = Machine(**given)
    stepper = made.steppers[0] = Recorder(made.behaviour, made.rows)
    made.loops[0] = GenerationLoop(stepper, TOKENIZER, clock=made.clock)
    return made, stepper


def test_a_text_its_reason_and_its_figures():
    it, _ = machine(behaviour=FakeGeneration(max_width=1))
    it.now = 3.0
    it.push(request(1, "abc", arrived=1.0))
    it.run()

    end = it.end(1)

    assert end.hypotheses[0].text == "abc"
    assert end.hypotheses[0].finish_reason is FinishReason.EOS
    assert (end.stats.queue_seconds, end.stats.first_token_seconds) == (2.0, 2.0)
    assert (end.stats.steps, end.stats.batch_size) == (4, 1)
    assert end.stats.total_seconds == 5.0


def test_a_stream_gives_its_text_as_it_grows():
    it, _ = machine(behaviour=FakeGeneration(max_width=1))
    it.push(request(1, "a好", streams=True))
    it.run()

    assert it.events[1][:-1] == [Delta(1, "a", 1), Delta(1, "好", 3)]


def test_what_does_not_stream_says_nothing_before_its_end():
    it, _ = machine()
    it.push(request(1, "abc", stop=("c",)))
    it.run()

    assert len(it.events[1]) == 1
    assert it.end(1).hypotheses[0].text == "ab"
    assert it.end(1).hypotheses[0].finish_reason is FinishReason.STOP


def test_one_prefill_and_one_decode_a_step():
    it, stepper = machine(rows=3)
    it.push(*(request(number, "abcdef") for number in range(5)))
    it.step()
    it.step()

    assert stepper.calls == [("prefill", 3), ("decode", 3), ("decode", 3)]


def test_requests_join_while_others_run():
    it, stepper = machine()
    it.push(request(1, "abcdef"))
    it.step()
    it.push(request(2, "uvw"))
    it.step()

    assert stepper.steps[-1].tokens.shape == (2, 1)
    assert stepper.steps[-1].positions.tolist() == [1, 0]
    it.run()
    assert (it.text(1), it.text(2)) == ("abcdef", "uvw")


def test_a_step_gives_what_the_most_demanding_row_needs():
    it, stepper = machine()
    it.push(request(1, "abc"))
    it.push(request(2, "abc", num_beams=2))
    it.push(request(3, "abc", repetition_penalty=0.5))
    it.step()
    assert stepper.steps[-1].need is Need.LOGITS

    it.cancel(3)
    it.step()
    assert stepper.steps[-1].need is Need.TOP

    it.cancel(2)
    it.step()
    assert stepper.steps[-1].need is Need.BEST


def test_rows_that_stay_keep_their_place():
    it, stepper = machine()
    it.push(request(1, "a"), request(2, "abcdef"), request(3, "abcdef"))
    moved = []
    stepper.keep = lambda rows: (moved.append(list(rows)), FakeStepper.keep(stepper, rows))
    it.run()

    assert moved[0] == [2, 1]
    assert (it.text(2), it.text(3)) == ("abcdef", "abcdef")


def test_several_samples_begin_as_one_row():
    it, stepper = machine()
    it.push(request(1, "abcdef", do_sample=True, num_return_sequences=3, temperature=4.0, max_new_tokens=6))
    it.run()

    assert [len(step.tokens) for step in stepper.steps[:2]] == [1, 3]
    assert len({hypothesis.token_ids for hypothesis in it.end(1).hypotheses}) == 3


class TestFailures:
    def test_a_source_that_cannot_be_read_fails_alone(self):
        it, _ = machine(behaviour=FakeGeneration(fail_on_token=BAD))
        it.push(*(request(number, "x" if number == 2 else "abc") for number in range(5)))
        it.run()

        assert isinstance(it.end(2).error, EngineError)
        assert {it.text(number) for number in (0, 1, 3, 4)} == {"abc"}

    def test_who_has_said_nothing_runs_again_after_a_step_that_failed(self):
        it, stepper = machine()
        it.push(request(1, "abc"), request(2, "uvw", streams=True))
        it.step()
        stepper.fail["decode"] = EngineError("out of memory")
        it.run()

        assert it.text(1) == "abc"
        assert [type(event) for event in it.events[2]] == [Delta, Failed]
        assert ("keep", 0) in stepper.calls

    def test_it_runs_again_once(self):
        it, stepper = machine()
        it.push(request(1, "abc"))
        stepper.fail["decode"] = EngineError("out of memory")
        it.step()
        stepper.fail["decode"] = EngineError("out of memory")
        it.run()

        assert isinstance(it.end(1).error, EngineError)

    def test_rows_are_lost_with_a_keep_that_failed(self):
        it, stepper = machine()
        it.push(request(1, "a"), request(2, "abcdef"))
        stepper.fail["keep"] = EngineError("out of memory")
        it.run()

        assert (it.text(1), it.text(2)) == ("a", "abcdef")

    def test_those_about_to_join_wait_for_the_next_step(self):
        it, stepper = machine(rows=3)
        it.push(request(1, "abc"), request(2, "abc", deadline=0.5))
        it.step()
        it.push(request(3, "uvw"))
        stepper.fail["keep"] = EngineError("out of memory")
        it.run()

        assert (it.text(1), it.text(3)) == ("abc", "uvw")
        assert isinstance(it.end(2).error, DeadlineError)

    def test_a_stepper_that_cannot_begin_anew_is_broken(self):
        it, stepper = machine()
        it.push(request(1, "abc"))
        stepper.fail.update(decode=EngineError("gone"), keep=EngineError("gone for good"))
        it.step()

        assert it.loops[0].broken is not None
        assert it.loops[0].idle

    def test_numbers_that_are_none_fail_their_own_request(self):
        it, _ = machine(behaviour=FakeGeneration(nonfinite_on_token=BAD))
        it.push(request(1, "x"), request(2, "abc"), request(3, "x", num_beams=2), request(4, "x", do_sample=True))
        it.run()

        assert {type(it.end(number).error) for number in (1, 3, 4)} == {NonFiniteOutputError}
        assert it.text(2) == "abc"

    @pytest.mark.parametrize("call", ["prefill", "decode", "keep"])
    def test_an_exception_of_another_kind_comes_out_and_abort_answers_all(self, call):
        it, stepper = machine()
        loop = it.loops[0]
        running = Queued(request(1, "abc"), started=0.0)
        short = Queued(request(2, ""), started=0.0)
        loop.step([running])
        stepper.fail[call] = ZeroDivisionError()
        with pytest.raises(ZeroDivisionError):
            loop.step([short])

        outcome = loop.abort(UnavailableError("closed"))

        assert sorted(event.request_id for event in outcome.events) == [1, 2]
        ended = {event.request_id: event for event in outcome.events}
        assert isinstance(ended[1], Failed)
        assert isinstance(ended[2], Finished if call == "keep" else Failed)
        assert loop.idle
        assert stepper.rows == 0


class TestEnds:
    def test_cancelled_in_the_middle(self):
        it, stepper = machine()
        it.push(request(1, "abcdef"), request(2, "abcdef"))
        it.step()
        it.cancel(1)
        it.step()

        assert isinstance(it.end(1), Finished)
        assert it.end(1).hypotheses == ()
        assert stepper.rows == 1
        it.run()
        assert it.text(2) == "abcdef"

    def test_late_in_the_middle(self):
        it, _ = machine()
        it.push(request(1, "abcdef", deadline=2.5), request(2, "abcdef"))
        it.run()

        assert isinstance(it.end(1).error, DeadlineError)
        assert it.text(2) == "abcdef"

    def test_nothing_runs_and_nothing_happens(self):
        it, stepper = machine()
        assert it.step().events == []
        assert stepper.calls == []


class TestDrafts:
    def test_a_text_that_copies_takes_fewer_steps_and_is_the_same(self):
        text = "the quick brown fox jumps over the lazy dog. " * 3
        it, _ = machine()
        it.push(request(1, text, max_new_tokens=300))
        it.run()

        end = it.end(1)
        assert end.hypotheses[0].text == text
        assert end.stats.steps < len(text) / 2
        assert end.stats.accepted > len(text) / 2
        assert sum(outcome.accepted for outcome in it.outcomes) == end.stats.accepted
        assert sum(outcome.tokens for outcome in it.outcomes) == len(text) + 1

    def test_a_draft_goes_no_further_than_the_request(self):
        it, stepper = machine()
        it.push(request(1, "abcdefghijklmnop" * 4, max_new_tokens=20))
        it.run()

        assert len(it.end(1).hypotheses[0].token_ids) == 20
        assert max(step.positions[0] + step.tokens.shape[1] for step in stepper.steps) <= 20

    def test_no_row_is_given_more_than_its_cache_holds(self):
        it, stepper = machine(behaviour=FakeGeneration(max_new_tokens=16))
        it.push(request(1, "zyxwvutsrqponmlkjihgfedcba" * 4, max_new_tokens=16, do_sample=True))
        it.step(), it.step(), it.step()
        it.push(request(2, "abcdefghijklmnop" * 4, max_new_tokens=16))
        it.run()

        assert max((step.positions + step.tokens.shape[1]).max() for step in stepper.steps) <= 16

    def test_where_steps_take_one_token_there_are_none(self):
        it, stepper = machine(behaviour=FakeGeneration(max_width=1))
        it.push(request(1, "abc" * 10))
        it.run()

        assert it.text(1) == "abc" * 10
        assert all(step.tokens.shape[1] == 1 for step in stepper.steps)


def test_the_times_it_reports():
    it, _ = machine()
    it.now = 2.0
    it.push(request(1, "abcdef", arrived=1.5, max_new_tokens=3))
    it.run()

    assert [outcome.queue_seconds for outcome in it.outcomes] == [[0.5], [], []]
    assert [outcome.first_token_seconds for outcome in it.outcomes] == [[0.5], [], []]
    assert [outcome.inter_token_seconds for outcome in it.outcomes] == [[], [1.0], [1.0]]


def test_a_step_is_given_arrays_of_the_agreed_kind():
    it, stepper = machine()
    it.push(request(1, "abc"), request(2, "abc"))
    it.step()

    (step,) = stepper.steps
    assert step.tokens.dtype == step.positions.dtype == np.int64
    assert step.tokens.tolist() == [[stepper.info.start_token_id]] * 2
    assert step.positions.tolist() == [0, 0]
