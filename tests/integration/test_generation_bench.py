"""The generation bench's side of our server: a real one, on a small trained generator."""

from pathlib import Path

import pytest
from rolecall_load.bench.generation.compare import measure_case
from rolecall_load.bench.generation.gateway import Gateway, serve, tokenizer_of
from rolecall_load.bench.generation.workload import Job, Prompt, arrivals
from rolecall_load.errors import LoadError

from tests import fixtures_t5
from tests.generators import beside


def test_three_ways_to_ask_give_the_same_tokens(tiny_models: Path) -> None:
    repository = beside(tiny_models)
    tokenizer = tokenizer_of(repository)
    texts = fixtures_t5.sources(10)
    prompts = [Prompt(tuple(tokenizer.encode(text).ids), text, 0) for text in texts]
    with serve(repository) as served:
        modes = ((False, False), (True, False), (False, True))
        ways = [Gateway(served, prompts, tokenizer, drafting=drafts, streaming=streams) for drafts, streams in modes]
        reference = list(ways[0].run(Job(numbers=tuple(range(10)))).outputs)
        many = measure_case(
            "many", ways, Job(numbers=tuple(range(10)), clients=5), rounds=1, reference=reference, say=lambda what: None
        )
        plain = served.drafts()
        ways[1].run(Job(numbers=tuple(range(10))))
        drafts = served.drafts()
        open_loop = ways[2].run(Job(numbers=tuple(range(10)), offsets=arrivals(10, rate=100.0, seed=0)))

    assert [line.equal for line in many.lines] == [1.0, 1.0, 1.0]
    assert many.lines[2].first is not None
    assert many.lines[2].gap is not None
    assert many.lines[0].gap is None
    assert drafts.proposed > plain.proposed
    assert plain.accepted <= plain.proposed
    assert list(open_loop.outputs) == reference
    assert len(open_loop.first) == 10


def test_a_repository_without_a_generator_is_one_clear_line(tiny_models: Path) -> None:
    with pytest.raises(LoadError, match="has no generator; see rolecall-export t5"):
        tokenizer_of(tiny_models)
