"""An evaluation in words: the first thing in the report, and what a terminal shows.

- `sentences`: what is met, what falls furthest short, how much was swapped
- `summary_text`: those, and a table of the figures, for a terminal
- `grouped_flags`: flags by reason, with ranges of frames

There is no single score, on purpose: every measure can be fooled by something that another one sees.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from visagist.evaluation.metric import Figure
from visagist.evaluation.result import NOISE, Evaluation, Flag
from visagist.evaluation.thresholds import (
    Standing,
    aim_text,
    decimals,
    furthest,
    missing,
    number,
    quantity,
    standings,
)

NO_SCORE = (
    "No single number here is the quality of the swap: each measure is fooled by something, and each baseline wins "
    "some of them. Read the columns together, and look at the pictures."
)

_SIDES = {"higher": "(higher)", "lower": "(lower)", "one": "(1)", "neither": ""}  # which is better, without an aim
_BRACKETS = re.compile(r" \([^)]*\)$")  # what a title explains is in the report


@dataclass(frozen=True)
class Sentence:
    """A statement of the summary; `kind` says what it is about."""

    kind: str  # "short", "missed", "met", "probably-met", "unmeasured", "right-answer", "outside", "coverage" ...
    lead: str  # what it is about, where that is not in the text
    text: str

    def __str__(self) -> str:
        return f"{self.lead}: {self.text}" if self.lead else self.text


@dataclass(frozen=True)
class FlagGroup:
    """All flags of one reason."""

    reason: str
    frames: tuple[int, ...]  # rising; empty where the whole is meant
    ranges: tuple[tuple[int, int], ...]  # first and last frame of each stretch
    times: tuple[tuple[float, float], ...]  # s, of the same stretches; NaN where unknown


def sentences(evaluation: Evaluation) -> list[Sentence]:
    """The summary, the most important statement first."""
    found = standings(evaluation)
    worst = furthest(found)
    said: list[Sentence] = []
    if worst is not None:
        text = f"{worst.metric.title} ({_shortfall(worst)}).{_beside(evaluation, worst)}"
        said.append(Sentence("short", "Furthest short of its aim", text))
    others = sorted((one for one in found if one.is_missed and one is not worst), key=lambda one: -one.factor)
    if others:
        listed = "; ".join(f"{one.metric.title} ({_shortfall(one)})" for one in others)
        said.append(Sentence("missed", "Also missed" if worst else "Missed", f"{listed}."))
    is_swap = evaluation.coverage.swapped_frames > 0
    if not is_swap:
        said.append(Sentence("short", "No swap", "the render changed no face; all figures are of the target's own."))
    for state, lead in (("met", "Met"), ("probably met", "Probably met, the aim being within the uncertainty")):
        if not is_swap:  # which it is easy to meet then
            break
        met = "; ".join(one.metric.title for one in found if one.state == state)
        if met:
            said.append(Sentence(state.replace(" ", "-"), lead, f"{met}."))
    unmeasured = [one for one in found if math.isnan(one.figure.value)]
    if unmeasured:
        listed = "; ".join(f"{one.metric.title} ({missing(one.figure)})" for one in unmeasured)
        said.append(Sentence("unmeasured", "Not measured", f"{listed}."))
    unjudged = "; ".join(one.metric.title for one in found if one.state == "not judged")
    if unjudged:
        said.append(Sentence("unmeasured", "Not judged, the mask being unknown", f"{unjudged}."))
    for lead, figures in (("Self-swap, against the original", evaluation.self_swap), *_drawn(evaluation)):
        if figures:
            said.append(Sentence("right-answer", lead, f"{_listed(figures)}."))
    said.append(Sentence("outside", "", _outside(evaluation.planes_changed_outside)))
    said.append(Sentence("coverage", "", _coverage(evaluation)))
    groups = grouped_flags(evaluation.flags)
    if groups:
        listed = "; ".join(f"{group.reason} ({_count(group)})" for group in groups)
        said.append(Sentence("flags", "Flagged", f"{listed}."))
    verdict = evaluation.provenance.get("verdict")
    if verdict is not None:
        said.append(Sentence("provenance", "Content credentials of the render", f"{verdict}."))
    return said


def summary_text(evaluation: Evaluation) -> str:
    """The summary and a table of the figures, in plain letters, without a line end."""
    names = [column.name for column in evaluation.columns]
    header = ["measure", "unit", names[0], "95 % interval", *names[1:], "aim", "result"]
    rows = [
        [
            _BRACKETS.sub("", one.metric.title),
            one.metric.unit,
            *_cells(evaluation, one),
            _SIDES[one.metric.better] if one.metric.aim is None else _signs(aim_text(one.metric)),
            "" if one.state == "no aim" else one.state,
        ]
        for one in standings(evaluation)
    ]
    outside = evaluation.planes_changed_outside
    if outside is not None:
        result = "met" if outside == 0 else "missed"
        beside = [""] * (len(names) - 1)
        rows.append(["Changed outside, before encoding", "", str(outside), "", *beside, "0", result])
    lines = [str(evaluation.render), "", *_table(header, rows), ""]
    lines += [str(sentence) for sentence in sentences(evaluation)]
    lines += [f"Note: {note}" for note in evaluation.notes]
    return _plain("\n".join(lines))


def grouped_flags(flags: Iterable[Flag]) -> list[FlagGroup]:
    """Flags by reason in the order in which the reasons first appear.

    >>> group = grouped_flags([Flag("no face", 4, 0.16), Flag("no face", 5, 0.2), Flag("no face", 9, 0.36)])[0]
    >>> group.ranges
    ((4, 5), (9, 9))
    """
    reasons: dict[str, dict[int, float]] = {}
    for flag in flags:
        known = reasons.setdefault(flag.reason, {})
        if flag.frame is not None:
            known[flag.frame] = math.nan if flag.time is None else flag.time
    groups = []
    for reason, times in reasons.items():
        frames = sorted(times)
        starts = [i for i, frame in enumerate(frames) if i == 0 or frame != frames[i - 1] + 1]
        ends = [i - 1 for i in [*starts[1:], len(frames)] if i > 0]
        pairs = [(frames[i], frames[j]) for i, j in zip(starts, ends, strict=True)]
        spans = tuple((times[first], times[last]) for first, last in pairs)
        groups.append(FlagGroup(reason, tuple(frames), tuple(pairs), spans))
    return groups


def _shortfall(one: Standing) -> str:
    """`4.12°, aim at most 3, 37 % beyond it`."""
    metric = one.metric
    text = f"{quantity(one.figure.value, metric.unit)}, aim {aim_text(metric)}"
    if math.isfinite(one.factor):
        if metric.better == "higher":
            text += f", {100 / one.factor:.0f} % of it"
        elif one.factor < 2:
            text += f", {100 * (one.factor - 1):.{0 if one.factor > 1.1 else 1}f} % beyond it"
        else:
            text += f", {one.factor:.2g} times as much" if one.factor < 10 else f", {one.factor:.0f} times as much"
    return text + (", within its uncertainty" if one.state == "probably missed" else "")


def _beside(evaluation: Evaluation, one: Standing) -> str:
    """What the baselines reach in the same measure, as a sentence of its own."""
    name, places = one.metric.name, decimals([one.figure.value])
    known = [
        f"{column.name} {number(column.figures[name].value, places)}"
        for column in evaluation.columns[1:]
        if column.name != NOISE and name in column.figures and not math.isnan(column.figures[name].value)
    ]
    return f" For comparison: {', '.join(known)}." if known else ""


def _outside(changed: int | None) -> str:
    if changed is None:
        return "Whether anything changed outside the mask before encoding, only the run that made the render can tell."
    if changed == 0:
        return "Outside the mask not one sample was changed before encoding (in the same merge made again)."
    return f"Outside the mask samples were changed by up to {changed} before encoding; none should be."


def _coverage(evaluation: Evaluation) -> str:
    found = evaluation.coverage
    if not found.performer_frames:
        return f"None of the target's {found.target_frames} frames shows the performer."
    text = (
        f"{share_text(found.share)} of the frames that show the performer were swapped "
        f"({found.swapped_frames} of {found.performer_frames})"
    )
    if found.tracks_missed:
        text += f"; {found.tracks_missed} of {_plural(found.tracks, 'track')} was missed as a whole"
    unpaired = found.target_frames - found.paired_frames
    if unpaired:
        has = "has" if unpaired == 1 else "have"
        text += f"; {_plural(unpaired, 'frame')} of the target {has} no counterpart in the render"
    return text + "."


def _drawn(evaluation: Evaluation) -> list[tuple[str, Mapping[str, Figure]]]:
    return [(f"Held-out faces of {name}, drawn", figures) for name, figures in evaluation.reconstruction.items()]


def _listed(figures: Mapping[str, Figure]) -> str:
    """`SSIM 0.916 (1 frame), PSNR 31.2 dB (1 frame)`."""
    units = {"psnr": "dB"}
    return ", ".join(
        f"{name.upper().replace('_', '-') if name != 'flicker' else name} "
        + (missing(one) if math.isnan(one.value) else quantity(one.value, units.get(name, "")))
        + f" ({_plural(one.count, 'frame')})"
        for name, one in figures.items()
    )


def share_text(share: float) -> str:
    """A share in percent; 100 only where it is all.

    >>> share_text(0.9999), share_text(1.0), share_text(0.5), share_text(math.nan)
    ('99.9 %', '100 %', '50.0 %', '–')
    """
    if math.isnan(share):
        return number(share, 0)
    return "100 %" if share >= 1 else f"{min(99.9, 100 * share):.1f} %"


def _count(group: FlagGroup) -> str:
    return _plural(len(group.frames), "frame") if group.frames else "the whole"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def _cells(evaluation: Evaluation, one: Standing) -> list[str]:
    """Values of one metric in all columns; the interval after the render's."""
    figures = [column.figures.get(one.metric.name) for column in evaluation.columns]
    places = decimals([figure.value for figure in figures if figure is not None])
    values = ["-" if figure is None else number(figure.value, places) for figure in figures]
    return [values[0], _interval(one.figure, places), *values[1:]]


