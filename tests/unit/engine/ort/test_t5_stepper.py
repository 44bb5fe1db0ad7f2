"""What is of the stepper for CPUs alone; test_t5_device.py has what both must do."""

import numpy as np
import pytest
from rolecall_server.engine.ort.create import SessionSettings
from rolecall_server.engine.ort.t5_generator import T5Generator
from rolecall_server.errors import EngineError
from rolecall_server.generation.stepper import Need, StepInput

from tests.requirements import require_module
from tests.unit.engine.ort.t5_artifacts import EOS, VOCABULARY, write_artifact

LONG = np.array([*range(5, 75), EOS])
UNREADABLE = np.array([VOCABULARY + 5, EOS])


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> T5Generator:
    require_module("rolecall_export")
    from rolecall_export.families.t5 import build

    artifact = write_artifact(tmp_path_factory.mktemp("t5") / "host", build)
    return T5Generator(artifact, SessionSettings(providers=("cpu",)), rows=4)


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
