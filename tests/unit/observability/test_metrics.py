import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from rolecall_server.engine.fake import fake_info
from rolecall_server.observability.metrics import Metrics
from rolecall_server.types import BatchReport, GenerationReport, ModelKey, Observer, Priority

KEY = ModelKey("encoder", "1")


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def metrics(registry):
    return Metrics(registry)


def value(registry, sample, /, **labels):
    return registry.get_sample_value(f"rolecall_{sample}", labels)


def test_it_hears_all_that_an_observer_can_be_told(metrics):
    told = [name for name in vars(Observer) if name.startswith("on_")]

    assert len(told) > 8
    assert all(callable(getattr(metrics, name, None)) for name in told)


def test_an_rpc_is_under_way_and_then_counted(metrics, registry):
    metrics.on_rpc_started("S/M")
    assert value(registry, "inflight_requests") == 1
    metrics.on_rpc_done("S/M", "OK", seconds=0.2, request_id="anything")

    assert value(registry, "inflight_requests") == 0
    assert value(registry, "requests_total", method="S/M", code="OK") == 1
    assert value(registry, "request_duration_seconds_sum", method="S/M") == pytest.approx(0.2)
    assert "anything" not in generate_latest(registry).decode()


def test_a_stream_that_failed_is_counted_and_not_timed(metrics, registry):
    metrics.on_stream_failed("S/M", "UNAVAILABLE", seconds=600.0)

    assert value(registry, "requests_total", method="S/M", code="UNAVAILABLE") == 1
    assert value(registry, "request_duration_seconds_count", method="S/M") is None
    assert value(registry, "inflight_requests") == 0


def test_metrics_leave_the_library_as_it_is(metrics, registry):
    """What holds for the whole process is set where a process starts."""
    metrics.on_shed("x")

    assert value(registry, "shed_created", reason="x") is not None


def test_a_batch_is_counted_from_every_side(metrics, registry):
    metrics.on_batch(
        BatchReport(
            model=KEY,
            size=3,
            tokens=60,
            padded_tokens=80,
            trigger="full",
            inference_seconds=0.5,
            queue_seconds=(1, 2, 3),
        )
    )

    assert value(registry, "batches_total", model="encoder", trigger="full") == 1
    assert value(registry, "batch_size_sum", model="encoder") == 3
    assert value(registry, "batch_tokens_sum", model="encoder") == 80
    assert value(registry, "batch_padding_ratio_sum", model="encoder") == pytest.approx(0.25)
    assert value(registry, "inference_duration_seconds_sum", model="encoder") == 0.5
    assert value(registry, "queue_duration_seconds_count", model="encoder") == 3
    assert value(registry, "queue_duration_seconds_sum", model="encoder") == 6


def test_generation_by_step(metrics, registry):
    for tokens in (5, 7):
        metrics.on_generation(
            GenerationReport(
                model=ModelKey("generator", "1"),
                tokens=tokens,
                queue_seconds=(0.5,),
                first_token_seconds=(0.75, 0.25),
                inter_token_seconds=(0.01, 0.01, 0.03),
                drafted=4,
                accepted=3,
            )
        )
    metrics.on_running(5)
    metrics.on_running(-2)

    assert value(registry, "generated_tokens_total") == 12
    assert value(registry, "queue_duration_seconds_sum", model="generator") == 1.0
    assert value(registry, "time_to_first_token_seconds_count") == 4
    assert value(registry, "time_to_first_token_seconds_sum") == 2.0
    assert value(registry, "inter_token_seconds_sum") == pytest.approx(0.1)
    assert value(registry, "draft_tokens_total", outcome="accepted") == 6
    assert value(registry, "draft_tokens_total", outcome="rejected") == 2
    assert value(registry, "running_sequences") == 3


def test_the_queue_shows_its_size_now(metrics, registry):
    metrics.on_queue("encoder", Priority.BULK, size=7, tokens=700)
    metrics.on_queue("encoder", Priority.INTERACTIVE, size=2, tokens=100)

    assert value(registry, "queue_size", model="encoder", priority="bulk") == 7
    assert value(registry, "queue_size", model="encoder", priority="interactive") == 2
    assert value(registry, "queue_tokens", model="encoder") == 100


def test_the_rest_adds_up(metrics, registry):
    metrics.on_cache(hits=3, misses=2)
    metrics.on_evicted(4)
    metrics.on_tokenized(0.1, truncated_inputs=5)
    metrics.on_shed("deadline")
    metrics.on_cancelled("queue")
    metrics.on_nonfinite(6)
    metrics.on_scores(np.array([0.5, -1.0, 1.0], np.float32))

    assert [value(registry, f"cache_{what}_total") for what in ("hits", "misses", "evictions")] == [3, 2, 4]
    assert value(registry, "truncated_inputs_total") == 5
    assert value(registry, "shed_total", reason="deadline") == 1
    assert value(registry, "cancelled_total", stage="queue") == 1
    assert value(registry, "nonfinite_outputs_total") == 6
    assert value(registry, "score_count") == 3
    assert value(registry, "score_bucket", le="0.5") == 2


def test_an_unloaded_version_is_gone(metrics, registry):
    info = fake_info(KEY)
    labels = {"name": "encoder", "version": "1", "provider": "CPU"}
    metrics.on_model(info, provider="CPU", fallback_nodes=2, loaded=True)
    assert value(registry, "model_info", precision="fake", **labels) == 1
    assert value(registry, "provider_fallback_nodes", **labels) == 2
    metrics.on_model(info, provider="CPU", fallback_nodes=2, loaded=False)
    assert value(registry, "model_info", precision="fake", **labels) is None
    assert value(registry, "provider_fallback_nodes", **labels) is None


def test_two_servers_in_a_process_do_not_share(metrics):
    Metrics(CollectorRegistry()).on_shed("x")
