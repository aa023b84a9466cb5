"""Every metric on everything that was gathered."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visagist.core.events import EventCallback, Progress
from visagist.evaluation.collect_frames import Gathered
from visagist.evaluation.evaluation_data import Case
from visagist.evaluation.metric import Figure, Metric, badness, evaluate_metric
from visagist.evaluation.metrics import all_metrics
from visagist.evaluation.result import NOISE, Column, Evaluation, Strip
from visagist.evaluation.self_swap import check_same_person, compare_self

SPREAD_STRIPS = 6  # frames shown besides the worst ones


def measure(
    gathered: Gathered,
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
    """Figures and curves of the render and its baselines, with what else is known of them as in `Evaluation`.

    Raises:
        EvaluationError: a self-swap of two people.
    """
    case, metrics = gathered.case, all_metrics()
    if is_self_swap:
        check_same_person(case)
    columns: list[Column] = []
    everything = (case.judged, *gathered.baselines)
    for done, appearance in enumerate(everything, 1):
        columns.append(_column(case.judging(appearance), metrics))
        events(Progress("measure", done, len(everything), "columns"))
    self_swap = {**compare_self(case), "flicker": columns[0].figures["flicker"]} if is_self_swap else {}
    return Evaluation(
        render=render,
        target=target,
        source=source,
        metrics=metrics,
        columns=tuple(columns),
        frames=case.frames,
        follows=case.follows,
        times=case.times,
        coverage=gathered.coverage,
        planes_changed_outside=gathered.planes_changed_outside,
        reconstruction=reconstruction,
        self_swap=self_swap,
        flags=gathered.flags,
        strips=_strips(case, columns[0], metrics),
        provenance=provenance,
        settings=settings,
        notes=notes,
        is_mask_known=gathered.planes_changed_outside is not None,
    )


def _column(case: Case, metrics: tuple[Metric, ...]) -> Column:
    figures: dict[str, Figure] = {}
    curves: dict[str, NDArray[np.float64]] = {}
    for metric in metrics:
        if metric.has_noise_floor or case.judged.name != NOISE:
            figures[metric.name], curves[metric.name] = evaluate_metric(metric, case)
    return Column(case.judged.name, figures, curves)


def _strips(case: Case, column: Column, metrics: tuple[Metric, ...]) -> tuple[Strip, ...]:
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
