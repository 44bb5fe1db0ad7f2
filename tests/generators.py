"""A small generator in a model repository, for tests that want a real one. Nothing is compared with the float model
here: that takes half a minute and has tests of its own."""

import io
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests import fixtures_t5
from tests.requirements import require_module

MAX_SOURCE_TOKENS, MAX_NEW_TOKENS = 256, 128


def repository_with_generator(encoders: Path, path: Path, *, preset: str = "cpu-int8") -> Path:
    """A copy of the repository `encoders` at `path`, with a briefly trained T5 beside the encoders."""
    require_module("rolecall_export")
    from rich.console import Console
    from rolecall_export import t5_pipeline
    from rolecall_export.progress import Reporter
    from rolecall_export.repository import Target
    from rolecall_export.sources.resolve import resolve_t5
    from rolecall_export.t5_artifact import write_manifest
    from rolecall_export.t5_presets import PRESETS

    shutil.copytree(encoders, path)
    source = resolve_t5(str(fixtures_t5.checkpoint("plain")))
    options = t5_pipeline.Options(
        max_source_tokens=MAX_SOURCE_TOKENS, max_new_tokens=MAX_NEW_TOKENS, languages=("en", "zh")
    )

    def unverified(_: Any, manifest: Any, *, staged: Path, **__: Any) -> Any:
        write_manifest(manifest, staged)
        return manifest

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(t5_pipeline, "verified", unverified)
        t5_pipeline.export_t5(
            source,
            PRESETS[preset],
            target=Target(repository=path, name="generator", version=1),
            options=options,
            reporter=Reporter(Console(file=io.StringIO())),
        )
    return path


def beside(encoders: Path) -> Path:
    """The same next to `encoders`, made once and shared by all tests of a run: leave it as it is."""
    path = encoders.with_name(f"{encoders.name}-with-generator")
    return path if path.exists() else repository_with_generator(encoders, path)
