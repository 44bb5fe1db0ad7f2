"""How the embedded engine divides the cores."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CoreSplit:
    """workers: batches run at a time. intra_op_threads: threads that one batch may use."""

    workers: int
    intra_op_threads: int


def split_cores(cores: int, *, workers: int = 0, intra_op_threads: int = 0) -> CoreSplit:
    """Fill in what is 0."""
    return CoreSplit(workers or cores, intra_op_threads or 1)
