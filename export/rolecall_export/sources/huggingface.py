"""Sentence encoders in Hugging Face form, from a local folder or a hub, through transformers and optimum."""

from __future__ import annotations

import hashlib
import importlib.util
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
from onnx import TensorProto, helper

from rolecall_export.errors import ExportError
from rolecall_export.families.pooling import append_pooling
from rolecall_export.progress import Reporter
from rolecall_export.sources import model_card
from rolecall_export.sources.base import Checkpoint, CheckpointFolder, Identity

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

OPSET = 20
PACKAGES = ("torch", "transformers", "optimum-onnx")
FILES = ("*.json", "*.txt", "*.model", "*.safetensors", "README.md")
"""What a checkpoint is made of."""
FALLBACK_FILES = ("pytorch_model*.bin",)
"""Its weights where it has no safetensors."""
NOT_FILES = ("onnx/*", "openvino/*")
"""Conversions by others, which many hub repositories carry beside the checkpoint."""
_OFFSET_FAMILIES = ("roberta", "xlm-roberta", "mpnet")
"""Their first position is pad + 1."""
_FAMILIES = ("bert", "distilbert", *_OFFSET_FAMILIES)
_TOKENIZER_FILES = (
    *("tokenizer.json", "vocab.txt", "vocab.json"),
    *("sentencepiece.bpe.model", "spiece.model", "tokenizer.model"),
)
"""Any one of them is enough for transformers."""
_HUGE = 1_000_000
"""Tokenizers without a limit say 1e30."""


@dataclass(frozen=True, slots=True)
class LocalFolder:
    """A checkpoint in a folder of the user's."""

    folder: Path

    @property
    def packages(self) -> tuple[str, ...]:
        return PACKAGES

    def identify(self) -> Identity:
        return Identity(source=f"folder:{self.folder.resolve().name}", revision=_content_hash(self.folder))

    def fetch(self, reporter: Reporter) -> CheckpointFolder:
        with reporter.step("read folder"):
            identity = self.identify()
        return CheckpointFolder(path=self.folder, identity=identity, name=self.folder.resolve().name)

    def load(self, reporter: Reporter) -> Checkpoint:
        fetched = self.fetch(reporter)
        return load_folder(self.folder, identity=fetched.identity, name=fetched.name, reporter=reporter)


def require_hub_packages() -> None:
    """ExportError with what to install, unless torch, transformers and optimum are there."""
    for module in ("torch", "transformers", "optimum"):
        if importlib.util.find_spec(module) is None:
            raise ExportError(f"a Hugging Face checkpoint needs {module}: pip install 'rolecall[hub]'")


def load_folder(folder: Path, *, identity: Identity, name: str, reporter: Reporter) -> Checkpoint:
    """Export the float graph of the checkpoint in `folder`; `name` is what the model is called where it is from."""
    require_hub_packages()
    import transformers

    pooling = model_card.pooling(folder)
    if not any((folder / file).is_file() for file in _TOKENIZER_FILES):
        raise ExportError(f"{name} can't be exported: it has no tokenizer")
    try:
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
        if config.model_type not in _FAMILIES:
            raise ExportError(f"model type {config.model_type!r} can't be exported (only {', '.join(_FAMILIES)})")
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, use_fast=True, trust_remote_code=False)
    except (OSError, ValueError, ImportError) as error:
        raise ExportError(f"{name} can't be read by transformers: {_first_line(error)}") from error
    if not tokenizer.is_fast:
        raise ExportError(f"the tokenizer of {name} has no fast form, so it can't be written as tokenizer.json")
    with reporter.step("export graph"):
        backbone = _export_backbone(folder, name)
        feed_token_types(backbone)
        model = append_pooling(backbone, pooling=pooling, normalize=True)
    licence, languages = model_card.licence_and_languages(folder)
    return Checkpoint(
        identity=identity,
        model=model,
        tokenizer=_tokenizer_json(tokenizer, lowercase=model_card.lowercases(folder)),
        licence=licence,
        dimensions=config.hidden_size,
        max_tokens=_max_tokens(folder, config, tokenizer),
        vocabulary_size=config.vocab_size,
        pad_token_id=_pad_token_id(config, tokenizer),
        pooling=pooling,
        prefixes=model_card.prefixes(folder, name),
        languages=languages,
    )


