"""config.pbtxt: what Triton reads in it, and that the committed one is what the export writes."""

import importlib
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
from rolecall_export.triton_config import encoder_config

COMMITTED = Path(__file__).parents[3] / "model_repository" / "encoder" / "config.pbtxt"
TOP_LEVEL_FIELDS = {
    *("name", "backend", "max_batch_size", "input", "output", "version_policy", "instance_group"),
    *("dynamic_batching", "model_warmup"),
}
"""Of Triton's ModelConfig, as far as the export uses them."""
DEFAULT = encoder_config(name="encoder", provider="cpu", dimensions=384, max_tokens=512)


Block = dict[str, list[Any]]


def parsed(text: str) -> Block:
    """Text format as nested dictionaries: each field name to its values in order."""
    tokens = re.findall(r'"[^"]*"|[\w.-]+|[][{}:]', re.sub(r"#.*", "", text).replace(",", " "))
    tokens.reverse()

    def value() -> list[Any]:
        token = tokens.pop()
        if token == "[":
            values: list[Any] = []
            while tokens[-1] != "]":
                values += value()
            tokens.pop()
            return values
        return [block("}")] if token == "{" else [token.strip('"')]

    def block(end: str) -> Block:
        fields: Block = {}
        while tokens and tokens[-1] != end:
            name = tokens.pop()
            if tokens[-1] == ":":
                tokens.pop()
            fields.setdefault(name, []).extend(value())
        if end:
            assert tokens.pop() == end
        return fields

    return block("")


def test_the_committed_config_is_what_the_export_writes():
    assert COMMITTED.read_text(encoding="utf8") == DEFAULT


@pytest.mark.parametrize(("provider", "kind"), [("cpu", "KIND_CPU"), ("cuda", "KIND_GPU")])
def test_the_instances_fit_the_provider(provider: str, kind: str):
    assert f"kind: {kind}" in encoder_config(name="e", provider=provider, dimensions=8, max_tokens=512)


def test_the_queue_is_bounded_and_rejects():
    queue = DEFAULT[DEFAULT.index("default_queue_policy") :]
    assert re.search(r"max_queue_size: [1-9]\d*", queue)
    assert re.search(r"default_timeout_microseconds: [1-9]\d*", queue)
    assert "timeout_action: REJECT" in queue


def test_warm_up_never_exceeds_the_model():
    short = encoder_config(name="e", provider="cpu", dimensions=8, max_tokens=64)
    assert re.findall(r'name: "tokens-(\d+)"', short) == ["16", "64"]
    assert re.findall(r'name: "tokens-(\d+)"', DEFAULT) == ["16", "128", "512"]


def test_it_says_what_is_meant():
    config = parsed(DEFAULT)
    assert (config["name"], config["backend"]) == (["encoder"], ["onnxruntime"])
    tensors = [(each["name"], each["data_type"], each["dims"]) for each in config["input"] + config["output"]]
    assert tensors == [
        (["input_ids"], ["TYPE_INT64"], ["-1"]),
        (["attention_mask"], ["TYPE_INT64"], ["-1"]),
        (["embedding"], ["TYPE_FP32"], ["384"]),
    ]
    assert config["version_policy"] == [{"latest": [{"num_versions": ["1"]}]}]
    for warm_up in config["model_warmup"]:
        assert [each["key"] for each in warm_up["inputs"]] == [["input_ids"], ["attention_mask"]]
        assert all(each["value"][0]["zero_data"] == ["true"] for each in warm_up["inputs"])


def test_triton_understands_every_field():
    """By Triton's own schema where its client is installed; the test above holds the same fields to their names."""
    if importlib.util.find_spec("tritonclient") is None:
        assert set(parsed(DEFAULT)) <= TOP_LEVEL_FIELDS
        return
    messages = importlib.import_module("tritonclient.grpc.model_config_pb2")
    config = importlib.import_module("google.protobuf.text_format").Parse(DEFAULT, messages.ModelConfig())
    assert config.dynamic_batching.default_queue_policy.max_queue_size > 0
    assert [each.batch_size for each in config.model_warmup] == [1, 1, 1]
