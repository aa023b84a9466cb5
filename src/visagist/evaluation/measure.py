"""Every metric on everything that was gathered."""

import numpy as np
from numpy.typing import NDArray

from visagist.core.events import EventCallback, Progress
from visagist.evaluation.collect_frames import Gathered
from visagist.evaluation.evaluation_data import Case
from visagist.evaluation.metric import Figure, Metric, badness, evaluate_metric
from visagist.evaluation.result import NOISE, Column, Strip

SPREAD_STRIPS = 6  # frames shown besides the worst ones


def measure(gathered: Gathered, metrics: tuple[Metric, ...], events: EventCallback) -> tuple[Column, ...]:
    """The render's figures and curves, then those of the baselines."""
    columns: list[Column] = []
    everything = (gathered.case.judged, *gathered.baselines)
    for done, appearance in enumerate(everything):
        events(Progress("measure", done, len(everything), "columns"))
        columns.append(_column(gathered.case.judging(appearance), metrics))
    events(Progress("measure", len(everything), len(everything), "columns"))
    return tuple(columns)


def choose_strips(case: Case, column: Column, metrics: tuple[Metric, ...]) -> tuple[Strip, ...]:
    """Frames spread over the footage, and the worst one of each metric."""
    worst: dict[int, list[str]] = {}
    for metric in metrics:
        worse = badness(column.curves[metric.name], metric.better)
        if np.isfinite(worse).any():
            worst.setdefault(int(np.nanargmax(worse)), []).append(metric.name)
    count = len(case.frames)
    spread = np.linspace(0, count - 1, min(SPREAD_STRIPS, count)).round().astype(int).tolist()
    return tuple(
        Strip(
            frame=int(case.frames[i]),
            time=float(case.times[i]),
            target=np.array(case.target.crops[i]),  # copied: the crops' files are about to be deleted
            render=np.array(case.judged.crops[i]),
            worst_in=tuple(worst.get(i, ())),
        )
        for i in sorted({*spread, *worst})
    )


def _column(case: Case, metrics: tuple[Metric, ...]) -> Column:
    figures: dict[str, Figure] = {}
    curves: dict[str, NDArray[np.float64]] = {}
    for metric in metrics:
        if metric.has_noise_floor or case.judged.name != NOISE:
            figures[metric.name], curves[metric.name] = evaluate_metric(metric, case)
    return Column(case.judged.name, figures, curves)
