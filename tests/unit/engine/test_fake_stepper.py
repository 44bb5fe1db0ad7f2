import numpy as np
import pytest
from rolecall_server.engine.fake_stepper import FakeGeneration, FakeStepper
from rolecall_server.engine.fake_tokenizer import END_TOKEN_ID, PAD_TOKEN_ID, byte_tokenizer
from rolecall_server.errors import EngineError
from rolecall_server.generation.stepper import TOP, Need, StepInput

A, B, C = (byte_tokenizer().token_to_id(letter) for letter in "abc")


def stepper(*sources, rows=4, **behaviour):
    made = FakeStepper(FakeGeneration(**behaviour), rows)
    made.prefill([np.array(source) for source in sources])
    return made


def decode(made, tokens, positions, need=Need.BEST):
    return made.decode(StepInput(np.array(tokens), np.array(positions), need))


def test_it_repeats_its_source_and_ends():
    made = stepper([0, A, B, END_TOKEN_ID])
    assert decode(made, [[PAD_TOKEN_ID]], [0]).best.tolist() == [[A]]
    assert decode(made, [[A]], [1]).best.tolist() == [[B]]
    assert decode(made, [[B]], [2]).best.tolist() == [[END_TOKEN_ID]]


def test_a_wide_step_says_what_narrow_ones_say():
    wide = decode(stepper([A, B], wander=0.3), [[PAD_TOKEN_ID, A, C]], [0], Need.LOGITS)
    made = stepper([A, B], wander=0.3)
    narrow = [decode(made, [[token]], [at], Need.LOGITS) for at, token in enumerate([PAD_TOKEN_ID, A, C])]

    assert wide.best.tolist() == [[step.best[0, 0] for step in narrow]]
    assert np.array_equal(wide.logits[0], np.concatenate([step.logits[0] for step in narrow]))


def test_what_a_step_wrote_too_much_is_overwritten():
    made = stepper([A, B, C])
    decode(made, [[PAD_TOKEN_ID, C, C]], [0])
    corrected = decode(made, [[A]], [1], Need.LOGITS)

    fresh = stepper([A, B, C])
    decode(fresh, [[PAD_TOKEN_ID]], [0])
    assert np.array_equal(corrected.logits, decode(fresh, [[A]], [1], Need.LOGITS).logits)


def test_logits_depend_on_every_token_before():
    one, other = stepper([A, B, C]), stepper([A, B, C])
    decode(one, [[PAD_TOKEN_ID, A]], [0])
    decode(other, [[PAD_TOKEN_ID, B]], [0])

    assert not np.array_equal(
        decode(one, [[B]], [2], Need.LOGITS).logits, decode(other, [[B]], [2], Need.LOGITS).logits
    )


def test_the_ranked_ones_are_those_of_the_logits():
    step = decode(stepper([A]), [[PAD_TOKEN_ID]], [0], Need.LOGITS)

    assert step.top_ids.shape == (1, 1, TOP)
    assert step.top_ids[0, 0, 0] == step.best[0, 0] == step.logits[0, 0].argmax()
    assert np.array_equal(step.top_logits[0, 0], np.sort(step.logits[0, 0])[::-1][:TOP])
    assert step.log_sum_exp[0, 0] == pytest.approx(np.log(np.exp(step.logits[0, 0].astype(float)).sum()))
    assert decode(stepper([A]), [[PAD_TOKEN_ID]], [0], Need.TOP).logits is None


def test_rows_are_dropped_moved_and_copied():
    made = stepper([A], [B], [C])
    decode(made, [[PAD_TOKEN_ID]] * 3, [0, 0, 0])
    made.keep([2, 0, 0])
    assert decode(made, [[PAD_TOKEN_ID]] * 3, [0, 0, 0]).best.tolist() == [[C], [A], [A]]

    decode(made, [[C], [A], [B]], [1, 1, 1])
    assert made.keep([]) is None
    assert made.rows == 0


@pytest.mark.parametrize(
    ("tokens", "positions"),
    [([[1]], [0, 0]), ([[1], [1], [1]], [0, 0, 0]), ([[1] * 9] * 2, [0, 0]), ([[1], [1]], [0, 1])],
)
def test_a_step_that_makes_no_sense_is_refused(tokens, positions):
    with pytest.raises((EngineError, ValueError)):
        decode(stepper([A], [B]), tokens, positions)


def test_there_is_no_room_for_more_rows_than_it_has():
    made = stepper([A], rows=2)
    with pytest.raises(EngineError):
        made.prefill([np.array([A]), np.array([A])])
    with pytest.raises(EngineError):
        made.keep([0, 0, 0])
    assert made.rows == 1


def test_failures_follow_from_the_seed():
    def failures(seed):
        made = FakeStepper(FakeGeneration(fail_prefill_rate=0.5), 99, seed=seed)
        outcomes = []
        for _ in range(20):
            try:
                made.prefill([np.array([A])])
                outcomes.append(True)
            except EngineError:
                outcomes.append(False)
        return outcomes

    assert failures(1) == failures(1) != failures(2)
    assert 0 < sum(failures(1)) < 20


def test_it_takes_the_time_it_was_given():
    spent = []
    behaviour = FakeGeneration(
        seconds_per_step=1.0, seconds_per_row=0.1, seconds_per_prefill=10.0, seconds_per_source_token=0.01
    )
    made = FakeStepper(behaviour, 4, sleep=spent.append)
    made.prefill([np.array([A]), np.array([A, B])])
    decode(made, [[PAD_TOKEN_ID]] * 2, [0, 0])

    assert spent == pytest.approx([10.04, 1.2])
