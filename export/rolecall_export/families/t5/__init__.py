"""A T5 as three ONNX graphs: encoder, prefill and decoder step."""

from rolecall_export.families.t5.build import T5Graphs, build

__all__ = ["T5Graphs", "build"]
