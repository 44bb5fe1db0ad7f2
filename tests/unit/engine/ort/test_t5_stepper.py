"""What is of the stepper for CPUs alone; test_t5_device.py has what both must do."""

import numpy as np
import pytest
from rolecall_server.engine.ort.create import SessionSettings
from rolecall_server.engine.ort.t5_generator import T5Generator
from rolecall_server.errors import EngineError
from rolecall_server.generation.stepper import Need, StepInput

from tests.requirements import require_module
from tests.unit.engine.ort.t5_artifacts import EOS, MAX_NEW_TOKENS, MAX_SOURCE_TOKENS, VOCABULARY, write_artifact

LONG = np.array([*range(5, 75), EOS])
UNREADABLE = np.array([VOCABULARY + 5, EOS])


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> T5Generator:
    require_module("rolecall_export")
    from rolecall_export.families.t5 import build

    artifact = write_artifact(tmp_path_factory.mktemp("t5") / "host", build)
    return T5Generator(artifact, SessionSettings(providers=("cpu",)), rows=4)


def a_text(generator: T5Generator, widths: list[int]) -> np.ndarray:
    """The logits of three rows that get the same tokens in steps of these widths."""
    tokens = np.random.default_rng(3).integers(2, VOCABULARY, (3, sum(widths)))
    stepper = generator.stepper()
    stepper.prefill([LONG, LONG[20:], LONG[60:]])
    parts, position = [], 0
    for width in widths:
        step = StepInput(tokens[:, position : position + width], np.full(3, position), Need.LOGITS)
        parts.append(stepper.decode(step).logits.copy())
        position += width
    return np.concatenate(parts, axis=1)


@pytest.mark.parametrize("preset", ["cpu-fp32", "cpu-int8", "cpu-int4"])
def test_a_rows_numbers_do_not_depend_on_the_width_of_its_steps(tmp_path, preset):
    """To the last bit: neighbours' drafts decide the width."""
    presets = require_module("rolecall_export.t5_presets")
    artifact = write_artifact(tmp_path / "host", presets.PRESETS[preset].convert)
    generator = T5Generator(artifact, SessionSettings(providers=("cpu",)), rows=4)
    one_by_one = a_text(generator, [1] * 32)
    np.testing.assert_array_equal(a_text(generator, [2, 3, 1, 4, 5, 16, 1]), one_by_one)


def test_rows_are_as_many_as_their_caches_have_memory_for(tmp_path):
    require_module("rolecall_export")
    from rolecall_export.families.t5 import build

    artifact = write_artifact(tmp_path / "host", build)
    settings = SessionSettings(providers=("cpu",))
    row_bytes = T5Generator(artifact, settings, rows=4).info.row_bytes
    stepper = T5Generator(artifact, settings, rows=4, cache_bytes=3 * row_bytes).stepper()
    assert stepper.info.rows == 3
    stepper.prefill([np.full(MAX_SOURCE_TOKENS, 5)] * 3)
    for position in range(MAX_NEW_TOKENS):
        stepper.decode(StepInput(np.full((3, 1), 7), np.full(3, position), Need.BEST))
    assert 0 < stepper.cache_bytes <= 3 * row_bytes
    with pytest.raises(EngineError, match="kv-cache-mb"):
        T5Generator(artifact, settings, rows=4, cache_bytes=row_bytes - 1)


def first_logits(stepper):
    output = stepper.decode(
        StepInput(np.zeros((stepper.rows, 1), np.int64), np.zeros(stepper.rows, np.int64), Need.LOGITS)
    )
    return output.logits[:, 0].copy()


def test_a_source_that_can_not_be_read_leaves_nothing_bound_to_slots_that_are_gone(generator):
    """It has a short slot made; the next one is as long as the last, and lies elsewhere."""
    fresh = generator.stepper()
    fresh.prefill([LONG])
    expected = first_logits(fresh)

    stepper = generator.stepper()
    stepper.prefill([LONG[::-1].copy()])
    first_logits(stepper)
    held = list(stepper._cross._buffers)  # so that the memory is not given out again by chance
    stepper.keep([])
    with pytest.raises(EngineError):
        stepper.prefill([UNREADABLE])
    stepper.prefill([LONG])

    np.testing.assert_array_equal(first_logits(stepper), expected)
    assert held
