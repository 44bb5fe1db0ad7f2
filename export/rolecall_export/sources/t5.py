"""T5 checkpoints in Hugging Face form, from a local folder or a hub. No torch where the weights are safetensors."""

from __future__ import annotations

from dataclasses import dataclass

from rolecall_export.progress import Reporter
from rolecall_export.sources import model_card
from rolecall_export.sources.base import Identity, Place, T5Checkpoint
from rolecall_export.sources.t5_folder import load_weights
from rolecall_export.sources.t5_tokenizer import read_tokenizer

_PACKAGES = ("safetensors", "torch", "transformers")
"""torch and transformers give the reference where they are installed."""


@dataclass(frozen=True, slots=True)
class HuggingFaceT5:
    """Any member of the family; `place` is where its files come from."""

    place: Place

    @property
    def packages(self) -> tuple[str, ...]:
        return _PACKAGES

    def identify(self) -> Identity:
        return self.place.identify()

    def load(self, reporter: Reporter) -> T5Checkpoint:
        fetched = self.place.fetch(reporter)
        with reporter.step("read weights"):
            weights = load_weights(fetched.path)
            tokenizer = read_tokenizer(fetched.path, weights.config)
        licence, languages = model_card.licence_and_languages(fetched.path)
        return T5Checkpoint(
            identity=fetched.identity,
            folder=fetched.path,
            weights=weights,
            tokenizer=tokenizer,
            licence=licence,
            languages=languages,
        )
