"""What the user sees of long steps: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

Advance = Callable[[float], None]
"""Takes the work done since the last call, in the unit of the step's total."""


class Reporter:
    """Shows each long step as it runs: a bar on a terminal, elsewhere one line when it is done."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def step(self, name: str, total: float | None = None) -> Iterator[Advance]:
        """One step of `total` units of work; None: nobody knows, the bar only shows life."""
        started = time.monotonic()
        if self._console.is_terminal:
            with self._bar() as progress:
                task = progress.add_task(name, total=total)
                yield lambda amount: progress.advance(task, amount)
                progress.update(task, total=total or 1, completed=total or 1)
        else:
            yield lambda amount: None
            self.line(f"{name}: {time.monotonic() - started:.1f} s")

    def line(self, text: str) -> None:
        """One line of plain text, without markup or wrapping."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _bar(self) -> Progress:
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
        return Progress(*columns, console=self._console)
