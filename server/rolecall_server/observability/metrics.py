"""Prometheus metrics, and the Observer that fills them. Names and labels are those of the contract."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from rolecall_server.types import BatchReport, GenerationReport, ModelInfo, Priority

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
TOKENS = (32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
SHARES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.5)
SCORES = tuple(round(-0.2 + 0.1 * step, 1) for step in range(13))


class Metrics:
    """Implements Observer and the transport's RpcObserver on one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, labels: Sequence[str] = ()) -> Counter:
            return Counter(f"rolecall_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
            return Gauge(f"rolecall_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: Sequence[float], labels: Sequence[str] = ()) -> Histogram:
            return Histogram(f"rolecall_{name}", text, labels, registry=registry, buckets=buckets)

        self._requests = counter(
            "requests_total", "Requests ended, by status code; each message of a stream is one", ("method", "code")
        )
        self._request_seconds = histogram("request_duration_seconds", "Duration of requests", SECONDS, ("method",))
        self._inflight = gauge("inflight_requests", "Requests under way")
        self._queue_seconds = histogram("queue_duration_seconds", "Wait of a sequence", SECONDS, ("model",))
        self._tokenize_seconds = histogram("tokenize_duration_seconds", "Tokenisation of a request's texts", SECONDS)
        self._inference_seconds = histogram("inference_duration_seconds", "Run of a batch", SECONDS, ("model",))
        self._queue_size = gauge("queue_size", "Sequences waiting", ("model", "priority"))
        self._queue_tokens = gauge("queue_tokens", "Tokens waiting: what to scale on", ("model",))
        self._batch_size = histogram("batch_size", "Sequences of a batch", SIZES, ("model",))
        self._batch_tokens = histogram("batch_tokens", "Tokens of a batch after padding", TOKENS, ("model",))
        self._padding = histogram("batch_padding_ratio", "Share of padding in a batch", SHARES, ("model",))
        self._batches = counter("batches_total", "Batches by what set them off", ("model", "trigger"))
        self._shed = counter("shed_total", "Requests refused or dropped before they ran", ("reason",))
        self._cancelled = counter("cancelled_total", "Requests whose client went away, by stage", ("stage",))
        self._truncated = counter("truncated_inputs_total", "Texts of which a part was dropped")
        self._cache_hits = counter("cache_hits_total", "Texts whose embedding was known")
        self._cache_misses = counter("cache_misses_total", "Texts whose embedding was computed")
        self._cache_evictions = counter("cache_evictions_total", "Embeddings dropped for room")
        self._scores = histogram("score", "Cosine scores given, to watch for drift", SCORES)
        self._nonfinite = counter("nonfinite_outputs_total", "Outputs that were not finite: embeddings, generations")
        self._generated = counter("generated_tokens_total", "Tokens generated")
        self._first_token = histogram("time_to_first_token_seconds", "From a generation's arrival on", SECONDS)
        self._inter_token = histogram("inter_token_seconds", "Between two decoder steps of a generation", SECONDS)
        self._running = gauge("running_sequences", "Sequences being generated")
        self._drafts = counter(
            "draft_tokens_total", "Tokens drafted from the source, by what became of them", ("outcome",)
        )
        self._model_info = gauge("model_info", "Model versions loaded", ("name", "version", "precision", "provider"))
        self._fallback = gauge(
            "provider_fallback_nodes", "Graph nodes another provider had to take", ("name", "version", "provider")
        )

    def on_rpc_started(self, method: str) -> None:
        self._inflight.inc()

    def on_rpc_done(self, method: str, code: str, *, seconds: float, request_id: str) -> None:
        self._inflight.dec()
        self._requests.labels(method, code).inc()
        self._request_seconds.labels(method).observe(seconds)

    def on_stream_failed(self, method: str, code: str, *, seconds: float) -> None:
        """Counted, and not timed: how long a stream stays open says nothing of the server."""
        self._requests.labels(method, code).inc()

    def on_queue(self, model: str, priority: Priority, *, size: int, tokens: int) -> None:
        self._queue_size.labels(model, priority.name.lower()).set(size)
        self._queue_tokens.labels(model).set(tokens)

    def on_batch(self, report: BatchReport) -> None:
        model = report.model.name
        self._batches.labels(model, report.trigger).inc()
        self._batch_size.labels(model).observe(report.size)
        self._batch_tokens.labels(model).observe(report.padded_tokens)
        self._padding.labels(model).observe(1 - report.tokens / report.padded_tokens)
        self._inference_seconds.labels(model).observe(report.inference_seconds)
        waits = self._queue_seconds.labels(model)
        for seconds in report.queue_seconds:
            waits.observe(seconds)

    def on_tokenized(self, seconds: float, *, truncated_inputs: int) -> None:
        self._tokenize_seconds.observe(seconds)
        self._truncated.inc(truncated_inputs)

    def on_shed(self, reason: str) -> None:
        self._shed.labels(reason).inc()

    def on_cancelled(self, stage: str) -> None:
        self._cancelled.labels(stage).inc()

    def on_cache(self, *, hits: int, misses: int) -> None:
        self._cache_hits.inc(hits)
        self._cache_misses.inc(misses)

    def on_evicted(self, count: int) -> None:
        self._cache_evictions.inc(count)

    def on_scores(self, scores: NDArray[np.float32]) -> None:
        for value in scores.tolist():
            self._scores.observe(value)

    def on_nonfinite(self, count: int) -> None:
        self._nonfinite.inc(count)

    def on_generation(self, report: GenerationReport) -> None:
        self._generated.inc(report.tokens)
        self._drafts.labels("accepted").inc(report.accepted)
        self._drafts.labels("rejected").inc(report.drafted - report.accepted)
        waits = self._queue_seconds.labels(report.model.name)
        for times, histogram in (
            (report.queue_seconds, waits),
            (report.first_token_seconds, self._first_token),
            (report.inter_token_seconds, self._inter_token),
        ):
            for seconds in times:
                histogram.observe(seconds)

    def on_running(self, change: int) -> None:
        self._running.inc(change)

    def on_model(self, info: ModelInfo, *, provider: str, fallback_nodes: int, loaded: bool) -> None:
        name, version = info.key.name, info.key.version
        if loaded:
            self._model_info.labels(name, version, info.precision, provider).set(1)
            self._fallback.labels(name, version, provider).set(fallback_nodes)
        else:
            self._model_info.remove(name, version, info.precision, provider)
            self._fallback.remove(name, version, provider)
