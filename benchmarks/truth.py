"""Metrics and detectors against ground truth: two synthetic people and an exact swap.

    .venv/bin/python -m benchmarks.truth [--frames 100] [--size 320] [--pupils 62] [--seed 4]

Prints two tables for benchmarks/research/metrics.md: each metric on the exact swap and on known degradations of it, and
the detectors' errors against the head model's landmarks, angles and expressions. Needs the developers' footage and
takes some minutes. Results are reproducible.
"""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.synthetic.cases import DEGRADATIONS, Clip, build
from benchmarks.synthetic.detectors import expression_correlations, landmark_errors, pose_errors
from benchmarks.synthetic.judge import judge
from benchmarks.synthetic.model import FOLDER, find, load
from visagist.evaluation import EvaluationData, FaceObservations, Figure, Metric, all_metrics
from visagist.evaluation.metric import evaluate_metric

RIGHT = "perfect"
# Metrics that must detect each degradation: significantly worse than the exact swap.
MUST_DETECT = {
    "blurred": ("sharpness", "sharpness_to_target"),
    "shifted": ("placement",),
    "trembling": ("jitter", "flicker"),
    "blob": ("expression_correlation", "expression_amplitude", "expression_mouth", "sharpness"),
    "frozen": ("expression_correlation", "expression_amplitude", "expression_mouth"),
    "unswapped": ("identity", "identity_share", "identity_sface", "leakage"),
    "wrong person": ("identity", "identity_share", "identity_sface"),
    "flicker": ("flicker",),
    "hard edge": ("seam_gradient", "seam_color"),
}


@dataclass(frozen=True)
class Cell:
    """One metric on one swap."""

    figure: Figure
    moved: int  # compared to the exact swap: -1 worse, 0 not significant, 1 better


def cells(metric: Metric, data: EvaluationData, swaps: dict[str, FaceObservations]) -> dict[str, Cell]:
    """The figures of a metric by the names of the swaps."""
    figures = {name: evaluate_metric(metric, data.with_evaluated(seen))[0] for name, seen in swaps.items()}
    right = figures[RIGHT]
    return {name: Cell(figure, _moved(metric, figure, right)) for name, figure in figures.items()}


def metric_table(rows: dict[str, dict[str, Cell]]) -> str:
    """Markdown table. Bold: worse than the exact swap; italic: better; an arrow: must be detected."""
    names = [RIGHT, *(name for name in DEGRADATIONS if name != RIGHT)]
    lines = [f"| metric | {' | '.join(names)} |", "|---|" + "---:|" * len(names)]
    for metric, row in rows.items():
        values = [_styled(row[name], metric in MUST_DETECT.get(name, ())) for name in names]
        lines.append(f"| {metric} | {' | '.join(values)} |")
    return "\n".join(lines)


def undetected(rows: dict[str, dict[str, Cell]]) -> list[str]:
    """Degradations that a metric failed to detect."""
    return [
        f"{metric} does not detect '{name}'"
        for name, metrics in MUST_DETECT.items()
        for metric in metrics
        if rows[metric][name].moved >= 0
    ]


def detector_table(appearances: dict[str, tuple[FaceObservations, Clip]]) -> str:
    """Markdown table of the detectors' errors on each clip."""
    lines = ["| | " + " | ".join(appearances) + " |", "|---|" + "---:|" * len(appearances)]
    errors = [landmark_errors(*each) for each in appearances.values()]
    for region in errors[0]:
        both = (f"{each[region].whole:.1f} ({each[region].wandering:.1f})" for each in errors)
        lines.append(
            f"| landmarks, {region}: % of the eyes' distance (without each point's mean) | {' | '.join(both)} |"
        )
    poses = [pose_errors(*each) for each in appearances.values()]
    for angle in poses[0]:
        both = (f"{e[angle].offset:+.1f} ({e[angle].slope:.2f}; {e[angle].wandering:.1f})" for e in poses)
        lines.append(f"| {angle}: mean difference in ° (slope; deviation from that line in °) | {' | '.join(both)} |")
    shapes = [expression_correlations(*each) for each in appearances.values()]
    for name in shapes[0]:
        lines.append(f"| {name}: r over time | {' | '.join(f'{each[name]:.2f}' for each in shapes)} |")
    lines.append(
        "| least score of the mesh | " + " | ".join(f"{a.scores.min():.1f}" for a, _ in appearances.values()) + " |"
    )
    return "\n".join(lines)


def _moved(metric: Metric, figure: Figure, right: Figure) -> int:
    """1 or -1 if the 95 % intervals of a figure and the exact swap's do not overlap: better or worse; otherwise 0."""
    ends = (figure.low, figure.high, right.low, right.high)
    if not np.isfinite(ends).all() or (figure.low <= right.high and right.low <= figure.high):
        return 0
    if metric.better == "one":
        return 1 if abs(figure.value - 1) < abs(right.value - 1) else -1
    return 1 if (figure.value > right.value) == (metric.better == "higher") else -1


def _styled(cell: Cell, must: bool) -> str:
    value = cell.figure.value
    text = "-" if not np.isfinite(value) else f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    style = {-1: "**", 0: "", 1: "*"}[cell.moved]
    return f"{style}{text}{style}" + (" ←" if must else "")


def main() -> int:
    """Measure and print the tables; 1 if a metric misses a degradation that it must detect."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--size", type=int, default=320, help="side of the frames in px")
    parser.add_argument("--pupils", type=float, default=62, help="distance between the pupils in px")
    parser.add_argument("--seed", type=int, default=4)
    arguments = parser.parse_args()
    folder = find()
    if folder is None:
        print(f"skipped: the head model is not here ({FOLDER})")
        return 0
    bench = build(load(folder), arguments.frames, arguments.size, arguments.pupils, arguments.seed)
    with tempfile.TemporaryDirectory() as work:
        data, swaps = judge(bench, Path(work))
    rows = {metric.name: cells(metric, data, swaps) for metric in all_metrics()}
    print(f"{arguments.frames} frames of {arguments.size} px, {arguments.pupils:g} px between the pupils\n")
    print("\n".join(f"- {name}: {what}" for name, what in DEGRADATIONS.items()), "\n")
    print(metric_table(rows), "\n")
    print(detector_table({"target": (swaps["unswapped"], bench.target), RIGHT: (swaps[RIGHT], bench.perfect)}), "\n")
    blind = undetected(rows)
    print("\n".join(blind) or "every degradation is detected by the metrics that must detect it")
    return 1 if blind else 0


if __name__ == "__main__":
    sys.exit(main())
