"""Flicker: measures jumps in brightness, but not motion."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from tests.evaluation.constructed import (
    SIZE,
    blurred,
    brightness_flicker,
    evaluating,
    moved,
    noised,
    real_data,
    seen_as,
)

from visagist.evaluation.evaluation_data import EvaluationData
from visagist.evaluation.metrics.flicker import backward_flow, flicker, warp_errors


def median(data: EvaluationData) -> float:
    return float(np.nanmedian(flicker(data)))


def test_the_target_itself_does_not_flicker() -> None:
    found = flicker(real_data())
    assert np.isnan(found[0])
    np.testing.assert_allclose(found[1:], 1)


def test_a_brightness_flicker_of_5_percent_is_measured() -> None:
    data = real_data()
    found = flicker(evaluating(data, brightness_flicker(data, 0.05)))[1:]
    assert found.min() > 2
    assert np.median(found) > 4


def test_flicker_increases_with_its_strength() -> None:
    data = real_data()
    found = [median(evaluating(data, brightness_flicker(data, part))) for part in (0.01, 0.02, 0.05)]
    assert found == sorted(found)
    assert found[0] > 1.1


def test_a_face_that_alternates_in_position_is_measured() -> None:
    data = real_data()
    pictures = data.target.crops.copy()
    pictures[1::2] = moved(pictures[1::2], 1)
    assert median(evaluating(data, pictures)) > 1.3


def test_a_frozen_face_is_measured() -> None:
    data = real_data()
    # while the speaker moves
    frozen = np.repeat(data.target.crops[:1], len(data.frames), 0)
    moving = np.stack([np.roll(picture, 3 * i, 1) for i, picture in enumerate(data.target.crops)])
    target = seen_as("target", moving, data.target.landmarks)
    assert median(evaluating(replace(data, target=target), frozen)) > 1.5


@pytest.mark.parametrize("change", ["blur", "shift", "noise", "darker", "hard edge"])
def test_other_defects_hardly_matter(change: str) -> None:
    data = real_data()
    crops = data.target.crops
    pictures = {
        "blur": blurred(crops, 1.5),
        "shift": moved(crops, 2),
        "noise": noised(crops, 1),
        "darker": crops * 0.95,
        "hard edge": crops * 1.05,
    }[change]
    masks = np.where(data.masks > 127, 255, 0) if change == "hard edge" else None
    assert median(evaluating(data, pictures, masks)) == pytest.approx(1, abs=0.1)


def turning(data: EvaluationData, pictures: np.ndarray) -> np.ndarray:
    """Pictures that additionally rotate by 2 degrees, grow by 1 % and move by 3 px per frame."""
    shown = []
    for i, picture in enumerate(pictures):
        matrix = cv2.getRotationMatrix2D((SIZE / 2, SIZE / 2), 2.0 * i - 10, 1.01**i)
        matrix[:, 2] += 3.0 * i - 15
        shown.append(cv2.warpAffine(picture, matrix, (SIZE, SIZE), borderMode=cv2.BORDER_REPLICATE))
    return np.stack(shown)


def test_fast_motion_is_no_flicker_and_does_not_hide_it() -> None:
    data = real_data()
    masks = turning(data, data.masks)
    target = seen_as("target", turning(data, data.target.crops), data.target.landmarks)
    fast = replace(data, masks=masks, target=target)
    # stands for another face: softer, with different contrast and the same motion
    other = turning(data, (0.9 * blurred(data.target.crops, 0.7) + 12).astype(np.uint8))
    assert median(evaluating(fast, other)) == pytest.approx(1, abs=0.15)
    assert median(evaluating(fast, brightness_flicker(fast, 0.05))) > 1.8


def test_a_still_target_gives_a_finite_number() -> None:
    data = real_data()
    still = replace(data, target=seen_as("still", np.repeat(data.target.crops[:1], 12, 0), data.target.landmarks))
    np.testing.assert_allclose(flicker(still.with_evaluated(still.target))[1:], 1)
    assert 5 < median(evaluating(still, brightness_flicker(still, 0.05))) < 60


def test_only_consecutive_frames_are_compared() -> None:
    data = real_data()
    follows = data.follows.copy()
    follows[[4, 9]] = False
    masks = data.masks.copy()
    masks[6:8] = 0  # two frames that were left as they are
    found = flicker(replace(data, follows=follows, masks=masks))
    # the swap disappears from 5 to 6 and reappears from 7 to 8, which is visible and measured
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(found)), [0, 4, 7, 9])


def test_a_tiny_mask_gives_nan() -> None:
    data = real_data()
    masks = np.zeros_like(data.masks)
    masks[:, :2, 50:53] = 255
    assert np.isnan(flicker(replace(data, masks=masks))).all()


def test_the_size_of_the_crops_does_not_matter() -> None:
    data = real_data()
    flickering = evaluating(data, brightness_flicker(data, 0.03))

    def doubled(pictures: np.ndarray) -> np.ndarray:
        side = 2 * SIZE - 1  # odd: no half of it is whole
        return np.stack([cv2.resize(picture, (side, side)) for picture in pictures])

    target, evaluated = (replace(seen, crops=doubled(seen.crops)) for seen in (flickering.target, flickering.evaluated))
    large = replace(flickering, masks=doubled(data.masks), target=target, evaluated=evaluated)
    assert median(large) == pytest.approx(median(flickering), rel=0.15)


def test_a_swap_that_drops_out_for_a_frame_is_flicker() -> None:
    data = real_data()
    pictures = data.target.crops * 0.9
    pictures[6] = data.target.crops[6]
    found = flicker(evaluating(data, pictures))
    assert found[6:8].min() > 3 * np.median(found[1:6])


def test_the_flow_recovers_a_known_motion() -> None:
    before = cv2.cvtColor(real_data().target.crops[0], cv2.COLOR_RGB2GRAY)
    after = cv2.warpAffine(before, np.array([[1.0, 0, 2.5], [0, 1, -1.5]]), (SIZE, SIZE), borderMode=cv2.BORDER_REFLECT)
    places, is_seen = backward_flow(before, after)
    rows, columns = np.indices(before.shape)
    inner = (slice(40, 152), slice(40, 152))
    assert is_seen[inner].mean() > 0.95
    assert np.median(np.abs(places[..., 0] - columns + 2.5)[inner]) < 0.3
    assert np.median(np.abs(places[..., 1] - rows - 1.5)[inner]) < 0.3


def test_the_error_of_a_known_step_equals_it() -> None:
    rows, columns = np.indices((64, 64), np.float32)
    still = np.dstack([columns, rows])
    before = np.full((64, 64, 2), 100, np.float32)
    after = before + np.float32([0, 6])
    found = warp_errors(before, after, still, np.ones((64, 64), bool), 1.0)
    np.testing.assert_allclose(found, [0, 6], atol=1e-4)
