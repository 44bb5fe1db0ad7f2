"""The config.pbtxt of an encoder, written from what is known about it (Triton's model_config.proto, text format)."""

from __future__ import annotations

MAX_BATCH_SIZE = 64
"""Rows of one batch. On a CPU larger ones gain nothing; a GPU is full well before it at any real length."""
MAX_QUEUE_SIZE = 512
"""Requests that may wait. Triton's own default is no limit, which turns an overload into unbounded delay."""
QUEUE_TIMEOUT_MICROSECONDS = 10_000_000
"""How long a request may wait that brings no timeout of its own; a gateway sends the client's deadline instead."""
QUEUE_DELAY_MICROSECONDS = 2_000
"""How long the batcher waits for company. Triton batches only inputs of one shape, so it rarely comes later."""
_INSTANCE_KINDS = {"cpu": "KIND_CPU", "cuda": "KIND_GPU"}
_INPUTS = ("input_ids", "attention_mask")


def encoder_config(*, name: str, provider: str, dimensions: int, max_tokens: int) -> str:
    """The text of config.pbtxt for a graph with inputs [batch, sequence] and output [batch, dimensions].

    Warm-up runs one short, one middling and one full-length row, so that the first users do not pay for allocations.
    """
    inputs = ",\n".join(_tensor(tensor, "TYPE_INT64", -1) for tensor in _INPUTS)
    lengths = sorted({min(length, max_tokens) for length in (16, 128, max_tokens)})
    warm_up = ",\n".join(_warm_up(length) for length in lengths)
    return f"""\
# Written by rolecall-export from what is known about the model; an export writes it anew.
name: "{name}"
backend: "onnxruntime"
max_batch_size: {MAX_BATCH_SIZE}
input [
{inputs}
]
output [
{_tensor("embedding", "TYPE_FP32", dimensions)}
]
version_policy {{ latest {{ num_versions: 1 }} }}
instance_group [ {{ count: 1, kind: {_INSTANCE_KINDS[provider]} }} ]
dynamic_batching {{
  max_queue_delay_microseconds: {QUEUE_DELAY_MICROSECONDS}
  default_queue_policy {{
    timeout_action: REJECT
    default_timeout_microseconds: {QUEUE_TIMEOUT_MICROSECONDS}
    allow_timeout_override: true
    max_queue_size: {MAX_QUEUE_SIZE}
  }}
}}
model_warmup [
{warm_up}
]
"""


def _tensor(name: str, data_type: str, length: int) -> str:
    return f'  {{ name: "{name}", data_type: {data_type}, dims: [ {length} ] }}'


def _warm_up(length: int) -> str:
    """One row of zeros. Random ids would fall outside the vocabulary; a mask of zeros gives a finite embedding."""
    inputs = "\n".join(
        f'    inputs {{ key: "{name}", value: {{ data_type: TYPE_INT64, dims: [ {length} ], zero_data: true }} }}'
        for name in _INPUTS
    )
    return f'  {{\n    name: "tokens-{length}", batch_size: 1\n{inputs}\n  }}'
