from pathlib import Path

import pytest
from rolecall_server.engine.registry import EngineOptions, create_engine
from rolecall_server.errors import NotImplementedYetError

from tests.fixtures_models import tiny_repository


def ignore(serving, reason):
    pass


@pytest.mark.parametrize("backend", ["embedded", "fake"])
def test_a_backend_by_its_name(backend, tmp_path):
    assert create_engine(backend, EngineOptions(tmp_path), on_health=ignore).info.backend == backend


def test_what_is_not_built_yet_says_so():
    with pytest.raises(NotImplementedYetError, match="triton"):
        create_engine("triton", EngineOptions(Path()), on_health=ignore)


def test_an_unknown_name_names_the_known():
    with pytest.raises(ValueError, match="embedded, fake"):
        create_engine("tensorflow", EngineOptions(Path()), on_health=ignore)


def test_given_numbers_of_threads_are_kept(tmp_path):
    options = EngineOptions(tmp_path, workers=3, intra_op_threads=2)

    assert create_engine("embedded", options, on_health=ignore).info.parallelism == 3


async def test_the_embedded_engine_reads_the_repository_it_is_given(tmp_path):
    engine = create_engine("embedded", EngineOptions(tiny_repository(tmp_path)), on_health=ignore)
    try:
        (key,) = [model.info.key for model in [await engine.load(_key())]]
        assert key == _key()
    finally:
        await engine.close()


def _key():
    from rolecall_server.types import ModelKey

    return ModelKey("encoder", "1")
