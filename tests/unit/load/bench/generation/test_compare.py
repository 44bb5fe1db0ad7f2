"""Rounds of the generation bench: interleaved, ratios within a round, shares against the reference."""

from dataclasses import dataclass, field

import pytest
from rolecall_load.bench.generation.compare import Tail, measure_case
from rolecall_load.bench.generation.copier import COPY, EOS, MARK
from rolecall_load.bench.generation.workload import Answers, Job, Kind, arrivals, equal_share, make_prompts

REFERENCE = [(5, 1), (6, 1), (7, 1)]
JOB = Job(numbers=(0, 1, 2), clients=2)


@dataclass
class Scripted:
    """Takes so long in each round, and writes the reference but for the last output."""

    name: str
    kind: Kind
    seconds: list[float]
    right: bool = True
    cases: frozenset[str] = frozenset({"case"})
    order: list[str] = field(default_factory=list)

    def run(self, job: Job) -> Answers:
        self.order.append(self.name)
        outputs = (*REFERENCE[:2], REFERENCE[2] if self.right else (8, 9, 1))
        return Answers(seconds=self.seconds.pop(0), outputs=outputs, latencies=(0.1, 0.2, 0.3), first=(0.05,))


def test_ratios_are_taken_within_rounds_and_count_tokens_really_written() -> None:
    order: list[str] = []
    ours = Scripted("gateway", "gateway", [1.0, 10.0], order=order)
    peer = Scripted("peer", "peer", [2.0, 20.0], right=False, order=order)
    said: list[str] = []

    case = measure_case("case", [ours, peer], JOB, rounds=2, reference=REFERENCE, say=said.append)

    gateway, other = case.lines
    assert (gateway.ratio.low, gateway.ratio.high) == (1.0, 1.0)
    # 6 tokens in half the time of 7.
    assert (other.ratio.low, other.ratio.high) == (pytest.approx(2 * 6 / 7), pytest.approx(2 * 6 / 7))
    assert gateway.rate.high == 6.0
    assert (gateway.equal, other.equal) == (1.0, pytest.approx(2 / 3))
    assert gateway.latency == Tail(pytest.approx(200.0), pytest.approx(300.0, rel=0.01))
    assert gateway.gap is None
    assert order == ["gateway", "peer", "gateway", "peer"]
    assert len(said) == 4
    assert (case.requests, case.tokens) == (3, 6)


def test_the_share_follows_the_numbers_of_the_job() -> None:
    answers = Answers(seconds=1.0, outputs=((7, 1), (5, 1)), latencies=(0.0, 0.0))

    assert equal_share(answers, Job(numbers=(2, 0)), REFERENCE) == 1.0
    assert equal_share(answers, Job(numbers=(0, 2)), REFERENCE) == 0.0


def test_prompts_mix_lengths_within_their_bounds_and_are_the_same_for_a_seed() -> None:
    prompts = make_prompts(300, seed=3)

    assert prompts == make_prompts(300, seed=3)
    assert prompts[:5] != make_prompts(5, seed=4)
    for prompt in prompts:
        assert prompt.ids[0] == COPY
        assert prompt.ids[-1] == EOS
        assert prompt.ids[1 + prompt.copied] == MARK
        words = [token for token in prompt.ids if token not in (COPY, MARK, EOS)]
        assert len(set(words)) == len(words) >= prompt.copied
    assert min(prompt.copied for prompt in prompts) < 15
    assert max(prompt.copied for prompt in prompts) > 110
    lengths = [len(prompt.ids) for prompt in prompts]
    assert 20 <= min(lengths) < 60
    assert 380 < max(lengths) <= 400


def test_arrivals_come_at_their_rate() -> None:
    times = arrivals(2000, rate=50.0, seed=0)

    assert list(times) == sorted(times)
    assert times[-1] == pytest.approx(40.0, rel=0.1)
