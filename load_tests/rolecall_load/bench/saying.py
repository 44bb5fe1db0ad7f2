"""What a bench says while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console


@contextmanager
def saying(console: Console) -> Iterator[Callable[[str], None]]:
    """A status line on a terminal, a line for each step elsewhere."""
    with console.status("starting") as status:

        def say(what: str) -> None:
            status.update(what)
            if not console.is_terminal:
                console.print(what, markup=False, highlight=False)

        yield say
