"""What a process does with memory that it frees."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource
import torch
from visagist.core.device import kept_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(16 << 20)  # 64 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
with kept_memory() as is_kept:
    assert is_kept
    faults()  # the first are of memory that is new
    kept = faults()
print(kept, faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the C library of Linux is meant")
def test_kept_memory_is_not_zeroed_by_the_kernel_again() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    kept, afterwards = map(int, done.stdout.split())
    assert kept * 20 < afterwards  # as ever, once it is over
