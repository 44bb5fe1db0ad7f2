"""How the embedded engine divides the cores.

Measured with the default encoder (int8, 12 layers, 384 wide) on 2 cores of an AVX-512 VNNI machine, in one interleaved
run; tokens a second of two workers with one thread each, against one worker with two threads: 1.6 to 2 times as many
with single texts, 1.1 to 1.4 times with batches of 8 and 32 (only 8 short texts were quicker the other way, by 1.2). A
lone text of 128 tokens takes 28 ms on one thread, 25 on two, 20 on two that spin, which burn a fifth more CPU; a lone
text of 32 tokens takes 8, 10 and 7. The products of a small encoder are too short to be shared well, and separate
batches need no meeting point at each node, so the more cores, the more this holds. Machines that are to answer one long
text at a time sooner, rather than many, set `intra_op_threads` higher and `workers` lower.
"""

from dataclasses import dataclass

# On a GPU a second worker prepares its batch while the first one's runs; more would only hold more memory there.
_GPU_WORKERS = 2


@dataclass(frozen=True, slots=True)
class CoreSplit:
    """workers: batches run at a time. intra_op_threads: threads that one batch may use."""

    workers: int
    intra_op_threads: int


def split_cores(cores: int, *, workers: int = 0, intra_op_threads: int = 0, on_gpu: bool = False) -> CoreSplit:
    """Fill in what is 0, so that workers times threads is about the number of cores: by default one thread each."""
    threads = intra_op_threads or (max(1, cores // workers) if workers else 1)
    if not workers:
        workers = _GPU_WORKERS if on_gpu else max(1, cores // threads)
    return CoreSplit(workers, threads)
