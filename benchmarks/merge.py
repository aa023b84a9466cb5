"""Frames a second of a merge, from the target's analysed file to the signed render, decode and encode included.

    python -m benchmarks.merge

Speed does not depend on what the network learnt: it is trained for two iterations.
"""

import datetime
import tempfile
import time
from pathlib import Path

from benchmarks.measure import SHARED, report
from visagist.demo import SOURCE, TARGET
from visagist.events import silent
from visagist.faceset import ExtractOptions, extract
from visagist.media import EncodeOptions
from visagist.merging import MergeOptions, merge
from visagist.training import TrainOptions, train
from visagist.workspace import new_consent

RUNS = 3


def main() -> None:
    crop = SHARED / "id_A_man_kitchen" / "A_crop512_h264.mp4"
    target = crop if crop.exists() else TARGET
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        extract(SOURCE / "s1_bbaf2n.mpg", folder / "source", ExtractOptions())
        extract(target, folder / "target", ExtractOptions(), tables=folder / "workspace" / "tables")
        train(folder / "source", folder / "target", folder / "run", TrainOptions(iterations=2), silent)
        source, performer = records(folder, target)
        rates: list[float] = []
        for number in range(RUNS):
            start = time.perf_counter()
            summary = merge(
                target,
                folder / "run",
                folder / f"out{number}.mp4",
                source,
                performer,
                MergeOptions(),
                EncodeOptions(),
                folder / "workspace",
                "auto",
                silent,
            )
            rates.append(summary.frames / (time.perf_counter() - start))
    report(f"merge, {target.name}, signing included", rates, "frames/s")


def records(folder: Path, target: Path) -> tuple[Path, Path]:
    """Consent records bound to the footage, which merge insists on."""
    paths = folder / "source.toml", folder / "target.toml"
    for path, footage in zip(paths, (SOURCE / "s1_bbaf2n.mpg", target), strict=True):
        new_consent(
            path,
            name="benchmark",
            adult=True,
            basis="research-corpus",
            statement="Speed is measured; the render is deleted.",
            scope="benchmark",
            date=datetime.date(2026, 1, 1),
            pictures=[],
            footage=[footage],
            document=None,
        )
    return paths


if __name__ == "__main__":
    main()
