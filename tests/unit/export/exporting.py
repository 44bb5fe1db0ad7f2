"""A tiny source and presets, so that the export's own steps are tested in milliseconds."""

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import onnx
from rich.console import Console
from rolecall_export.presets import Preset, Tolerance
from rolecall_export.progress import Reporter
from rolecall_export.sources.base import Checkpoint, Identity
from rolecall_server.engine.fake_tokenizer import PAD_TOKEN_ID, VOCABULARY_SIZE, byte_tokenizer

from tests import fixtures_models as tiny

STRICT = Tolerance(cosine_min=0.999, alone_vs_batched=1e-6, rank_agreement=0.99)


@dataclass
class TinySource:
    """The tests' tiny encoder as a source."""

    seed: int = 0
    languages: tuple[str, ...] = ("en", "zh")
    loads: int = field(default=0, init=False)

    @property
    def packages(self) -> tuple[str, ...]:
        return ()

    def identify(self) -> Identity:
        return Identity(source="tiny", revision=str(self.seed))

    def load(self, reporter: Reporter) -> Checkpoint:
        self.loads += 1
        return Checkpoint(
            identity=self.identify(),
            model=tiny.tiny_graph(dimensions=tiny.DIMENSIONS, seed=self.seed),
            tokenizer=byte_tokenizer().to_str(),
            licence="Apache-2.0",
            dimensions=tiny.DIMENSIONS,
            max_tokens=tiny.MAX_TOKENS,
            vocabulary_size=VOCABULARY_SIZE,
            pad_token_id=PAD_TOKEN_ID,
            pooling="mean",
            prefixes={"query": "query: ", "document": "passage: "},
            languages=self.languages,
        )


def preset(
    convert: Callable[[onnx.ModelProto], onnx.ModelProto], name: str = "same", tolerance: Tolerance = STRICT
) -> Preset:
    return Preset(name=name, provider="cpu", reason="for tests", convert=convert, tolerance=tolerance)


def same(model: onnx.ModelProto) -> onnx.ModelProto:
    return model


def other_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A conversion that has gone wrong: the same graph over another table."""
    return tiny.tiny_graph(dimensions=tiny.DIMENSIONS, seed=99)


def reporter() -> tuple[Reporter, io.StringIO]:
    output = io.StringIO()
    return Reporter(Console(file=output)), output


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
