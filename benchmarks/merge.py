"""Frames per second of a merge of analysed footage into a signed render, including decoding and encoding.

    python -m benchmarks.merge

Speed does not depend on the weights, so the network is trained for two iterations only.
"""

import shutil
import tempfile
import time
from pathlib import Path

from benchmarks.measure import SHARED, records, report
from visagist.core.events import silent
from visagist.demo import SOURCE, TARGET
from visagist.jobs.extract import ExtractOptions, extract, extract_faceset
from visagist.jobs.merge import merge
from visagist.jobs.train import train

RUNS = 3


def main() -> None:
    crop = SHARED / "id_A_man_kitchen" / "A_crop512_h264.mp4"
    target = crop if crop.exists() else TARGET
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        extract(SOURCE / "s1_bbaf2n.mpg", folder / "source")
        extract_faceset(target, folder / "target", ExtractOptions(), silent, tables=folder / "workspace" / "tables")
        train(folder / "source", folder / "target", folder / "run", iterations=2)
        source, performer = records(folder, SOURCE / "s1_bbaf2n.mpg", target)
        rates: list[float] = []
        for number in range(RUNS):
            # The safeguard's analysis is part of the measurement.
            shutil.rmtree(folder / "workspace" / "safeguard", ignore_errors=True)
            start = time.perf_counter()
            render = merge(
                target,
                folder / f"out{number}.mp4",
                run=folder / "run",
                source_consent=source,
                target_consent=performer,
                workspace=folder / "workspace",
            )
            rates.append(render.frames / (time.perf_counter() - start))
    report(f"merge, {target.name}, signing included", rates, "frames/s")


if __name__ == "__main__":
    main()
