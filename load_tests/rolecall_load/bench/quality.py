"""How well a server ranks, beside a reference: same queries, same documents, paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from rolecall_load.bench.embedders import Embedder
from rolecall_load.bench.ranking import Interval, RankingSet, Ranks, interval, measures, ranks

TOLERANCE = 0.005
"""Largest loss of MRR against the reference that passes."""


@dataclass(frozen=True, slots=True)
class SetQuality:
    """One set. `reference`, `difference` (ours minus the reference) and `cosine_*` are empty without a reference."""

    name: str
    queries: int
    documents: int
    found: dict[str, Interval]
    reference: dict[str, Interval]
    difference: dict[str, Interval]
    cosine_mean: float | None = None
    cosine_min: float | None = None

    def passed(self, tolerance: float = TOLERANCE) -> bool:
        return not self.difference or self.difference["MRR"].value >= -tolerance


def evaluate(ranking: RankingSet, embedder: Embedder, *, reference: Embedder | None = None) -> SetQuality:
    """LoadError when a text can't be embedded."""
    ours, our_ranks = _rank(ranking, embedder)
    found = measures(our_ranks)
    sizes = len(ranking.queries), len(ranking.documents)
    if reference is None:
        return SetQuality(ranking.name, *sizes, _intervals(found), {}, {})
    theirs, their_ranks = _rank(ranking, reference)
    expected = measures(their_ranks)
    cosines = (ours * theirs).sum(axis=1)
    return SetQuality(
        ranking.name,
        *sizes,
        _intervals(found),
        _intervals(expected),
        _intervals({name: values - expected[name] for name, values in found.items()}),
        float(cosines.mean()),
        float(cosines.min()),
    )


def _rank(ranking: RankingSet, embedder: Embedder) -> tuple[np.ndarray, Ranks]:
    queries = embedder.embed(ranking.queries, "query")
    documents = embedder.embed(ranking.documents, "document")
    return np.concatenate([queries, documents]), ranks(queries, documents, gold=np.array(ranking.gold))


def _intervals(values: dict[str, Any]) -> dict[str, Interval]:
    return {name: interval(each) for name, each in values.items()}


def print_quality(console: Console, results: Sequence[SetQuality], *, names: tuple[str, str]) -> None:
    """`names`: what was measured, and the reference."""
    table = Table("set", "measure", names[0], f"reference: {names[1]}", "difference")
    for result in results:
        for name in result.found:
            texts = (_text(column.get(name)) for column in (result.found, result.reference, result.difference))
            table.add_row(result.name, name, *texts)
    console.print(table)
    console.print("Values with 95 % bootstrap intervals; that of the difference is paired.")
    for result in results:
        line = f"{result.name}: {result.queries} queries, {result.documents} documents"
        if result.cosine_mean is not None:
            line += f"; cosine to the reference {result.cosine_mean:.5f} in the mean, {result.cosine_min:.5f} at least"
        console.print(line)


def _text(value: Interval | None) -> str:
    return "" if value is None else f"{value.value:.4f} ({value.low:.4f} to {value.high:.4f})"
