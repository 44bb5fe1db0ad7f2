"""What the commands need beside the base install, asked for in one line before anything of it is imported."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec

MODULES = {"load": ("hdrh", "psutil", "prometheus_client"), "server": ("onnxruntime", "tokenizers")}
"""Of each extra, what is imported here. `gpu` holds the modules of `server` as well."""


def are_there(command: str, extras: Sequence[str]) -> bool:
    """Whether the extras are installed. If not, one line on standard error says how to come by them."""
    missing = [extra for extra in extras if any(find_spec(module) is None for module in MODULES[extra])]
    if missing:
        print(
            f"{command}: not everything it needs is installed: pip install 'rolecall[{','.join(missing)}]'",
            file=sys.stderr,
        )
    return not missing
