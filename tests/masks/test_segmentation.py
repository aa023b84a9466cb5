"""Segmentation of the bundled target, a speaker whom the network was not trained on."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from visagist.demo import TARGET
from visagist.faces import crop_matrix, describe, hull_mask, transform
from visagist.masks import CLASSES, segment
from visagist.media import Reader

FACE, HAIR, OCCLUDER, BACKGROUND = range(len(CLASSES))


@pytest.fixture(scope="module")
def crop() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A frame at coverage `whole`, `(256, 256, 3)`, and its landmarks."""
    with Reader(TARGET, first=30, last=30) as frames:
        frame = next(iter(frames))
    (face,) = describe(frame)
    matrix = crop_matrix(face.alignment, "whole", 256)
    return frame.warp(matrix, (256, 256)).astype(np.float32), transform(matrix, face.landmarks[:, :2])


def overlap(found: NDArray[np.bool_], true: NDArray[np.bool_]) -> float:
    return float((found & true).sum() / (found | true).sum())


def test_the_face_is_found_and_the_rest_is_not(crop: tuple[NDArray[np.float32], NDArray[np.float32]]) -> None:
    picture, landmarks = crop
    classes = segment(picture)
    np.testing.assert_allclose(classes.sum(-1), 1, atol=1e-4)
    hull = hull_mask(landmarks, 256, 0.3) > 127  # up to the fringe
    assert overlap((classes[..., FACE] > 0.5), hull) > 0.8
    assert classes[landmarks[13, 1].astype(int), landmarks[13, 0].astype(int), FACE] > 0.9  # the mouth
    assert classes[5, 128, HAIR] > 0.5
    assert classes[100, 10, BACKGROUND] > 0.9  # the wall
    assert classes[..., OCCLUDER].max() < 0.5


@pytest.mark.parametrize("side", [128, 256, 512])
def test_a_card_in_front_of_the_mouth_is_an_occluder(
    side: int, crop: tuple[NDArray[np.float32], NDArray[np.float32]]
) -> None:
    picture, landmarks = crop
    x, y = np.round(landmarks[13]).astype(int)
    covered, truth = picture.copy(), np.zeros((256, 256), np.uint8)
    cv2.rectangle(truth, (int(x) - 40, int(y) - 12), (int(x) + 70, int(y) + 60), 1, -1)
    covered[truth > 0] = (0.55, 0.1, 0.15)
    classes = segment(cv2.resize(covered, (side, side), interpolation=cv2.INTER_LINEAR))
    found = cv2.resize(classes, (256, 256))[..., OCCLUDER] > 0.5
    assert overlap(found, truth > 0) > 0.75
