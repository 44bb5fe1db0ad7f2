"""How the embedded engine divides the cores.

Measured with the default encoder (int8, 12 layers, 384 wide) on 2 cores of an AVX-512 VNNI machine, interleaved runs:
two workers with one thread each against one worker with two threads. With little else running the two workers did 1.1
to 2 times as many tokens a second (single texts, batches of 8 and 32; only 8 texts of 32 tokens went the other way, by
1.2), on a busy machine 0.96 to 2.1 times; two threads cost 1 to 40 % more CPU for a batch, as they meet at each node.
Threads that wait by spinning bring a lone text of 128 tokens from 28 ms to 20 with little else running, and halve the
throughput on a busy machine. More cores were not measured. Who wants one long text sooner, rather than many, sets
`intra_op_threads` higher.
"""

from dataclasses import dataclass

# On a GPU a second worker prepares its batch while the first one's runs; more would only hold more memory there.
_GPU_WORKERS = 2
_LEAST_LANE_ROWS = 8


@dataclass(frozen=True, slots=True)
class CoreSplit:
    """workers: batches run at a time. intra_op_threads: threads that one batch may use."""

    workers: int
    intra_op_threads: int


@dataclass(frozen=True, slots=True)
class LaneSplit:
    """lanes: batches that a generator advances at a time. rows: of each. intra_op_threads: that one may use."""

    lanes: int
    rows: int
    intra_op_threads: int


def split_rows(cores: int, *, max_rows: int, lanes: int = 0, on_gpu: bool = False) -> LaneSplit:
    """Divide `max_rows` among lanes: by default one for each core, as two with one thread each do far more than one
    with two, but none so small that a beam search finds no room. On a GPU a single one, for the largest batches. Never
    more lanes than rows."""
    lanes = min(lanes, max_rows)
    if not lanes:
        lanes = 1 if on_gpu else min(max(1, cores), max(1, max_rows // _LEAST_LANE_ROWS))
    return LaneSplit(lanes, max_rows // lanes, max(1, cores // lanes))


def split_cores(cores: int, *, workers: int = 0, intra_op_threads: int = 0, on_gpu: bool = False) -> CoreSplit:
    """Fill in what is 0, so that workers times threads is about the number of cores: by default one thread each."""
    threads = intra_op_threads or (max(1, cores // workers) if workers else 1)
    if not workers:
        workers = _GPU_WORKERS if on_gpu else max(1, cores // threads)
    return CoreSplit(workers, threads)
