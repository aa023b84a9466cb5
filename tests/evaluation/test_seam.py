"""Seam: measures steps along the mask's edge by their hardness, but not edges that the target has."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from tests.evaluation.constructed import SIZE, blurred, evaluating, hard, moved, noised, real_data, seen_as

from visagist.evaluation.evaluation_data import EvaluationData
from visagist.evaluation.metrics.seam import FAMILY, outline, seam_color, seam_gradient


def gradient(data: EvaluationData) -> float:
    return float(np.median(seam_gradient(data)))


def color(data: EvaluationData) -> float:
    return float(np.median(seam_color(data)))


def test_the_target_itself_has_no_seam() -> None:
    np.testing.assert_allclose(seam_gradient(real_data()), 1)
    np.testing.assert_allclose(seam_color(real_data()), 1)


def test_a_hard_edge_has_more_seam_than_a_soft_one() -> None:
    data = real_data()
    brighter = data.target.crops * 1.08
    soft, sharp = evaluating(data, brighter), evaluating(data, brighter, hard(data.masks))
    assert gradient(soft) > 1.2
    assert gradient(sharp) > gradient(soft) + 0.15
    assert color(sharp) > 1.25


def test_a_colour_step_affects_colour_but_not_gradient() -> None:
    data = real_data()
    step = evaluating(data, data.target.crops + np.array([8.0, -2.0, -6.0]))  # of about the same luma
    assert color(step) > 1.18
    assert gradient(step) < 1.05


def test_the_seam_grows_with_the_step() -> None:
    data = real_data()
    found = [gradient(evaluating(data, data.target.crops * gain, hard(data.masks))) for gain in (1.02, 1.05, 1.1)]
    assert found == sorted(found)


@pytest.mark.parametrize("change", ["blur", "shift", "noise", "regrade"])
def test_other_defects_hardly_matter(change: str) -> None:
    data = real_data()
    crops = data.target.crops
    everywhere = np.full_like(data.masks, 255)
    evaluated = {
        "blur": evaluating(data, blurred(crops, 2)),
        "shift": evaluating(data, moved(crops, 2)),
        "noise": evaluating(data, noised(crops, 2)),
        "regrade": evaluating(data, crops * 1.08, everywhere),
    }[change]
    assert gradient(evaluated) < 1.09
    assert color(evaluated) < 1.1


def test_a_moved_jaw_counts_less_than_a_seam() -> None:
    """A moved face has no seam, but other edges near that of the mask."""
    data = real_data()
    everywhere = np.full_like(data.masks, 255)
    away = gradient(evaluating(data, moved(data.target.crops, 2), everywhere))
    assert away < 1.15
    assert away < gradient(evaluating(data, data.target.crops * 1.05, hard(data.masks)))


def ramp_data(step: float, feather: float) -> EvaluationData:
    """A grey ramp with a disc that is brighter by `step`."""
    data = real_data()
    rows, columns = np.indices((SIZE, SIZE))
    mask = np.where(np.hypot(rows - 95.5, columns - 95.5) < 50, 255, 0).astype(np.uint8)
    mask = cv2.GaussianBlur(mask, (0, 0), feather) if feather else mask
    ramp = np.repeat((60 + 2.0 * columns / 3)[..., None], 3, 2)
    face = ramp + step * mask[..., None] / 255.0
    one = {name: np.round(np.stack([picture] * len(data.frames))).astype(np.uint8) for name, picture in
           (("target", ramp), ("evaluated", face))}  # fmt: skip
    masks = np.stack([mask] * len(data.frames))
    landmarks = data.target.landmarks
    return replace(
        data,
        masks=masks,
        target=seen_as("t", one["target"], landmarks),
        evaluated=seen_as("j", one["evaluated"], landmarks),
    )


def test_a_step_on_a_ramp_has_the_computed_slope() -> None:
    """A soft step of 30 codes over a ramp of 2/3 code per px: slopes of the ramp and of the error function."""
    step, sigma = 30.0, 2.0
    half = 0.0125 * SIZE
    offsets = np.linspace(-half, half, 401)
    bump = step * np.exp(-(offsets**2) / (2 * sigma**2)) / (sigma * np.sqrt(2 * np.pi))
    angles = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    own = 2 / 3 * np.cos(angles)
    # inside is brighter: outwards the step falls
    evaluated = np.sqrt(((own[:, None] - bump) ** 2).mean(1)) + 0.5
    expected = np.exp(np.log(np.maximum(1, evaluated / (np.abs(own) + 0.5))).mean())
    assert gradient(ramp_data(step, sigma)) == pytest.approx(expected, rel=0.08)


def test_a_colour_step_on_a_ramp_has_the_computed_difference() -> None:
    """Rings of 1.3 to 3.8 px on either side: between them are 5.2 px of the ramp, and the step."""
    data = ramp_data(30.0, 0.0)
    lightness = cv2.cvtColor(np.float32([[[100, 100, 100], [130, 130, 130]]]) / 255, cv2.COLOR_RGB2LAB)[0, :, 0]
    a_code = float(np.diff(lightness)[0]) / 30
    own = a_code * 2 / 3 * 5.2 * np.cos(np.linspace(0, 2 * np.pi, 720, endpoint=False))
    expected = np.exp(np.log((np.abs(own - 30 * a_code) + 1) / (np.abs(own) + 1)).mean())
    assert color(data) == pytest.approx(expected, rel=0.1)


def test_a_flat_target_gives_a_finite_number() -> None:
    data = real_data()
    flat = np.full_like(data.target.crops, 128)
    base = replace(data, target=seen_as("flat", flat, data.target.landmarks))
    np.testing.assert_allclose(seam_gradient(base.with_evaluated(base.target)), 1)
    stepped = evaluating(base, flat + 2.0, hard(data.masks))
    assert 1.2 < gradient(stepped) < 4
    assert 1.2 < color(stepped) < 3


def test_the_outline_of_a_disc_is_a_circle_with_outward_normals() -> None:
    rows, columns = np.indices((96, 96))
    mask = np.where(np.hypot(rows - 48, columns - 44) < 30, 255, 0).astype(np.uint8)
    found = outline(mask, 2.0)
    assert found is not None
    points, normals = found
    radii = points - [44, 48]
    np.testing.assert_allclose(np.linalg.norm(radii, axis=1), 30, atol=0.7)
    np.testing.assert_allclose((radii / np.linalg.norm(radii, axis=1, keepdims=True) * normals).sum(1), 1, atol=0.02)


def test_a_mask_cut_by_the_crop_is_measured_where_it_can_be() -> None:
    mask = np.zeros((96, 96), np.uint8)
    mask[40:, 20:70] = 255
    found = outline(mask, 3.0)
    assert found is not None
    assert found[0][:, 1].max() <= 92
    assert outline(np.full((96, 96), 255, np.uint8), 3.0) is None
    assert outline(np.zeros((96, 96), np.uint8), 3.0) is None


def test_an_empty_mask_has_no_seam() -> None:
    data = real_data()
    masks = data.masks.copy()
    masks[1] = 0
    for metric in FAMILY:
        found = metric.measure(replace(data, masks=masks))
        np.testing.assert_array_equal(np.flatnonzero(np.isnan(found)), [1])
