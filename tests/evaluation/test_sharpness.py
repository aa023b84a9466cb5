"""Sharpness: lowered by blur by a known amount, and hardly affected by other defects."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from tests.evaluation.constructed import blurred, brightness_flicker, evaluating, moved, noised, real_data

from visagist.evaluation.metrics.sharpness import FAMILY, detail, sharpness, sharpness_to_target


def test_the_target_itself_is_as_sharp_as_the_target() -> None:
    np.testing.assert_allclose(sharpness_to_target(real_data()), 1)


def test_a_source_of_the_same_camera_is_as_sharp_as_the_target() -> None:
    assert np.median(sharpness(real_data())) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize(("sigma", "low", "high"), [(0.5, 0.88, 0.96), (1.0, 0.70, 0.80), (2.0, 0.43, 0.55)])
def test_blur_lowers_sharpness(sigma: float, low: float, high: float) -> None:
    data = real_data()
    soft = evaluating(data, blurred(data.target.crops, sigma))
    assert low < np.median(sharpness_to_target(soft)) < high
    assert np.median(sharpness(soft) / sharpness(data)) == pytest.approx(np.median(sharpness_to_target(soft)), abs=0.02)


def test_oversharpening_exceeds_1() -> None:
    data = real_data()
    crops = data.target.crops.astype(np.float32)
    assert np.median(sharpness_to_target(evaluating(data, 2 * crops - blurred(crops, 1.5)))) > 1.2


@pytest.mark.parametrize("change", ["flicker", "shift", "contrast", "noise"])
def test_other_defects_hardly_matter(change: str) -> None:
    data = real_data()
    crops = data.target.crops
    pictures = {
        "flicker": brightness_flicker(data, 0.05),
        "shift": moved(crops, 2),
        "contrast": 0.85 * crops + 10.0,
        "noise": noised(crops, 2),
    }[change]
    assert np.median(sharpness_to_target(evaluating(data, pictures))) == pytest.approx(1, abs=0.04)


def test_enlarged_crops_are_measured_in_the_band_of_the_footage() -> None:
    """The same footage in crops of twice the size must not count as half as sharp."""
    data = real_data()
    size = 2 * data.size
    crops, masks, hulls = (
        np.stack([cv2.resize(picture, (size, size), interpolation=cv2.INTER_LINEAR) for picture in pictures])
        for pictures in (data.target.crops, data.masks, data.hulls)
    )
    doubling = np.array([[2.0, 0, 0.5], [0, 2, 0.5]])
    matrices = np.stack([np.column_stack([2 * m[:, :2], 2 * m[:, 2] + doubling[:, 2]]) for m in data.matrices])
    source = replace(
        data.source,
        crops=np.stack([cv2.resize(picture, (size, size)) for picture in data.source.crops]),
        hulls=np.stack([cv2.resize(picture, (size, size)) for picture in data.source.hulls]),
        landmarks=(2 * data.source.landmarks + 0.5).astype(np.float32),
    )
    target = replace(data.target, crops=crops)
    large = replace(data, matrices=matrices, masks=masks, hulls=hulls, target=target, evaluated=target, source=source)
    assert np.median(sharpness(large)) == pytest.approx(np.median(sharpness(data)), abs=0.04)


def test_the_band_has_the_documented_frequency() -> None:
    """Stripes at its centre frequency pass; those of twice and half the width pass less."""
    x = np.arange(192)
    everywhere = np.ones((192, 192), bool)

    def stripes(period: float) -> float:
        luma = np.tile(127 + 100 * np.sin(2 * np.pi * x / period), (192, 1))
        return detail(np.repeat(luma[..., None], 3, 2).astype(np.uint8), everywhere, 1.0)

    for period in (2.5, 4.6, 9.0, 18.0):
        omega = 2 * np.pi / period
        expected = np.exp(-((0.7 * omega) ** 2) / 2) - np.exp(-((1.4 * omega) ** 2) / 2)
        assert stripes(period) == pytest.approx(expected, abs=0.03), period
    assert stripes(4.6) > max(stripes(2.5), stripes(9.0))


def test_without_a_region_there_is_no_value() -> None:
    data = real_data()
    landmarks = data.target.landmarks.copy()
    landmarks[2] = np.nan  # no face found
    masks = data.masks.copy()
    masks[3] = 0  # nothing replaced
    empty = replace(data, masks=masks, target=replace(data.target, landmarks=landmarks))
    for metric in FAMILY:
        np.testing.assert_array_equal(np.flatnonzero(np.isnan(metric.measure(empty))), [2, 3])
