"""Runs in the environment of sentence-transformers, by path: nothing of ours is imported.

Arguments: model folder, dtype, threads, a JSON file with the texts. Each line of input is a command: `run` encodes all
texts and answers {"seconds": ...}; `embed FILE` also writes the embeddings as .npy.
"""

# mypy: disable-error-code=import-not-found

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

_BATCH_SIZE = 32


def main() -> None:
    folder, dtype, threads, file = sys.argv[1:]
    torch.set_num_threads(int(threads))
    model = SentenceTransformer(folder, device="cpu", model_kwargs={"torch_dtype": getattr(torch, dtype)})
    texts = json.loads(Path(file).read_text(encoding="utf8"))
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        command, *arguments = line.split()
        started = time.perf_counter()
        # Sorts by length by itself, over all texts.
        vectors = model.encode(texts, batch_size=_BATCH_SIZE, normalize_embeddings=True, show_progress_bar=False)
        seconds = time.perf_counter() - started
        if command == "embed":
            np.save(arguments[0], np.asarray(vectors, dtype=np.float32))
        print(json.dumps({"seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
