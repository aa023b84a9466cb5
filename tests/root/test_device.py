"""What a process does with memory that it frees."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import torch
from visagist.device import keep_memory
if sys.argv[1] == "keep":
    assert keep_memory()
def faults():
    for _ in range(20):
        torch.ones(16 << 20)  # 64 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
before = faults()
print(faults() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the C library of Linux is meant")
def test_kept_memory_is_not_zeroed_by_the_kernel_again() -> None:
    faults = {
        how: int(
            subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True).stdout
        )
        for how in ("plain", "keep")
    }
    assert faults["keep"] * 20 < faults["plain"]
