from pathlib import Path

import pytest
from rolecall_server.engine.embedded import CPU_BATCH_TOKENS, GPU_BATCH_TOKENS
from rolecall_server.engine.registry import EngineOptions, create_engine
from rolecall_server.errors import NotImplementedYetError
from rolecall_server.types import ModelKey

from tests.fixtures_models import tiny_repository
from tests.observers import ListObserver


def made(backend, options):
    return create_engine(backend, options, on_health=lambda serving, reason: None, observer=ListObserver())


@pytest.mark.parametrize("backend", ["embedded", "fake"])
def test_a_backend_by_its_name(backend, tmp_path):
    assert made(backend, EngineOptions(tmp_path)).info.backend == backend


def test_what_is_not_built_yet_says_so():
    with pytest.raises(NotImplementedYetError, match="triton"):
        made("triton", EngineOptions(Path()))


def test_an_unknown_name_names_the_known():
    with pytest.raises(ValueError, match="embedded, fake"):
        made("tensorflow", EngineOptions(Path()))


def test_given_numbers_of_threads_are_kept(tmp_path):
    options = EngineOptions(tmp_path, workers=3, intra_op_threads=2)

    assert made("embedded", options).info.parallelism == 3


@pytest.mark.parametrize(
    ("version", "providers", "tokens"),
    [("1", "auto", CPU_BATCH_TOKENS), ("2", "auto", GPU_BATCH_TOKENS), ("2", "cpu", CPU_BATCH_TOKENS)],
)
def test_the_version_to_be_loaded_decides_between_cpu_and_gpu(tmp_path, version, providers, tokens):
    """And not whatever else the repository holds."""
    tiny_repository(tmp_path, "1")
    tiny_repository(tmp_path, "2", manifest={"provider": "cuda"})
    options = EngineOptions(tmp_path, first=ModelKey("encoder", version), providers=providers)

    assert made("embedded", options).info.preferred_batch_tokens == tokens


@pytest.mark.parametrize("version", ["1", "7"])
def test_a_version_that_cannot_be_read_is_told_when_it_is_loaded(tmp_path, version):
    tiny_repository(tmp_path, manifest={"format": 99})
    options = EngineOptions(tmp_path, first=ModelKey("encoder", version))

    assert made("embedded", options).info.preferred_batch_tokens == CPU_BATCH_TOKENS


async def test_the_embedded_engine_reads_the_repository_it_is_given(tmp_path):
    engine = made("embedded", EngineOptions(tiny_repository(tmp_path)))
    try:
        (key,) = [model.info.key for model in [await engine.load(ModelKey("encoder", "1"))]]
        assert key == ModelKey("encoder", "1")
    finally:
        await engine.close()
