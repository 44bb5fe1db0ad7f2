"""Parity with transformers on the trained checkpoints, through loop, decoding and the real graphs.

`pytest -s tests/integration/test_parity_t5.py` prints the report: share of the texts that are transformers', token for
token. The batches hold 8 rows, joined and left by whoever comes next.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rolecall_export.cli import main
from rolecall_server.engine.ort.create import SessionSettings
from rolecall_server.engine.ort.t5_generator import T5Generator
from rolecall_server.generation.types import Decoding, EarlyStopping, Finished, GenerationRequest
from rolecall_server.repository import ModelRepository
from rolecall_server.types import ModelKey, Priority
from tokenizers import Tokenizer

from tests import fixtures_t5
from tests.unit.generation.machine import FOREVER, Machine

COUNT = 200
BEAM_COUNT = 100
ALONE_COUNT = 60
NEW_TOKENS = 99  # transformers' max_length=100
ROWS = 8
BEAMS = {"num_beams": 4, "early_stopping": True}
Texts = list[tuple[int, ...]]

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Ours:
    """What the loop made of some sources. scores: of each best hypothesis. drafted, accepted: tokens over all."""

    texts: Texts
    scores: list[float]
    drafted: int
    accepted: int
    steps: int


@functools.cache
def rows_of(name: fixtures_t5.Name) -> Texts:
    return fixtures_t5.encode(fixtures_t5.checkpoint(name), fixtures_t5.sources(COUNT))


@functools.cache
def transformers(name: fixtures_t5.Name, *, beams: bool, double: bool = False) -> Texts:
    model = fixtures_t5.load(fixtures_t5.checkpoint(name), double=double)
    rows = rows_of(name)[: BEAM_COUNT if beams else COUNT]
    return fixtures_t5.generate(model, rows, max_new_tokens=NEW_TOKENS, **(BEAMS if beams else {}))


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parity")


def generator(repositories: Path, name: fixtures_t5.Name, preset: str) -> T5Generator:
    repository = repositories / f"{name}-{preset}"
    if not repository.is_dir():
        places = ["--source", str(fixtures_t5.checkpoint(name)), "--repository", str(repository)]
        options = ["--preset", preset, "--languages", "en,zh", "--max-source-tokens", "128", "--max-new-tokens", "128"]
        assert main(["t5", *places, *options, "--accept-drift"]) == 0
    artifact = ModelRepository(repository).artifact(ModelKey("generator", "1"))
    return T5Generator(artifact, SessionSettings(), rows=ROWS)


def ours(
    made: T5Generator, name: fixtures_t5.Name, rows: Sequence[Sequence[int]], *, at_once: int = ROWS, **decoding: Any
) -> Ours:
    tokenizer = Tokenizer.from_file(str(fixtures_t5.checkpoint(name) / "tokenizer.json"))
    machine = Machine(rows=at_once, steppers=[made.stepper()], tokenizer=tokenizer)
    machine.push(
        *(
            GenerationRequest(
                id=number,
                source=np.array(row),
                decoding=Decoding(max_new_tokens=NEW_TOKENS, **decoding),
                priority=Priority.BULK,
                arrived=0.0,
                deadline=FOREVER,
            )
            for number, row in enumerate(rows)
        )
    )
    machine.run()
    ends = [machine.end(number) for number in range(len(rows))]
    finished = [end for end in ends if isinstance(end, Finished)]
    assert len(finished) == len(rows), ends
    return Ours(
        texts=[end.hypotheses[0].token_ids for end in finished],
        scores=[end.hypotheses[0].score for end in finished],
        drafted=sum(end.stats.drafted for end in finished),
        accepted=sum(end.stats.accepted for end in finished),
        steps=sum(end.stats.steps for end in finished),
    )


def equal(left: Texts, right: Texts) -> float:
    return sum(a == b for a, b in zip(left, right, strict=True)) / len(left)


def differing(found: Texts, expected: Texts, exact: Texts) -> list[int]:
    """Where we differ from transformers although its own float64 agrees with its float32: rounding is no excuse."""
    return [
        number
        for number, (mine, single, double) in enumerate(zip(found, expected, exact, strict=True))
        if mine != single and single == double
    ]


@pytest.mark.parametrize("name", fixtures_t5.NAMES)
def test_greedy_is_that_of_transformers_with_and_without_drafts(repositories: Path, name: fixtures_t5.Name) -> None:
    made = generator(repositories, name, "cpu-fp32")
    expected, exact = transformers(name, beams=False), transformers(name, beams=False, double=True)

    company = ours(made, name, rows_of(name))
    drafting = ours(made, name, rows_of(name)[:ALONE_COUNT], at_once=1)
    plain = ours(made, name, rows_of(name)[:ALONE_COUNT], at_once=1, min_new_tokens=1)

    print(
        f"\n{name}, fp32, greedy: {equal(company.texts, expected):.3f} of {COUNT} equal; fp32 and fp64 of transformers "
        f"itself: {equal(expected, exact):.3f}; drafts where each runs alone: {drafting.drafted} proposed, "
        f"{drafting.accepted} held, {drafting.steps} steps instead of {plain.steps}"
    )
    assert differing(company.texts, expected, exact) == []
    assert drafting.texts == plain.texts == company.texts[:ALONE_COUNT]
    assert drafting.accepted > 0
    assert drafting.steps < plain.steps
    assert plain.drafted == 0


@pytest.mark.parametrize("name", fixtures_t5.NAMES)
def test_four_beams_are_those_of_transformers(repositories: Path, name: fixtures_t5.Name) -> None:
    made = generator(repositories, name, "cpu-fp32")
    expected, exact = transformers(name, beams=True), transformers(name, beams=True, double=True)

    found = ours(made, name, rows_of(name)[:BEAM_COUNT], num_beams=4, early_stopping=EarlyStopping.TRUE)

    print(
        f"\n{name}, fp32, 4 beams, early stopping: {equal(found.texts, expected):.3f} of {BEAM_COUNT} equal; "
        f"transformers' own fp32 and fp64: {equal(expected, exact):.3f}; equal to greedy: "
        f"{equal(found.texts, transformers(name, beams=False)[:BEAM_COUNT]):.3f}"
    )
    assert differing(found.texts, expected, exact) == []


@pytest.mark.parametrize("name", fixtures_t5.NAMES)
def test_int8_agrees_and_is_the_same_alone_as_in_company(repositories: Path, name: fixtures_t5.Name) -> None:
    made = generator(repositories, name, "cpu-int8")
    expected = transformers(name, beams=False)

    company = ours(made, name, rows_of(name))
    alone = ours(made, name, rows_of(name)[:ALONE_COUNT], at_once=1).texts
    beams = ours(made, name, rows_of(name)[:BEAM_COUNT], num_beams=4, early_stopping=EarlyStopping.TRUE)

    print(
        f"\n{name}, int8: greedy {equal(company.texts, expected):.3f} of {COUNT} equal to transformers' fp32, 4 beams "
        f"{equal(beams.texts, transformers(name, beams=True)):.3f} of {BEAM_COUNT}; alone = batched "
        f"{equal(alone, company.texts[:ALONE_COUNT]):.3f} of {ALONE_COUNT}"
    )
    assert alone == company.texts[:ALONE_COUNT]
    assert equal(company.texts, expected) >= 0.8
