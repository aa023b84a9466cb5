"""Why PyTorch does not use this machine's GPU, and what to install.

- `Graphics`: the facts, from the system and from PyTorch
- `look_for_gpus`: collects them
- `gpu_problem`: the first thing that is wrong, with its remedy

Wheels are those of https://pytorch.org/get-started/locally, which lists the indexes of each release.
"""

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import torch

INDEX = "https://download.pytorch.org/whl"
LISTED = "https://pytorch.org/get-started/locally lists all builds"
VENDORS = {"0x10de": "NVIDIA", "0x1002": "AMD"}  # PCI vendor ids
CUDA_12_DRIVER, CUDA_13_DRIVER = 525, 580  # oldest drivers, docs.nvidia.com/deploy/cuda-compatibility
TURING = 7.5  # compute capability; builds for CUDA 12.8 and later have no kernels for older GPUs
BLACKWELL = 10.0  # builds for CUDA 12.6 have none for it


@dataclass(frozen=True)
class Graphics:
    """GPUs in this machine, and what PyTorch supports."""

    system: str  # as `platform.system()`
    machine: str  # as `platform.machine()`
    vendors: frozenset[str] = frozenset()  # NVIDIA, AMD: cards on the PCI bus
    nvidia: tuple[str, float, int] | None = None  # name, compute capability, driver; None if `nvidia-smi` fails
    is_rosetta: bool = False  # an Intel Python on Apple silicon
    has_kfd: bool = False  # the kernel's interface for ROCm, readable by this user
    cuda_build: str | None = None  # CUDA version of PyTorch
    rocm_build: str | None = None  # ROCm version of PyTorch
    mps_build: bool = False
    usable: frozenset[str] = frozenset()  # cuda, mps: what PyTorch can compute on
    architectures: tuple[str, ...] = ()  # such as sm_90, for which PyTorch has kernels
    hidden: str | None = None  # CUDA_VISIBLE_DEVICES


def look_for_gpus() -> Graphics:
    """The facts about this machine."""
    cards = Path("/sys/class/drm").glob("card*/device/vendor")
    vendors = {VENDORS.get(card.read_text(encoding="ascii").strip(), "") for card in cards}
    nvidia = _nvidia_smi()
    usable = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return Graphics(
        system=platform.system(),
        machine=platform.machine(),
        vendors=frozenset(vendors - {""}) | ({"NVIDIA"} if nvidia else set()),
        nvidia=nvidia,
        is_rosetta=platform.system() == "Darwin" and _output("sysctl", "-n", "sysctl.proc_translated") == "1",
        has_kfd=os.access("/dev/kfd", os.R_OK | os.W_OK),
        cuda_build=torch.version.cuda,
        rocm_build=torch.version.hip,
        mps_build=torch.backends.mps.is_built(),
        usable=frozenset(name for name, is_there in usable.items() if is_there),
        architectures=tuple(torch.cuda.get_arch_list()) if torch.version.cuda else (),
        hidden=os.environ.get("CUDA_VISIBLE_DEVICES"),
    )


def gpu_problem(found: Graphics) -> tuple[str, str] | None:
    """What keeps PyTorch from the GPU and what to do about it; None if it uses it, or there is none."""
    if found.system == "Darwin":
        return _apple_problem(found)
    if "NVIDIA" in found.vendors:
        return _nvidia_problem(found)
    if "AMD" in found.vendors:
        return _amd_problem(found)
    return None


