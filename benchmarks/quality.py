"""Quality of the networks on fixed pairs, with a fixed seed and wall-clock budget.

    python -m benchmarks.quality [--minutes 8] [--networks quick original] [--pairs "C to A" ...] [--keep FOLDER]

Each network is trained on each pair for the same time, merged, evaluated, and appended to `benchmarks/quality.csv` with
date, commit and machine. Absolute figures depend on the machine, so the ratio to the reference network on the same
machine and day is printed. Facesets are extracted once and kept in the folder.
"""

import argparse
import csv
import datetime
import platform
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.measure import SHARED, records
from visagist.core.events import Event, Note, Warned
from visagist.demo import TARGET
from visagist.evaluation import Evaluation
from visagist.jobs.evaluate import evaluate
from visagist.jobs.extract import ExtractOptions, extract, extract_faceset
from visagist.jobs.merge import merge
from visagist.jobs.train import train
from visagist.models import ARCHITECTURES
from visagist.training import TrainOptions

TABLE = Path(__file__).with_name("quality.csv")
REFERENCE = "quick"
SEED = 0
A = SHARED / "id_A_man_kitchen" / "A_crop512_h264.mp4"
B = SHARED / "id_B_woman_garden" / "B_crop512_h264.mp4"
C = SHARED / "id_C_grid_s1"
WOMAN = SHARED / "occlusion_turns_woman_640x360.mp4"
PAIRS: dict[str, tuple[Path, Path]] = {
    "C to A": (C, A),
    "A to woman": (A, WOMAN),
    "B to A": (B, A),
    "C to sbia1a": (C, TARGET),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0, help="training time of each network on each pair")
    parser.add_argument("--networks", nargs="+", choices=list(ARCHITECTURES), default=[REFERENCE])
    parser.add_argument("--pairs", nargs="+", choices=list(PAIRS), default=list(PAIRS))
    parser.add_argument("--keep", type=Path, default=Path("bench-output") / "quality", help="output folder")
    chosen = parser.parse_args(arguments)
    if not SHARED.exists():
        print("quality: skipped, the developers' footage is not here")
        return
    rows: list[dict[str, str]] = []
    for pair in chosen.pairs:
        for network in chosen.networks:
            rows.append(measure(pair, network, chosen.minutes, chosen.keep))
            append(rows[-1])
    for line in compared(rows, known_rows()):
        print(line)


def measure(pair: str, network: str, minutes: float, keep: Path) -> dict[str, str]:
    """Train, merge and evaluate one network on one pair; returns a row of the table."""
    source, target = PAIRS[pair]
    folder = keep / pair.replace(" ", "-")
    work = folder / f"{network}-{minutes:g}"
    extract(source, folder / "source", on_event=say)
    extract_faceset(target, folder / "target", ExtractOptions(), say, tables=folder / "tables")
    options = TrainOptions(model=network, minutes=minutes, seed=SEED)
    start = time.perf_counter()
    trained = train(folder / "source", folder / "target", work / "run", options=options, on_event=say)
    trained_for = (time.perf_counter() - start) / 60
    found = rendered(work, folder, source, target)
    return {
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
        "machine": machine(),
        "network": network,
        "pair": pair,
        "minutes": f"{minutes:g}",
        "took": f"{trained_for:.1f}",
        "iterations": str(trained.iterations),
        **figures(found),
    }


def rendered(work: Path, folder: Path, source: Path, target: Path) -> Evaluation:
    """Merge and evaluate the run in `work`; the facesets and tables are those of `folder`."""
    output = work / "render.mp4"
    source_consent, target_consent = records(folder, source, target)
    merge(
        target,
        output,
        run=work / "run",
        source_consent=source_consent,
        target_consent=target_consent,
        workspace=folder,
        on_event=say,
    )
    report = work / "report.html"
    return evaluate(output, target, folder / "source", run=work / "run", report=report, workspace=folder, on_event=say)


def figures(found: Evaluation) -> dict[str, str]:
    """Figures of the render, its reconstructions and coverage, by name."""
    values = {name: figure.value for name, figure in found.columns[0].figures.items()}
    for side, each in found.reconstruction.items():
        values |= {f"{side}_{name}": figure.value for name, figure in each.items()}
    values["coverage"] = found.coverage.share
    if found.planes_changed_outside is not None:
        values["planes_changed_outside"] = found.planes_changed_outside
    return {name: f"{value:.4g}" for name, value in values.items()}


def compared(rows: Sequence[dict[str, str]], known: Sequence[dict[str, str]]) -> list[str]:
    """Compare networks with the latest row of the reference for the same pair, machine and budget; returns lines."""
    lines: list[str] = []
    for row in rows:
        lines.append(f"{row['pair']}, {row['network']}, {row['minutes']} minutes:")
        same = ("pair", "machine", "minutes")
        references = [r for r in known if r["network"] == REFERENCE and all(r[name] == row[name] for name in same)]
        base = references[-1] if references and row["network"] != REFERENCE else None
        if base is None and row["network"] != REFERENCE:
            lines.append(f"  no row of {REFERENCE} for the same pair, machine and minutes to compare with")
        for name, value in list(row.items())[8:]:
            ratio = ""
            if base is not None and value and float(base.get(name) or 0) != 0:
                ratio = f"  {float(value) / float(base[name]):.3f} of {REFERENCE}'s"
            lines.append(f"  {name:<28} {value:>9}{ratio}")
    return lines


def known_rows() -> list[dict[str, str]]:
    """The table so far."""
    if not TABLE.is_file():
        return []
    with TABLE.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def append(row: dict[str, str]) -> None:
    """Append a row; new columns are added at the end."""
    known = known_rows()
    names = list(dict.fromkeys(name for entry in [*known, row] for name in entry))
    with TABLE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows([*known, row])


def commit() -> str:
    """The commit of the checkout, with + if there are uncommitted changes."""
    run = ("git", "-C", str(Path(__file__).parent))
    name = subprocess.run([*run, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout
    changed = subprocess.run([*run, "status", "--porcelain", "src"], capture_output=True, text=True, check=True).stdout
    return name.strip() + ("+" if changed else "")


def machine() -> str:
    """The hardware, without the host name."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    extra = next((name for name in ("amx_bf16", "avx512_bf16", "avx2") if name in flags), "")
    return f"{platform.machine()}, {torch.get_num_threads()} threads {extra}".strip()


def say(event: Event) -> None:
    """Print notes and warnings."""
    if isinstance(event, Note | Warned):
        print(f"  {event.step}: {event.message}", flush=True)


if __name__ == "__main__":
    main()
