"""The ablation behind `visage`: every variant is a network, and its figures are what they are called."""

import numpy as np
import pytest
import torch
from benchmarks.measure import random_datasets
from benchmarks.research import ablation

from visagist.models import ARCHITECTURES


@pytest.fixture(autouse=True)
def _known() -> None:
    ARCHITECTURES.register(ablation.Trial, name="trial")


@pytest.mark.parametrize("name", sorted(ablation.VARIANTS))
def test_every_variant_draws_two_people(name: str) -> None:
    config = ablation.TrialConfig(**ablation.VARIANTS[name])  # pyright: ignore[reportArgumentType]
    with torch.device("meta"):
        network = ablation.Trial(("a", "b"), config)
        rgb, mask = network(torch.rand(1, 3, 128, 128), "b")
    assert (rgb.shape, mask.shape) == ((1, 3, 128, 128), (1, 1, 128, 128))


def test_a_curve_that_follows_half_as_far_has_a_slope_of_a_half() -> None:
    target = np.sin(np.arange(50.0))
    correlation, slope = ablation.follows(0.5 * target + 3, target)
    assert np.allclose((correlation, slope), (1, 0.5))
    noisy = target + np.random.default_rng(0).normal(size=50)
    correlation, slope = ablation.follows(noisy, target)
    assert np.isclose(correlation, np.corrcoef(noisy, target)[0, 1])
    assert np.isclose(slope, np.polyfit(target, noisy, 1)[0])


def test_a_trial_plans_its_iterations_by_time_and_measures_the_swap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablation, "MOTION_CROPS", 4)
    monkeypatch.setattr(ablation, "TIMED", 2)
    datasets = random_datasets(80, torch.device("cpu"))
    for dataset in datasets.values():
        dataset.centroid = tuple(np.ones(128))
    tiny = {"size": 64, "encoder": (8, 8, 8), "latent": 8, "shared": 8, "decoder": (8, 8, 8, 8)}
    row = ablation.trial("tiny", tiny, datasets, 0.01, batch=2)
    assert row.iterations == pytest.approx(0.6 * row.faces_s / 2, abs=1)
    assert all(-1 <= value <= 1 for value in (row.ssim_source, row.swap_source, row.swap_target, row.mouth[0]))
    assert f"| tiny | {row.parameters_m:.2f} | {row.iterations} |" in ablation.table([row])
