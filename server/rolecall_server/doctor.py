"""`rolecall doctor`: what this machine offers, what the repository holds, and whether the two fit."""

import importlib.metadata
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from rolecall_server.doctor_view import render
from rolecall_server.errors import EngineError
from rolecall_server.hardware import Hardware, inspect_hardware
from rolecall_server.repository import Artifact, ModelRepository
from rolecall_server.types import ModelKey

if TYPE_CHECKING:
    from rolecall_server.engine.ort.placement import Placement

_RUNTIMES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")
_OPENVINO_PLUGIN = "onnxruntime-ep-openvino"
# One of these multiplies bytes without an intermediate sum of 16 bits.
_INT8_SETS = {"AVX-VNNI", "AVX-512 VNNI", "AMX INT8", "NEON DOTPROD"}
_INT8_OPS = {"MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"}


@dataclass(slots=True)
class Runtime:
    """version: of ONNX Runtime, empty where it is missing. providers: short names."""

    version: str = ""
    packages: dict[str, str] = field(default_factory=dict)
    providers: tuple[str, ...] = ()


@dataclass(slots=True)
class ModelReport:
    """One version. verified: its files are those of the manifest. error: why it can't be served here, else empty."""

    model: str
    preset: str = ""
    made_for: str = ""
    source: str = ""
    weights_hash: str = ""
    verified: bool = False
    provider: str = ""
    nodes: int = 0
    placement: dict[str, dict[str, int]] = field(default_factory=dict)
    fallbacks: dict[str, int] = field(default_factory=dict)
    node_list: list[dict[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    error: str = ""


@dataclass(slots=True)
class Report:
    """Everything that the doctor found. problems: what keeps the server from running; warnings: what slows it."""

    hardware: Hardware
    repository: str
    runtime: Runtime = field(default_factory=Runtime)
    models: list[ModelReport] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def run(*, repository: Path, providers: str, verbose: bool, as_json: bool) -> int:
    """Print the report; 1 when something is broken, else 0.

    providers: as for the server, `auto` or a list. verbose: with every node of every graph.
    """
    report = examine(repository, providers)
    if not verbose:
        for model in report.models:
            model.node_list.clear()
    if as_json:
        print(json.dumps(asdict(report), indent=2, ensure_ascii=False))
    else:
        render(asdict(report), Console())
    return 1 if report.problems else 0


def examine(repository: Path, providers: str) -> Report:
    """Look at everything once; loads each model version, one after the other."""
    report = Report(hardware=inspect_hardware(), repository=str(repository))
    report.runtime.packages = _installed((*_RUNTIMES, _OPENVINO_PLUGIN))
    try:
        _examine_runtime(report)
    except ImportError as error:
        hint = "install rolecall[server], or rolecall[gpu] for NVIDIA GPUs"
        report.problems.append(f"ONNX Runtime can't be imported ({error}): {hint}")
    except EngineError as error:
        report.problems.append(error.message)
    keys = ModelRepository(repository).versions()
    if not keys:
        report.problems.append(f"{repository} holds no model: `rolecall-export encoder` writes one")
    for key in keys:
        model = _examine_model(ModelRepository(repository), key, providers=providers, report=report)
        report.models.append(model)
        if model.error:
            report.problems.append(model.error)
        report.warnings += [f"model {key}: {warning}" for warning in model.warnings]
    return report


def _examine_runtime(report: Report) -> None:
    import onnxruntime

    from rolecall_server.engine.ort import providers

    report.runtime.version = onnxruntime.__version__
    report.runtime.providers = providers.available()
    report.warnings += runtime_warnings(report.runtime, report.hardware.gpus)


def runtime_warnings(runtime: Runtime, gpus: Sequence[str]) -> list[str]:
    """What in the installation does not fit together."""
    warnings = []
    installed = [name for name in _RUNTIMES if name in runtime.packages]
    if len(installed) > 1:
        warnings.append(f"{' and '.join(installed)} overwrite each other's files: keep one of them")
    if gpus and "cuda" not in runtime.providers:
        warnings.append("there is a GPU, but this ONNX Runtime has no CUDA: install rolecall[gpu]")
    if "cuda" in runtime.providers and not gpus:
        warnings.append("this ONNX Runtime has CUDA, but no GPU or driver is to be seen (nvidia-smi)")
    if _OPENVINO_PLUGIN in runtime.packages and "openvino" not in runtime.providers:
        warnings.append(f"{_OPENVINO_PLUGIN} is installed, but finds no Intel device here")
    return warnings


def _examine_model(repository: ModelRepository, key: ModelKey, *, providers: str, report: Report) -> ModelReport:
    found = ModelReport(model=str(key))
    try:
        artifact = repository.artifact(key)
        found.preset, found.made_for = artifact.info.precision, artifact.provider
        found.source, found.weights_hash = artifact.info.source, artifact.info.weights_hash
        artifact.verify()
        found.verified = True
        if report.runtime.providers:
            placement = _place(artifact, providers)
            _describe(found, placement)
            found.warnings = fit_warnings(artifact.provider, placement, report.hardware.instruction_sets)
    except EngineError as error:
        found.error = error.message
    return found


def _place(artifact: Artifact, providers: str) -> "Placement":
    """Of a generator: all nodes of its graphs."""
    from rolecall_server.engine.ort.create import SessionSettings
    from rolecall_server.engine.ort.placement import Placement
    from rolecall_server.engine.ort.providers import parse_providers
    from rolecall_server.engine.ort.session import OrtSession
    from rolecall_server.engine.ort.t5_device_sessions import T5DeviceSessions, made_for_device
    from rolecall_server.engine.ort.t5_sessions import T5Sessions

    settings = SessionSettings(parse_providers(providers))
    if artifact.generator is None:
        return OrtSession(artifact, settings).placement
    on_device = made_for_device(artifact)
    placements = (T5DeviceSessions if on_device else T5Sessions)(artifact, settings).placements
    return Placement(placements[0].wanted, tuple(node for placement in placements for node in placement.nodes))


def _describe(found: ModelReport, placement: "Placement") -> None:
    from rolecall_server.engine.ort.placement import count_ops

    found.provider = placement.provider
    found.nodes = len(placement.nodes)
    found.placement = {provider: dict(ops) for provider, ops in placement.counts().items()}
    found.fallbacks = count_ops(placement.fallbacks)
    found.node_list = [
        {"provider": node.provider, "op_type": node.op_type, "name": node.name} for node in placement.nodes
    ]


def fit_warnings(made_for: str, placement: "Placement", instruction_sets: Sequence[str]) -> list[str]:
    """Where an artifact and the provider that it runs on do not suit each other."""
    from rolecall_server.engine.ort.placement import count_ops
    from rolecall_server.engine.ort.providers import CPU, CUDA, ORT_NAMES, TENSORRT

    warnings = []
    on_gpu = placement.wanted in (ORT_NAMES[CUDA], ORT_NAMES[TENSORRT])
    if made_for == CPU and on_gpu:
        warnings.append("made for the CPU, runs on a GPU: export a gpu preset (`rolecall-export encoder --preset ...`)")
    if made_for == CUDA and placement.wanted == ORT_NAMES[CPU]:
        warnings.append("made for CUDA, runs on the CPU, where its fp16 has few kernels: export a cpu preset")
    if placement.fallbacks:
        ops = ", ".join(f"{op} x{count}" for op, count in count_ops(placement.fallbacks).items())
        warnings.append(f"{len(placement.fallbacks)} nodes did not get {placement.wanted}, with copies around: {ops}")
    int8_on_cpu = any(n.op_type in _INT8_OPS and n.provider == ORT_NAMES[CPU] for n in placement.nodes)
    if int8_on_cpu and not _INT8_SETS & set(instruction_sets):
        warnings.append(
            "this CPU has no int8 dot product (VNNI, AMX or DOTPROD): int8 is slow here, and on AVX2 its sums may "
            "saturate and move scores; prefer the preset cpu-fp32"
        )
    return warnings


def _installed(packages: Sequence[str]) -> dict[str, str]:
    versions = {}
    for name in packages:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
