"""Which execution providers this ONNX Runtime has, and which of them a session is to use."""

import functools
import importlib
from collections.abc import Sequence

import onnxruntime as ort

from rolecall_server.errors import EngineError

AUTO = "auto"
CPU, CUDA, TENSORRT, OPENVINO = "cpu", "cuda", "tensorrt", "openvino"
ORT_NAMES = {
    CPU: "CPUExecutionProvider",
    CUDA: "CUDAExecutionProvider",
    TENSORRT: "TensorrtExecutionProvider",
    OPENVINO: "OpenVINOExecutionProvider",
}
_HINTS = {
    CUDA: "install rolecall[gpu] instead of rolecall[server]",
    TENSORRT: "install rolecall[gpu] instead of rolecall[server], and TensorRT",
    OPENVINO: "install the package onnxruntime-ep-openvino; it serves Intel hardware only",
}
# A provider that comes as a plug-in for the stock runtime: the module that knows where its library lies.
_OPENVINO_PLUGIN = "onnxruntime_ep_openvino"


def parse_providers(setting: str) -> tuple[str, ...]:
    """`auto`, or names by preference with commas between: `cuda,cpu`. Case does not count, empty is `auto`."""
    names = tuple(name.strip().lower() for name in setting.split(",") if name.strip())
    return names or (AUTO,)


def wants_gpu(wanted: Sequence[str], made_for: str) -> bool:
    """Whether an artifact made for this provider is to run on a GPU."""
    return bool({CUDA, TENSORRT} & set([made_for] if list(wanted) == [AUTO] else wanted))


def available() -> tuple[str, ...]:
    """Short names of the providers that this runtime has, CPU last. A CUDA build without a GPU still lists `cuda`."""
    _register_plugins()
    built_in = set(ort.get_available_providers())
    plugged_in = {device.ep_name for device in ort.get_ep_devices()}
    found = [name for name in (TENSORRT, CUDA, OPENVINO) if ORT_NAMES[name] in built_in | plugged_in]
    return (*found, CPU)


def choose(wanted: Sequence[str], made_for: str) -> tuple[str, ...]:
    """The providers for an artifact made for `made_for` (`cpu` or `cuda`), in order of preference.

    `auto` takes what the artifact is made for and nothing else: TensorRT (minutes of start-up) and OpenVINO (other
    arithmetic) are for those who name them. A list is taken as it is, with the CPU behind it for the nodes that
    nothing else takes. EngineError, with what to do, when one of them isn't there.
    """
    auto = list(wanted) == [AUTO]
    names = [made_for] if auto else list(dict.fromkeys(wanted))
    for name in names:
        if name not in ORT_NAMES:
            raise EngineError(f"unknown execution provider {name!r}; known are {AUTO}, {', '.join(ORT_NAMES)}")
    here = available()
    for name in names:
        if name not in here:
            reason = f"the artifact is made for {name}, but" if auto else f"{name} is asked for, but"
            other = ", or export a cpu preset" if auto else ""
            raise EngineError(f"{reason} this ONNX Runtime has only {', '.join(here)}: {_HINTS[name]}{other}")
    return (*(name for name in names if name != CPU), CPU)


def configure(
    options: ort.SessionOptions,
    providers: Sequence[str],
    *,
    gpu_memory_bytes: int | None = None,
    cuda_graph: bool = False,
) -> list[object]:
    """Enter plug-in providers into `options`, and return what the session's `providers` argument is to be.

    gpu_memory_bytes: what the session's arena on a GPU (the first one visible) may hold, None for no limit.
    cuda_graph: capture and replay runs on CUDA.
    ONNX Runtime takes either devices of plug-ins or names of built-in providers, not both.
    """
    built_in = set(ort.get_available_providers())
    plugged_in = [name for name in providers if ORT_NAMES[name] not in built_in]
    if not plugged_in:
        return [(ORT_NAMES[name], _options(name, gpu_memory_bytes, cuda_graph=cuda_graph)) for name in providers]
    if set(providers) - {*plugged_in, CPU}:
        raise EngineError(f"{plugged_in[0]} is a plug-in of this ONNX Runtime and can be combined with the cpu only")
    for name in plugged_in:
        devices = [device for device in ort.get_ep_devices() if device.ep_name == ORT_NAMES[name]]
        on_cpu = [device for device in devices if device.device.type == ort.OrtHardwareDeviceType.CPU]
        options.add_provider_for_devices((on_cpu or devices)[:1], {})
    return []


def _options(name: str, gpu_memory_bytes: int | None, *, cuda_graph: bool) -> dict[str, str]:
    if name != CUDA:
        return {}
    # The arena's other strategy doubles at each growth, and with changing shapes it never comes down again.
    options = {"arena_extend_strategy": "kSameAsRequested"}
    if gpu_memory_bytes is not None:
        options["gpu_mem_limit"] = str(gpu_memory_bytes)
    if cuda_graph:
        options["enable_cuda_graph"] = "1"
    return options


@functools.cache
def _register_plugins() -> None:
    """Make plug-in providers known to ONNX Runtime, once a process (a second time is an error there)."""
    try:
        plugin = importlib.import_module(_OPENVINO_PLUGIN)
    except ModuleNotFoundError:
        return
    try:
        ort.register_execution_provider_library(_OPENVINO_PLUGIN, plugin.get_library_path())
    except Exception as error:
        raise EngineError(f"the provider plug-in {_OPENVINO_PLUGIN} can't be loaded: {error}") from error
