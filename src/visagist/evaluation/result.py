"""The result of an evaluation, as values, as JSON and as text for the terminal."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visagist import __version__
from visagist.core.text import plural
from visagist.evaluation.formatting import decimals, interval, missing, number, quantity, share_text
from visagist.evaluation.metric import Figure, Metric
from visagist.evaluation.thresholds import Standing, aim_text, is_better, standing

RENDER, TARGET, PASTE, NOISE = "render", "unswapped target", "copy-paste", "detector noise"
BASELINES = {
    TARGET: "the target as it is: correct in everything but identity",
    PASTE: "a real face of the source, warped onto the target's landmarks and Poisson-blended: correct in identity "
    "(its pictures also contribute to the source's mean embedding, and rarely change, which flatters its flicker)",
    NOISE: "the target, slightly shifted, scaled and noised: the contribution of the detectors' own noise",
}
DESCRIBED = ("name", "title", "unit", "better", "formula", "source", "fooled_by", "aim")  # in the JSON
SIDES = {"higher": "(higher)", "lower": "(lower)", "one": "(1)", "neither": ""}  # better direction, if there is no aim
BRACKETS = re.compile(r" \([^)]*\)$")  # explanation after a title, left out in the terminal


@dataclass(frozen=True)
class Flag:
    """Something that the user should check."""

    reason: str
    frame: int | None = None  # index in the target; None for the whole render
    time: float | None = None  # s


@dataclass(frozen=True)
class FlagGroup:
    """All flags with one reason."""

    reason: str
    count: int  # frames; 0 for the whole render
    ranges: tuple[tuple[int, int, float], ...]  # first frame, last frame and start in s (NaN if unknown) of each range


@dataclass(frozen=True, eq=False)
class Column:
    """Metrics of the render or of one baseline."""

    name: str
    figures: Mapping[str, Figure]  # by name of the metric
    curves: Mapping[str, NDArray[np.float64]]  # by name of the metric, (N,); NaN where not measured


@dataclass(frozen=True, eq=False)
class Strip:
    """The face in one frame of target and render."""

    frame: int
    time: float  # s
    target: NDArray[np.uint8]  # (S, S, 3) RGB
    render: NDArray[np.uint8]  # (S, S, 3) RGB
    worst_in: tuple[str, ...] = ()  # names of the metrics in which this is the worst frame


@dataclass(frozen=True)
class Coverage:
    """How much of the target was swapped."""

    target_frames: int
    paired_frames: int  # frames with a matching frame of the render
    performer_frames: int  # frames that show the performer
    swapped_frames: int  # frames of the performer that the render changed
    tracks: int  # tracks of the performer
    tracks_missed: int  # tracks without a changed frame

    @property
    def share(self) -> float:
        """Share of the performer's frames that were swapped; NaN if there are none."""
        return self.swapped_frames / self.performer_frames if self.performer_frames else math.nan

    def __str__(self) -> str:
        if not self.performer_frames:
            return f"none of the target's {self.target_frames} frames shows the performer"
        text = f"{share_text(self.share)} ({self.swapped_frames} of {plural(self.performer_frames, 'frame')})"
        if self.tracks_missed:
            text += f"; {self.tracks_missed} of {plural(self.tracks, 'track')} missed as a whole"
        if unmatched := self.target_frames - self.paired_frames:
            text += f"; {plural(unmatched, 'frame')} of the target without a match in the render"
        return text


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Metrics, baselines, coverage and flags of a render."""

    render: Path
    target: Path
    source: Path
    metrics: tuple[Metric, ...]
    columns: tuple[Column, ...]  # the render first, then the baselines
    frames: NDArray[np.int64]  # (N,) indices in the target of the evaluated frames
    follows: NDArray[np.bool_]  # (N,) whether the previous entry is the previous frame of the same shot
    times: NDArray[np.float64]  # (N,) s
    coverage: Coverage
    planes_changed_outside: int | None  # maximum difference of a sample where the mask is 0, before encoding
    reconstruction: Mapping[str, Mapping[str, Figure]]  # by identity, then "ssim", "psnr", "ms_ssim"
    self_swap: Mapping[str, Figure]  # "ssim", "psnr", "flicker" against the original; empty without --self-swap
    flags: tuple[Flag, ...]
    strips: tuple[Strip, ...]
    provenance: Mapping[str, Any]  # result of `verify`
    settings: Mapping[str, Any]  # of the evaluation, and of the run and the merge if known
    notes: tuple[str, ...] = ()
    is_mask_known: bool = True  # whether the masks are those of the merge; if not, they are the outline of the face

    def standings(self) -> list[Standing]:
        """The render's figures compared with their aims, in order."""
        figures = self.columns[0].figures
        measured = [metric for metric in self.metrics if metric.name in figures]
        return [standing(metric, figures[metric.name], is_mask_known=self.is_mask_known) for metric in measured]

    def wins(self, name: str) -> tuple[Metric, ...]:
        """The metrics in which the column `name` is better than the render."""
        render = self.columns[0].figures
        other = next(column.figures for column in self.columns if column.name == name)
        both = [metric for metric in self.metrics if metric.name in render and metric.name in other]
        return tuple(m for m in both if is_better(m, other[m.name].value, render[m.name].value))

    def sentences(self) -> list[tuple[str, str]]:
        """A summary as pairs of subject and statement, the most important first."""
        said: list[tuple[str, str]] = []
        missed = sorted((one for one in self.standings() if one.is_missed), key=lambda one: -one.factor)
        if missed:
            said.append(("Missed, furthest first", "; ".join(_shortfall(one) for one in missed)))
        if not self.coverage.swapped_frames:
            said.append(("No swap", "the render changed no face; all values are those of the target's own face"))
        for side, figures in self.reconstruction.items():
            said.append((f"Validation faces of {side}, reconstructed", _listed(figures)))
        if self.self_swap:
            said.append(("Self-swap, against the original", _listed(self.self_swap)))
        said.append(("Swapped frames of the performer", str(self.coverage)))
        groups = grouped_flags(self.flags)
        if groups:
            counts = [plural(group.count, "frame") if group.count else "whole render" for group in groups]
            listed = (f"{group.reason} ({count})" for group, count in zip(groups, counts, strict=True))
            said.append(("Flagged", "; ".join(listed)))
        if "verdict" in self.provenance:
            said.append(("Content credentials of the render", str(self.provenance["verdict"])))
        return [(subject, f"{text}.") for subject, text in said]

    def as_text(self) -> str:
        """A table of the figures and a summary, in ASCII."""
        names = [column.name for column in self.columns]
        header = ["measure", "unit", names[0], "95 % interval", *names[1:], "aim", "result"]
        rows = [self._row(one) for one in self.standings()]
        if (outside := self.planes_changed_outside) is not None:
            result = "met" if outside == 0 else "missed"
            beside = [""] * (len(names) - 1)
            rows.append(["Changed outside, before encoding", "", str(outside), "", *beside, "0", result])
        lines = [str(self.render), "", *_table(header, rows), ""]
        lines += [f"{subject}: {text}" for subject, text in self.sentences()]
        lines += [f"Note: {note}" for note in self.notes]
        return "\n".join(lines).replace("−", "-").replace("–", "-").replace("∞", "inf")

    def _row(self, one: Standing) -> list[str]:
        metric, figures = one.metric, [column.figures.get(one.metric.name) for column in self.columns]
        places = decimals([figure.value for figure in figures if figure is not None])
        first, *others = ["-" if figure is None else number(figure.value, places) for figure in figures]
        aim = aim_text(metric).replace("at least", ">=").replace("at most", "<=") or SIDES[metric.better]
        result = "" if one.state == "no aim" else one.state
        return [
            BRACKETS.sub("", metric.title),
            metric.unit,
            first,
            interval(one.figure, places, "to"),
            *others,
            aim,
            result,
        ]

    def as_json(self) -> dict[str, Any]:
        """Everything but the pictures as plain values; None where nothing could be measured."""
        kept = {name: value for name, value in vars(self).items() if name not in ("follows", "strips")}
        metrics = [{name: getattr(metric, name) for name in DESCRIBED} for metric in self.metrics]
        coverage = {**vars(self.coverage), "share": self.coverage.share}
        return _plain({"visagist": __version__, **kept, "metrics": metrics, "coverage": coverage})


