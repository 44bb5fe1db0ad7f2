"""Splitting: every item goes once, in order, and no part exceeds its budget."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rolecall.v1 import matching_pb2, types_pb2
from rolecall_client.results import Limits, ModelInfo, ServerInfo
from rolecall_client.splitting import PARALLEL_PARTS, Budget, budget_for, split


def profiles(*lengths: int) -> list[types_pb2.Profile]:
    return [types_pb2.Profile(id=str(number), text="x" * length) for number, length in enumerate(lengths)]


@given(
    lengths=st.lists(st.integers(0, 3000), max_size=60),
    items=st.integers(0, 8),
    message_bytes=st.sampled_from([0, 700, 2000, 10_000]),
    tokens=st.sampled_from([0, 100, 900]),
)
def test_parts_hold_every_item_once_and_keep_to_the_budget(lengths, items, message_bytes, tokens):
    documents = profiles(*lengths)
    budget = Budget(items=items, message_bytes=message_bytes, tokens=tokens)
    plan = split(documents, 100, budget)
    assert sorted([*plan.unsendable, *(index for part in plan.parts for index in part)]) == list(range(len(lengths)))
    assert all(part == sorted(part) for part in plan.parts)
    for part in plan.parts:
        assert not items or len(part) <= items
        request = matching_pb2.MatchRequest(documents=[documents[index] for index in part])
        assert not message_bytes or request.ByteSize() + 100 <= message_bytes
        assert len(part) <= 1 or not tokens or sum(lengths[index] for index in part) <= 3 * tokens
    for index in plan.unsendable:
        assert documents[index].ByteSize() + 200 > message_bytes


def test_no_items_make_one_empty_part():
    assert split([], 0, Budget(items=5)).parts == [[]]


def test_only_unsendable_items_make_no_part():
    plan = split(profiles(5000), 0, Budget(message_bytes=1000))
    assert (plan.parts, plan.unsendable) == ([], [0])


def test_an_item_beyond_the_tokens_goes_alone_for_the_server_to_judge():
    assert split(profiles(10, 9000, 10), 0, Budget(tokens=100)).parts == [[0], [1], [2]]


def test_ready_embeddings_cost_no_tokens():
    documents = [types_pb2.Profile(embedding=bytes(1536)) for _ in range(5)]
    assert split(documents, 0, Budget(tokens=100)).parts == [[0, 1, 2, 3, 4]]


def test_vectors_of_the_answer_count():
    small = split(profiles(1, 1, 1, 1), 0, Budget(message_bytes=4000, vector_bytes=1536)).parts
    assert small == [[0, 1], [2, 3]]


@pytest.mark.parametrize(("published", "own", "used"), [(0, 500, 500), (100, 500, 100), (900, 500, 500)])
def test_the_smaller_message_limit_holds(published, own, used):
    model = ModelInfo("m", "1", "", "", "", "", 512, 384, (), {}, "ready")
    info = ServerInfo("0", "fake", Limits(max_message_bytes=published, max_queue_tokens=1000), (model,))
    budget = budget_for(info, own, vectors=True)
    assert budget.message_bytes == used
    assert budget.tokens == 1000 // PARALLEL_PARTS
    assert budget.vector_bytes == 4 * 384
