"""Where the performer's face is visible: not behind a hand, hair, glasses or the picture's background.

The segmentation network looks at each frame alone, so its result is steadied along the track by optical flow.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from visagist.faces import Coverage, Face, compose, crop_matrix, invert
from visagist.masks import CLASSES, INPUT_SIDE, segment
from visagist.media import Frame
from visagist.merging.masks import Mask

FACE = CLASSES.index("face")
EDGE = (0.2, 0.6)  # probabilities of the face up to which the frame is kept, and from which it is replaced
MEMORY = 0.6  # weight of the previous frame where nothing changed
SAME_GREY = 0.06  # difference of grey values, of 1, that counts as a change
FLOW_SIDE = 128  # px
RESTART_FRAMES = 128  # a multiple of a chunk's, so that a resumed merge equals an uninterrupted one


@dataclass(frozen=True)
class Sight:
    """What the segmentation network found in one frame."""

    frame: int
    track: int
    matrix: NDArray[np.float64]  # (2, 3) frame px to px of the planes
    grey: NDArray[np.uint8]  # (FLOW_SIDE, FLOW_SIDE)
    face: Mask  # (INPUT_SIDE, INPUT_SIDE) probability


def look(frame: Frame, face: Face, coverage: Coverage) -> Sight:
    """Segment one face, at the network's coverage or at `full` if that is less than the segmentation network knows."""
    matrix = crop_matrix(face.alignment, coverage if coverage in ("whole", "head") else "full", INPUT_SIDE)
    crop = frame.warp(matrix, (INPUT_SIDE, INPUT_SIDE))
    small = cv2.resize(crop, (FLOW_SIDE, FLOW_SIDE), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(np.rint(np.clip(small, 0, 1) * 255).astype(np.uint8), cv2.COLOR_RGB2GRAY)
    return Sight(frame.index, face.track, matrix, np.asarray(grey, np.uint8), segment(crop)[..., FACE].copy())


class Steadier:
    """Combines each frame's segmentation with that of the frame before, along one track at a time."""

    def __init__(self) -> None:
        self._last: Sight | None = None
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)

    def step(self, sight: Sight) -> Sight:
        """The next frame's, steadied. After a gap, a cut or `RESTART_FRAMES` frames it is left as it is."""
        last = self._last
        is_next = last is not None and (last.frame + 1, last.track) == (sight.frame, sight.track)
        if last is not None and is_next and sight.frame % RESTART_FRAMES:
            sight = Sight(sight.frame, sight.track, sight.matrix, sight.grey, self._combined(last, sight))
        self._last = sight
        return sight

    def _combined(self, last: Sight, now: Sight) -> Mask:
        empty = np.zeros((FLOW_SIDE, FLOW_SIDE, 2), np.float32)
        flow = np.asarray(self._flow.calc(now.grey, last.grey, empty), np.float32)  # from now to before
        change = np.abs(now.grey.astype(np.float32) - _moved(last.grey.astype(np.float32), flow)) / 255
        weight = MEMORY * np.exp(-((cv2.GaussianBlur(change, (0, 0), 1.0) / SAME_GREY) ** 2))
        size = (INPUT_SIDE, INPUT_SIDE)
        large = np.asarray(cv2.resize(flow, size), np.float32) * np.float32(INPUT_SIDE / FLOW_SIDE)
        return (now.face + cv2.resize(weight, size) * (_moved(last.face, large) - now.face)).astype(np.float32)


def _moved(plane: Mask, flow: NDArray[np.float32]) -> Mask:
    """A plane of the frame before, where its contents are now."""
    y, x = np.mgrid[: len(plane), : len(plane)].astype(np.float32)
    place = x + flow[..., 0], y + flow[..., 1]
    return np.asarray(cv2.remap(plane, *place, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


def visible(sight: Sight, matrix: NDArray[np.float64], side: int) -> Mask:
    """`(side, side)` in [0, 1]: 1 where the face is visible; `matrix` maps frame px to px of that crop."""
    low, high = EDGE
    mask = np.clip((sight.face - low) / (high - low), 0, 1)
    place = compose(matrix, invert(sight.matrix))
    warped = cv2.warpAffine(mask, place, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, np.float32)