def _interval(figure: Figure, places: int) -> str:
    if math.isnan(figure.low) or math.isnan(figure.high):
        return ""
    return f"{number(figure.low, places)} to {number(figure.high, places)}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligned lines; a long header takes two, a column that is empty throughout none."""
    shown = [i for i in range(len(header)) if any(row[i] for row in rows)]
    heads = [_halves(header[i]) for i in shown]
    cells = [[above for above, _ in heads], [below for _, below in heads]]
    cells += [[row[i] for i in shown] for row in rows]
    widths = [max(len(row[k]) for row in cells) for k in range(len(shown))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return [*lines[:2], "  ".join("-" * width for width in widths), *lines[2:]]


def _halves(text: str) -> tuple[str, str]:
    """A header on two lines, broken at its last space; short ones stand below.

    >>> _halves("95 % interval"), _halves("aim")
    (('95 %', 'interval'), ('', 'aim'))
    """
    first, _, last = text.rpartition(" ")
    return first, last


def _signs(aim: str) -> str:
    """An aim in few letters.

    >>> _signs("at least 0.9"), _signs("0.87 to 1.15")
    ('>= 0.9', '0.87 to 1.15')
    """
    return aim.replace("at least", ">=").replace("at most", "<=")


def _plain(text: str) -> str:
    """Letters that every terminal has."""
    return text.replace("−", "-").replace("–", "-").replace("∞", "inf")
