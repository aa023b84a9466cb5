"""What an evaluation found, as plain values.

- `Evaluation`: everything that the report shows; `as_text`, `as_json`
- `Column`: the figures and curves of one thing judged: the render, or a baseline
- `Flag`: a frame, or the whole, that needs a look
- `Strip`: one frame before and after, as pictures
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visagist import __version__
from visagist.evaluation.metric import Figure, Metric

RENDER, TARGET, PASTE, NOISE = "render", "unswapped target", "copy-paste", "detector noise"
BASELINES = {
    TARGET: "the target as it is: right in all but whose face it is",
    PASTE: "a real face of the source warped onto the target's landmarks, Poisson-blended: right in whose face it is "
    "(its pictures are among those that the source's mean is made of, and change seldom, which flatters its flicker)",
    NOISE: "the target seen again slightly shifted, scaled and noised: what the detectors alone account for",
}


@dataclass(frozen=True)
class Flag:
    """Something that needs a look."""

    reason: str
    frame: int | None = None  # index in the target; None: the whole
    time: float | None = None  # s


@dataclass(frozen=True, eq=False)
class Column:
    """One thing judged: figures by metric name, and curves over the frames."""

    name: str
    figures: Mapping[str, Figure]
    curves: Mapping[str, NDArray[np.float64]]  # (N,) each, NaN where there is nothing


@dataclass(frozen=True, eq=False)
class Strip:
    """One frame, as the target and the render show the face."""

    frame: int
    time: float  # s
    target: NDArray[np.uint8]  # (S, S, 3) RGB
    render: NDArray[np.uint8]  # (S, S, 3) RGB
    worst_in: tuple[str, ...] = ()  # names of the metrics that it is the worst frame of


@dataclass(frozen=True)
class Coverage:
    """How much of the target was swapped."""

    target_frames: int  # of the target
    paired_frames: int  # with a frame of the render at the same time
    performer_frames: int  # that show the performer
    swapped_frames: int  # of these, that the render changed
    tracks: int  # of the performer
    tracks_missed: int  # of which no frame was changed

    @property
    def share(self) -> float:
        """Swapped frames of those that show the performer; NaN where there are none."""
        return self.swapped_frames / self.performer_frames if self.performer_frames else math.nan


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How good a render is."""

    render: Path
    target: Path
    source: Path
    metrics: tuple[Metric, ...]
    columns: tuple[Column, ...]  # the render first, then the baselines
    frames: NDArray[np.int64]  # (N,) index in the target of the frames judged
    follows: NDArray[np.bool_]  # (N,) whether the entry before is the frame before, in the same shot
    times: NDArray[np.float64]  # (N,) s
    coverage: Coverage
    planes_changed_outside: int | None  # greatest difference of a sample where the mask is 0, before encoding
    reconstruction: Mapping[str, Mapping[str, Figure]]  # by side ("source", "target"), then "ssim", "psnr", "ms_ssim"
    self_swap: Mapping[str, Figure]  # "ssim", "psnr", "flicker" against the true answer; empty without --self-swap
    flags: tuple[Flag, ...]
    strips: tuple[Strip, ...]
    provenance: Mapping[str, Any]  # verdict, signer's fingerprint, what was done
    settings: Mapping[str, Any]  # of the evaluation, and of the run and the merge where they are known
    notes: tuple[str, ...] = field(default=())
    is_mask_known: bool = True  # the merge's own; else the outline of the face stands in for it

    def as_text(self) -> str:
        """The figures as a table for a terminal, and what they say in words."""
        from visagist.evaluation.report.summary import summary_text  # which reads this file's classes

        return summary_text(self)

    def as_json(self) -> dict[str, Any]:
        """All but the pictures, as plain values; what could not be measured is None."""
        return {
            "visagist": __version__,
            "render": str(self.render),
            "target": str(self.target),
            "source": str(self.source),
            "metrics": [
                {
                    "name": metric.name,
                    "title": metric.title,
                    "unit": metric.unit,
                    "better": metric.better,
                    "formula": metric.formula,
                    "source": metric.source,
                    "fooled_by": metric.fooled_by,
                    "aim": metric.aim,
                }
                for metric in self.metrics
            ],
            "columns": [
                {
                    "name": column.name,
                    "figures": {name: _plain_figure(figure) for name, figure in column.figures.items()},
                    "curves": {name: [_number(v) for v in curve] for name, curve in column.curves.items()},
                }
                for column in self.columns
            ],
            "frames": self.frames.tolist(),
            "times": self.times.tolist(),
            "coverage": {**vars(self.coverage), "share": _number(self.coverage.share)},
            "planes_changed_outside": self.planes_changed_outside,
            "is_mask_known": self.is_mask_known,
            "reconstruction": {
                side: {name: _plain_figure(figure) for name, figure in figures.items()}
                for side, figures in self.reconstruction.items()
            },
            "self_swap": {name: _plain_figure(figure) for name, figure in self.self_swap.items()},
            "flags": [vars(flag) for flag in self.flags],
            "provenance": dict(self.provenance),
            "settings": dict(self.settings),
            "notes": list(self.notes),
        }


def _plain_figure(figure: Figure) -> dict[str, float | int | None]:
    return {name: value if name == "count" else _number(value) for name, value in vars(figure).items()}


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
