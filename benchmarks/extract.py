"""Frames per second of `extract`, from the video file to the finished faceset.

python -m benchmarks.extract
"""

import tempfile
import time
from pathlib import Path

from benchmarks.measure import SHARED, report
from visagist.demo import SOURCE
from visagist.jobs.extract import extract

RUNS = 3


def rate(footage: Path) -> float:
    """Frames per second over the whole footage."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        faceset = extract(footage, Path(folder) / "faces")
        assert faceset.summary is not None
        return faceset.summary.frames / (time.perf_counter() - start)


def main() -> None:
    report("extract, 8 GRID clips of 360x288", [rate(SOURCE) for _ in range(RUNS)], "frames/s")
    tall = SHARED / "id_A_man_kitchen" / "A_1080x1920_hevc.mp4"
    if tall.exists():
        report("extract, 1080x1920 HEVC, one face", [rate(tall) for _ in range(RUNS)], "frames/s")
    else:
        print("extract, 1080x1920: skipped, the developers' footage is not here")


if __name__ == "__main__":
    main()
