"""The command `rolecall-load`, where the extra that it needs is installed."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rolecall_load.extras import are_there


def main(arguments: Sequence[str] | None = None) -> int:
    """As `run` of rolecall_load.commands; 2 when something is not installed."""
    if not are_there("rolecall-load", ("load",)):
        return 2
    from rolecall_load.commands import run

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
