"""Where networks run and in which precision.

`choose("auto")` takes the first of CUDA, Apple's MPS and the CPU, and with it the memory layout and precision that
gained in measurements: bf16 with channels_last on CUDA from Ampere on and on CPUs with AMX or AVX512-BF16, else
float32. On a CPU without bf16 units, bf16 is emulated and slower than float32, and a step in plain order is 1.04 to
1.3 times as fast as one in channels_last (docs/explanation/performance.md).

`kept_memory` lets a process that computes on a CPU keep the memory that it frees, for as long as that pays.
"""

import ctypes
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
import torch

from visagist.core.errors import ConfigError

Choice = Literal["auto", "cpu", "cuda", "mps"]


@dataclass(frozen=True)
class Compute:
    """A device and how to use it."""

    device: torch.device
    autocast: torch.dtype | None  # None: float32 throughout
    memory_format: torch.memory_format

    def __str__(self) -> str:
        precision = "float32" if self.autocast is None else str(self.autocast).removeprefix("torch.")
        return f"{self.device}, {precision}"


def choose(device: str = "auto") -> Compute:
    """The device to compute on.

    Args:
        device: `auto`, `cpu`, `mps`, `cuda` or `cuda:N`.

    Raises:
        ConfigError: it is none of these, or the device is not there; the message says what is.
    """
    check_name(device)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind = device.partition(":")[0]
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    number = int(device.partition(":")[2] or 0)
    if not there[kind] or (kind == "cuda" and number >= torch.cuda.device_count()):
        found = ", ".join(name for name, present in there.items() if present)
        raise ConfigError(f"device '{device}' is not here (found: {found}); `visagist doctor` says more")
    if kind == "cuda":
        fast = torch.cuda.get_device_capability(torch.device(device))[0] >= 8
        return Compute(torch.device(device), torch.bfloat16 if fast else None, torch.channels_last)
    if kind == "mps":
        return Compute(torch.device(device), None, torch.contiguous_format)
    if cpu_has_bf16():
        return Compute(torch.device("cpu"), torch.bfloat16, torch.channels_last)
    return Compute(torch.device("cpu"), None, torch.contiguous_format)


def check_name(device: str) -> None:
    """Refuse what names no device, here or elsewhere.

    Raises:
        ConfigError: it is none of `auto`, `cpu`, `mps`, `cuda` and `cuda:N`.
    """
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
        raise ConfigError(f"'{device}' names no device; give auto, cpu, mps, cuda or cuda:N")


def cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bf16 in hardware (AMX or AVX512-BF16)."""
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())  # pyright: ignore[reportPrivateUsage] - no public name yet


@contextmanager
def kept_memory() -> Iterator[bool]:
    """Let this process keep what it frees for what it needs next, rather than give it back to the system.

    An iteration on a CPU makes and frees hundreds of tensors of megabytes. By default glibc hands such memory back at
    once and gets it anew, and the kernel zeroes it page by page on a single core: 14,000 page faults an iteration of 8
    faces with `quick`, 39,000 for 2 faces with `df`. Kept, they are 330 and 3,700; the process takes 0 to 2 % more.
    Afterwards all of it is given back.

    Yields:
        Whether the C library can do that: glibc on Linux. Elsewhere nothing is changed.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is None or not hasattr(libc, "mallopt"):
        yield False
        return
    libc.mallopt(M_MMAP_MAX, 0)  # no mapping of its own for a large piece
    libc.mallopt(M_TRIM_THRESHOLD, -1)  # never shrink
    try:
        yield True
    finally:
        libc.mallopt(M_MMAP_MAX, 65536)  # glibc's own values
        libc.mallopt(M_TRIM_THRESHOLD, 128 * 1024)
        libc.malloc_trim(0)


M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of malloc.h


def available(device: torch.device) -> int | None:
    """Bytes that a training could have on a device now, None if unknown.

    On a CPU what the system calls available, or what is left under the container's limit.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    left = container_left(Path("/sys/fs/cgroup"))
    everything = psutil.virtual_memory().available
    return everything if left is None else min(left, everything)


def container_left(cgroup: Path) -> int | None:
    """Bytes left under the limit of a container (cgroup v2); None without one. Cached files do not count as used."""
    try:
        limit = (cgroup / "memory.max").read_text(encoding="utf-8").strip()
        used = int((cgroup / "memory.current").read_text(encoding="utf-8"))
        lines = (cgroup / "memory.stat").read_text(encoding="utf-8").splitlines()
    except OSError:  # no container, or cgroup v1
        return None
    if limit == "max":
        return None
    inactive = next((int(line.split()[1]) for line in lines if line.startswith("inactive_file ")), 0)
    return max(0, int(limit) - used + inactive)


def peak(device: torch.device) -> int | None:
    """Most bytes that this process has had on a device so far, None if unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    if sys.platform == "linux":  # not by rusage, which counts the memory of the process that started this one
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])
    import resource  # missing on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
