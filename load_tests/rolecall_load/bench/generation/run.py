"""The generation bench put together: who takes part, warm-up, the three cases."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rolecall_load.bench.generation.compare import GATEWAY, Case, GenerationResult, measure_case
from rolecall_load.bench.generation.copier import make_copier
from rolecall_load.bench.generation.gateway import Gateway, Served, serve, tokenizer_of
from rolecall_load.bench.generation.peers import (
    MANY,
    ONE,
    POISSON,
    REFERENCE,
    PeerPlan,
    convert,
    make_environment,
    peer,
    peer_plans,
    versions,
)
from rolecall_load.bench.generation.workload import Contender, Job, Prompt, arrivals, make_prompts

LOAD = 0.6
"""Poisson arrivals come at this share of what the slower of gateway and best CTranslate2 run got through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationPlan:
    """work: holds checkpoint, peers' models and environment between runs. repository: with an encoder, and the
    generator exported from work/copier/t5-small. peer_python: an environment that exists already. only: parts of the
    names of the peers that take part; all if empty."""

    work: Path
    repository: Path
    peer_python: Path | None = None
    peers: bool = True
    only: tuple[str, ...] = ()
    singles: int = 8
    requests: int = 64
    concurrency: int = 32
    rounds: int = 5
    seed: int = 0
    server_options: tuple[str, ...] = ()


def checkpoint_of(work: Path) -> Path:
    """The checkpoint in t5-small's shape, made if it is not there."""
    if not (work / "copier").is_dir():
        make_copier(work / "copier")
    return work / "copier" / "t5-small"


def measure_generation(
    plan: GenerationPlan, say: Callable[[str], None], *, show: Callable[[Case], None]
) -> GenerationResult:
    """LoadError when a contender can't be started or fails. `say` hears what is going on, `show` each case's figures
    as soon as they are there: the whole run is long."""
    checkpoint = checkpoint_of(plan.work)
    prompts = make_prompts(max(plan.requests, plan.singles), seed=plan.seed)
    jobs = {
        ONE: Job(numbers=tuple(range(plan.singles))),
        MANY: Job(numbers=tuple(range(plan.requests)), clients=plan.concurrency),
    }
    with ExitStack() as stack:
        say("starting the gateway")
        # Peers run at the usual priority; on a machine with other work, ours has to as well.
        served = stack.enter_context(serve(plan.repository, ("--generation-niceness", "0", *plan.server_options)))
        contenders: list[Contender] = [*_gateways(served, prompts, plan)]
        facts: dict[str, Any] = {"cores": len(os.sched_getaffinity(0)), "concurrency": plan.concurrency}
        if plan.peers:
            contenders += _start_peers(plan, checkpoint, prompts, stack=stack, facts=facts, say=say)
        reference = _warm_up(contenders, jobs, say=say)
        cases = []
        for name, job in jobs.items():
            cases.append(_measure(plan, name, contenders, job, reference=reference, say=say))
            show(cases[-1])
        before = served.drafts()
        drafting = Gateway(served, prompts, tokenizer_of(plan.repository), drafting=True)
        for name, job in jobs.items():
            drafting.run(job)
            after = served.drafts()
            proposed, accepted = after.proposed - before.proposed, after.accepted - before.accepted
            facts[f"drafts, {name}"] = f"{proposed:.0f} tokens proposed, {accepted:.0f} held"
            before = after
        job, chosen = _poisson(plan, cases[-1], contenders)
        facts["poisson arrivals, requests/s"] = round(len(job.numbers) / job.offsets[-1], 2)
        cases.append(_measure(plan, POISSON, chosen, job, reference=reference, say=say))
        show(cases[-1])
    return GenerationResult(tuple(cases), facts)


def _gateways(served: Served, prompts: Sequence[Prompt], plan: GenerationPlan) -> list[Gateway]:
    tokenizer = tokenizer_of(plan.repository)
    modes = ((False, False), (True, False), (False, True))
    return [Gateway(served, prompts, tokenizer, drafting=drafts, streaming=streams) for drafts, streams in modes]


def _start_peers(
    plan: GenerationPlan,
    checkpoint: Path,
    prompts: Sequence[Prompt],
    *,
    stack: ExitStack,
    facts: dict[str, Any],
    say: Callable[[str], None],
) -> list[Contender]:
    say("preparing the peers")
    models = plan.work / "peers"
    models.mkdir(exist_ok=True)
    python = plan.peer_python or make_environment(plan.work / "peers-environment")
    convert(python, models=models, checkpoint=checkpoint)
    sources = models / "sources.json"
    sources.write_text(json.dumps([prompt.ids for prompt in prompts]), encoding="utf8")
    facts["peers"] = ", ".join(f"{name} {version}" for name, version in versions(python).items())
    started: list[Contender] = []
    for each in _chosen(plan):
        say(f"starting {each.name}")
        started.append(stack.enter_context(peer(each, python, models=models, checkpoint=checkpoint, sources=sources)))
    return started


def _chosen(plan: GenerationPlan) -> list[PeerPlan]:
    plans = peer_plans(len(os.sched_getaffinity(0)))
    if not plan.only:
        return plans
    # The first is the reference, whoever else is left out.
    return [each for each in plans if each is plans[0] or any(part in each.name for part in plan.only)]


def _warm_up(
    contenders: Sequence[Contender], jobs: dict[str, Job], *, say: Callable[[str], None]
) -> list[tuple[int, ...]]:
    """Everybody once; the outputs of transformers in float32 for all prompts, or of the gateway where there is none."""
    longest = max(jobs.values(), key=lambda job: len(job.numbers))
    found: dict[str, tuple[tuple[int, ...], ...]] = {}
    for contender in contenders:
        say(f"warming up {contender.name}")
        whole = contender.name in (GATEWAY, REFERENCE)
        job = longest if whole else Job(numbers=longest.numbers[:8], clients=8)
        found[contender.name] = contender.run(job).outputs
    return list(found.get(REFERENCE, found[GATEWAY]))


def _measure(
    plan: GenerationPlan,
    name: str,
    contenders: Sequence[Contender],
    job: Job,
    *,
    reference: Sequence[tuple[int, ...]],
    say: Callable[[str], None],
) -> Case:
    taking_part = [contender for contender in contenders if name in contender.cases]
    return measure_case(name, taking_part, job, rounds=plan.rounds, reference=reference, say=say)


def _poisson(plan: GenerationPlan, many: Case, contenders: Sequence[Contender]) -> tuple[Job, list[Contender]]:
    """Arrivals that both can keep up with, and who meets them: our ways to ask, and the best CTranslate2 run."""
    names = {line.name for line in many.lines if line.kind == "gateway"}
    slowest = next(line for line in many.lines if line.name == GATEWAY).rate.median
    if many.has("ctranslate2"):
        best = many.best("ctranslate2")
        names.add(best.name)
        slowest = min(slowest, best.rate.median)
    rate = LOAD * slowest * many.requests / many.tokens
    numbers = tuple(range(many.requests))
    job = Job(numbers=numbers, offsets=arrivals(len(numbers), rate=rate, seed=plan.seed))
    return job, [contender for contender in contenders if contender.name in names]
