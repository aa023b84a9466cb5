"""What `doctor` says about GPUs that PyTorch does not use."""

from dataclasses import replace

import pytest

from visagist.jobs.diagnostics import examine
from visagist.jobs.gpu_advice import Graphics, gpu_problem, look_for_gpus

NVIDIA = Graphics(
    "Linux",
    "x86_64",
    vendors=frozenset({"NVIDIA"}),
    nvidia=("NVIDIA GeForce RTX 4090", 8.9, 575),
    cuda_build="12.8",
    usable=frozenset({"cuda"}),
    architectures=("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120"),
)
AMD = Graphics(
    "Linux",
    "x86_64",
    vendors=frozenset({"AMD"}),
    has_kfd=True,
    rocm_build="6.4",
    usable=frozenset({"cuda"}),
)
APPLE = Graphics("Darwin", "arm64", mps_build=True, usable=frozenset({"mps"}))
PLAIN = {"cuda_build": None, "usable": frozenset[str](), "architectures": ()}  # a PyTorch for CPUs
UNUSABLE = {"usable": frozenset[str]()}


@pytest.mark.parametrize("found", [NVIDIA, AMD, APPLE, Graphics("Linux", "x86_64"), Graphics("Windows", "AMD64")])
def test_a_gpu_that_works_or_none_is_no_problem(found: Graphics) -> None:
    assert gpu_problem(found) is None


@pytest.mark.parametrize(
    ("found", "remedy"),
    [
        (replace(NVIDIA, **PLAIN, nvidia=None), "nvidia.com/drivers"),
        (replace(NVIDIA, **PLAIN), "whl/cu126"),
        (replace(NVIDIA, **PLAIN, nvidia=("RTX 4090", 8.9, 580)), "whl/cu130"),
        (replace(NVIDIA, **PLAIN, nvidia=("RTX 5090", 12.0, 575)), "whl/cu128"),
        (replace(NVIDIA, **PLAIN, nvidia=("GTX 1080", 6.1, 580)), "whl/cu126"),
        (replace(NVIDIA, nvidia=("GTX 1080", 6.1, 580)), "whl/cu126"),  # CUDA starts, but each kernel would fail
        (replace(NVIDIA, **PLAIN, nvidia=("RTX 2080", 7.5, 470)), "525"),
        (replace(NVIDIA, **UNUSABLE, cuda_build="13.0"), "580"),
        (replace(NVIDIA, **UNUSABLE, hidden="7"), "CUDA_VISIBLE_DEVICES"),
        (replace(NVIDIA, **UNUSABLE), "restart"),
        (replace(AMD, **UNUSABLE, rocm_build=None), "whl/rocm"),
        (replace(AMD, **UNUSABLE, has_kfd=False), "render,video"),
        (replace(AMD, **UNUSABLE), "rocminfo"),
        (replace(AMD, **UNUSABLE, system="Windows", rocm_build=None), "WSL"),
        (replace(APPLE, **UNUSABLE, mps_build=False), "arm64 Python"),
        (replace(APPLE, **UNUSABLE, machine="x86_64", is_rosetta=True), "arm64 Python"),
        (replace(APPLE, **UNUSABLE), "macOS 14"),
    ],
)
def test_each_problem_has_its_remedy(found: Graphics, remedy: str) -> None:
    problem = gpu_problem(found)
    assert problem is not None
    assert remedy in problem[1]


def test_the_doctor_reports_the_gpu_and_onnxruntime() -> None:
    findings = {finding.name: finding for finding in examine("cpu")}
    assert findings["gpu"].is_well == (gpu_problem(look_for_gpus()) is None)
    assert "CPU" in findings["onnxruntime"].text
