"""The report of an evaluation: a self-contained HTML file, rendered from `report.html.jinja`.

Its content security policy allows only the embedded style and script. All pictures are on one JPEG sheet, signed as
showing synthetic faces; apart from that signature, the same evaluation gives the same page.
"""

import base64
import hashlib
import math
import re
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
from visagist.evaluation.formatting import DASH, decimals, interval, missing, number, share_text
from visagist.evaluation.metric import Figure, Metric
from visagist.evaluation.report.curves import Line, curve_svg
from visagist.evaluation.result import BASELINES, NOISE, Evaluation, Strip, grouped_flags
from visagist.evaluation.thresholds import Standing, aim_text, bounds, standing
from visagist.media import encode_picture
from visagist.provenance import Claim, ConsentTerms, Signer, sign_picture

FOLDER = Path(__file__).parent
MAX_SIDE = 320  # px of a picture on the page
GUTTER = 8  # px between pictures: one JPEG block, so that none bleeds into its neighbour
STRIPS_PER_ROW = 4  # on the sheet
MAX_RANGES = 60  # listed per reason of a flag
MAX_VALUES = 8  # listed per setting

NO_SCORE = (
    "No single number describes the quality of a swap: each metric can be fooled, and each baseline wins some of them. "
    "Read the columns together, and look at the pictures."
)
ARROWS = {"higher": "↑", "lower": "↓", "one": "→ 1", "neither": ""}
BETTER = {"higher": "higher is better", "lower": "lower is better", "one": "1 is ideal", "neither": "neither is better"}
UNITS = {"": "none (a ratio or a cosine)", "°": "degrees"}
OTHER_TITLES = {"ssim": ("SSIM", ""), "psnr": ("PSNR", "dB"), "ms_ssim": ("MS-SSIM", ""), "flicker": ("Flicker", "")}
CREDENTIALS = {
    "signer": "known to you as",
    "calls_itself": "calls itself (unchecked)",
    "parent": "target among the ingredients",
}
NO_CREDENTIALS = ("path", "ok", "files", "worst", "sidecar")  # fields of the verification that the page leaves out
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Sheet:
    """All pictures of the page in one signed JPEG."""

    data: bytes
    width: int  # px
    height: int
    side: int  # px of a picture; the render's is `side` px to the right of the target's
    places: Mapping[int, tuple[int, int]]  # from the frame index to x, y of the target's picture
    fingerprint: str  # of the signer

    @property
    def uri(self) -> str:
        """The JPEG as a `data:` URI."""
        return "data:image/jpeg;base64," + base64.b64encode(self.data).decode()


def write_report(evaluation: Evaluation, path: Path) -> None:
    """Write `report_html` to `path`, atomically.

    Raises:
        OutputError: the file, or the config folder with the user's key, cannot be written.
        CredentialsError: the user's key cannot sign.
    """
    write_atomic(path, report_html(evaluation))


def report_html(evaluation: Evaluation) -> str:
    """The whole report as one HTML page.

    Raises:
        OutputError: the user has no key yet, and the config folder cannot be written.
        CredentialsError: the user's key cannot sign.
    """
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
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
        rows=[_row(evaluation, metric) for metric in evaluation.metrics],
        baselines=_baselines(evaluation),
        sheet=contact_sheet(evaluation.strips, evaluation.provenance) if evaluation.strips else None,
        titles={metric.name: metric.title for metric in evaluation.metrics},
        anchors={metric.name: f"metric-{i}" for i, metric in enumerate(evaluation.metrics)},
        arrows=ARROWS,
        better=BETTER,
        units=UNITS,
        dash=DASH,
        isnan=math.isnan,
        share=share_text(evaluation.coverage.share),
        flags=grouped_flags(evaluation.flags),
        max_ranges=MAX_RANGES,
        reconstruction={side: _other_rows(figures) for side, figures in evaluation.reconstruction.items() if figures},
        self_swap=_other_rows(evaluation.self_swap),
        provenance=_pairs(
            {
                CREDENTIALS.get(name, name): each
                for name, each in evaluation.provenance.items()
                if name not in NO_CREDENTIALS
            }
        ),
        settings={name: _pairs(values) for name, values in evaluation.settings.items()},
        steps={"frames": evaluation.frames.tolist(), "times": [round(float(t), 3) for t in evaluation.times]},
    )


