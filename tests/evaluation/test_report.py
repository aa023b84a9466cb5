"""The report and the text of evaluations with known values."""

import base64
import math
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from visagist.evaluation.metric import Figure, Metric
from visagist.evaluation.report.curves import LEFT, RIGHT, WIDTH, Line, curve_svg, nice_ticks, stretches, value_range
from visagist.evaluation.report.page import report_html, write_report
from visagist.evaluation.result import (
    BASELINES,
    NOISE,
    PASTE,
    RENDER,
    TARGET,
    Column,
    Coverage,
    Evaluation,
    Flag,
    Strip,
    grouped_flags,
)
from visagist.evaluation.thresholds import aim_text, is_better, standing
from visagist.provenance import verify

CHROMIUM = shutil.which("chromium")
NASTY = "<script>alert(1)</script>\"&'.mp4"
N = 12
FRAMES = np.array([*range(6), *range(10, 16)])  # the performer is away from 6 to 9
FOLLOWS = np.diff(FRAMES, prepend=-9) == 1
SHEET = re.compile(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)")


def metric(
    name: str,
    better: Literal["higher", "lower", "one", "neither"],
    aim: float | None = None,
    unit: str = "",
    combine: Any = None,
) -> Metric:
    def never(_: object) -> NDArray[np.float64]:
        raise AssertionError("a report measures nothing")

    return Metric(
        name,
        f"Title of {name}",
        unit,
        better,
        f"formula of {name}",
        f"paper of {name}",
        f"{name} trap",
        never,
        combine,
        aim,
    )


METRICS = (
    metric("identity", "higher", 0.9),
    metric("pose", "lower", 1.5, "°"),
    metric("seam", "one", 1.15),
    metric("follow", "higher", 0.8, combine=len),
    metric("gaze", "lower", 4.0, "%"),
    metric("tint", "neither"),
)


def figure(value: float, spread: float = 0.01, count: int = N) -> Figure:
    return Figure(value, value - spread, value + spread, value + 2 * spread, count)


NOTHING = Figure(math.nan, math.nan, math.nan, math.nan, 0)


def column(name: str, **values: float) -> Column:
    figures = {each: NOTHING if math.isnan(value) else figure(value) for each, value in values.items()}
    wave = 0.1 * np.sin(np.arange(N))
    curves = {
        each: np.full(N, np.nan) if each in ("follow", "gaze") else value + wave for each, value in values.items()
    }
    return Column(name, figures, curves)


def picture(color: tuple[int, int, int]) -> NDArray[np.uint8]:
    plain = np.full((64, 64, 3), color, np.uint8)
    cv2.circle(plain, (32, 32), 20, (255, 255, 255), -1)
    return plain


@pytest.fixture
def evaluation() -> Evaluation:
    return Evaluation(
        render=Path("/secret/folder") / NASTY.replace("/", "_"),
        target=Path("/secret/target.mov"),
        source=Path("/secret/faces"),
        metrics=METRICS,
        columns=(
            column(RENDER, identity=0.6, pose=1.2, seam=1.2, follow=0.805, gaze=math.nan, tint=0.3),
            column(TARGET, identity=0.1, pose=0.0, seam=1.0, follow=1.0, gaze=math.nan, tint=0.0),
            column(PASTE, identity=0.95, pose=2.2, seam=1.05, follow=0.7, gaze=math.nan, tint=0.1),
            column(NOISE, identity=0.1, pose=0.2, seam=1.01, follow=0.98, gaze=math.nan, tint=0.0),
        ),
        frames=FRAMES,
        follows=FOLLOWS,
        times=FRAMES / 25,
        coverage=Coverage(20, 19, 12, 11, 3, 1),
        planes_changed_outside=0,
        reconstruction={"source": {"ssim": figure(0.93), "ms_ssim": NOTHING}, "target": {"psnr": figure(33.1)}},
        self_swap={"ssim": figure(0.91), "psnr": figure(30.5), "flicker": figure(1.07)},
        flags=(
            Flag("no face in the render", 3, 0.12),
            Flag("no face in the render", 4, 0.16),
            Flag("no face in the render", 11, 0.44),
            Flag("the rates differ"),
        ),
        strips=(
            Strip(3, 0.12, picture((200, 30, 30)), picture((30, 30, 200)), ("identity", "seam")),
            Strip(12, 0.48, picture((30, 200, 30)), picture((200, 200, 30))),
        ),
        provenance={"verdict": "made by visagist, signer known", "fingerprint": "ab" * 32, "consents": ("1" * 64,)},
        settings={
            "evaluation": {"self_swap": False},
            "run": {"model": "quick", "deep": {"rate": 1e-4}, "long": [1] * 99},
        },
        notes=("no run was given",),
    )