def grouped_flags(flags: Iterable[Flag]) -> list[FlagGroup]:
    """Group flags by reason, in order of first appearance.

    >>> flags = [Flag("no face", 4, 0.16), Flag("no face", 5, 0.2), Flag("no face", 9, 0.36)]
    >>> grouped_flags(flags)[0].ranges
    ((4, 5, 0.16), (9, 9, 0.36))
    """
    reasons: dict[str, dict[int, float]] = {}
    for flag in flags:
        times = reasons.setdefault(flag.reason, {})
        if flag.frame is not None:
            times[flag.frame] = math.nan if flag.time is None else flag.time
    groups: list[FlagGroup] = []
    for reason, times in reasons.items():
        stretches = groupby(enumerate(sorted(times)), lambda pair: pair[1] - pair[0])
        frames = [[frame for _, frame in stretch] for _, stretch in stretches]
        groups.append(FlagGroup(reason, len(times), tuple((each[0], each[-1], times[each[0]]) for each in frames)))
    return groups


def _shortfall(one: Standing) -> str:
    doubt = ", within its uncertainty" if one.state == "probably missed" else ""
    return f"{one.metric.title} ({quantity(one.figure.value, one.metric.unit)}, aim {aim_text(one.metric)}{doubt})"


def _listed(figures: Mapping[str, Figure]) -> str:
    """`SSIM 0.916 (1 frame), PSNR 31.2 dB (1 frame)`."""
    parts: list[str] = []
    for name, figure in figures.items():
        title = name if name == "flicker" else name.upper().replace("_", "-")
        known = not math.isnan(figure.value)
        value = quantity(figure.value, "dB" if name == "psnr" else "") if known else missing(figure)
        parts.append(f"{title} {value} ({plural(figure.count, 'frame')})")
    return ", ".join(parts)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligned lines; headers of several words take two lines, and empty columns are left out."""
    shown = [i for i in range(len(header)) if any(row[i] for row in rows)]
    heads = [header[i].rpartition(" ") for i in shown]
    cells = [[above for above, _, _ in heads], [below for _, _, below in heads]]
    cells += [[row[i] for i in shown] for row in rows]
    widths = [max(len(row[k]) for row in cells) for k in range(len(shown))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return [*lines[:2], "  ".join("-" * width for width in widths), *lines[2:]]


def _plain(value: Any) -> Any:
    """Convert to JSON values: no tuples, arrays or paths, and None for values that are not finite."""
    if is_dataclass(value):
        value = vars(value)
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(each) for each in value]
    if isinstance(value, float | np.integer):
        return value.item() if isinstance(value, np.integer) else float(value) if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value
