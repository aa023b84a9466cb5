"""The report of an evaluation: one HTML file that needs nothing else.

- `report_html`: the page; `write_report`: to a file
- `contact_sheet`: all pictures of the page as one signed JPEG

The page is `report.html.jinja` with `report.css` and `report.js` inside. It fetches nothing, and its content policy
forbids that as well as any script but its own; without scripts only the values under the pointer are missing. Names of
files reach it through Jinja's escaping. The pictures show synthetic faces: they are one JPEG with content credentials,
put into the page once and shown piece by piece. The same evaluation gives the same page, but for the signature in that
JPEG, which is another one each time.
"""

import base64
import hashlib
import math
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from visagist.core.files import write_atomic
from visagist.evaluation.metric import Figure, Metric
from visagist.evaluation.report.curves import Line, curve_svg
from visagist.evaluation.report.summary import NO_SCORE, grouped_flags, sentences, share_text
from visagist.evaluation.result import BASELINES, NOISE, Evaluation, Strip
from visagist.evaluation.thresholds import (
    DASH,
    Standing,
    aim_text,
    bounds,
    decimals,
    missing,
    number,
    quantity,
    standing_in,
    wins,
)
from visagist.media import write_picture
from visagist.provenance import Claim, Signer, sign

FOLDER = Path(__file__).parent
SIDE = 320  # px, the most that a picture on the page has
GUTTER = 8  # px between pictures, a block of JPEG, so that none shines into its neighbour
ACROSS = 4  # strips in a row of the sheet

ARROWS = {"higher": "↑", "lower": "↓", "one": "→ 1", "neither": ""}
BETTER = {"higher": "higher is better", "lower": "lower is better", "one": "1 is right", "neither": "no better side"}
UNITS = {"": "none (a ratio or a cosine)", "°": "degrees"}
OTHER_TITLES = {"ssim": ("SSIM", ""), "psnr": ("PSNR", "dB"), "ms_ssim": ("MS-SSIM", ""), "flicker": ("Flicker", "")}
PROVENANCE = {
    "verdict": "verdict",
    "fingerprint": "signer's fingerprint",
    "signer": "known to you as",
    "calls_itself": "calls itself (unchecked)",
    "tool": "made with",
    "actions": "actions stated",
    "synthetic": "stated to be synthetic",
    "parent": "target among the ingredients",
    "model_sha256": "model, SHA-256",
    "consents": "consent records, SHA-256",
    "problems": "problems",
}
_UNTOLD = ("path", "ok", "files", "worst", "sidecar")  # of the place, not of the credentials
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MOST_RANGES = 60  # of one reason
_MOST_VALUES = 8  # of one setting


@dataclass(frozen=True)
class Sheet:
    """All pictures of a page in one signed JPEG."""

    data: bytes
    width: int  # px
    height: int
    side: int  # px of a picture; the render's stands `side` right of the target's
    places: Mapping[int, tuple[int, int]]  # frame to x, y of its target's picture
    fingerprint: str  # of the signer

    @property
    def uri(self) -> str:
        """The JPEG as a `data:` address."""
        return "data:image/jpeg;base64," + base64.b64encode(self.data).decode()


def write_report(evaluation: Evaluation, path: Path) -> None:
    """Write `report_html` to `path`, whole or not at all.

    Raises:
        OutputError: the file, or the user's config folder with the key, cannot be written.
        CredentialsError: the user's key cannot sign.
    """
    write_atomic(path, report_html(evaluation))