def feed_token_types(model: onnx.ModelProto) -> None:
    """Replace the input token_type_ids, where there is one, by zeros of the shape of input_ids, in place."""
    graph = model.graph
    inputs = [value for value in graph.input if value.name != "token_type_ids"]
    if len(inputs) == len(graph.input):
        return
    del graph.input[:]
    graph.input.extend(inputs)
    zero = helper.make_tensor("value", TensorProto.INT64, [1], [0])
    nodes = [
        helper.make_node("Shape", ["input_ids"], ["token_types_shape"], name="token_types_shape"),
        helper.make_node("ConstantOfShape", ["token_types_shape"], ["token_type_ids"], name="token_types", value=zero),
    ]
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *rest])


def _export_backbone(folder: Path, name: str) -> onnx.ModelProto:
    """The float graph from input ids to last_hidden_state, by optimum."""
    with _quiet():
        from optimum.exporters.onnx import main_export

        with tempfile.TemporaryDirectory(prefix="rolecall-") as output:
            try:
                main_export(
                    str(folder),
                    output=output,
                    task="feature-extraction",
                    library_name="transformers",
                    opset=OPSET,
                    do_validation=False,  # the export's own verification follows
                )
            except (OSError, ValueError, RuntimeError, KeyError) as error:
                raise ExportError(f"optimum can't export {name}: {_first_line(error)}") from error
            return onnx.load(Path(output) / "model.onnx")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the tracer's and the libraries' notes, which say nothing to a user, off the terminal."""
    import optimum.utils.logging
    import transformers.utils.logging

    levels = [(module, module.get_verbosity()) for module in (optimum.utils.logging, transformers.utils.logging)]
    try:
        for module, _ in levels:
            module.set_verbosity_error()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for module, level in levels:
            module.set_verbosity(level)


def _tokenizer_json(tokenizer: PreTrainedTokenizerFast, *, lowercase: bool) -> str:
    from tokenizers import Tokenizer, normalizers

    plain = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    plain.no_truncation()
    plain.no_padding()
    if lowercase:
        existing = [plain.normalizer] if plain.normalizer is not None else []
        plain.normalizer = normalizers.Sequence([normalizers.Lowercase(), *existing])
    return str(plain.to_str())


def _max_tokens(folder: Path, config: Any, tokenizer: PreTrainedTokenizerFast) -> int:
    """The least of what sentence-transformers, the tokenizer and the position table allow."""
    positions = int(config.max_position_embeddings)
    if config.model_type in _OFFSET_FAMILIES:
        positions -= int(config.pad_token_id) + 1
    limits = [positions, model_card.declared_length(folder) or positions]
    if tokenizer.model_max_length < _HUGE:
        limits.append(int(tokenizer.model_max_length))
    return min(limits)


def _pad_token_id(config: Any, tokenizer: PreTrainedTokenizerFast) -> int:
    identifier = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else config.pad_token_id
    if identifier is None:
        raise ExportError("the model has no padding token")
    return int(identifier)


def checkpoint_files(folder: Path) -> list[Path]:
    """The files of `folder` that make the checkpoint, sorted."""
    found = {path for pattern in FILES for path in folder.rglob(pattern)}
    if not any(path.suffix == ".safetensors" for path in found):
        found |= {path for pattern in FALLBACK_FILES for path in folder.rglob(pattern)}
    return sorted(path for path in found if path.is_file() and _belongs(path.relative_to(folder)))


def _belongs(name: Path) -> bool:
    hidden = any(part.startswith(".") for part in name.parts)
    return not hidden and not any(name.match(pattern) for pattern in NOT_FILES)


def _content_hash(folder: Path) -> str:
    lines = []
    for path in checkpoint_files(folder):
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        lines.append(f"{path.relative_to(folder).as_posix()} {digest}\n")
    if not lines:
        raise ExportError(f"folder {folder} holds no checkpoint")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
