"""Match on every backend: directions, order, options, statuses of documents, what comes with an answer."""

import itertools

import grpc
import numpy as np
import pytest
from google.rpc import code_pb2
from rolecall.v1 import matching_pb2 as pb
from rolecall.v1 import types_pb2

from tests.servers import details_of, field_of, unpacked

RESUME = types_pb2.Profile(
    id="candidate",
    resume=types_pb2.Resume(
        headline="Backend engineer",
        summary="5 years of Python and Java",
        skills=["Python", "gRPC", "PostgreSQL"],
        experience=[types_pb2.Experience(title="Engineer", company="Acme", start="2019", description="Built APIs")],
        education=[types_pb2.Education(degree="BSc", field="Computer science")],
        years_experience=5,
    ),
)
JOBS = [
    types_pb2.Profile(
        id="backend", job=types_pb2.Job(title="Backend developer", required_skills=["Python", "SQL"], min_years=3)
    ),
    types_pb2.Profile(id="nurse", job=types_pb2.Job(title="Nurse", description="Care for patients on a ward")),
    types_pb2.Profile(id="后端", job=types_pb2.Job(title="后端开发工程师", duties=["设计接口", "编写代码"])),
    types_pb2.Profile(id="cook", text="Cook for a small restaurant, evenings and weekends."),
]
TEXTS = [f"{word} for a team of {size}" for size in range(5) for word in ("cook", "nurse", "clerk", "driver")]


def ranking(response):
    return [result.index for result in response.results]


def scores(response):
    """By the index of the document."""
    return {result.index: result.score for result in response.results if not result.HasField("status")}


@pytest.mark.parametrize(
    ("query", "documents"),
    [(RESUME, JOBS), (JOBS[0], [RESUME, *JOBS[1:]]), (JOBS[3], [RESUME])],
    ids=["jobs for a resume", "resumes for a job", "a resume for a text"],
)
def test_both_directions_rank_all_documents_best_first(server, query, documents):
    response = server.match(query, documents, request_id="r-1")

    assert response.request_id == "r-1"
    assert sorted(ranking(response)) == list(range(len(documents)))
    assert [result.document_id for result in response.results] == [documents[i].id for i in ranking(response)]
    assert not any(result.HasField("status") for result in response.results)
    for better, worse in itertools.pairwise(response.results):
        assert (better.score, -better.index) > (worse.score, -worse.index)


def test_a_score_is_the_metric_of_the_two_embeddings(server):
    query = server.vectors([RESUME], kind=pb.EMBED_KIND_QUERY)[0].astype(np.float64)
    documents = server.vectors(JOBS, kind=pb.EMBED_KIND_DOCUMENT).astype(np.float64)
    expected = {
        pb.METRIC_UNSPECIFIED: documents @ query,
        pb.METRIC_COSINE: documents @ query,
        pb.METRIC_DOT: documents @ query,
        pb.METRIC_EUCLIDEAN: -np.linalg.norm(documents - query, axis=1),
    }
    for metric, values in expected.items():
        found = scores(server.match(RESUME, JOBS, metric=metric))
        assert [found[i] for i in range(len(JOBS))] == pytest.approx(values.tolist(), abs=1e-6)


def test_embeddings_can_come_with_the_request(server):
    query = server.vectors([RESUME], kind=pb.EMBED_KIND_QUERY)[0]
    documents = server.vectors(JOBS)
    given = [types_pb2.Profile(embedding=row.astype("<f4").tobytes()) for row in (query, *documents)]
    by_text = scores(server.match(RESUME, JOBS))

    for response in (server.match(given[0], given[1:]), server.match(RESUME, given[1:])):
        assert scores(response) == pytest.approx(by_text, abs=1e-6)
        assert all(result.usage == types_pb2.TokenUsage() for result in response.results)

    doubled = types_pb2.Profile(embedding=(2 * documents[0]).astype("<f4").tobytes())
    one = by_text[0]
    assert scores(server.match(given[0], [doubled]))[0] == pytest.approx(one, abs=1e-6)
    assert scores(server.match(given[0], [doubled], metric=pb.METRIC_DOT))[0] == pytest.approx(2 * one, abs=1e-6)
    away = scores(server.match(given[0], [doubled], metric=pb.METRIC_EUCLIDEAN))[0]
    assert away == pytest.approx(-np.linalg.norm(2.0 * documents[0] - query), abs=1e-6)


def test_a_structured_profile_of_one_field_reads_as_its_text(server):
    job, resume = types_pb2.Job(title="nurse"), types_pb2.Resume(summary="nurse")
    response = server.match("nurse", ["nurse", types_pb2.Profile(job=job), types_pb2.Profile(resume=resume)])

    assert len(set(scores(response).values())) == 1


def test_ties_stand_in_the_order_of_the_request(server):
    response = server.match("cook", ["nurse", "cook", "nurse", "cook", "nurse"])
    found = scores(response)

    assert found[0] == found[2] == found[4]
    assert found[1] == found[3]
    assert ranking(response) in ([1, 3, 0, 2, 4], [0, 2, 4, 1, 3])


@pytest.mark.parametrize("top_k", [1, 5, 19, 20, 21, 2**32 - 1])
def test_top_k_is_the_head_of_the_whole_ranking(server, top_k):
    whole = server.match("nurse", TEXTS)

    assert ranking(server.match("nurse", TEXTS, top_k=top_k)) == ranking(whole)[:top_k]
    assert len(whole.results) == len(TEXTS)


