"""Checkpoints on the Hugging Face hub, or in its local cache where the hub can't be reached."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rolecall_export.errors import ExportError
from rolecall_export.progress import Reporter
from rolecall_export.sources.base import Checkpoint, CheckpointFolder, Identity
from rolecall_export.sources.huggingface import (
    FALLBACK_FILES,
    FILES,
    NOT_FILES,
    PACKAGES,
    load_folder,
    require_hub_packages,
)


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model of the hub at one revision (branch, tag or commit; None: its main branch)."""

    name: str
    revision: str | None

    @property
    def packages(self) -> tuple[str, ...]:
        return PACKAGES

    def identify(self) -> Identity:
        return self._identity(commit=self._commit())

    def fetch(self, reporter: Reporter) -> CheckpointFolder:
        with reporter.step(f"download {self.name}"), _readable_errors(self.name):
            folder = self._download()
        return CheckpointFolder(path=folder, identity=self._identity(commit=folder.name), name=self.name)

    def load(self, reporter: Reporter) -> Checkpoint:
        require_hub_packages()
        fetched = self.fetch(reporter)
        return load_folder(fetched.path, identity=fetched.identity, name=self.name, reporter=reporter)

    def _identity(self, *, commit: str) -> Identity:
        return Identity(source=f"hub:{self.name}", revision=commit)

    def _commit(self) -> str:
        """The commit of the revision: asked of the hub, or of the cache when the hub does not answer."""
        from huggingface_hub import HfApi, snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        with _readable_errors(self.name):
            try:
                return str(HfApi().model_info(self.name, revision=self.revision, timeout=20).sha)
            except HfHubHTTPError:
                raise
            except OSError as unreachable:
                try:
                    cached = snapshot_download(self.name, revision=self.revision, local_files_only=True)
                except LocalEntryNotFoundError:
                    raise unreachable from None
                return Path(cached).name

    def _download(self) -> Path:
        """The checkpoint's files and no others, in a folder named by the commit.

        By name of the revision, so that the cache learns which commit it is and knows it when the hub is away.
        """
        with _quiet():
            folder = self._snapshot(self.revision, patterns=FILES)
            if any(folder.glob("*.safetensors")):
                return folder
            return self._snapshot(folder.name, patterns=FILES + FALLBACK_FILES)

    def _snapshot(self, revision: str | None, *, patterns: tuple[str, ...]) -> Path:
        from huggingface_hub import snapshot_download

        ignored = list(NOT_FILES)
        return Path(
            snapshot_download(self.name, revision=revision, allow_patterns=list(patterns), ignore_patterns=ignored)
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """The export has a progress bar of its own, and its errors are one line."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars, logging

    shown, level = not are_progress_bars_disabled(), logging.get_verbosity()
    disable_progress_bars()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            enable_progress_bars()


@contextmanager
def _readable_errors(name: str) -> Iterator[None]:
    """Turn what the hub's client raises into one line."""
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        yield
    except GatedRepoError as error:
        raise ExportError(f"hub model {name} asks for a login that has accepted its terms") from error
    except RevisionNotFoundError as error:
        raise ExportError(f"hub model {name} has no such revision") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ExportError(f"the hub has no model {name}, or it is private; nor is {name} a folder here") from error
    except OSError as error:
        hint = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
        raise ExportError(
            f"hub model {name}: the hub can't be reached and the cache does not hold it{hint}; "
            f"nor is {name} a folder here"
        ) from error
