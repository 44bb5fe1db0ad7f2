"""Overload: the unloaded maximum first, then a multiple of it, open loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import grpc
from rolecall.v1 import model_pb2
from rolecall.v1.model_pb2_grpc import ModelServiceStub

from rolecall_load.errors import LoadError
from rolecall_load.load import Result, run_load
from rolecall_load.observe import Observer
from rolecall_load.spec import LoadSpec, new_tag
from rolecall_load.verdict import Check, judge_overload

_INFO_SECONDS = 10.0

Run = Callable[[str, LoadSpec, Observer | None], Result]
"""Runs one phase, named for the terminal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverloadPlan:
    """`base` gives address, payload, deadline, duration and warm-up; its mode and rates are set by the plan."""

    base: LoadSpec
    factor: float = 3.0
    concurrencies: Sequence[int] = (16, 32, 64)
    capacity_seconds: float = 10.0
    metrics_url: str | None = None
    server_pid: int | None = None


@dataclass(frozen=True, slots=True)
class OverloadResult:
    """`before` and `after` hold the unloaded runs; a large step between the two means a restless machine."""

    before: tuple[Result, ...]
    overload: Result
    after: Result
    queue_limit: int
    checks: tuple[Check, ...]

    @property
    def capacity(self) -> float:
        return max(result.summary.goodput for result in self.before)


def measure_overload(plan: OverloadPlan, run: Run) -> OverloadResult:
    """All phases, one after the other. LoadError when there is no capacity to multiply."""
    limit = queue_limit(plan.base.address)
    before = tuple(run(f"unloaded, {count} at a time", _closed(plan, count), None) for count in plan.concurrencies)
    best = max(before, key=lambda result: result.summary.goodput)
    capacity = best.summary.goodput
    if capacity == 0:
        raise LoadError("the server answered nothing within the deadline even when it was not overloaded")
    observer = Observer(pid=plan.server_pid, metrics_url=plan.metrics_url)
    spec = _fresh(replace(plan.base, mode="open", rate=plan.factor * capacity))
    overload = run(f"overload, {spec.rate:.0f}/s", spec, observer)
    after = run("unloaded again", _closed(plan, best.spec.concurrency), None)
    watched = overload.observation.memory
    memory = None if watched is None else watched.after(spec.warmup)
    checks = judge_overload(
        overload.summary,
        capacity=capacity,
        afterwards=after.summary.goodput,
        queue_tokens=overload.observation.maxima.get("rolecall_queue_tokens"),
        queue_limit=limit,
        memory_growth=None if memory is None else memory.slope * spec.duration / memory.first,
    )
    return OverloadResult(before, overload, after, limit, checks)


def run_phase(_name: str, spec: LoadSpec, observer: Observer | None) -> Result:
    """Without a terminal."""
    return run_load(spec, observer=observer)


def queue_limit(address: str) -> int:
    """The server's max_queue_tokens; 0 where it has none or does not say."""
    with grpc.insecure_channel(address) as channel:
        try:
            info = ModelServiceStub(channel).GetServerInfo(model_pb2.GetServerInfoRequest(), timeout=_INFO_SECONDS)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                return 0
            raise LoadError(f"{address} does not tell its limits: {error.code().name}") from error
    return int(info.limits.max_queue_tokens)


def _closed(plan: OverloadPlan, concurrency: int) -> LoadSpec:
    spec = replace(plan.base, mode="closed", concurrency=concurrency, duration=plan.capacity_seconds)
    return _fresh(spec)


def _fresh(spec: LoadSpec) -> LoadSpec:
    """With texts that no earlier phase has sent."""
    return replace(spec, tag=new_tag())
