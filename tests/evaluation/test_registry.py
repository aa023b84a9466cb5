"""Metrics of other distributions are treated like visagist's own."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.evaluation.constructed import FRAMES, brightness_flicker, evaluating, real_data

from visagist.core.errors import ConfigError
from visagist.evaluation import METRICS, all_metrics
from visagist.evaluation.metric import evaluate_metric

MODULE = """
from visagist.evaluation import Metric

def brightness(data):
    return data.evaluated.crops.mean((1, 2, 3)) / data.target.crops.mean((1, 2, 3))

METRIC = Metric("brightness", "Brightness", "", "one", "mean / mean", "a test", "everything", brightness, order=55)
TWICE = (METRIC, METRIC)
"""

Install = Callable[[str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a distribution with one entry point, given as the argument."""

    def forget() -> None:
        METRICS.__dict__.pop("_added", None)  # entry points are looked up once per process
        METRICS._loaded.pop("third_party", None)

    def write(what: str) -> None:
        (tmp_path / "visagist_third_party.py").write_text(MODULE)
        info = tmp_path / "third_party-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[visagist.metrics]\nthird_party = visagist_third_party:{what}\n")
        monkeypatch.syspath_prepend(tmp_path)
        forget()

    yield write
    forget()


def test_a_metric_of_another_distribution_is_measured_in_order(install: Install) -> None:
    before = [metric.name for metric in all_metrics()]
    install("METRIC")
    after = [metric.name for metric in all_metrics()]
    assert [name for name in after if name != "brightness"] == before
    assert before[after.index("brightness") - 1].startswith("sharpness")  # order 50
    assert before[after.index("brightness")].startswith("seam")  # order 60
    metric = next(metric for metric in all_metrics() if metric.name == "brightness")
    data = real_data()
    assert evaluate_metric(metric, evaluating(data, 0.8 * data.target.crops))[0].value == pytest.approx(0.9, abs=0.05)


@pytest.mark.parametrize("what", ["brightness", "TWICE", "missing"])
def test_an_entry_point_that_is_not_a_metric_is_named(install: Install, what: str) -> None:
    install(what)
    with pytest.raises(ConfigError, match=r"third_party|brightness"):
        all_metrics()


@pytest.mark.parametrize("name", [metric.name for metric in all_metrics()])
def test_metrics_have_values_for_swapped_frames_only(name: str) -> None:
    metric = next(metric for metric in all_metrics() if metric.name == name)
    data = real_data()
    flickering = evaluating(data, brightness_flicker(data, 0.05))
    _, curve = evaluate_metric(metric, replace(flickering, is_swapped=np.arange(FRAMES) != 4))
    assert curve.shape == (FRAMES,)
    assert np.isnan(curve[4])