def report_html(evaluation: Evaluation) -> str:
    """The whole report as one HTML page.

    Raises:
        OutputError: the user's config folder, which gets a key on first use, cannot be written.
        CredentialsError: the user's key cannot sign.
    """
    sheet = contact_sheet(evaluation.strips, evaluation.provenance) if evaluation.strips else None
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        missing=missing, number=number, quantity=quantity, isfinite=math.isfinite, isnan=math.isnan, dash=DASH
    )
    style, script = ((FOLDER / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    return environment.get_template("report.html.jinja").render(
        evaluation=evaluation,
        version=version("visagist"),
        style=Markup(style),
        script=Markup(script),
        style_hash=_policy_hash(style),
        script_hash=_policy_hash(script),
        no_score=NO_SCORE,
        sentences=sentences(evaluation),
        columns=[column.name for column in evaluation.columns],
        rows=[_row(evaluation, metric) for metric in evaluation.metrics],
        baselines=_baselines(evaluation),
        sheet=sheet,
        titles={metric.name: metric.title for metric in evaluation.metrics},
        anchors={metric.name: f"metric-{i}" for i, metric in enumerate(evaluation.metrics)},
        arrows=ARROWS,
        better=BETTER,
        units=UNITS,
        share=share_text(evaluation.coverage.share),
        flags=grouped_flags(evaluation.flags),
        most_ranges=_MOST_RANGES,
        reconstruction={
            side: _other_rows(figures) for side, figures in evaluation.reconstruction.items() if len(figures)
        },
        self_swap=_other_rows(evaluation.self_swap),
        provenance=_provenance(evaluation.provenance),
        settings=_settings(evaluation.settings),
        steps={"frames": evaluation.frames.tolist(), "times": [round(float(t), 3) for t in evaluation.times]},
    )


def contact_sheet(strips: Sequence[Strip], provenance: Mapping[str, Any]) -> Sheet:
    """Before and after of every strip as one JPEG, signed as showing synthetic faces.

    Args:
        strips: one or more; where a frame comes twice its first strip counts.
        provenance: of the render; the model and the consent records that it states are stated of the sheet too.
    """
    side = min(SIDE, max(strip.render.shape[0] for strip in strips))
    unique = list({strip.frame: strip for strip in reversed(strips)}.values())[::-1]
    across, step = min(ACROSS, len(unique)), (2 * side + GUTTER, side + GUTTER)
    rows = -(-len(unique) // across)
    pixels = np.full((rows * step[1] - GUTTER, across * step[0] - GUTTER, 3), 255, np.uint8)
    places = {}
    for i, strip in enumerate(unique):
        x, y = i % across * step[0], i // across * step[1]
        places[strip.frame] = (x, y)
        pixels[y : y + side, x : x + 2 * side] = np.hstack([_fit(strip.target, side), _fit(strip.render, side)])
    model = str(provenance.get("model_sha256"))
    consents = [str(value) for value in provenance.get("consents") or ()]
    claim = Claim(model if _SHA256.fullmatch(model) else None, tuple(v for v in consents if _SHA256.fullmatch(v)))
    signer = Signer.default()
    with tempfile.TemporaryDirectory(prefix="visagist-") as private:
        unsigned, signed = Path(private) / "unsigned.jpg", Path(private) / "sheet.jpg"
        write_picture(unsigned, pixels)
        sign(unsigned, signed, claim, None, signer)
        data = signed.read_bytes()
    return Sheet(data, pixels.shape[1], pixels.shape[0], side, places, signer.fingerprint)


@dataclass(frozen=True)
class _Cell:
    """A figure in the table."""

    value: str
    interval: str
    p95: str
    why: str  # it is missing


@dataclass(frozen=True)
class _Row:
    """All that the page says of one metric."""

    metric: Metric
    cells: tuple[_Cell, ...]  # one a column
    standing: Standing
    aim: str
    curve: Markup | None
    worst: int | None  # frame


def _row(evaluation: Evaluation, metric: Metric) -> _Row:
    figures = [column.figures.get(metric.name) for column in evaluation.columns]
    places = decimals([figure.value for figure in figures if figure is not None])
    nothing = Figure(math.nan, math.nan, math.nan, math.nan, 0)
    render = figures[0] or nothing
    if render.count:  # a baseline without a value is then left out on purpose, not for lack of a face
        figures = [None if figure is not None and figure.count == 0 else figure for figure in figures]
    nowhere = np.full(len(evaluation.frames), np.nan)
    curves = [Line(column.name, column.curves.get(metric.name, nowhere)) for column in evaluation.columns]
    entry = _worst_entry(evaluation, metric)
    curve = None
    if any(np.isfinite(line.values).any() for line in curves):
        has_strip = entry is not None and any(strip.frame == evaluation.frames[entry] for strip in evaluation.strips)
        link = f"#frame-{evaluation.frames[entry]}" if has_strip else None
        is_one = metric.better == "one" and metric.aim is None
        aims, name = ((1.0,), "1 is right") if is_one else (bounds(metric), "aim")
        curve = curve_svg(
            metric.title, evaluation.frames, evaluation.follows, evaluation.times, curves, aims, name, entry, link
        )
    return _Row(
        metric,
        tuple(_cell(figure, places) for figure in figures),
        standing_in(evaluation, metric, render),
        aim_text(metric),
        curve,
        None if entry is None else int(evaluation.frames[entry]),
    )


def _cell(figure: Figure | None, places: int) -> _Cell:
    if figure is None or math.isnan(figure.value):
        return _Cell(DASH, "", "", missing(figure))
    value = number(figure.value, places)
    if figure.count == 1:
        return _Cell(value, "", "", missing(figure))
    if figure.value == figure.low == figure.high and (math.isnan(figure.p95) or figure.p95 == figure.value):
        return _Cell(value, "", "", "")
    interval = ""
    if math.isfinite(figure.low) and math.isfinite(figure.high):
        interval = f"{number(figure.low, places)} – {number(figure.high, places)}"
    return _Cell(value, interval, "" if math.isnan(figure.p95) else number(figure.p95, places), "")


def _worst_entry(evaluation: Evaluation, metric: Metric) -> int | None:
    """The entry of the render's worst frame: the one that a strip shows for it, else by the curve."""
    for strip in evaluation.strips:
        found = np.flatnonzero(evaluation.frames == strip.frame)
        if metric.name in strip.worst_in and len(found):
            return int(found[0])
    curve = evaluation.columns[0].curves.get(metric.name)
    if curve is None or not np.isfinite(curve).any() or metric.better == "neither":
        return None
    if metric.better == "higher":
        return int(np.nanargmin(curve))
    return int(np.nanargmax(np.abs(curve - 1) if metric.better == "one" else curve))


def _baselines(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    """Of each baseline its name, what it is, and where it beats the render."""
    told = []
    for column in evaluation.columns[1:]:
        won = "; ".join(metric.title for metric in wins(evaluation, column.name))
        if column.name == NOISE:
            beaten = "A render at this level is as good as the detectors can tell."
        elif won:
            beaten = f"Better than this render in: {won}."
        else:
            beaten = "Better than this render in no measure."
        told.append((column.name, BASELINES.get(column.name, ""), beaten))
    return told


def _other_rows(figures: Mapping[str, Figure]) -> list[tuple[str, str, _Cell]]:
    """Title, unit and cell of figures that no `Metric` describes."""
    named = [(*OTHER_TITLES.get(name, (name, "")), figure) for name, figure in figures.items()]
    return [(title, unit, _cell(figure, decimals([figure.value]))) for title, unit, figure in named]


def _provenance(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is known of the credentials as names and values, the verdict first."""
    names = [*(name for name in PROVENANCE if name in found), *(name for name in found if name not in PROVENANCE)]
    told = [(PROVENANCE.get(name, name.replace("_", " ")), found[name]) for name in names if name not in _UNTOLD]
    return [(name, _value(value)) for name, value in told if value not in (None, "", [], (), {})]


def _settings(settings: Mapping[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """Sections of names and values; names of what lies deeper are joined by dots."""
    sections = {name: _flat(value) for name, value in settings.items() if isinstance(value, Mapping)}
    single = {name: value for name, value in settings.items() if not isinstance(value, Mapping)}
    return {**({"evaluation": [*_flat(single), *sections.pop("evaluation", [])]} if single else {}), **sections}


def _flat(values: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{before}{name}.")
        else:
            rows.append((f"{before}{name}", _value(value)))
    return rows


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return DASH
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple, set, frozenset, np.ndarray)):
        values = sorted(value, key=str) if isinstance(value, (set, frozenset)) else list(value)
        more = f", … ({len(values)} values)" if len(values) > _MOST_VALUES else ""
        return ", ".join(_value(one) for one in values[:_MOST_VALUES]) + more or DASH
    return str(value)


def _fit(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    if picture.shape[:2] == (side, side):
        return picture
    shrinks = picture.shape[0] > side
    return np.asarray(
        cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC), np.uint8
    )


def _policy_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
