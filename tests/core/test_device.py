"""Reuse of freed memory."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource
import torch
from visagist.core.device import reuse_freed_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(16 << 20)  # 64 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
with reuse_freed_memory() as is_kept:
    assert is_kept
    faults()  # warm-up: the first allocations are new memory
    kept = faults()
print(kept, faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs glibc")
def test_reused_memory_causes_no_page_faults() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    kept, afterwards = map(int, done.stdout.split())
    assert kept * 20 < afterwards  # back to the default after the block
