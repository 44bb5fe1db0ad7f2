import numpy as np
import pytest
from rolecall_server.errors import InvalidInputError
from rolecall_server.profiles import Embedded
from rolecall_server.tasks.embed import EmbedInput, EmbedTask
from rolecall_server.types import TokenUsage, Truncation

from tests.unit.tasks.pieces import CONTEXT, assembled, profiles


async def embed(it, inputs, **options):
    return await EmbedTask(it.encoders).run(EmbedInput(inputs, **options), CONTEXT)


async def test_inputs_are_answered_in_their_order():
    async with assembled() as it:
        bad = InvalidInputError("inputs[1]", "is bad")
        first, second = profiles(["a", "b" * 100], "inputs")
        output = await embed(it, (first, bad, second), truncation=Truncation.TRUNCATE)
        assert [item.error for item in output.embeddings] == [None, bad, None]
        assert output.embeddings[0].usage == TokenUsage(3, 0, 1)
        assert output.embeddings[2].usage == TokenUsage(64, 38, 1)
        assert output.model == it.encoder.info
        assert (await embed(it, (first,), truncation=Truncation.TRUNCATE)).embeddings[0].cache_hit


@pytest.mark.parametrize("scale", [1.0, 2e-12, 1e11])
async def test_a_given_embedding_comes_back_at_unit_length(scale):
    vector = np.zeros(16, np.float32)
    vector[3] = scale
    async with assembled() as it:
        (item,) = (await embed(it, profiles([Embedded(vector)], "inputs"))).embeddings
        assert item.vector.tolist() == np.eye(16)[3].tolist()
        assert item.usage == TokenUsage()
