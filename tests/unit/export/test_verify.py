"""Verification tells a faithful conversion from one that has drifted, depends on its batch, or is broken."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from rolecall_export import verification_set, verify
from rolecall_export.errors import VerificationError
from rolecall_export.presets import Tolerance
from rolecall_server.engine.fake_tokenizer import PAD_TOKEN_ID, byte_tokenizer

from tests import fixtures_models as tiny

CHECKS = verification_set.load()
TOKEN_IDS = verify.tokenize(
    CHECKS, byte_tokenizer().to_str(), prefixes={"query": "query: ", "document": "passage: "}, max_tokens=64
)
LOOSE = Tolerance(cosine_min=-1.0, alone_vs_batched=2.0, rank_agreement=0.0)


def graph(seed: int = 0) -> onnx.ModelProto:
    return tiny.tiny_graph(dimensions=tiny.DIMENSIONS, seed=seed)


def measured(folder: Path, change: Callable[[onnx.ModelProto], None]) -> dict[str, float]:
    """Verify the tiny encoder after `change` against itself."""
    changed = graph()
    change(changed)
    encoders = []
    for name, model in (("float", graph()), ("changed", changed)):
        onnx.save(model, folder / name)
        encoders.append(verify.Encoder(folder / name, pad_token_id=PAD_TOKEN_ID, provider="cpu"))
    done: list[float] = []
    result = verify.measure(encoders[0], encoders[1], CHECKS, token_ids=TOKEN_IDS, advance=done.append)
    assert sum(done) == 3 * len(TOKEN_IDS)
    return result


def add_noise(scale: float) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        table = next(each for each in model.graph.initializer if each.name == "table")
        values = numpy_helper.to_array(table)
        noise = np.random.default_rng(1).normal(size=values.shape).astype(np.float32) * values.std() * scale
        table.CopyFrom(numpy_helper.from_array(values + noise, "table"))

    return change


def insert_last(node_type: str, *inputs: str, constants: dict[str, np.ndarray]) -> Callable[[onnx.ModelProto], None]:
    """Compute the embedding once more from "before", what it was."""

    def change(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            node.output[:] = ["before" if name == "embedding" else name for name in node.output]
        model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
        model.graph.node.append(helper.make_node(node_type, inputs, ["embedding"]))

    return change


def depend_on_width(model: onnx.ModelProto) -> None:
    """Shift every coordinate by a little for each column of padding."""
    insert_last("Add", "before", "shift", constants={})(model)
    nodes = [
        helper.make_node("Shape", ["input_ids"], ["width"], start=1, end=2),
        helper.make_node("Cast", ["width"], ["width_float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["width_float", "little"], ["shift"]),
    ]
    model.graph.initializer.append(numpy_helper.from_array(np.float32(1e-6), "little"))
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])


def test_the_same_graph_is_faithful(tmp_path: Path):
    result = measured(tmp_path, lambda model: None)
    assert result["cosine_min_en"] == pytest.approx(1, abs=1e-5)
    assert result["cosine_min_zh"] == pytest.approx(1, abs=1e-5)
    assert result["rank_agreement"] == 1
    assert result["alone_vs_batched"] < 1e-6
    assert result["top_1"] == result["top_1_float"]
    verify.require_within(result, Tolerance(cosine_min=0.9999, alone_vs_batched=1e-6, rank_agreement=1.0))


def test_drift_shows_in_both_languages_and_in_the_ranking(tmp_path: Path):
    result = measured(tmp_path, add_noise(0.5))
    assert result["cosine_min_en"] < result["cosine_mean_en"] < 0.999
    assert result["cosine_min_zh"] < result["cosine_mean_zh"] < 0.999
    assert 0 < result["rank_agreement"] < 1
    with pytest.raises(VerificationError, match=r"cosine_min_en.*cosine_min_zh.*rank_agreement") as caught:
        verify.require_within(result, Tolerance(cosine_min=0.999, alone_vs_batched=1e-5, rank_agreement=1.0))
    assert "\n" not in str(caught.value)


def test_more_drift_is_measured_as_more(tmp_path: Path):
    little, much = (measured(tmp_path, add_noise(scale)) for scale in (0.01, 0.3))
    assert little["cosine_mean_en"] > much["cosine_mean_en"]
    assert little["rank_agreement"] >= much["rank_agreement"]


def test_dependence_on_the_batch_is_caught_where_the_cosine_sees_nothing(tmp_path: Path):
    result = measured(tmp_path, depend_on_width)
    assert result["cosine_min_en"] > 0.999
    assert result["alone_vs_batched"] > 1e-5
    with pytest.raises(VerificationError, match="alone_vs_batched") as caught:
        verify.require_within(result, Tolerance(cosine_min=0.99, alone_vs_batched=0.0, rank_agreement=0.9))
    assert "cosine" not in str(caught.value)


def test_not_a_number_is_never_within_tolerance(tmp_path: Path):
    broken = insert_last("Mul", "before", "nan", constants={"nan": np.array(np.nan, np.float32)})
    with pytest.raises(VerificationError, match="not finite"):
        measured(tmp_path, broken)
    with pytest.raises(VerificationError, match="nan"):
        verify.require_within({"cosine_min_en": np.nan, "rank_agreement": 1.0, "alone_vs_batched": 0.0}, LOOSE)


def test_embeddings_must_have_unit_length(tmp_path: Path):
    with pytest.raises(VerificationError, match="unit length"):
        measured(tmp_path, insert_last("Mul", "before", "two", constants={"two": np.array(2, np.float32)}))


def test_a_graph_that_does_not_load_is_one_error(tmp_path: Path):
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(VerificationError, match="ONNX Runtime"):
        verify.Encoder(tmp_path / "model.onnx", pad_token_id=1, provider="cpu")


def test_tokens_are_prefixed_by_kind_and_cut_at_the_models_length():
    tokenizer = byte_tokenizer()
    text = next(text for text in CHECKS.texts if text.id == "en-welding-title")
    assert TOKEN_IDS["en-welding-title", "document"] == tokenizer.encode(f"passage: {text.text}").ids
    case = next(case for case in CHECKS.cases if case.query == "en-design-title")
    assert TOKEN_IDS[case.query, "query"] == tokenizer.encode("query: UX designer").ids
    assert max(len(ids) for ids in TOKEN_IDS.values()) == 64
    assert all(ids[-1] == tokenizer.token_to_id("</s>") for ids in TOKEN_IDS.values())
