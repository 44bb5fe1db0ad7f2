"""ModelTask on the fake engine: states, permission, changes that meet."""

import asyncio

import pytest
from rolecall_server.engine.fake import fake_info
from rolecall_server.errors import (
    EngineError,
    ModelNotFoundError,
    ModelNotLoadedError,
    NotPermittedError,
    UnavailableError,
)
from rolecall_server.tasks.models import ModelState, ModelTask
from rolecall_server.types import ModelKey

from tests.unit.tasks.pieces import assembled, make_encoder, settled

ONE, TWO, BROKEN = (ModelKey("encoder", version) for version in ("1", "2", "3"))


class Shelf:
    """Three versions; the manifest of the third can't be read."""

    def __init__(self):
        self.keys = [ONE, TWO, BROKEN]
        self.reason = "unreadable"

    def versions(self):
        self.require_thread()
        return self.keys

    def require_thread(self):
        with pytest.raises(RuntimeError):  # it may read a disk: never on the event loop
            asyncio.get_running_loop()

    def latest(self, name):
        self.require_thread()
        if name != "encoder":
            raise ModelNotFoundError(name)
        return TWO

    def info(self, key):
        self.require_thread()
        if key == BROKEN:
            raise EngineError(self.reason)
        if key not in self.keys:
            raise ModelNotFoundError(key.name, key.version)
        return fake_info(key, dimensions=16, max_tokens=64)


def task(it, *, allow_control=True, make=None):
    async def made(loaded):
        return make_encoder(loaded.info, it.shared)

    return ModelTask(
        shelf=Shelf(),
        catalog=it.catalog,
        control=it.engine,
        batcher=it.batcher,
        make_model=make or made,
        observer=it.observer,
        allow_control=allow_control,
    )


def assembled_with_two(**options):
    return assembled(versions=("1", "2"), **options)


async def states(models):
    return {model.info.key.version: model.state for model in await models.list()}


async def test_versions_are_listed_with_their_states_and_unreadable_ones_left_out(caplog):
    async with assembled_with_two() as it:
        assert await states(task(it)) == {"1": ModelState.READY, "2": ModelState.AVAILABLE}
        assert "can't be listed" in caplog.text


async def test_what_is_wrong_with_a_version_is_told_once_and_again_when_it_changes(caplog):
    async with assembled_with_two() as it:
        models = task(it)
        for _ in range(3):
            await models.list()
        assert caplog.text.count("can't be listed") == 1
        models._shelf.reason = "unreadable in another way"
        await models.list()
        assert caplog.text.count("can't be listed") == 2


async def test_what_is_loaded_is_listed_without_a_look_at_the_repository():
    async with assembled_with_two() as it:
        models = task(it)
        models._shelf = None
        assert [(model.info.key, model.state) for model in models.loaded()] == [(ONE, ModelState.READY)]
        assert (await models.get("encoder", "1")).state is ModelState.READY


async def test_one_is_got_from_its_own_folder(monkeypatch):
    async with assembled_with_two() as it:
        monkeypatch.setattr(Shelf, "versions", None)
        assert (await task(it).get("encoder", "2")).state is ModelState.AVAILABLE
        with pytest.raises(EngineError):
            await task(it).get("encoder", "3")


async def test_one_is_got_by_version_or_as_the_newest_that_serves():
    async with assembled_with_two() as it:
        models = task(it)
        assert (await models.get("encoder", "")).info.key == ONE
        assert (await models.get("encoder", "2")).state is ModelState.AVAILABLE
        await models.load("encoder", "")
        assert (await models.get("encoder", "")).info.key == TWO
        for name, version in (("encoder", "9"), ("nobody", ""), ("nobody", "1")):
            with pytest.raises(ModelNotFoundError):
                await models.get(name, version)


async def test_nothing_changes_without_leave():
    async with assembled_with_two() as it:
        models = task(it, allow_control=False)
        for change in (models.load("encoder", "2"), models.unload("encoder", "1"), models.load("nobody", "")):
            with pytest.raises(NotPermittedError):
                await change
        assert (await states(models))["1"] is ModelState.READY
        assert (await models.load_key(TWO)).state is ModelState.READY


async def test_loads_and_unloads_are_reported_once_each():
    async with assembled_with_two() as it:
        models = task(it)
        answers = await asyncio.gather(*(models.load("encoder", "2") for _ in range(4)))
        assert {answer.info.key for answer in answers} == {TWO}
        await models.unload("encoder", "1")
        assert it.observer.models == [("encoder/2", True), ("encoder/1", False)]
        assert await states(models) == {"1": ModelState.AVAILABLE, "2": ModelState.READY}
        with pytest.raises(ModelNotFoundError):  # this catalog's repository knows of no version 1
            await models.unload("encoder", "1")


async def test_loads_that_meet_do_not_lose_sight_of_a_user():
    """Two loads of one version, then an unload while a request runs on it: the engine keeps it until the end."""
    async with assembled_with_two() as it:
        models = task(it)
        await asyncio.gather(models.load("encoder", "2"), models.load("encoder", "2"))
        async with it.catalog.use("encoder", "2"):
            await asyncio.gather(models.load("encoder", "2"), models.load("encoder", "2"))
            unloading = asyncio.create_task(models.unload("encoder", "2"))
            await settled()
            assert TWO in {model.info.key for model in it.engine.loaded()}
            assert (await states(models))["2"] is ModelState.UNLOADING
        await unloading
        assert TWO not in {model.info.key for model in it.engine.loaded()}


async def test_a_load_during_an_unload_waits_and_wins():
    async with assembled_with_two() as it:
        models = task(it)
        async with it.catalog.use("encoder", "1"):
            unloading = asyncio.create_task(models.unload("encoder", "1"))
            await settled()
            with pytest.raises(ModelNotLoadedError):
                await models.unload("encoder", "1")
            loading = asyncio.create_task(models.load("encoder", "1"))
            await settled()
            assert not loading.done()
            await asyncio.wait_for(models.load("encoder", "2"), 10)
        await unloading
        assert (await loading).state is ModelState.READY
        assert ONE in {model.info.key for model in it.engine.loaded()}
        assert (await states(models))["1"] is ModelState.READY


async def test_a_version_whose_tokenizer_is_damaged_is_not_left_loaded():
    async def damaged(loaded):
        raise EngineError("unreadable tokenizer.json")

    async with assembled_with_two() as it:
        models = task(it, make=damaged)
        with pytest.raises(EngineError):
            await models.load("encoder", "2")
        assert [model.info.key for model in it.engine.loaded()] == [ONE]
        assert it.observer.models == []
        assert (await task(it).load("encoder", "2")).state is ModelState.READY


async def test_unknown_models_and_a_closed_engine_are_told_apart():
    async with assembled_with_two() as it:
        models = task(it)
        with pytest.raises(ModelNotFoundError):
            await models.load("nobody", "")
        with pytest.raises(ModelNotFoundError):
            await models.load("encoder", "99")
        await it.engine.close()
        with pytest.raises(UnavailableError):
            await models.load("encoder", "2")
