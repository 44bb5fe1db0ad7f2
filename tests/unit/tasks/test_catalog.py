import asyncio

import pytest
from rolecall_server.engine.fake import fake_info
from rolecall_server.errors import InvalidInputError, ModelNotFoundError, ModelNotLoadedError, UnavailableError
from rolecall_server.tasks.catalog import Catalog, Section
from rolecall_server.types import ModelKey

from tests.unit.tasks.pieces import settled


class Known:
    """A model as far as the catalog looks at it."""

    def __init__(self, name, version):
        self.info = fake_info(ModelKey(name, version))


def exists(name, version):
    with pytest.raises(RuntimeError):  # it may read a disk: never on the event loop
        asyncio.get_running_loop()
    return (name, version) in {("encoder", "3"), ("resting", "1"), ("resting", "")}


@pytest.fixture
def catalog():
    """encoder 2, 9 and 10 are loaded; encoder 3 and resting 1 lie in the repository."""
    made = Catalog("encoder", exists)
    for version in ("9", "10", "2"):
        made.add(Known("encoder", version))
    made.add(Known("other", "1"))
    return made


@pytest.mark.parametrize(
    ("name", "version", "found"),
    [("encoder", "", "encoder/10"), ("encoder", "2", "encoder/2"), ("other", "", "other/1")],
)
async def test_a_request_finds_its_version(catalog, name, version, found):
    assert str(await catalog.find(name, version)) == found


@pytest.mark.parametrize(
    ("name", "version", "error"),
    [
        ("encoder", "3", ModelNotLoadedError),
        ("resting", "1", ModelNotLoadedError),
        ("resting", "", ModelNotLoadedError),
        ("encoder", "4", ModelNotFoundError),
        ("encoder", "02", ModelNotFoundError),
        ("nobody", "", ModelNotFoundError),
        ("nobody", "1", ModelNotFoundError),
    ],
)
async def test_what_is_not_there_is_told_apart(catalog, name, version, error):
    with pytest.raises(error, match=f"{name}.*{version}"):
        await catalog.find(name, version)


async def test_without_any_version_the_essential_model_is_unavailable_and_not_unknown():
    empty = Catalog("encoder", exists)

    with pytest.raises(UnavailableError):
        await empty.find("encoder", "")
    with pytest.raises(ModelNotFoundError):
        await empty.find("generator", "")


class Other(Known):
    """A model of another kind."""


async def test_a_section_has_its_own_default_and_its_own_kind(catalog):
    catalog.add(Other("generator", "1"))
    section = Section(catalog, Other, "generator")

    for name in ("", "generator"):
        async with section.use(name, "") as found:
            assert str(found.info.key) == "generator/1"
    with pytest.raises(InvalidInputError) as caught:
        async with section.use("encoder", "2"):
            raise AssertionError
    assert caught.value.field == "model"
    await asyncio.wait_for(catalog.retire(ModelKey("encoder", "2"), nothing), 10)  # it was given back


async def nothing(key):
    return None


async def test_whoever_wants_to_know_hears_of_every_change_of_what_serves():
    heard = []
    catalog = Catalog("encoder", exists, on_change=lambda: heard.append(len(catalog.serving())))
    for version in ("1", "2"):
        catalog.add(Known("encoder", version))
    await catalog.retire(ModelKey("encoder", "1"), nothing)
    async with catalog.use("encoder", "2"):
        retiring = asyncio.create_task(catalog.retire(ModelKey("encoder", "2"), nothing))
        await settled()
        retiring.cancel()
        await asyncio.wait([retiring])

    assert heard == [1, 2, 1, 0, 1]


async def test_a_version_is_retired_once_nobody_uses_it(catalog):
    unloaded = []
    key = ModelKey("encoder", "10")

    async def unload(key):
        unloaded.append(key)

    async with catalog.use("encoder", "") as first:
        async with catalog.use("encoder", "10"):
            retiring = asyncio.create_task(catalog.retire(key, unload))
            await settled()
            assert [encoder.info.key for encoder in catalog.leaving()] == [key]
            with pytest.raises(ModelNotLoadedError):
                await catalog.find("encoder", "10")
            assert str(await catalog.find("encoder", "")) == "encoder/9"
            with pytest.raises(ModelNotLoadedError):
                await catalog.retire(key, unload)
        await settled()
        assert (first.info.key, unloaded) == (key, [])
    await retiring
    assert unloaded == [key]
    with pytest.raises(ModelNotFoundError):
        await catalog.find("encoder", "10")


async def test_one_who_comes_and_goes_does_not_free_what_another_uses(catalog):
    done = []

    async def unload(key):
        done.append(key)

    users = [catalog.use("other", "1") for _ in range(2)]
    for user in users:
        await user.__aenter__()
    retiring = asyncio.create_task(catalog.retire(ModelKey("other", "1"), unload))
    await settled()
    await users[0].__aexit__(None, None, None)
    await settled()
    assert done == []
    await users[1].__aexit__(None, None, None)
    await retiring
    assert len(done) == 1


async def test_a_retirement_that_is_given_up_leaves_the_version_serving(catalog):
    async def unload(key):
        raise AssertionError

    async with catalog.use("other", ""):
        retiring = asyncio.create_task(catalog.retire(ModelKey("other", "1"), unload))
        await settled()
        retiring.cancel()
        await asyncio.wait([retiring])
    assert str(await catalog.find("other", "")) == "other/1"
    assert catalog.leaving() == []


async def test_a_failing_request_gives_its_version_back(catalog):
    with pytest.raises(ZeroDivisionError):
        async with catalog.use("other", ""):
            raise ZeroDivisionError
    unloaded = []

    async def unload(key):
        unloaded.append(key)

    await asyncio.wait_for(catalog.retire(ModelKey("other", "1"), unload), 10)
    assert len(unloaded) == 1
