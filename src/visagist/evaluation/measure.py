"""Computes all metrics for the render and its baselines."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visagist.core.events import EventCallback, Progress
from visagist.evaluation.collect_frames import CollectedFrames
from visagist.evaluation.evaluation_data import EvaluationData
from visagist.evaluation.metric import Figure, Metric, badness, evaluate_metric
from visagist.evaluation.metrics import all_metrics
from visagist.evaluation.result import NOISE, Column, Evaluation, Strip
from visagist.evaluation.self_swap import check_same_person, compare_self

SPREAD_STRIPS = 6  # frames shown besides the worst ones


def measure(
    collected: CollectedFrames,
    *,
    render: Path,
    target: Path,
    source: Path,
    is_self_swap: bool,
    reconstruction: Mapping[str, Mapping[str, Figure]],
    provenance: Mapping[str, Any],
    settings: Mapping[str, Any],
    notes: tuple[str, ...],
    events: EventCallback,
) -> Evaluation:
    """Compute figures and curves of the render and its baselines; the other arguments are fields of `Evaluation`.

    Raises:
        EvaluationError: in a self-swap, source and target show different people.
    """
    data, metrics = collected.data, all_metrics()
    if is_self_swap:
        check_same_person(data)
    columns: list[Column] = []
    everything = (data.evaluated, *collected.baselines)
    for done, appearance in enumerate(everything, 1):
        columns.append(_column(data.with_evaluated(appearance), metrics))
        events(Progress("measure", done, len(everything), "columns"))
    self_swap = {**compare_self(data), "flicker": columns[0].figures["flicker"]} if is_self_swap else {}
    return Evaluation(
        render=render,
        target=target,
        source=source,
        metrics=metrics,
        columns=tuple(columns),
        frames=data.frames,
        follows=data.follows,
        times=data.times,
        coverage=collected.coverage,
        planes_changed_outside=collected.planes_changed_outside,
        reconstruction=reconstruction,
        self_swap=self_swap,
        flags=collected.flags,
        strips=_strips(data, columns[0], metrics),
        provenance=provenance,
        settings=settings,
        notes=notes,
        is_mask_known=collected.planes_changed_outside is not None,
    )


def _column(data: EvaluationData, metrics: tuple[Metric, ...]) -> Column:
    figures: dict[str, Figure] = {}
    curves: dict[str, NDArray[np.float64]] = {}
    for metric in metrics:
        if metric.has_noise_floor or data.evaluated.name != NOISE:
            figures[metric.name], curves[metric.name] = evaluate_metric(metric, data)
    return Column(data.evaluated.name, figures, curves)


def _strips(data: EvaluationData, column: Column, metrics: tuple[Metric, ...]) -> tuple[Strip, ...]:
    """Evenly spaced frames, and the worst frame of each metric."""
    worst: dict[int, list[str]] = {}
    for metric in metrics:
        worse = badness(column.curves[metric.name], metric.better)
        if np.isfinite(worse).any():
            worst.setdefault(int(np.nanargmax(worse)), []).append(metric.name)
    count = len(data.frames)
    spread = np.linspace(0, count - 1, min(SPREAD_STRIPS, count)).round().astype(int).tolist()
    return tuple(
        Strip(
            frame=int(data.frames[i]),
            time=float(data.times[i]),
            target=np.array(data.target.crops[i]),  # a copy, because the files of the crops will be deleted
            render=np.array(data.evaluated.crops[i]),
            worst_in=tuple(worst.get(i, ())),
        )
        for i in sorted({*spread, *worst})
    )
