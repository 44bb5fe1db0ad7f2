import numpy as np
import pytest
from rolecall_server.engine.fake_tokenizer import byte_tokenizer
from rolecall_server.errors import EngineError, InvalidInputError, ModelNotFoundError, ModelNotLoadedError
from rolecall_server.profiles import Embedded, Profile
from rolecall_server.tasks.match import MatchInput, MatchTask
from rolecall_server.types import Metric, Truncation

from tests.unit.tasks.pieces import CONTEXT, assembled, profiles

QUERY = Profile("query", "", "a nurse")
UNIT = np.eye(16, dtype=np.float32)


async def match(it, query, documents, **options):
    request = MatchInput(query, profiles(documents) if not isinstance(documents, tuple) else documents, **options)
    return await MatchTask(it.encoders, it.observer).run(request, CONTEXT)


def given(*vectors):
    return [Embedded(np.asarray(vector, np.float32)) for vector in vectors]


async def test_documents_are_ranked_with_ties_by_index_and_failures_last():
    async with assembled() as it:
        documents = given(UNIT[1], UNIT[0], UNIT[1], np.ones(3), UNIT[0] + UNIT[1])
        output = await match(it, Profile("query", "", given(UNIT[0])[0]), documents)
        assert [result.index for result in output.results] == [1, 4, 0, 2, 3]
        assert isinstance(output.results[-1].error, InvalidInputError)
        assert it.observer.scores == [pytest.approx(s, abs=1e-6) for s in (0, 1, 0, 0.5**0.5)]
        assert output.model == it.encoder.info


async def test_a_query_as_a_document_is_its_own_best_match():
    async with assembled() as it:
        output = await match(it, QUERY, ["a cook", "a nurse", "a clerk"], top_k=1)
        assert [(result.index, result.score) for result in output.results] == [(1, pytest.approx(1))]


@pytest.mark.parametrize("metric", Metric)
@pytest.mark.parametrize("scale", [2e-12, 5e11])
async def test_no_score_of_the_longest_and_shortest_embeddings_leaves_the_range_of_a_float(metric, scale):
    ends = given(scale * UNIT[0], -scale * UNIT[0], 5e11 * UNIT[1], 2e-12 * UNIT[1])
    async with assembled() as it:
        output = await match(it, Profile("query", "", ends[0]), ends, metric=metric)
        assert all(result.error is None and np.isfinite(result.score) for result in output.results)
        assert np.isfinite(it.observer.scores).all()
        assert output.results[0].index == 0 or metric is not Metric.EUCLIDEAN


@pytest.mark.parametrize("metric", Metric)
async def test_only_cosine_scores_are_watched_for_drift(metric):
    """Dot products and distances have other ranges: in one histogram they would tell nothing."""
    async with assembled() as it:
        await match(it, Profile("query", "", given(3 * UNIT[0])[0]), given(5 * UNIT[0]), metric=metric)
        assert it.observer.scores == ([1.0] if metric is Metric.COSINE else [])


@pytest.mark.parametrize("query", ["", Embedded(np.ones(3, np.float32))])
async def test_a_bad_query_ends_the_request_before_any_work(query):
    async with assembled() as it:
        with pytest.raises(InvalidInputError) as caught:
            await match(it, Profile("query", "", query), ["a"])
        assert caught.value.field.startswith("query.")
        assert it.observer.tokenized == []


async def test_a_query_too_long_under_reject_ends_the_request():
    async with assembled() as it:
        with pytest.raises(InvalidInputError) as caught:
            await match(it, Profile("query", "", "x" * 100), ["a"], truncation=Truncation.REJECT)
        assert caught.value.field == "query.text"


async def test_a_query_that_the_engine_fails_on_ends_the_request():
    async with assembled(fail_on_token=byte_tokenizer().token_to_id("Z")) as it:
        with pytest.raises(EngineError):
            await match(it, Profile("query", "", "Z"), ["a"])
        output = await match(it, QUERY, ["Z", "a"])
        assert [(result.index, type(result.error)) for result in output.results] == [(1, type(None)), (0, EngineError)]


async def test_documents_that_all_failed_are_all_answered():
    async with assembled() as it:
        errors = tuple(InvalidInputError(f"documents[{n}]", "is bad") for n in range(3))
        output = await match(it, QUERY, errors, top_k=1)
        assert [result.index for result in output.results] == [0, 1, 2]


@pytest.mark.parametrize(
    ("model", "version", "error"),
    [("nobody", "", ModelNotFoundError), ("", "2", ModelNotFoundError), ("", "7", ModelNotLoadedError)],
)
async def test_models_are_found_or_not(model, version, error):
    async with assembled() as it:
        with pytest.raises(error):
            await match(it, QUERY, ["a"], model=model, model_version=version)
        assert (await match(it, QUERY, ["a"], model="encoder", model_version="1")).model.key.version == "1"
