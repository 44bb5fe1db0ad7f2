import json

import pytest
from rolecall_server import doctor
from rolecall_server.engine.ort.placement import PlacedNode, Placement

from tests.fixtures_models import tiny_repository
from tests.generators import beside

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
VNNI = ("AVX2", "AVX-512 VNNI")


def run(capsys, repository, **options):
    code = doctor.run(repository=repository, **{"providers": "auto", "verbose": False, "as_json": False, **options})
    return code, capsys.readouterr().out


def placement(wanted, *nodes):
    return Placement(wanted, tuple(PlacedNode(provider, op, "") for provider, op in nodes))


def test_a_sound_repository_is_ok(tmp_path, capsys):
    code, out = run(capsys, tiny_repository(tmp_path))

    assert code == 0
    for word in ("encoder/1", "cpu-fp32", "verified", "LpNormalization 1", "every model can be served here"):
        assert word in out


def test_a_generator_is_looked_at_with_all_its_graphs(tiny_models, capsys):
    code, out = run(capsys, beside(tiny_models), as_json=True)
    encoder, generator = json.loads(out)["models"]

    assert code == 0
    assert (generator["model"], generator["verified"], generator["error"]) == ("generator/1", True, "")
    assert generator["nodes"] > encoder["nodes"] + 100


def test_as_json_it_can_be_read_by_programs(tmp_path, capsys):
    code, out = run(capsys, tiny_repository(tmp_path), as_json=True, verbose=True)
    report = json.loads(out)
    (model,) = report["models"]

    assert code == 0
    assert report["runtime"]["providers"][-1] == "cpu"
    assert report["hardware"]["cores"] >= 1
    assert model["verified"] is True
    assert model["provider"] == CPU
    assert model["placement"][CPU]["Gather"] == 1
    assert [node["op_type"] for node in model["node_list"]][-1] == "LpNormalization"


def test_only_verbose_lists_every_node(tmp_path, capsys):
    tiny_repository(tmp_path)

    assert "Every node" not in run(capsys, tmp_path)[1]
    assert "Every node" in run(capsys, tmp_path, verbose=True)[1]
    assert json.loads(run(capsys, tmp_path, as_json=True)[1])["models"][0]["node_list"] == []


def test_a_damaged_version_is_a_problem_and_the_others_are_still_looked_at(tmp_path, capsys):
    tiny_repository(tmp_path, "1")
    tiny_repository(tmp_path, "2")
    (tmp_path / "encoder" / "1" / "tokenizer.json").write_text("{}")
    code, out = run(capsys, tmp_path, as_json=True)
    report = json.loads(out)

    assert code == 1
    assert [model["verified"] for model in report["models"]] == [False, True]
    assert report["problems"] == ["model encoder/1: file tokenizer.json does not match the manifest's hash"]


@pytest.mark.parametrize("manifest", [{"format": 99}, {"files": None}])
def test_an_unreadable_manifest_is_a_problem(tmp_path, capsys, manifest):
    assert run(capsys, tiny_repository(tmp_path, manifest=manifest))[0] == 1


def test_an_empty_repository_is_a_problem_with_a_way_out(tmp_path, capsys):
    code, out = run(capsys, tmp_path / "none")

    assert code == 1
    assert "rolecall-export" in out


def test_a_provider_that_is_not_there_is_a_problem(tmp_path, capsys):
    code, out = run(capsys, tiny_repository(tmp_path), providers="foo", as_json=True)

    assert code == 1
    assert "unknown execution provider 'foo'" in json.loads(out)["problems"][0]


def test_an_artifact_for_another_provider_runs_with_a_warning(tmp_path, capsys):
    root = tiny_repository(tmp_path, manifest={"provider": "cuda", "preset": "gpu-fp16"})
    code, out = run(capsys, root, providers="cpu", as_json=True)

    assert code == 0
    assert "made for CUDA, runs on the CPU" in json.loads(out)["warnings"][0]


def test_int8_products_on_cuda_are_warned_of():
    placed = placement(CUDA, (CUDA, "Add"), (CPU, "MatMulInteger"), (CPU, "MatMulInteger"), (CPU, "Shape"))

    warnings = doctor.fit_warnings("cpu", placed, VNNI)

    assert len(warnings) == 2
    assert "made for the CPU, runs on a GPU" in warnings[0]
    assert f"2 nodes did not get {CUDA}" in warnings[1]
    assert "MatMulInteger x2" in warnings[1]


def test_int8_without_instructions_for_it_is_warned_of():
    placed = placement(CPU, (CPU, "MatMulInteger"))

    assert doctor.fit_warnings("cpu", placed, VNNI) == []
    (warning,) = doctor.fit_warnings("cpu", placed, ("AVX2",))
    assert "saturate" in warning
    assert doctor.fit_warnings("cpu", placement(CPU, (CPU, "MatMul")), ("AVX2",)) == []


@pytest.mark.parametrize(
    ("packages", "providers", "gpus", "words"),
    [
        (["onnxruntime", "onnxruntime-gpu"], ["cpu"], [], "overwrite each other"),
        (["onnxruntime"], ["cpu"], ["L4, 570, 24 GiB"], "has no CUDA"),
        (["onnxruntime-gpu"], ["cuda", "cpu"], [], "no GPU or driver"),
        (["onnxruntime", "onnxruntime-ep-openvino"], ["cpu"], [], "no Intel device"),
    ],
)
def test_an_installation_that_does_not_fit_is_warned_of(packages, providers, gpus, words):
    runtime = doctor.Runtime("1.31", dict.fromkeys(packages, "1"), tuple(providers))

    (warning,) = doctor.runtime_warnings(runtime, gpus)

    assert words in warning