def contact_sheet(strips: Sequence[Strip], provenance: Mapping[str, Any]) -> Sheet:
    """Target and render of every strip in one JPEG, signed as showing synthetic faces.

    Args:
        strips: one or more; if a frame occurs twice, the first strip is used.
        provenance: credentials of the render; the sheet states the same model and consent records.
    """
    side = min(MAX_SIDE, max(strip.render.shape[0] for strip in strips))
    unique = list({strip.frame: strip for strip in reversed(strips)}.values())[::-1]
    across, step = min(STRIPS_PER_ROW, len(unique)), (2 * side + GUTTER, side + GUTTER)
    rows = -(-len(unique) // across)
    pixels = np.full((rows * step[1] - GUTTER, across * step[0] - GUTTER, 3), 255, np.uint8)
    places: dict[int, tuple[int, int]] = {}
    for i, strip in enumerate(unique):
        x, y = i % across * step[0], i // across * step[1]
        places[strip.frame] = (x, y)
        pixels[y : y + side, x : x + 2 * side] = np.hstack([_fit(strip.target, side), _fit(strip.render, side)])
    hashes = [str(value) for value in (provenance.get("model_sha256"), *(provenance.get("consents") or ()))]
    model, *consents = [value if SHA256.fullmatch(value) else None for value in hashes]
    claim = Claim(model, tuple(ConsentTerms(value) for value in consents if value))
    signer = Signer.default()
    data = sign_picture(encode_picture(pixels, ".jpg"), ".jpg", claim, None, signer)
    return Sheet(data, pixels.shape[1], pixels.shape[0], side, places, signer.fingerprint)


@dataclass(frozen=True)
class _Cell:
    """A figure in the table."""

    value: str
    interval: str = ""
    p95: str = ""
    why: str = ""  # reason for a missing value


@dataclass(frozen=True)
class _Row:
    """One metric in the table."""

    metric: Metric
    cells: tuple[_Cell, ...]  # one per column
    standing: Standing
    aim: str
    curve: Markup | None
    worst: int | None  # frame


def _row(evaluation: Evaluation, metric: Metric) -> _Row:
    figures = [column.figures.get(metric.name) for column in evaluation.columns]
    places = decimals([figure.value for figure in figures if figure is not None])
    render = figures[0] or Figure(math.nan, math.nan, math.nan, math.nan, 0)
    if render.count:  # baselines without a value were then left out on purpose, not because no face was found
        figures = [None if figure is not None and figure.count == 0 else figure for figure in figures]
    worst = next((strip.frame for strip in evaluation.strips if metric.name in strip.worst_in), None)
    return _Row(
        metric,
        tuple(_cell(figure, places) for figure in figures),
        standing(metric, render, is_mask_known=evaluation.is_mask_known),
        aim_text(metric),
        _curve(evaluation, metric, worst),
        worst,
    )


def _curve(evaluation: Evaluation, metric: Metric, worst: int | None) -> Markup | None:
    nowhere = np.full(len(evaluation.frames), np.nan)
    lines = [Line(column.name, column.curves.get(metric.name, nowhere)) for column in evaluation.columns]
    if not any(np.isfinite(line.values).any() for line in lines):
        return None
    is_one = metric.better == "one" and metric.aim is None
    aims, aim_name = ((1.0,), "1 is ideal") if is_one else (bounds(metric), "aim")
    return curve_svg(
        metric.title, evaluation.frames, evaluation.follows, evaluation.times, lines, aims, aim_name, worst
    )


def _cell(figure: Figure | None, places: int) -> _Cell:
    if figure is None or math.isnan(figure.value):
        return _Cell(DASH, why=missing(figure))
    value = number(figure.value, places)
    if figure.count == 1:
        return _Cell(value, why=missing(figure))
    if figure.value == figure.low == figure.high and (math.isnan(figure.p95) or figure.p95 == figure.value):
        return _Cell(value)
    p95 = "" if math.isnan(figure.p95) else number(figure.p95, places)
    return _Cell(value, interval(figure, places, "–"), p95)


def _baselines(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    """Name, description and won metrics of each baseline."""
    rows: list[tuple[str, str, str]] = []
    for column in evaluation.columns[1:]:
        won = "; ".join(metric.title for metric in evaluation.wins(column.name))
        beats = f"Better than this render in: {won or 'nothing'}."
        if column.name == NOISE:
            beats = "A render at this level is as good as the detectors can measure."
        rows.append((column.name, BASELINES.get(column.name, ""), beats))
    return rows


def _other_rows(figures: Mapping[str, Figure]) -> list[tuple[str, str, _Cell]]:
    """Title, unit and cell of figures that are not of a `Metric`."""
    named = [(*OTHER_TITLES.get(name, (name, "")), figure) for name, figure in figures.items()]
    return [(title, unit, _cell(figure, decimals([figure.value]))) for title, unit, figure in named]


def _pairs(values: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Names and values that are not empty; nested names are joined by dots."""
    rows: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            rows += _pairs(value, f"{before}{name}.")
        elif value not in (None, "", [], ()):
            rows.append((before + name.replace("_", " "), _value(value)))
    return rows


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        more = f", … ({len(value)} values)" if len(value) > MAX_VALUES else ""
        return ", ".join(_value(one) for one in value[:MAX_VALUES]) + more
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _fit(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    if picture.shape[:2] == (side, side):
        return picture
    method = cv2.INTER_AREA if picture.shape[0] > side else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (side, side), interpolation=method), np.uint8)


def _policy_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
