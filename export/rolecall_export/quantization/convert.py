"""What each preset does to a float graph: one of ours is built again from its weights, any other is rewritten."""

from __future__ import annotations

import onnx

from rolecall_export.families import encoder
from rolecall_export.families.alone import text_by_text
from rolecall_export.quantization import rewrite
from rolecall_export.quantization.fp16 import HalfProducts, half_precision
from rolecall_export.quantization.nbits import FourBits, HalfEightBits
from rolecall_export.quantization.per_token import PerTokenInt8

Model = onnx.ModelProto


def cpu_fp32(model: Model) -> Model:
    return model if encoder.is_ours(model) else text_by_text(model)


def cpu_int8(model: Model) -> Model:
    if encoder.is_ours(model):
        return encoder.rebuild(model, PerTokenInt8)
    return text_by_text(rewrite.rewrite_tables(rewrite.rewrite_products(model, rewrite.PerTokenReplacement())))


def cpu_int4(model: Model) -> Model:
    if encoder.is_ours(model):
        return encoder.rebuild(model, FourBits)
    return text_by_text(rewrite.rewrite_tables(rewrite.rewrite_products(model, rewrite.four_bits)))


def gpu_fp16(model: Model) -> Model:
    return encoder.rebuild(model, HalfProducts, padded=True) if encoder.is_ours(model) else half_precision(model)


def gpu_int8(model: Model) -> Model:
    if encoder.is_ours(model):
        return encoder.rebuild(model, HalfEightBits, padded=True)
    return half_precision(rewrite.rewrite_products(model, rewrite.eight_bits))
