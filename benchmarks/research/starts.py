"""Effect of initial weights: one run per start and pair, evaluated at several lengths.

    OMP_NUM_THREADS=1 python -m benchmarks.research.starts [--pairs "C to A" ...] [--starts base none]
        [--faces 3000 12000 17000] [--options '{"augmentation": {"driven": 0.5}}'] [--keep FOLDER]

Finished lengths are not repeated, and a stopped training continues. Needs the developers' footage.
"""

import argparse
import json
import shutil
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import SHARED
from benchmarks.quality import PAIRS, SEED, figures, rendered, say
from visagist.core.events import silent
from visagist.jobs.extract import ExtractOptions, extract, extract_faceset
from visagist.jobs.train import train
from visagist.training import TrainOptions

FIGURES = (
    "identity_calibrated",
    "leakage",
    "identity_sface",
    "expression_correlation",
    "expression_amplitude",
    "expression_eyes",
    "expression_mouth",
    "sharpness",
    "seam_gradient",
    "seam_color",
    "flicker",
    "source_ssim",
    "target_ssim",
)
FIGURES_FILE = "figures.json"
BATCH = 4


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", nargs="+", choices=list(PAIRS), default=["C to A", "A to woman", "B to A"])
    parser.add_argument("--starts", nargs="+", default=["base", "none"], help="base, none, or a run")
    parser.add_argument("--faces", nargs="+", type=int, default=[3000, 12000, 17000])
    parser.add_argument("--options", type=json.loads, default={}, help="training options, as JSON")
    parser.add_argument("--keep", type=Path, default=Path("bench-output") / "starts", help="output folder")
    chosen = parser.parse_args(arguments)
    if not SHARED.exists():
        print("starts: skipped, the developers' footage is not here")
        return
    print("| pair | start | faces | " + " | ".join(FIGURES) + " | seconds |")
    print("|" + "---|" * (len(FIGURES) + 4))
    for pair in chosen.pairs:
        for start in chosen.starts:
            for faces in sorted(chosen.faces):
                found = measure(pair, start, faces, chosen.options, chosen.keep / pair.replace(" ", "-"))
                cells = [pair, Path(start).name, str(faces), *(found[name] for name in FIGURES), found["seconds"]]
                print(f"| {' | '.join(cells)} |", flush=True)


def measure(pair: str, start: str, faces: int, options: dict[str, Any], folder: Path) -> dict[str, str]:
    """Figures of a run of this length, extended from the shorter one."""
    source, target = PAIRS[pair]
    name = f"{Path(start).name}-{zlib.crc32(json.dumps(options, sort_keys=True).encode()):08x}"
    run, work = folder / name / "run", folder / name / str(faces)
    if (work / FIGURES_FILE).exists():
        return json.loads((work / FIGURES_FILE).read_text())
    extract(source, folder / "source", on_event=say)
    extract_faceset(target, folder / "target", ExtractOptions(), say, tables=folder / "tables")
    asked = {"model": "visage", "batch": BATCH, "seed": SEED, "start": start, "preview_every": 10**6, "backups": 0}
    asked |= {"iterations": faces // options.get("batch", BATCH), **options}
    began = time.perf_counter()
    train(folder / "source", folder / "target", run, options=TrainOptions.parse(asked, "starts"), on_event=silent)
    seconds = time.perf_counter() - began
    shutil.copytree(run, work / "run", ignore=shutil.ignore_patterns("checkpoints"), dirs_exist_ok=True)
    found = figures(rendered(work, folder, source, target)) | {"seconds": f"{seconds:.0f}"}
    (work / FIGURES_FILE).write_text(json.dumps(found))
    return found


if __name__ == "__main__":
    main()
