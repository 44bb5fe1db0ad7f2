"""The stepper for devices, run with the device "cpu": beside the stepper for CPUs, step by step, and alone."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from rolecall_server.engine.generators import GenerationOptions
from rolecall_server.engine.opening import open_generator
from rolecall_server.engine.ort import providers
from rolecall_server.engine.ort.create import SessionSettings
from rolecall_server.engine.ort.t5_device_sessions import T5DeviceSessions, made_for_device
from rolecall_server.engine.ort.t5_device_step import rounded_rows, rounded_width
from rolecall_server.engine.ort.t5_device_stepper import T5DeviceStepper
from rolecall_server.engine.ort.t5_generator import T5Generator
from rolecall_server.engine.ort.t5_stepper import T5Stepper
from rolecall_server.errors import EngineError
from rolecall_server.generation.stepper import Need, StepInput, StepOutput, Stepper
from rolecall_server.repository import Artifact

from tests.requirements import require_module
from tests.unit.engine.ort.t5_artifacts import EOS, MAX_NEW_TOKENS, MAX_SOURCE_TOKENS, VOCABULARY, write_artifact

ROWS = 6
ON_CPU = SessionSettings(providers=("cpu",))


def has_gpu() -> bool:
    """Whether CUDA is there and works; a CUDA build without a GPU lists the provider all the same."""
    if "cuda" not in providers.available():
        return False
    try:
        ort.OrtValue.ortvalue_from_shape_and_type([1], np.float32, "cuda", 0)
    except RuntimeError:
        return False
    return True


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_module("rolecall_export")
    return tmp_path_factory.mktemp("t5")


@pytest.fixture(scope="module")
def host(folder: Path) -> T5Generator:
    """In float32, by the stepper for CPUs."""
    from rolecall_export.families.t5 import build

    return T5Generator(write_artifact(folder / "host", build), ON_CPU, rows=ROWS)


def device_artifact(folder: Path, kind: str) -> Artifact:
    """Made for a device, in "float32" or by the preset "gpu-fp16"..., with its graphs written once."""
    from rolecall_export.families.t5 import build
    from rolecall_export.t5_presets import PRESETS

    def float32(weights: Any) -> Any:
        return build(weights, padded=True)

    convert: Callable[[Any], Any] = float32 if kind == "float32" else PRESETS[kind].convert
    return write_artifact(folder / f"{kind}-{len(list(folder.iterdir()))}", convert, provider="cuda")


@pytest.fixture(scope="module")
def device(folder: Path) -> T5Generator:
    """In float32, by the stepper for devices."""
    return T5Generator(device_artifact(folder, "float32"), ON_CPU, rows=ROWS)


@pytest.fixture(scope="module")
def half(folder: Path) -> T5Generator:
    return T5Generator(device_artifact(folder, "gpu-fp16"), ON_CPU, rows=ROWS)


def source(generator: random.Random, length: int) -> np.ndarray:
    return np.array([generator.randrange(3, VOCABULARY) for _ in range(length - 1)] + [EOS], np.int64)


def one_step(stepper: Stepper, tokens: Sequence[Sequence[int]], positions: Sequence[int], need: Need) -> StepOutput:
    return stepper.decode(StepInput(np.array(tokens, np.int64), np.array(positions, np.int64), need))


def logits(stepper: Stepper, tokens: Sequence[Sequence[int]], positions: Sequence[int]) -> np.ndarray:
    found = one_step(stepper, tokens, positions, Need.LOGITS).logits
    assert found is not None
    return found.copy()


def follow(steppers: Sequence[Stepper], compare: Callable[[Sequence[np.ndarray]], None], *, seed: int) -> None:
    """Rows that come, run, fork, change places and leave, the same in all steppers."""
    chance = random.Random(seed)
    ages: list[int] = []
    for _ in range(25):
        room = ROWS - len(ages)
        count = chance.randint(0 if ages else 1, room) if room else 0
        if count and chance.random() < 0.5:
            sources = [source(chance, chance.choice((1, 2, 15, 16, 17, 63, MAX_SOURCE_TOKENS))) for _ in range(count)]
            for stepper in steppers:
                stepper.prefill(sources)
            ages += [0] * count
        if not ages:
            continue
        width = chance.choice((1, 1, 1, 2, 3, 5))
        tokens = [[chance.randrange(VOCABULARY) for _ in range(width)] for _ in ages]
        compare([logits(stepper, tokens, ages) for stepper in steppers])
        # Some of the tokens are accepted, as if they had been drafted.
        ages = [age + chance.randint(1, width) for age in ages]
        alive = [row for row, age in enumerate(ages) if age < MAX_NEW_TOKENS - 5]
        kept = [chance.choice(alive) for _ in range(chance.randint(0, ROWS))] if alive else []
        if len(kept) != len(ages) or chance.random() < 0.5:
            for stepper in steppers:
                stepper.keep(kept)
            ages = [ages[row] for row in kept]
    for stepper in steppers:
        stepper.keep([])


@pytest.mark.parametrize("seed", range(4))
def test_it_gives_the_logits_of_the_stepper_for_cpus(host: T5Generator, device: T5Generator, seed: int):
    seen = []

    def same(both: Sequence[np.ndarray]) -> None:
        np.testing.assert_allclose(both[1], both[0], atol=2e-4, rtol=0)
        seen.append(both[0])

    follow([host.stepper(), device.stepper()], same, seed=seed)
    assert len(seen) > 10
    assert len({round(float(each.flat[0]), 3) for each in seen}) > 5


def test_half_precision_stays_close_to_float32(host: T5Generator, half: T5Generator):
    def close(both: Sequence[np.ndarray]) -> None:
        assert np.isfinite(both[1]).all()
        assert np.abs(both[1] - both[0]).max() < 0.05 * np.abs(both[0]).max()

    follow([host.stepper(), half.stepper()], close, seed=0)


@pytest.mark.parametrize("preset", ["gpu-int8", "gpu-int4"])
def test_presets_for_gpus_run_on_a_cpu_to_be_verified(folder: Path, preset: str):
    stepper = T5Generator(device_artifact(folder, preset), ON_CPU, rows=2).stepper()
    stepper.prefill([np.array([5, 6, EOS])])
    assert np.isfinite(logits(stepper, [[0]], [0])).all()


def test_a_row_gives_the_same_alone_and_in_any_company(half: T5Generator):
    """Its texts padded to another length, in another place, beside rows of other ages, in a wider shape."""
    chance = random.Random(3)
    mine, others = source(chance, 21), [source(chance, length) for length in (4, 79, 33)]
    tokens = [chance.randrange(VOCABULARY) for _ in range(12)]

    alone = half.stepper()
    alone.prefill([mine])
    expected = [logits(alone, [[token]], [place])[0] for place, token in enumerate(tokens)]

    company = half.stepper()
    company.prefill(others[:2])
    for place in range(3):
        one_step(company, [[7], [8]], [place] * 2, Need.BEST)
    company.prefill([mine, others[2]])
    for place, token in enumerate(tokens):
        ages = [3 + place, 3 + place, place, place]
        found = logits(company, [[9], [10], [token], [11]], ages)[2]
        np.testing.assert_allclose(found, expected[place], atol=2e-2, rtol=0)
        assert found.argmax() == expected[place].argmax()


def test_rows_that_repeat_and_change_places(device: T5Generator):
    """[2, 0, 0, 1, 2] all at once: each becomes what the other was before, not what it has just become."""
    chance = random.Random(5)
    stepper = device.stepper()
    stepper.prefill([source(chance, length) for length in (9, 30, 64)])
    first = [[3], [4], [5]]
    one_step(stepper, first, [0] * 3, Need.BEST)
    before = logits(stepper, [[6]] * 3, [1] * 3)
    stepper.keep([2, 0, 0, 1, 2])
    np.testing.assert_allclose(logits(stepper, [[6]] * 5, [1] * 5), before[[2, 0, 0, 1, 2]], atol=1e-5)
    stepper.keep([4, 3])
    np.testing.assert_allclose(logits(stepper, [[6]] * 2, [1] * 2), before[[2, 1]], atol=1e-5)


def test_candidates_are_the_greatest_logits_in_order(device: T5Generator):
    stepper = device.stepper()
    stepper.prefill([np.array([5, 6, EOS]), np.array([EOS])])
    all_of_them = one_step(stepper, [[0, 4, 9], [0, 3, 8]], [0, 0], Need.LOGITS)
    assert all_of_them.logits is not None
    expected = all_of_them.logits.copy()
    output = one_step(stepper, [[0, 4, 9], [0, 3, 8]], [0, 0], Need.TOP)

    assert output.logits is None
    assert output.top_logits is not None
    assert output.top_ids is not None
    assert output.log_sum_exp is not None
    assert output.best.shape == (2, 3)
    assert output.top_ids.shape == (2, 3, 64)
    assert (output.best == expected.argmax(-1)).all()
    np.testing.assert_allclose(output.top_logits, -np.sort(-expected, axis=-1)[..., :64], atol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(expected, output.top_ids, -1), output.top_logits, atol=1e-5)
    np.testing.assert_allclose(output.log_sum_exp, np.log(np.exp(expected).sum(-1)), atol=1e-4)
    only_best = one_step(stepper, [[0, 4, 9], [0, 3, 8]], [0, 0], Need.BEST)
    assert (only_best.top_ids, only_best.log_sum_exp) == (None, None)
    assert (only_best.best == expected.argmax(-1)).all()


def test_a_draft_is_verified_up_to_the_last_place(device: T5Generator):
    """The widest step at the last position: what is padded to the next width still has room."""
    info = device.info
    stepper = device.stepper()
    stepper.prefill([np.array([5, EOS])])
    width = info.max_width - 1
    assert logits(stepper, [[3] * width], [info.max_new_tokens - 1]).shape == (1, width, VOCABULARY)
    with pytest.raises(ValueError, match="places of a row"):
        one_step(stepper, [[3]], [10_000], Need.BEST)


def spoil(stepper: Stepper, rows: Sequence[int]) -> None:
    """Put something that is no number into the caches of rows."""
    if isinstance(stepper, T5DeviceStepper):
        value = stepper._own._values[0]
        spoilt = value.numpy().copy()
        spoilt[list(rows)] = np.nan
        value.update_inplace(spoilt)
    else:
        assert isinstance(stepper, T5Stepper)
        stepper._own._buffers[0][list(rows)] = np.nan


@pytest.mark.parametrize("on_device", [True, False])
def test_what_is_no_number_stays_with_the_row_that_has_it(host: T5Generator, device: T5Generator, on_device: bool):
    """Its slot is clean for the next, and so is the row that takes its place."""
    stepper = (device if on_device else host).stepper()
    stepper.prefill([np.array([5, EOS]), np.array([6, EOS]), np.array([7, 8, EOS])])
    expected = logits(stepper, [[3]] * 3, [0] * 3)
    spoil(stepper, [0, 2])
    output = one_step(stepper, [[3]] * 3, [0] * 3, Need.BEST)
    assert (output.best[:, 0] < 0).tolist() == [True, False, True]

    stepper.keep([1])
    np.testing.assert_allclose(logits(stepper, [[3]], [0]), expected[1:2], atol=1e-5)
    stepper.prefill([np.array([5, EOS]), np.array([7, 8, EOS])])
    np.testing.assert_allclose(logits(stepper, [[3]] * 3, [0] * 3), expected[[1, 0, 2]], atol=1e-5)


def test_no_more_rows_than_there_is_room_for(device: T5Generator):
    stepper = device.stepper()
    stepper.prefill([np.array([EOS])] * 4)
    with pytest.raises(ValueError, match="there is room for 6"):
        stepper.prefill([np.array([EOS])] * 3)
    assert stepper.rows == 4
    with pytest.raises(EngineError, match=r"generator/1.*longer than the model"):
        stepper.prefill([np.ones(MAX_SOURCE_TOKENS + 1, np.int64)])
    assert stepper.rows == 4
    with pytest.raises(ValueError, match="a step of 3 rows"):
        one_step(stepper, [[0]] * 3, [0] * 3, Need.BEST)


def test_nothing_of_what_a_captured_graph_has_seen_moves(folder: Path):
    """Addresses of the caches stay, each shape has one binding, and no two places in memory share a graph's number."""
    sessions = T5DeviceSessions(device_artifact(folder, "float32"), ON_CPU)
    info = T5Generator(sessions.artifact, ON_CPU, rows=ROWS).info
    steppers = [T5DeviceStepper(sessions, info) for _ in range(2)]
    numbers = []
    for stepper in steppers:
        stepper.prefill([np.array([EOS])] * 3)
        before = [*stepper._own.addresses(0), *stepper._cross.addresses(0)]
        size = stepper.cache_bytes
        for rows, width, need in ((3, 1, Need.BEST), (4, 3, Need.TOP), (5, 4, Need.BEST), (2, 1, Need.LOGITS)):
            stepper.keep([0] * rows)
            one_step(stepper, [[0] * width] * rows, [0] * rows, need)
            one_step(stepper, [[0] * width] * rows, [1] * rows, need)
        assert [*stepper._own.addresses(0), *stepper._cross.addresses(0)] == before
        assert stepper.cache_bytes == size
        assert set(stepper._steps) == {(4, 1, False), (4, 4, False), (8, 4, False), (2, 1, True)}
        numbers += [each._options.get_run_config_entry("gpu_graph_id") for each in stepper._steps.values()]
    captured = [number for number in numbers if number != "-1"]
    assert len(captured) == len(set(captured)) == 6
    assert numbers.count("-1") == 2


