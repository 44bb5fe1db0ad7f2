"""Drafts save steps where the output copies, never change it, and stop where they don't pay."""

import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rolecall_server.generation.drafting import Drafter, WidthCost, accept, can_draft
from rolecall_server.generation.types import Decoding

Model = Callable[[Sequence[int]], int]


def run(source: Sequence[int], model: Model, length: int, *, slope: float = 0.2) -> tuple[list[int], int, int]:
    """Greedy decoding with drafts: the tokens, how many steps they took, and how many tokens were drafted."""
    drafter = Drafter(source)
    tokens: list[int] = []
    steps = drafted = 0
    while len(tokens) < length:
        drafts = drafter.propose(tokens, length - len(tokens) - 1, cost=WidthCost(slope))
        best = [model([*tokens, *drafts[:count]]) for count in range(len(drafts) + 1)]
        held = accept(drafts, best)
        drafter.learn(len(drafts), held)
        tokens += best[: held + 1]
        steps, drafted = steps + 1, drafted + len(drafts)
    return tokens, steps, drafted


def follows(target: Sequence[int]) -> Model:
    return lambda tokens: target[len(tokens)]


@given(
    source=st.lists(st.integers(2, 6), min_size=1, max_size=30),
    target=st.lists(st.integers(2, 6), min_size=40, max_size=40),
)
def test_the_output_is_that_without_drafts(source: list[int], target: list[int]) -> None:
    tokens, steps, _ = run(source, follows(target), len(target))
    assert tokens == target
    assert steps <= len(target)


def test_copied_text_takes_few_steps() -> None:
    source = random.Random(1).choices(range(2, 500), k=200)
    target = [*source[20:80], 501, *source[100:160]]
    tokens, steps, _ = run(source, follows(target), len(target))
    assert tokens == target
    assert steps < len(target) / 4


def test_copies_of_repetitive_text_go_on_where_they_are() -> None:
    """The same words follow each heading; the copy is of the later one."""
    block = [7, 8, 9]
    source = [*block, 20, 21, 22, 23, *block, 30, 31, 32, 33, *block, 40, 41, 42, 43]
    _, steps, _ = run(source, follows(source), len(source))
    assert steps <= 10


def test_text_of_its_own_is_left_alone() -> None:
    source = random.Random(2).choices(range(2, 12), k=100)
    target = random.Random(3).choices(range(2, 12), k=400)
    tokens, _, drafted = run(source, follows(target), len(target), slope=0.5)
    assert tokens == target
    assert drafted < len(target) / 8


def test_it_begins_again_when_the_text_turns_to_copying() -> None:
    source = random.Random(4).choices(range(2, 12), k=150)
    target = random.Random(5).choices(range(2, 12), k=200) + source
    tokens, steps, _ = run(source, follows(target), len(target), slope=0.3)
    assert tokens == target
    assert steps < 200 + len(source) / 2


def test_nothing_is_proposed_where_even_sure_tokens_would_not_pay() -> None:
    source = list(range(2, 100))
    _, steps, drafted = run(source, follows(source), len(source), slope=1.0)
    assert (steps, drafted) == (len(source), 0)


def test_proposals_grow_while_they_hold_and_shrink_when_they_do_not() -> None:
    source = list(range(2, 300))
    drafter = Drafter(source)
    tokens = source[:3]
    lengths = []
    for _ in range(6):
        drafts = drafter.propose(tokens, 50)
        lengths.append(len(drafts))
        drafter.learn(len(drafts), len(drafts))
        tokens = [*tokens, *drafts, source[len(tokens) + len(drafts)]]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1]
    for place in range(100, 260, 20):
        drafts = drafter.propose([*tokens, *source[place : place + 3]], 50)
        drafter.learn(len(drafts), 0)
        tokens = [*tokens, *source[place : place + 3], 999]
        drafter.propose(tokens, 50)
    assert drafts == []


def test_the_limits_hold() -> None:
    source = list(range(2, 60))
    assert Drafter(source).propose([2, 3, 4], 0) == []
    assert len(Drafter(source).propose([2, 3, 4], 2)) <= 2
    assert len(Drafter(source, longest=5).propose([2, 3, 4], 50, cost=WidthCost(0.0))) == 5
    assert Drafter(source).propose(source, 9) == []
    assert Drafter(source).propose([], 9) == []
    assert Drafter([]).propose([5], 9) == []


def test_a_single_token_speaks_for_its_only_place() -> None:
    cheap = WidthCost(0.0)
    assert Drafter([5, 6, 7, 8]).propose([99, 6], 2, cost=cheap) == [7, 8]
    assert Drafter([5, 6, 7, 6, 8]).propose([99, 6], 2, cost=cheap) == []


@pytest.mark.parametrize(
    ("drafts", "best", "held"),
    [([], [4], 0), ([4, 5], [4, 5, 6], 2), ([4, 5], [4, 9, 6], 1), ([4, 5], [9, 5, 6], 0)],
)
def test_the_drafts_before_the_first_wrong_one_hold(drafts: list[int], best: list[int], held: int) -> None:
    assert accept(drafts, best) == held


def test_only_plain_greedy_decoding_drafts() -> None:
    assert can_draft(Decoding())
    assert can_draft(Decoding(stop=("x",), temperature=0.5))
    for decoding in (
        Decoding(num_beams=2),
        Decoding(do_sample=True),
        Decoding(repetition_penalty=1.2),
        Decoding(no_repeat_ngram_size=3),
        Decoding(min_new_tokens=1),
    ):
        assert not can_draft(decoding)
