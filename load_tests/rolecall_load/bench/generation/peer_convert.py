"""Runs in the peers' environment, by path: a Hugging Face T5 in a peer's form. Nothing of ours is imported.

Arguments: `ctranslate2`, `optimum` or `optimum-int8`; the checkpoint (for optimum-int8: what `optimum` made of it); the
folder to write.
"""

# mypy: disable-error-code=import-not-found

import sys
from pathlib import Path


def ctranslate2_int8(source: str, target: str) -> None:
    """Tokens go in and come out by id, so any vocabulary will do: each piece is named by its number."""
    import ctranslate2.converters.transformers as converters
    import transformers

    model = transformers.T5ForConditionalGeneration.from_pretrained(source)
    loader = converters.T5Loader()
    spec = loader.get_model_spec(model)
    pad, end, unknown = "<pad>", "</s>", "<unk>"
    loader.set_vocabulary(spec, [pad, end, unknown, *(f"t{number}" for number in range(3, model.config.vocab_size))])
    spec.config.bos_token = spec.config.decoder_start_token = pad
    spec.config.eos_token, spec.config.unk_token = end, unknown
    spec.validate()
    spec.optimize(quantization="int8")
    Path(target).mkdir(parents=True)
    spec.save(target)


def optimum(source: str, target: str) -> None:
    from optimum.onnxruntime import ORTModelForSeq2SeqLM

    ORTModelForSeq2SeqLM.from_pretrained(source, export=True).save_pretrained(target)


def optimum_int8(source: str, target: str) -> None:
    """Dynamic int8, by optimum's own configuration for this kind of processor."""
    from optimum.onnxruntime import ORTQuantizer
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    config = AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=True)
    for graph in sorted(Path(source).glob("*.onnx")):
        ORTQuantizer.from_pretrained(source, file_name=graph.name).quantize(
            save_dir=target, quantization_config=config, file_suffix=""
        )
    for file in Path(source).glob("*.json"):
        (Path(target) / file.name).write_bytes(file.read_bytes())


if __name__ == "__main__":
    kind, source, target = sys.argv[1:]
    {"ctranslate2": ctranslate2_int8, "optimum": optimum, "optimum-int8": optimum_int8}[kind](source, target)
