"""The benches over the wire, against a small server of known behaviour."""

import asyncio
import json

import pytest
from rolecall_load.bench.cli import main

from tests.fixtures_models import tiny_repository
from tests.integration.load_server import Behaviour, load_server

FAST = {"seconds": 0.0, "slots": 64, "waiting": 10_000}
INVARIANCE = ["--texts", "60", "--length", "20", "--by-text", "10"]


async def run(command, behaviour, file, *arguments):
    async with load_server(behaviour) as address:
        code = await asyncio.to_thread(main, [command, "--address", address, *arguments, "--json", str(file)])
    return code, json.loads(file.read_text()) if file.exists() else None


async def test_invariance_of_a_server_whose_texts_do_not_see_each_other(tmp_path):
    code, found = await run("invariance", Behaviour(**FAST), tmp_path / "found.json", *INVARIANCE)
    assert code == 0
    assert found["largest"] == 0.0
    assert found["identical"] == 60
    assert max(found["batch_sizes"]) > 1


async def test_invariance_finds_neighbours_that_leak(tmp_path):
    code, found = await run("invariance", Behaviour(**FAST, noise=1e-3), tmp_path / "found.json", *INVARIANCE)
    assert code == 1
    assert found["embedding_difference"] == pytest.approx(1e-3, rel=0.01)
    assert found["score_difference"] > 1e-6
    assert found["score_difference_by_text"] > 1e-6


async def test_invariance_refuses_answers_from_the_cache(tmp_path, capsys):
    code, found = await run("invariance", Behaviour(**FAST, cached=True), tmp_path / "found.json", *INVARIANCE)
    assert (code, found) == (2, None)
    assert "--embedding-cache-mb 0" in capsys.readouterr().err


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "esco"
    folder.mkdir()
    rows = [f'uri{n},occupation {n},"other name {n}"\n' for n in range(40)]
    (folder / "occupations.csv").write_text("ORIGINURI,PREFERREDLABEL,ALTLABELS\n" + "".join(rows))
    return ["--data", str(tmp_path), "--sets", "esco"]


async def test_quality_against_a_second_server(tmp_path, data):
    async with load_server(Behaviour(**FAST)) as reference:
        more = [*data, "--reference-address", reference]
        code, found = await run("quality", Behaviour(**FAST), tmp_path / "found.json", *more)
    assert code == 0
    result = found["sets"][0]
    assert (result["queries"], result["documents"]) == (40, 40)
    assert result["difference"]["MRR"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert result["cosine_min"] == pytest.approx(1.0)


async def test_quality_against_a_repository_run_directly(tmp_path, data):
    """The tiny encoder and the made-up server have nothing in common but the number of texts."""
    repository = tiny_repository(tmp_path / "repository", dimensions=8)
    more = [*data, "--reference", str(repository), "--tolerance", "1"]
    code, found = await run("quality", Behaviour(**FAST), tmp_path / "found.json", *more)
    assert code == 0
    assert found["sets"][0]["cosine_mean"] < 0.9
    code, _ = await run("quality", Behaviour(**FAST), tmp_path / "again.json", *more[:-1], "-1")
    assert code == 1


async def test_quality_of_a_server_that_fails_an_input(tmp_path, data, capsys):
    code, _ = await run("quality", Behaviour(**FAST, failing_items=True), tmp_path / "found.json", *data)
    assert code == 2
    assert "was not embedded" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--sets", "unknown"], ["--sets", "csco"]])
def test_sets_that_are_not_there(tmp_path, arguments, capsys):
    assert main(["quality", "--address", "127.0.0.1:1", "--data", str(tmp_path), *arguments]) == 2
    assert "rolecall-bench: " in capsys.readouterr().err