def _nvidia_problem(found: Graphics) -> tuple[str, str] | None:
    if found.nvidia is None:
        return (
            "NVIDIA GPU without a working driver (nvidia-smi fails)",
            "install the driver (https://www.nvidia.com/drivers, or your distribution's package), restart, and check "
            "that `nvidia-smi` lists the GPU; in a container, start it with --gpus all",
        )
    name, capability, driver = found.nvidia
    gpu = f"{name}, driver {driver}"
    index = "cu130" if driver >= CUDA_13_DRIVER and capability >= TURING else "cu126"
    if capability >= BLACKWELL and driver < CUDA_13_DRIVER:
        index = "cu128"
    command = _install(index)
    if driver < CUDA_12_DRIVER:
        return f"{gpu}: too old for CUDA 12", f"update the driver to {CUDA_12_DRIVER} or later, then {command}"
    if found.cuda_build is None:
        return f"{gpu}, but this PyTorch is built without CUDA", command
    if found.hidden is not None and "cuda" not in found.usable:
        remedy = "unset CUDA_VISIBLE_DEVICES, or set it to the numbers that `nvidia-smi` shows"
        return f"{gpu}, hidden by CUDA_VISIBLE_DEVICES={found.hidden}", remedy
    if int(found.cuda_build.split(".")[0]) >= 13 and driver < CUDA_13_DRIVER:
        remedy = f"update the driver to {CUDA_13_DRIVER} or later, or {command}"
        return f"{gpu}: too old for this PyTorch (CUDA {found.cuda_build})", remedy
    if found.architectures and not _has_kernels(capability, found.architectures):
        return f"{gpu}: this PyTorch has no kernels for compute capability {capability}", command
    if "cuda" not in found.usable:
        remedy = f"restart (after an update of the driver), and check that `nvidia-smi` works; else {command}"
        return f"{gpu}, but PyTorch cannot start CUDA {found.cuda_build}", remedy
    return None


def _amd_problem(found: Graphics) -> tuple[str, str] | None:
    if found.system != "Linux":
        return "AMD GPU, which PyTorch uses on Linux only", "use Linux or WSL 2 with ROCm; the CPU works meanwhile"
    if found.rocm_build is None:
        return "AMD GPU, but this PyTorch is built without ROCm", _install("rocm6.4")
    if not found.has_kfd:
        return (
            "AMD GPU, but /dev/kfd cannot be opened",
            "install the amdgpu driver (https://rocm.docs.amd.com), then `sudo usermod -aG render,video $USER`, and "
            "log in again; in a container, pass --device /dev/kfd --device /dev/dri",
        )
    if "cuda" not in found.usable:
        return (
            f"AMD GPU, but PyTorch cannot start ROCm {found.rocm_build}",
            "check that `rocminfo` lists the GPU and that ROCm supports it; `HSA_OVERRIDE_GFX_VERSION` helps related "
            f"models; {LISTED}",
        )
    return None


def _apple_problem(found: Graphics) -> tuple[str, str] | None:
    if found.is_rosetta or (found.machine == "arm64" and not found.mps_build):
        reason = "an Intel Python under Rosetta" if found.is_rosetta else "a PyTorch without MPS"
        remedy = "make a new environment with an arm64 Python (python.org or Homebrew): `pip install torch` has MPS"
        return f"Apple GPU, but {reason}", remedy
    if found.machine == "arm64" and "mps" not in found.usable:
        return "Apple GPU, but MPS cannot start", "update to macOS 14 or later"
    return None


def _install(index: str) -> str:
    return f"pip install --force-reinstall torch --index-url {INDEX}/{index} ({LISTED})"


def _has_kernels(capability: float, architectures: tuple[str, ...]) -> bool:
    """Whether one of the builds (`sm_MN`, or `compute_MN` for later GPUs too) runs on a GPU."""
    major, minor = divmod(round(10 * capability), 10)
    for kind, _, digits in (each.partition("_") for each in architectures):
        number = int("".join(filter(str.isdigit, digits)))
        runs = number <= 10 * major + minor
        if runs and (kind == "compute" or number // 10 == major):
            return True
    return False


def _nvidia_smi() -> tuple[str, float, int] | None:
    """Name, compute capability and major version of the driver of the first GPU; None if there is no driver."""
    table = _output("nvidia-smi", "--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader")
    try:
        name, capability, driver = table.splitlines()[0].rsplit(",", 2)
        return name.strip(), float(capability), int(driver.strip().split(".")[0])
    except (IndexError, ValueError):
        return None


def _output(program: str, *arguments: str) -> str:
    """What a program prints; nothing where it is missing or fails."""
    if shutil.which(program) is None:
        return ""
    try:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