def test_the_step_graph_has_no_branch(folder: Path):
    onnx = require_module("onnx")
    artifact = device_artifact(folder, "gpu-fp16")
    graph = onnx.load(artifact.step_graph, load_external_data=False).graph
    assert not {"If", "Loop", "Scan"} & {node.op_type for node in graph.node}
    assert "ranked" not in {value.name for value in graph.input}
    assert made_for_device(artifact)


def test_cuda_graphs_are_for_one_thread(folder: Path):
    settings = SessionSettings(cuda_graphs=True)
    with pytest.raises(EngineError, match="one generation worker, not 2"):
        open_generator(device_artifact(folder, "gpu-fp16"), settings, GenerationOptions(max_rows=8, lanes=2))


def test_shapes_are_few():
    assert [rounded_rows(rows) for rows in (1, 2, 3, 5, 8, 9, 16, 17, 33)] == [1, 2, 4, 8, 8, 16, 16, 24, 40]
    assert [rounded_width(width) for width in (1, 2, 3, 5, 9, 16)] == [1, 2, 4, 8, 16, 16]


@pytest.mark.skipif(not has_gpu(), reason="needs a GPU that ONNX Runtime can use")
@pytest.mark.parametrize("cuda_graphs", [False, True])
@pytest.mark.parametrize("kind", ["float32", "gpu-fp16", "gpu-bf16", "gpu-int8"])
def test_on_a_gpu(host: T5Generator, folder: Path, kind: str, cuda_graphs: bool):
    settings = SessionSettings(providers=("cuda",), cuda_graphs=cuda_graphs)
    generator = T5Generator(device_artifact(folder, kind), settings, rows=ROWS)
    assert generator.loaded.fallback_nodes == 0
    share = 0.002 if kind == "float32" else 0.15  # of the greatest logit; TF32 is on

    def close(both: Sequence[np.ndarray]) -> None:
        assert np.abs(both[1] - both[0]).max() < share * np.abs(both[0]).max()

    follow([host.stepper(), generator.stepper()], close, seed=1)
