"""Devices, dtypes, whether a model fits, and the machine's speed: all determined before weights are read."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from reportgen.errors import ModelError, nearest
from reportgen.suites.cost import Speeds

# The machine's speed, measured in a fraction of a second before a run, for time estimates.

REPEATS = 5  # the median of so many
CPU_PRODUCT, GPU_PRODUCT = 768, 4096  # rows of the measured product: a small one does not fill a GPU


def measure(device: torch.device) -> Speeds:
    """Multiply-adds per second of one float32 product, numbers per second, seconds per small operation; about 0.2 s."""
    size = CPU_PRODUCT if device.type == "cpu" else GPU_PRODUCT
    square, row = torch.ones(size, size, device=device), torch.ones(2**22, device=device)
    small, weight = torch.ones(64, 128, device=device), torch.ones(128, 128, device=device)

    def calls() -> torch.Tensor:
        x = small
        for _ in range(100):
            x = torch.nn.functional.layer_norm(x @ weight, (128,))
        return x

    product = _seconds(lambda: square @ square)
    element = _seconds(lambda: (row * row).sum())
    return Speeds(size**3 / product, row.numel() / element, _seconds(calls) / 200)


def _seconds(work: Callable[[], torch.Tensor]) -> float:
    """Median seconds of `work`, its result read so that a GPU has finished."""
    work().flatten()[0].item()
    took = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work().flatten()[0].item()
        took.append(time.perf_counter() - started)
    return sorted(took)[REPEATS // 2]


# Devices, dtypes and whether a model fits, all determined before weights are read.

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_GB = 1e9
_UNKNOWN = 1 << 62  # "no limit known"
MEMINFO = Path("/proc/meminfo")


def pick_device(name: str) -> torch.device:
    """ "auto" is cuda, then mps, then cpu. ModelError for a device that this machine does not have."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ModelError(f"There is no device {name!r}.", "Use --device auto, cpu, cuda or mps.") from error
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise ModelError(f"No CUDA device for {name!r} on this machine.", "Use --device cpu.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ModelError("No Apple GPU (mps) on this machine.", "Use --device cpu.")
    if device.type not in {"cpu", "cuda", "mps"}:
        raise ModelError(f"Device {name!r} is not supported.", "Use --device auto, cpu, cuda or mps.")
    return device


def main_dtype(counts: Mapping[str, int]) -> str:
    """The type that holds most parameters, as torch names it. `counts`: safetensors' type -> parameters."""
    most = max(counts, key=lambda name: counts[name], default="F32")
    return {"F16": "float16", "BF16": "bfloat16"}.get(most, "float32")


def pick_dtype(name: str, counts: Mapping[str, int], device: torch.device) -> torch.dtype:
    """ "auto" is what the checkpoint holds on a CUDA device, and float32 on a CPU and on MPS."""
    if name == "auto":
        return DTYPES[main_dtype(counts)] if device.type == "cuda" else torch.float32
    if name not in DTYPES:
        raise ModelError(f"There is no --dtype {name}.", nearest(name, ["auto", *DTYPES]))
    return DTYPES[name]


def needed_bytes(n_params: int, unembedding: int, dtype: torch.dtype, *, twin: bool = False) -> int:
    """Weights in `dtype` and one float32 copy of the unembedding for static scores; doubled with a random twin."""
    return (n_params * dtype.itemsize + unembedding * 4) * (2 if twin else 1)


def loading_bytes(n_params: int, dtype: torch.dtype, *, twin: bool = False) -> int:
    """RAM while weights pass through it on their way to a GPU; a random twin is drawn in float32."""
    return n_params * (4 if twin else dtype.itemsize)


def check_memory(
    n_params: int, unembedding: int, dtype: torch.dtype, device: torch.device, label: str, *, twin: bool = False
) -> None:
    """Refuse a model that exceeds what is free on the device, or in RAM while loading.

    twin  a suite will also load a randomly initialised twin
    """

    def needs(place: torch.device, kind: torch.dtype, *, twin: bool) -> int:
        if place != device:
            return loading_bytes(n_params, kind, twin=twin)
        return needed_bytes(n_params, unembedding, kind, twin=twin)

    for place in dict.fromkeys([device, torch.device("cpu")]):
        need, half = (needs(place, kind, twin=twin) for kind in (dtype, torch.bfloat16))
        alone, free = needs(place, dtype, twin=False), available_bytes(place)
        if need <= free:
            continue
        hint = "Use --stream for static scores only, or a machine with more memory."
        if half < need and half <= free:
            hint = f"Use --dtype bfloat16 ({half / _GB:.1f} GB), or --stream for static scores only."
        if alone <= free:
            hint = f"Leave the random twin out with --set SUITE.twins=0 ({alone / _GB:.1f} GB). Or: {hint}"
        raise ModelError(
            f"{label} needs about {need / _GB:.1f} GB ({n_params / 1e9:.2f} billion parameters as "
            f"{str(dtype).removeprefix('torch.')}{', and a random twin' if twin else ''}), and "
            f"{free / _GB:.1f} GB are free on {place}.",
            hint,
        )


def device_name(device: torch.device) -> str:
    """The name of a GPU or processor as its driver or the system gives it."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return platform.processor() or platform.machine()


def forget_peak(device: torch.device) -> None:
    """Reset `peak_bytes`, if the device can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> int:
    """The most memory that tensors held on a CUDA device since `forget_peak`; 0 on a CPU.

    MPS reports no peak: there it is the memory that the driver currently holds for the process.
    """
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return int(torch.mps.driver_allocated_memory()) if device.type == "mps" else 0


def available_bytes(device: torch.device) -> int:
    """Bytes free for a new allocation: GPU memory, or RAM within the control group's limit."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory())
    return min(_ram_free(), _cgroup_free())


def _ram_free() -> int:
    """MemAvailable on Linux; elsewhere the installed memory, the best the standard library offers."""
    if MEMINFO.is_file():
        fields = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines())
        return int(fields["MemAvailable"].split()[0]) * 1024
    if hasattr(os, "sysconf"):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return _UNKNOWN


def _cgroup_free() -> int:
    """What a container's limit (version 2) leaves."""
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        return _UNKNOWN if limit == "max" else max(0, int(limit) - used)
    except (OSError, ValueError):
        return _UNKNOWN
