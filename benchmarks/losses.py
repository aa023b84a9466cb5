"""Effect of each additional loss on real faces, as the last phase of the same training.

    python -m benchmarks.losses RUN [--iterations 300] [--only gan "face style" ...] [--pair "C to A"] [--keep FOLDER]
    python -m benchmarks.losses RUN --times

RUN is a training of the pair, for example from `benchmarks.quality`. Each variant continues from its weights with the
same random numbers, without random warp and in cool-down from the first iteration; then it is merged and evaluated. A
table of figures is printed as it grows, and a sheet shows the same frames of all renders (of the developers' footage:
do not copy it). Existing results are kept. `--times` instead measures the time per iteration with each loss, in turns.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.quality import PAIRS, figures, rendered, say
from visagist.core.device import select_device
from visagist.core.files import sha256
from visagist.jobs.extract import ExtractOptions, extract, extract_faceset
from visagist.jobs.train import train
from visagist.media import Reader
from visagist.training import TrainOptions
from visagist.training.augment import Augmentation
from visagist.training.data import IdentityDataset, load_crops
from visagist.training.losses import LossOptions
from visagist.training.run import RunRecord
from visagist.training.schedule import Plan, ScheduleOptions
from visagist.training.trainer import Trainer

VARIANTS: dict[str, dict[str, float]] = {
    "none": {},
    "gan": {"gan": 0.3},
    "identity": {"identity": 0.03},
    "face style": {"face_style": 1.0},
    "background style": {"background_style": 1.0},
    "focal frequency": {"focal_frequency": 50.0},
    "true face": {"true_face": 0.01},
}
LEARNING_RATE = 3e-4
COOL_DOWN = ScheduleOptions(cool_down=1)  # so that finishing losses act from the start
SEED = 1
TIMED_ITERATIONS = 9
SHEET_FRAMES = (60, 200, 330, 450)
SHOWN = (
    "source_ssim",
    "target_ssim",
    "identity_calibrated",
    "identity_sface",
    "leakage",
    "expression_landmarks",
    "expression_correlation",
    "sharpness",
    "seam_color",
    "seam_gradient",
    "flicker",
)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="training of the pair to continue from")
    parser.add_argument("--iterations", type=int, default=300, help="iterations of each variant (default 300)")
    weights = ", ".join(f"{name} {weight:g}" for name, losses in VARIANTS.items() for weight in losses.values())
    parser.add_argument(
        "--only",
        nargs="+",
        choices=list(VARIANTS),
        default=list(VARIANTS),
        help=f"variants and their weights: none, {weights}",
    )
    parser.add_argument("--times", action="store_true", help="measure times per iteration instead of renders")
    parser.add_argument("--weight", type=float, help="weight of the loss, instead of the one listed above")
    parser.add_argument("--pair", choices=list(PAIRS), default="C to A")
    parser.add_argument("--keep", type=Path, default=Path("bench-output") / "losses", help="output folder")
    chosen = parser.parse_args(arguments)
    if not PAIRS[chosen.pair][0].exists():
        print("losses: skipped, the developers' footage is not here")
        return
    if chosen.times:
        time_all(chosen.run, chosen.pair, chosen.keep)
        return
    # Results depend on run, pair and length.
    run = sha256(chosen.run / "weights.safetensors")[:8]
    keep = chosen.keep / f"{chosen.pair.replace(' ', '-')}-{run}-{chosen.iterations}"
    renders: dict[str, Path] = {}
    print(f"{'':<24}" + "".join(f"{name:>24}" for name in SHOWN), flush=True)
    for name in chosen.only:
        losses = VARIANTS[name] if chosen.weight is None else dict.fromkeys(VARIANTS[name], chosen.weight)
        title = " ".join([name, *(f"{weight:g}" for weight in losses.values())])
        work = keep / title.replace(" ", "-")
        if not (work / "figures.json").is_file():
            found = measure(chosen.run, losses, chosen.iterations, chosen.pair, work)
            (work / "figures.json").write_text(json.dumps(found))
        found = json.loads((work / "figures.json").read_text())
        print(f"{title:<24}" + "".join(f"{found.get(each, ''):>24}" for each in SHOWN), flush=True)
        renders[title] = work / "render.mp4"
    draw(renders, keep / "sheet.png")


def measure(start: Path, losses: dict[str, float], iterations: int, pair: str, work: Path) -> dict[str, str]:
    """Continue a run with additional losses, merge and evaluate; returns figures by name."""
    source, target = PAIRS[pair]
    folder = work.parent
    extract(source, folder / "source", on_event=say)
    extract_faceset(target, folder / "target", ExtractOptions(), say, tables=folder / "tables")
    record = RunRecord.read(start)
    options = TrainOptions(
        model=record.options.model,
        settings=record.options.settings,
        coverage=record.options.coverage,
        start=start,
        iterations=iterations,
        seed=SEED,
        learning_rate=LEARNING_RATE,
        losses=LossOptions.model_validate(losses),
        schedule=COOL_DOWN,
        augmentation=Augmentation(warp=0.0),
        preview_every=iterations,
    )
    train(folder / "source", folder / "target", work / "run", options=options, on_event=say)
    return figures(rendered(work, folder, source, target))


def time_all(start: Path, pair: str, folder: Path) -> None:
    """Time iterations with each loss in turns, compared to none."""
    record, compute = RunRecord.read(start), select_device("auto")
    datasets: dict[str, IdentityDataset] = {}
    for name, footage in zip(("source", "target"), PAIRS[pair], strict=True):
        extract(footage, folder / name, on_event=say)
        crops = load_crops(folder / name, record.options.coverage, record.size, record.options.margin)
        datasets[name] = IdentityDataset(crops, record.options.held_out, compute.device)
    shared = record.options.model_copy(update={"schedule": COOL_DOWN})
    trainers: dict[str, Trainer] = {}
    for name, losses in VARIANTS.items():
        options = shared.model_copy(update={"losses": LossOptions.model_validate(losses)})
        trainers[name] = Trainer(datasets, options, Plan.of(10**6, COOL_DOWN), compute)
    times: dict[str, list[float]] = {name: [] for name in trainers}
    for iteration in range(1 + TIMED_ITERATIONS):
        for name, trainer in trainers.items():
            before = time.perf_counter()
            trainer.step(iteration).item()  # reading the loss waits for the device
            times[name].append(time.perf_counter() - before)
    each = {name: median(found[1:]) for name, found in times.items()}
    for name, seconds in each.items():
        print(f"{name:<24}{seconds:8.3f} s per iteration, {seconds / each['none']:.2f} times that without")


def draw(renders: dict[str, Path], path: Path) -> None:
    """Draw the same frames of all renders, one row per render."""
    rows: list[np.ndarray] = []
    for title, render in renders.items():
        with Reader(render, last=max(SHEET_FRAMES)) as reader:
            frames = [np.rint(frame.rgb() * 255).astype(np.uint8) for frame in reader if frame.index in SHEET_FRAMES]
        row = Image.fromarray(np.hstack(frames))
        ImageDraw.Draw(row).text((6, 6), title, fill=(255, 255, 0))
        rows.append(np.asarray(row))
    Image.fromarray(np.vstack(rows)).save(path)


if __name__ == "__main__":
    main()
