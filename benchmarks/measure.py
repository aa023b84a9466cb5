"""What the benchmarks share: footage that may be there, medians, peak memory."""

import resource
import sys
from pathlib import Path

SHARED = Path(__file__).parents[2] / "shared" / "footage"  # developers' footage; not in a user's clone


def peak_memory_gb() -> float:
    """Highest resident memory of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def report(what: str, rates: list[float], unit: str) -> None:
    """One line: median, range, memory."""
    ordered = sorted(rates)
    median = ordered[len(ordered) // 2]
    print(
        f"{what}: {median:.1f} {unit} (median of {len(ordered)}, {ordered[0]:.1f} to {ordered[-1]:.1f}), "
        f"peak memory {peak_memory_gb():.2f} GB",
        flush=True,
    )
