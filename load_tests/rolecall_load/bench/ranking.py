"""Ranking benchmarks: their queries and documents, and the measures with bootstrap intervals. No server, no model.

The sets are those of public classifications. ESCO: an alternative label has to find its occupation's preferred label.
CSCO: a noisy Chinese job title has to find its class. Queries are drawn with a fixed seed, a tie counts against us.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rolecall_load.errors import LoadError

QUERIES = 1500
DRAWS = 1000
_LONGEST_FIELD = 10_000_000

Ranks = NDArray[np.int64]
"""Of each query's right document, 1 is best, shape [queries]."""


@dataclass(frozen=True, slots=True)
class RankingSet:
    """`gold[i]` is the index in `documents` of the one that `queries[i]` has to find."""

    name: str
    queries: tuple[str, ...]
    gold: tuple[int, ...]
    documents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with the bounds of its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


def load_esco(folder: Path, *, size: int = QUERIES) -> RankingSet:
    """From esco/occupations.csv. A label that several occupations share is no query."""
    rows = _rows(folder / "esco" / "occupations.csv")
    documents = [row["PREFERREDLABEL"] for row in rows]
    owners: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        # dict.fromkeys drops repetitions and keeps the order, which the draw depends on.
        labels = dict.fromkeys(label.strip() for label in row["ALTLABELS"].split("\n"))
        for label in labels:
            if label and label != documents[index]:
                owners.setdefault(label, []).append(index)
    pairs = [(label, indexes[0]) for label, indexes in owners.items() if len(indexes) == 1]
    return _draw("esco", pairs, documents, size=size)


def load_csco(folder: Path, *, size: int = QUERIES) -> RankingSet:
    """From csco/csco22.csv and csco/testcases.csv. Titles whose class is not in the table are no queries."""
    classes = _rows(folder / "csco" / "csco22.csv")
    index = {row["code"]: number for number, row in enumerate(classes)}
    cases = _rows(folder / "csco" / "testcases.csv")
    pairs = [(row["job_name"], index[row["expected_code"]]) for row in cases if row["expected_code"] in index]
    return _draw("csco", pairs, [row["name"] for row in classes], size=size)


SETS: Mapping[str, Callable[[Path], RankingSet]] = {"esco": load_esco, "csco": load_csco}


def ranks(queries: NDArray[np.float32], documents: NDArray[np.float32], *, gold: NDArray[np.int64]) -> Ranks:
    """Rank of each query's gold document by inner product; documents with the same score count as better.

    queries: [n, d], documents: [m, d], of unit length; gold: [n], indexes of documents.
    """
    scores = queries @ documents.T
    own = scores[np.arange(len(gold)), gold]
    found: Ranks = (scores >= own[:, None]).sum(axis=1)
    return found


def measures(found: Ranks) -> dict[str, NDArray[np.float64]]:
    """The value of each measure for each query: reciprocal rank, hit among the first one and ten."""
    return {
        "MRR": 1.0 / found,
        "R@1": (found <= 1).astype(np.float64),
        "R@10": (found <= 10).astype(np.float64),
    }


def interval(values: NDArray[np.float64]) -> Interval:
    """Mean and 95 % bootstrap interval over queries, percentile method, with a fixed seed.

    For a paired difference give the differences: the same seed draws the same queries.
    """
    draws = np.random.default_rng(0).integers(0, len(values), (DRAWS, len(values)))
    low, high = np.percentile(values[draws].mean(axis=1), (2.5, 97.5))
    return Interval(float(values.mean()), float(low), float(high))


def _draw(name: str, pairs: list[tuple[str, int]], documents: list[str], *, size: int) -> RankingSet:
    # The generator that random.seed(0) gives, without touching the shared one.
    drawn = random.Random(0).sample(pairs, min(size, len(pairs)))
    if not drawn:
        raise LoadError(f"the {name} files hold no queries")
    queries, gold = zip(*drawn, strict=True)
    return RankingSet(name, queries, gold, tuple(documents))


def _rows(path: Path) -> list[dict[str, str]]:
    """LoadError when the file is missing or is not what was expected."""
    limit = csv.field_size_limit(_LONGEST_FIELD)
    try:
        with path.open(encoding="utf8", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LoadError(f"{path} can't be read: {error}") from error
    finally:
        csv.field_size_limit(limit)
    needed = {"occupations.csv": {"PREFERREDLABEL", "ALTLABELS"}, "csco22.csv": {"code", "name"}}
    missing = needed.get(path.name, {"job_name", "expected_code"}) - set(rows[0] if rows else ())
    if missing:
        raise LoadError(f"{path} lacks the columns {', '.join(sorted(missing))}")
    return rows
