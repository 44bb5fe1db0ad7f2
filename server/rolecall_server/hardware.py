"""What the machine offers this process: cores, instruction sets, memory, GPUs. Linux; unknown is empty or None."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

# Instruction sets that int8 or bf16 kernels look for: name in /proc/cpuinfo -> name that people know.
_ISA = {
    "avx2": "AVX2",
    "fma": "FMA",
    "avx_vnni": "AVX-VNNI",
    "avx512f": "AVX-512",
    "avx512_vnni": "AVX-512 VNNI",
    "avx512_bf16": "AVX-512 BF16",
    "amx_int8": "AMX INT8",
    "amx_bf16": "AMX BF16",
    "asimd": "NEON",
    "asimddp": "NEON DOTPROD",
    "i8mm": "I8MM",
    "sve": "SVE",
}
_GPU_QUERY = "name,driver_version,memory.total"
_GPU_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Hardware:
    """cores: that this process may keep busy. memory_bytes: of the machine, or the container's limit where lower."""

    cpu: str
    cores: int
    machine_cores: int
    instruction_sets: tuple[str, ...]
    memory_bytes: int | None
    gpus: tuple[str, ...]


def inspect_hardware() -> Hardware:
    cpuinfo = _cpuinfo()
    flags = set((cpuinfo.get("flags") or cpuinfo.get("Features") or "").split())
    return Hardware(
        cpu=cpuinfo.get("model name", ""),
        cores=usable_cores(),
        machine_cores=os.cpu_count() or 1,
        instruction_sets=tuple(name for flag, name in _ISA.items() if flag in flags),
        memory_bytes=_memory_bytes(),
        gpus=_gpus(),
    )


def usable_cores(cgroups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """Cores by affinity, or the container's quota where that is less (a quota of 1.5 cores counts as 1)."""
    cores = len(os.sched_getaffinity(0))
    for folder in _own_groups(cgroups, own):
        for read in (_quota_v2, _quota_v1):
            quota = read(folder)
            if quota is not None:
                cores = min(cores, max(1, int(quota)))
    return cores


def _own_groups(cgroups: Path, own: Path) -> list[Path]:
    """The process's cgroup folders with all above them, for version 2 and the cpu and memory controllers of 1."""
    folders = [cgroups, cgroups / "cpu", cgroups / "memory"]
    for line in _read(own).splitlines():
        _, controllers, path = line.split(":", 2)
        root = cgroups
        for controller in controllers.split(","):
            root = cgroups / controller if controller in ("cpu", "memory") else root
        parts = Path(path.lstrip("/"))
        folders += [root / part for part in (parts, *parts.parents)]
    return folders


def _quota_v2(folder: Path) -> float | None:
    quota, _, period = _read(folder / "cpu.max").strip().partition(" ")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def _quota_v1(folder: Path) -> float | None:
    quota = _read(folder / "cpu.cfs_quota_us").strip()
    period = _read(folder / "cpu.cfs_period_us").strip()
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def _memory_bytes() -> int | None:
    try:
        limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (ValueError, OSError):
        return None
    for folder in _own_groups(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")):
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = _read(folder / name).strip()
            limits += [int(text)] if text.isdigit() else []
    return min(limits)


def _cpuinfo() -> dict[str, str]:
    """The first processor's block of /proc/cpuinfo."""
    block = _read(Path("/proc/cpuinfo")).partition("\n\n")[0]
    pairs = (line.partition(":") for line in block.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _gpus() -> tuple[str, ...]:
    """One line for each NVIDIA GPU, by nvidia-smi: name, driver, memory."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    command = [program, f"--query-gpu={_GPU_QUERY}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_GPU_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip() for line in done.stdout.splitlines() if line.strip())


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf8")
    except OSError:
        return ""
