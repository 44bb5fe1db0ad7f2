"""Runs in the peers' environment, by path: generates with one library. Nothing of ours is imported.

Arguments: a JSON object with the engine, its model folder, its settings, and a file with the sources' token ids.
Each line of input is a job: {"numbers": which sources, in order, "limits": tokens of each, "clients": how many wait at
a time, "offsets": when each arrives, instead of clients}. The answer: seconds, token ids and latencies by request.

Requests that wait are put into batches by as many threads as the engine runs batches at a time: whoever is free takes
what is there, up to the batch size. That is as good a server as can be put around a library that can't let a request
join a running batch.
"""

# mypy: disable-error-code=import-not-found

import json
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Generate = Callable[[list[list[int]], int], list[list[int]]]
EOS = 1


def ctranslate2(options: dict[str, Any]) -> Generate:
    import ctranslate2 as library

    special = ["<pad>", "</s>", "<unk>"]
    translator = library.Translator(
        options["model"],
        compute_type="int8",
        inter_threads=options["parallel"],
        intra_threads=options["threads"],
    )

    def generate(sources: list[list[int]], limit: int) -> list[list[int]]:
        tokens = [[f"t{token}" if token > 2 else special[token] for token in source] for source in sources]
        found = translator.translate_batch(
            tokens, beam_size=1, max_decoding_length=limit, return_scores=False, return_end_token=True
        )
        texts = [result.hypotheses[0] for result in found]
        return [[special.index(token) if token in special else int(token[1:]) for token in text] for text in texts]

    return generate


def transformers(options: dict[str, Any]) -> Generate:
    import torch
    import transformers as library

    dtype = getattr(torch, options["dtype"])
    return _padded(library.T5ForConditionalGeneration.from_pretrained(options["model"], dtype=dtype).eval(), options)


def optimum(options: dict[str, Any]) -> Generate:
    import onnxruntime
    from optimum.onnxruntime import ORTModelForSeq2SeqLM

    session = onnxruntime.SessionOptions()
    session.intra_op_num_threads = options["threads"]
    return _padded(ORTModelForSeq2SeqLM.from_pretrained(options["model"], session_options=session), options)


def _padded(model: Any, options: dict[str, Any]) -> Generate:
    import torch

    torch.set_num_threads(options["threads"])

    def generate(sources: list[list[int]], limit: int) -> list[list[int]]:
        width = max(map(len, sources))
        ids = torch.tensor([[*source, *[0] * (width - len(source))] for source in sources])
        with torch.inference_mode():
            found = model.generate(
                input_ids=ids, attention_mask=(ids != 0).long(), max_new_tokens=limit, do_sample=False
            )
        rows = [row[1:] for row in found.tolist()]
        return [row[: row.index(EOS) + 1] if EOS in row else row for row in rows]

    return generate


class Server:
    """One job: requests that arrive, threads that take them in batches, answers."""

    def __init__(self, generate: Generate, sources: Sequence[list[int]], job: dict[str, Any], batch: int) -> None:
        self._generate, self._sources, self._batch = generate, sources, batch
        self._numbers, self._limits = job["numbers"], job["limits"]
        self._offsets, self._clients = job["offsets"], job["clients"]
        self._changed = threading.Condition()
        self._waiting: deque[int] = deque()
        self._sent = 0
        self._arrived = [0.0] * len(self._numbers)
        self._latencies = [0.0] * len(self._numbers)
        self._outputs: list[list[int]] = [[] for _ in self._numbers]

    def run(self, parallel: int) -> dict[str, Any]:
        threads = [threading.Thread(target=self._work) for _ in range(parallel)]
        started = time.perf_counter()
        if not self._offsets:
            with self._changed:
                for _ in range(min(self._clients, len(self._numbers))):
                    self._send()
        for thread in threads:
            thread.start()
        for offset in self._offsets:
            time.sleep(max(0.0, started + offset - time.perf_counter()))
            with self._changed:
                self._send()
        for thread in threads:
            thread.join()
        return {
            "seconds": time.perf_counter() - started,
            "outputs": self._outputs,
            "latencies": self._latencies,
        }

    def _send(self) -> None:
        self._arrived[self._sent] = time.perf_counter()
        self._waiting.append(self._sent)
        self._sent += 1
        self._changed.notify_all()

    def _take(self) -> list[int]:
        """Requests for a batch; none when all are answered or taken."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._sent == len(self._numbers))
            return [self._waiting.popleft() for _ in range(min(self._batch, len(self._waiting)))]

    def _work(self) -> None:
        while taken := self._take():
            sources = [self._sources[self._numbers[index]] for index in taken]
            outputs = self._generate(sources, max(self._limits[index] for index in taken))
            now = time.perf_counter()
            with self._changed:
                for index, output in zip(taken, outputs, strict=True):
                    self._outputs[index], self._latencies[index] = output, now - self._arrived[index]
                    if not self._offsets and self._sent < len(self._numbers):
                        self._send()
                self._changed.notify_all()


def main() -> None:
    options = json.loads(sys.argv[1])
    sources = json.loads(Path(options["sources"]).read_text())
    engines = {"ctranslate2": ctranslate2, "transformers": transformers, "optimum": optimum}
    generate = engines[options["engine"]](options)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        server = Server(generate, sources, json.loads(line), options["batch"])
        print(json.dumps(server.run(options["parallel"])), flush=True)


if __name__ == "__main__":
    main()
