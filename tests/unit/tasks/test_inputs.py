import numpy as np
import pytest
from rolecall_server.engine.fake import fake_info
from rolecall_server.errors import InvalidInputError
from rolecall_server.profiles import Embedded, Job, Profile, Resume
from rolecall_server.tasks.inputs import read, vectorize
from rolecall_server.tasks.tokenization import Text
from rolecall_server.types import TextKind, Timing, TokenUsage, Truncation

from tests.unit.tasks.pieces import CONTEXT, assembled, profiles

INFO = fake_info(dimensions=4)


@pytest.mark.parametrize(
    ("content", "path"),
    [("a nurse", "query.text"), (Job(title="a nurse"), "query.job"), (Resume(goal="a"), "query.resume")],
)
def test_a_profile_with_words_is_a_text_with_its_path(content, path):
    text = read(Profile("query", "", content), TextKind.QUERY, INFO)

    assert isinstance(text, Text)
    assert (text.path, text.kind) == (path, TextKind.QUERY)


@pytest.mark.parametrize(
    ("content", "path"),
    [
        ("", "documents[2].text"),
        ("\u200b \x00", "documents[2].text"),
        (Job(remote=True), "documents[2].job"),
        (Resume(skills=("", " ")), "documents[2].resume"),
        (Embedded(np.ones(5, np.float32)), "documents[2].embedding"),
        (Embedded(np.ones(0, np.float32)), "documents[2].embedding"),
        (Embedded(np.full(4, 3e38, np.float32)), "documents[2].embedding"),
        (Embedded(np.full(4, 1e-44, np.float32)), "documents[2].embedding"),
    ],
)
def test_what_cannot_be_read_is_named_by_its_path(content, path):
    with pytest.raises(InvalidInputError) as caught:
        read(Profile("documents[2]", "", content), TextKind.DOCUMENT, INFO)

    assert caught.value.field == path


def test_a_given_embedding_is_taken_as_it_is():
    vector = np.array([3, 4, 0, 0], np.float32)

    assert read(Profile("query", "", Embedded(vector)), TextKind.QUERY, INFO) is vector


async def test_texts_embeddings_and_errors_keep_their_places():
    given = np.arange(16, dtype=np.float32)
    error = InvalidInputError("documents[2]", "has no content")
    async with assembled() as it:
        sides = [(profile, TextKind.DOCUMENT) for profile in profiles(["a", Embedded(given), "", "b" * 100, "c"])]
        sides.insert(2, (error, TextKind.DOCUMENT))
        timing = Timing()
        found = await vectorize(it.encoder, sides, truncation=Truncation.REJECT, context=CONTEXT, timing=timing)
    first, second, third, fourth, fifth, last = found

    assert first.usage == last.usage == TokenUsage(3, 0, 1)
    assert second.vector is given
    assert third is error
    assert (fourth.field, fifth.field) == ("documents[2].text", "documents[3].text")
    assert timing.batch_size == 2