def test_min_score_keeps_what_reaches_it_and_comes_before_top_k(server):
    whole = server.match("nurse", TEXTS)
    line = whole.results[7].score
    reached = [result.index for result in whole.results if result.score >= line]

    assert ranking(server.match("nurse", TEXTS, min_score=line)) == reached
    assert ranking(server.match("nurse", TEXTS, min_score=line, top_k=3)) == reached[:3]
    assert ranking(server.match("nurse", TEXTS, min_score=1.5)) == []
    assert ranking(server.match("nurse", TEXTS, min_score=-1.5)) == ranking(whole)


def test_min_score_of_zero_is_not_the_same_as_none(server):
    whole = server.match("nurse", TEXTS)
    kept = ranking(server.match("nurse", TEXTS, min_score=0.0))

    assert kept == [result.index for result in whole.results if result.score >= 0]


def test_a_bad_document_has_its_status_and_harms_no_neighbour(server):
    alone = scores(server.match("nurse", TEXTS[:3]))
    bad = types_pb2.Profile(id="bad", text=" ")
    response = server.match("nurse", [TEXTS[0], bad, TEXTS[1], types_pb2.Profile(id="none"), TEXTS[2]], top_k=2)

    *good, first, second = response.results
    assert len(good) == 2
    assert {(0, 2, 4).index(result.index): result.score for result in good}.items() <= alone.items()
    assert [(r.index, r.document_id, r.status.code) for r in (first, second)] == [
        (1, "bad", code_pb2.INVALID_ARGUMENT),
        (3, "none", code_pb2.INVALID_ARGUMENT),
    ]
    assert [field_of(unpacked(r.status)) for r in (first, second)] == ["documents[1].text", "documents[3]"]


def test_a_pair_scores_the_same_alone_and_among_others(server, unseen):
    texts = [unseen("word " * length) for length in range(1, 60, 2)]
    together = scores(server.match("nurse", texts))

    for index in (0, 7, 29):
        other = server.match("nurse", [texts[index]])
        assert scores(other)[0] == pytest.approx(together[index], abs=1e-6)


def test_a_pair_scores_the_same_in_every_batch(server, unseen):
    """Nothing from the cache: a text is made new by what `clean` takes away again."""
    text = unseen("A nurse for a small ward.")
    others = [unseen("filler " * length) for length in (1, 30, 60)]
    first = scores(server.match("nurse", [text]))[0]
    requests = [[text + "\x00" * (n + 1), *[other + "\x01" * n for other in others]] for n in range(3)]

    assert [scores(server.match("nurse", documents))[0] for documents in requests] == pytest.approx([first] * 3)


def test_the_second_time_a_text_comes_from_the_cache(server, unseen):
    query, document = unseen("query"), unseen("document")
    first = server.match(query, [document])
    second = server.match(query, [document, unseen("other")])
    results = {result.index: result for result in second.results}

    assert not first.results[0].cache_hit
    assert results[0].cache_hit
    assert not results[1].cache_hit
    assert results[0].score == first.results[0].score
    assert results[0].usage == first.results[0].usage


def test_the_same_text_under_two_ids_is_answered_twice(server, unseen):
    text = unseen("twice")
    documents = [types_pb2.Profile(id="same", text=text), types_pb2.Profile(id="same", text=text)]
    response = server.match("nurse", documents)

    assert [(result.document_id, result.index) for result in response.results] == [("same", 0), ("same", 1)]
    assert response.results[0].score == response.results[1].score


def test_a_query_that_cannot_be_read_ends_the_request(server):
    with pytest.raises(grpc.RpcError) as caught:
        server.match("\u200b", TEXTS)

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert field_of(details_of(caught.value)) == "query.text"


def test_the_stamp_names_the_model(server):
    response = server.match(RESUME, JOBS)

    for name in ("name", "version", "precision", "weights_hash"):
        assert getattr(response.model, name) == getattr(server.model, name) != ""
    assert response.model.scoring_version


def test_the_timing_adds_up(server, unseen):
    texts = [unseen(text) for text in TEXTS]
    fresh = server.match(texts[0], texts)
    timing = fresh.timing

    assert timing.total_seconds >= timing.tokenize_seconds + timing.inference_seconds > 0 or server.backend.id == "fake"
    assert timing.total_seconds >= timing.queue_seconds >= 0
    assert timing.batch_size >= 1
    assert timing.padded_tokens >= timing.batch_size
    assert timing.padded_tokens <= server.limits.max_batch_tokens

    known = server.match(texts[0], texts).timing
    assert (known.tokenize_seconds, known.queue_seconds, known.inference_seconds) == (0, 0, 0)
    assert (known.batch_size, known.padded_tokens) == (0, 0)
    assert known.total_seconds > 0


def test_bulk_and_languages_and_versions_are_taken(server):
    query = types_pb2.Profile(text="nurse", language="en-GB")
    named = server.match(
        query, TEXTS, priority=types_pb2.PRIORITY_BULK, model="encoder", model_version=server.model.version
    )

    assert scores(named) == scores(server.match("nurse", TEXTS))


def test_without_an_id_the_server_makes_one(server):
    assert server.match("a", ["b"]).request_id != server.match("a", ["b"]).request_id