class Page(HTMLParser):
    """Elements and text of a page, and whether every element is closed correctly."""

    VOID = frozenset({"meta", "br", "path", "image", "use"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, (tag, self.open)

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    def values(self, attribute: str) -> list[str]:
        return [attributes[attribute] for _, attributes in self.elements if attribute in attributes]


def test_the_page_is_well_formed_and_complete(evaluation: Evaluation) -> None:
    page = Page(report_html(evaluation))
    assert page.open == []
    for each in METRICS:
        for said in (each.title, each.formula, each.source, each.fooled_by):
            assert said in page.text
    for name, what in BASELINES.items():
        assert name in page.text
        assert what[1:] in page.text
    for said in ("0.600", "0.590 – 0.610", "p95 0.620", "at least 0.9", "at most 1.5", "0.87 to 1.15", "missed", "met"):
        assert said in page.text
    for said in ("no face in the render", "3–4", "the rates differ", "91.7 %", "MS-SSIM", "made by visagist"):
        assert said in page.text
    for said in ("No run was given", "quick", "0.0001", "(99 values)", "no frame could be measured", "are synthetic"):
        assert said in page.text


def test_file_names_are_escaped(evaluation: Evaluation) -> None:
    html = report_html(evaluation)
    page = Page(html)
    assert "<script>alert" not in html
    assert evaluation.render.name in page.text
    assert "/secret" not in html, "reports are shared, so they must not contain folders"
    assert [tag for tag, _ in page.elements].count("script") == 2


def test_the_page_loads_nothing(evaluation: Evaluation) -> None:
    page = Page(report_html(evaluation))
    addresses = page.values("src") + page.values("href")
    assert addresses
    assert all(address.startswith(("#", "data:image/jpeg;base64,")) for address in addresses)
    assert "default-src 'none'" in "".join(page.values("content"))
    assert page.values("style") == [], "the page's own policy would refuse these"


def test_links_have_targets(evaluation: Evaluation) -> None:
    page = Page(report_html(evaluation))
    names = page.values("id")
    assert len(set(names)) == len(names)
    assert {address[1:] for address in page.values("href") if address[0] == "#"} <= set(names)
    marks = [attributes.get("href") for tag, attributes in page.elements if tag == "a"]
    assert "#frame-3" in marks


def test_the_page_is_reproducible_except_for_the_signature(evaluation: Evaluation) -> None:
    first, second = report_html(evaluation), report_html(evaluation)
    assert SHEET.sub("", first) == SHEET.sub("", second)
    assert len(SHEET.findall(first)) == 1, "the pictures are there once"


def test_pictures_are_signed_as_synthetic(evaluation: Evaluation, tmp_path: Path) -> None:
    found = SHEET.search(report_html(evaluation))
    assert found
    sheet = tmp_path / "sheet.jpg"
    sheet.write_bytes(base64.b64decode(found[1]))
    seen = verify(sheet)
    assert seen.ok
    assert seen.synthetic
    assert seen.consents == ("1" * 64,)
    with Image.open(sheet) as opened:
        pixels = np.asarray(opened.convert("RGB")).astype(int)
    assert pixels.shape == (64, 264, 3)
    for x, color in ((4, (200, 30, 30)), (68, (30, 30, 200)), (140, (30, 200, 30)), (204, (200, 200, 30))):
        assert abs(pixels[4, x] - color).max() < 8


def test_missing_values_of_baselines_are_explained(evaluation: Evaluation) -> None:
    render, target, paste, noise = evaluation.columns
    blind = Column(NOISE, {**noise.figures, "identity": NOTHING}, {**noise.curves, "identity": np.full(N, np.nan)})
    assert "not measured here" not in report_html(evaluation)
    assert "not measured here" in report_html(replace(evaluation, columns=(render, target, paste, blind)))


def test_the_report_is_written_completely(evaluation: Evaluation, tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.html"
    write_report(evaluation, path)
    assert path.read_text(encoding="utf-8").endswith("</html>")
    assert [each.name for each in path.parent.iterdir()] == ["report.html"]


@pytest.mark.parametrize("count", [0, 1])
def test_an_almost_empty_evaluation_still_gives_a_page(evaluation: Evaluation, count: int) -> None:
    columns = [
        Column(
            one.name, dict.fromkeys(one.figures, NOTHING), {name: curve[:count] for name, curve in one.curves.items()}
        )
        for one in evaluation.columns
    ]
    bare = replace(
        evaluation,
        columns=tuple(columns),
        frames=FRAMES[:count],
        follows=FOLLOWS[:count],
        times=FRAMES[:count] / 25,
        strips=(),
        flags=(),
        reconstruction={},
        self_swap={},
        provenance={},
        settings={},
        notes=(),
        planes_changed_outside=None,
    )
    page = Page(report_html(bare))
    assert "data:" not in "".join(page.values("href"))
    assert "no frame could be measured" in page.text
    assert "the merge was not repeated" in page.text
    assert not re.search(r"\bnan\b", page.text, re.IGNORECASE)
    assert "No frame is flagged" in page.text


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_chromium_shows_the_page_without_errors(evaluation: Evaluation, tmp_path: Path) -> None:
    assert CHROMIUM is not None
    write_report(evaluation, tmp_path / "report.html")
    shot = tmp_path / "shot.png"
    ended = subprocess.run(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--enable-logging=stderr",
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--screenshot={shot}",
            "--window-size=1000,5000",
            (tmp_path / "report.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    complaints = [line for line in ended.stderr.splitlines() if "CONSOLE" in line]
    assert complaints == []
    with Image.open(shot) as opened:
        pixels = np.asarray(opened.convert("RGB")).astype(int)
    assert pixels.shape[:2] == (5000, 1000)
    assert pixels[:1000].min() < 60, "no words to be seen"
    for color in ((200, 30, 30), (30, 30, 200), (30, 200, 30), (200, 200, 30)):
        assert (abs(pixels - color).max(2) < 10).sum() > 5000, f"the picture of colour {color} is not shown"


def test_standings() -> None:
    identity, pose, seam, follow, gaze, tint = METRICS
    assert standing(identity, figure(0.95)).state == "met"
    assert standing(identity, figure(0.899)).state == "probably missed"
    assert standing(identity, figure(0.6)).factor == pytest.approx(1.5)
    assert standing(pose, figure(1.495)).state == "probably met"
    assert standing(pose, figure(0.0)).factor == 0
    assert standing(seam, figure(0.5)).factor == pytest.approx(2 / 1.15), "too little is as wrong as too much"
    assert standing(seam, figure(1 / 1.1)).state == "met"
    assert standing(gaze, NOTHING).state == "not measured"
    assert standing(tint, figure(3.0)).state == "no aim"
    assert standing(identity, figure(-0.2)).factor == math.inf
    assert standing(metric("zero", "lower", 0.0), figure(0.0, 0)).state == "met"
    assert standing(metric("zero", "lower", 0.0), figure(0.5, 0.1)).state == "missed"
    assert standing(metric("psnr", "higher", 40.0), figure(math.inf, 0)).state == "met"
    assert [aim_text(each) for each in (identity, pose, seam, tint)] == [
        "at least 0.9",
        "at most 1.5",
        "0.87 to 1.15",
        "",
    ]
    assert is_better(seam, 0.9, 1.2)
    assert not is_better(tint, 0.0, 1.0)
    assert not is_better(follow, math.nan, 0.0)


def test_missed_aims_are_sorted_by_distance(evaluation: Evaluation) -> None:
    assert [each.name for each in evaluation.wins(TARGET)] == ["pose", "seam", "follow"]
    assert [each.name for each in evaluation.wins(PASTE)] == ["identity", "seam"]
    said = dict(evaluation.sentences())
    assert re.search(
        r"identity \(0.600, aim at least 0.9\).*seam \(1.20, aim 0.87 to 1.15\)", said["Missed, furthest first"]
    )
    assert "pose" not in said["Missed, furthest first"]
    coverage = said["Swapped frames of the performer"]
    for fact in ("91.7 %", "11 of 12 frames", "1 of 3 tracks", "1 frame of the target"):
        assert fact in coverage


def test_metrics_that_need_the_mask_have_no_verdict_without_it(evaluation: Evaluation) -> None:
    metrics = tuple(replace(each, needs_mask=each.name == "identity") for each in METRICS)
    states = {
        known: replace(evaluation, metrics=metrics, is_mask_known=known).standings()[0].state for known in (True, False)
    }
    assert states == {True: "missed", False: "not judged"}


@pytest.mark.parametrize(("changed", "row"), [(0, r"0 +0 +met"), (7, r"7 +0 +missed"), (None, None)])
def test_known_changes_outside_have_a_row(evaluation: Evaluation, changed: int | None, row: str | None) -> None:
    text = replace(evaluation, planes_changed_outside=changed).as_text()
    assert bool(re.search(rf"Changed outside.* {row}", text)) == (row is not None)


def test_the_table_for_the_terminal_is_aligned_ascii(evaluation: Evaluation) -> None:
    text = evaluation.as_text()
    lines = text.splitlines()
    text.replace("°", "").encode("ascii")
    rule = next(i for i, line in enumerate(lines) if line.startswith("---"))
    ends = [i for i, letter in enumerate(lines[rule]) if letter == " " and lines[rule][i + 1] == " "]
    rows = lines[rule + 1 : rule + 2 + len(METRICS)]
    assert [row.split("  ")[0] for row in rows[:-1]] == [each.title for each in METRICS]
    for row in (lines[rule - 1], *rows):
        assert all(row[at : at + 2].strip() == "" for at in ends), row
    assert all(
        word in lines[rule - 2] + lines[rule - 1] for name in (RENDER, TARGET, PASTE, NOISE) for word in name.split()
    )
    assert re.search(r">= 0.9 +missed$", rows[0])
    assert "0.590 to 0.610" in rows[0]


def test_flags_are_grouped_in_ranges(evaluation: Evaluation) -> None:
    first, second = grouped_flags(evaluation.flags)
    assert (first.reason, first.count, first.ranges) == ("no face in the render", 3, ((3, 4, 0.12), (11, 11, 0.44)))
    assert (second.reason, second.count, second.ranges) == ("the rates differ", 0, ())


def test_lines_break_where_frames_are_missing() -> None:
    values = np.ones(N)
    values[8] = np.nan
    assert stretches(FRAMES, FOLLOWS, values) == [slice(0, 6), slice(6, 8), slice(9, 12)]
    assert stretches(np.arange(0, 24, 2), np.zeros(N, bool), np.ones(N)) == [slice(0, 12)], "every second is no gap"
    cut = np.arange(N) != 4
    assert stretches(np.arange(N), cut, np.ones(N)) == [slice(0, 4), slice(4, 12)], "a new shot is one"


def points(svg: str, kind: str) -> list[tuple[float, float]]:
    found = re.search(rf'class="line {kind}" d="([^"]+)"', svg)
    assert found
    return [(float(x), float(y)) for x, y in re.findall(r"([\d.]+) (-?[\d.]+)", found[1])]


def test_curves_are_drawn_at_their_values() -> None:
    values = np.linspace(0, 1, N)
    svg = str(curve_svg("t", FRAMES, FOLLOWS, FRAMES / 25, [Line("render", values)], [0.5], "aim", 15))
    drawn = points(svg, "line-0")
    assert [x for x, _ in drawn] == pytest.approx(
        [LEFT + frame / 15 * (WIDTH - RIGHT - LEFT) for frame in FRAMES], abs=0.06
    )
    heights = np.array([y for _, y in drawn])
    assert np.diff(heights) == pytest.approx(np.diff(heights).mean() * np.ones(N - 1), abs=0.11)
    aim = re.search(r'class="aim" d="M\d+ ([\d.]+)H', svg)
    assert aim
    assert float(aim[1]) == pytest.approx((heights[0] + heights[-1]) / 2, abs=0.11)
    assert '<a href="#frame-15"><circle' in svg
    assert svg.count('class="gap"') == 1


def test_a_dense_curve_keeps_its_peaks() -> None:
    count = 50_000
    values = np.zeros(count)
    values[31_234] = 1.0
    svg = str(
        curve_svg(
            "t",
            np.arange(count),
            np.ones(count, bool),
            np.arange(count) / 25,
            [Line("render", values)],
            [],
            "",
            None,
        )
    )
    assert len(svg) < 60_000
    drawn = points(svg, "line-0")
    assert min(y for _, y in drawn) < 30 < 150 < max(y for _, y in drawn)


def test_an_extreme_baseline_does_not_flatten_the_render() -> None:
    low, high = value_range([np.array([1.0, 1.4]), np.array([80.0, 90.0])], [1.2])
    assert high - low < 2
    svg = str(
        curve_svg(
            "t",
            np.arange(2),
            np.array([False, True]),
            np.arange(2.0),
            [Line("r", np.array([1.0, 1.4])), Line("b", np.array([80.0, 90]))],
            [],
            "",
            None,
        )
    )
    assert "b ↑" in svg


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.0, 12.0), (0.93, 0.97), (0, 4000.0), (1e-4, 2e-4)])
def test_ticks_are_few_and_within_the_range(low: float, high: float) -> None:
    ticks, places = nice_ticks(low, high, 4)
    assert 2 <= len(ticks) <= 8
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks)
    assert len({f"{tick:.{places}f}" for tick in ticks}) == len(ticks)
