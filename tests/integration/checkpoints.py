"""Tiny random Hugging Face checkpoints of every family that the exporter takes, and a hub on 127.0.0.1 that has one."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers, processors

COMMIT = sha1(b"tiny", usedforsecurity=False).hexdigest()
WORDS = [f"w{index}" for index in range(40)]
POSITIONS = 66
_SIZES = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": POSITIONS,
}
_DISTILBERT_NAMES = {
    "hidden_size": "dim",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "intermediate_size": "hidden_dim",
}


def write_checkpoint(folder: Path, family: str) -> Any:
    """Write model and tokenizer of one family into `folder`; returns the transformers model. Needs torch.

    BERT and DistilBERT come with a vocabulary only, as old checkpoints do: no tokenizer.json.
    """
    import torch
    import transformers

    torch.manual_seed(0)
    if family in ("bert", "distilbert"):
        names = _DISTILBERT_NAMES if family == "distilbert" else {}
        sizes = {names.get(name, name): size for name, size in _SIZES.items()}
        config = transformers.AutoConfig.for_model(family, **sizes)
        _write_word_pieces(folder, family)
    else:
        config = transformers.AutoConfig.for_model(family, **_SIZES, pad_token_id=1)
        _write_fast_tokenizer(folder)
    model = transformers.AutoModel.from_config(config).eval()
    model.save_pretrained(folder)
    return model


def _write_word_pieces(folder: Path, family: str) -> None:
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf8")
    slow = transformers.BertTokenizer if family == "bert" else transformers.DistilBertTokenizer
    slow(str(folder / "vocab.txt")).save_pretrained(folder)
    assert not (folder / "tokenizer.json").exists()


def _write_fast_tokenizer(folder: Path) -> None:
    import transformers

    vocabulary = {word: index for index, word in enumerate(["<s>", "<pad>", "</s>", "<unk>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.enable_truncation(8)  # published tokenizers often carry one, shorter than the model
    tokenizer.enable_padding(length=8, pad_id=1, pad_token="<pad>")
    names = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)


@contextmanager
def hub(folder: Path, name: str) -> Iterator[tuple[str, list[str]]]:
    """Serve `folder` as the hub's model `name`: the address of the hub, and the files it was asked for, as a list."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    asked: list[str] = []
    about = {"id": name, "modelId": name, "sha": COMMIT, "siblings": [{"rfilename": each} for each in files]}

    abouts = [f"/api/models/{name}", *(f"/api/models/{name}/revision/{revision}" for revision in ("main", COMMIT))]

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            resolved = path.removeprefix(f"/{name}/resolve/{COMMIT}/")
            if path in abouts:
                self._answer(200, json.dumps(about).encode())
            elif path != resolved and resolved in files:
                if self.command == "GET":
                    asked.append(resolved)
                self._answer(200, files[resolved].read_bytes())
            else:
                self.send_response(404)
                missing = "EntryNotFound" if path != resolved else "RepoNotFound"
                self.send_header("X-Error-Code", missing)
                self.end_headers()

        def _answer(self, code: int, content: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{sha1(content, usedforsecurity=False).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
