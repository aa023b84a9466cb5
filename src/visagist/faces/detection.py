"""Face detection with YuNet, at several scales and optionally all quarter turns.

YuNet finds faces of about 10 to 300 px; larger ones are found in reduced copies of the picture, for a third more time.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from visagist.zoo.sessions import session

DETECTION_SIZE = 640  # px, longer side of the picture given to the detector
STRIDES = (8, 16, 32)
MAX_OVERLAP = 0.3  # of the boxes of different faces; YuNet's own value
REDUCED_SCALES = (0.5, 0.2)  # for faces above 300 px


@dataclass(frozen=True, eq=False)
class Detection:
    """A detected face, in pixels of the picture."""

    box: NDArray[np.float32]  # (4,) x0 y0 x1 y1, px
    score: float  # 0..1
    points: NDArray[np.float32]  # (5, 2) px: the subject's right eye, left eye, nose, right and left mouth corner

    @property
    def size(self) -> float:
        """Longer side of the box in px."""
        return float(max(self.box[2] - self.box[0], self.box[3] - self.box[1]))


def detect_faces(
    picture: NDArray[np.uint8], *, threshold: float, min_size: float, turns: tuple[int, ...] = (0,)
) -> list[Detection]:
    """Detect faces.

    Args:
        picture: `(h, w, 3)` RGB, scaled down to `DETECTION_SIZE` if larger.
        threshold: minimum score, 0..1.
        min_size: minimum longer side of a face in px of `picture`.
        turns: counter-clockwise quarter turns to try, 0..3; needed for faces on their side or upside down.

    Returns:
        The faces, best score first, after non-maximum suppression.
    """
    height, width = picture.shape[:2]
    scale = min(1.0, DETECTION_SIZE / max(height, width))
    rows: list[NDArray[np.float32]] = []
    for turn in turns:
        for factor in (scale, *(scale * s for s in REDUCED_SCALES)):
            if factor != scale and factor * min(height, width) < 48:
                continue
            turned = np.rot90(picture, turn) if turn else picture
            found = _detect_at(turned, factor, threshold)  # (n, 15), px of the turned picture
            rows.append(_turn_back(found, turn, width, height))
    everything = np.concatenate(rows)
    boxes = everything[:, :4]
    large = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]) >= min_size
    kept = everything[large]
    return [
        Detection(kept[i, :4], float(kept[i, 4]), kept[i, 5:].reshape(5, 2))
        for i in suppress(kept[:, :4], kept[:, 4], MAX_OVERLAP)
    ]


def suppress(boxes: NDArray[np.float32], scores: NDArray[np.float32], overlap: float) -> list[int]:
    """Non-maximum suppression: indices of the boxes to keep, best first.

    Args:
        boxes: `(N, 4)` x0 y0 x1 y1.
        scores: `(N,)`.
        overlap: maximum intersection over union with a better box; more than 0.6 of the smaller area is also too much.

    >>> boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]], np.float32)
    >>> suppress(boxes, np.array([0.7, 0.9, 0.8], np.float32), 0.3)
    [1, 2]
    """
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        if all(not _is_same(boxes[i], boxes[j], overlap) for j in kept):
            kept.append(int(i))
    return kept


def _is_same(a: NDArray[np.float32], b: NDArray[np.float32], overlap: float) -> bool:
    shared, area_a, area_b = _areas(a, b)
    return shared > overlap * (area_a + area_b - shared) or shared > 0.6 * min(area_a, area_b)


def box_overlap(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Intersection over union of two boxes x0 y0 x1 y1.

    >>> box_overlap(np.array([0, 0, 3, 3.0]), np.array([1, 0, 4, 3.0]))
    0.5
    """
    shared, area_a, area_b = _areas(a, b)
    return float(shared / max(area_a + area_b - shared, 1e-9))


def _areas(a: NDArray[np.float32], b: NDArray[np.float32]) -> tuple[float, float, float]:
    width = max(0.0, float(min(a[2], b[2]) - max(a[0], b[0])))
    height = max(0.0, float(min(a[3], b[3]) - max(a[1], b[1])))
    return width * height, float((a[2] - a[0]) * (a[3] - a[1])), float((b[2] - b[0]) * (b[3] - b[1]))


def _detect_at(picture: NDArray[np.uint8], scale: float, threshold: float) -> NDArray[np.float32]:
    """Raw detections at one scale: `(n, 15)` x0 y0 x1 y1, score and five points, px of `picture`."""
    height, width = picture.shape[:2]
    small_w, small_h = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(picture, (small_w, small_h), interpolation=cv2.INTER_AREA) if scale != 1 else picture
    padded = np.zeros((-(-small_h // 32) * 32, -(-small_w // 32) * 32, 3), np.uint8)
    padded[:small_h, :small_w] = small
    tensor = padded[None, :, :, ::-1].transpose(0, 3, 1, 2).astype(np.float32)  # (1, 3, H, W) BGR 0..255
    net = session("yunet", threads=1)
    names = [f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in STRIDES]
    arrays = [np.asarray(array) for array in net.run(names, {"input": tensor})]
    outputs = dict(zip(names, arrays, strict=True))
    ratio = np.array([width / small_w, height / small_h], np.float32)
    found: list[NDArray[np.float32]] = []
    for stride in STRIDES:
        score = np.sqrt(np.clip(outputs[f"cls_{stride}"], 0, 1) * np.clip(outputs[f"obj_{stride}"], 0, 1))[0, :, 0]
        cells = np.flatnonzero(score >= threshold)
        origin = np.stack([cells % (padded.shape[1] // stride), cells // (padded.shape[1] // stride)], 1)  # (n, 2)
        box = outputs[f"bbox_{stride}"][0, cells]  # (n, 4)
        centre = (origin + box[:, :2]) * stride
        half = np.exp(box[:, 2:]) * stride / 2
        points = (outputs[f"kps_{stride}"][0, cells].reshape(-1, 5, 2) + origin[:, None]) * stride
        corners = [(centre - half) * ratio, (centre + half) * ratio]
        flat = np.concatenate([*corners, score[cells, None], (points * ratio).reshape(-1, 10)], axis=1)
        found.append(flat.astype(np.float32))
    return np.concatenate(found)


def _turn_back(found: NDArray[np.float32], turn: int, width: int, height: int) -> NDArray[np.float32]:
    """Map detections in a rotated picture back to the original picture of `width` x `height`."""
    if turn == 0:
        return found
    corners = found[:, [0, 1, 2, 3]].reshape(-1, 2, 2)
    points = np.concatenate([corners, found[:, 5:].reshape(-1, 5, 2)], axis=1)  # (n, 7, 2)
    x, y = points[..., 0], points[..., 1]
    back = {1: (width - 1 - y, x), 2: (width - 1 - x, height - 1 - y), 3: (y, height - 1 - x)}[turn]
    points = np.stack(back, axis=-1)
    low, high = points[:, :2].min(1), points[:, :2].max(1)
    return np.concatenate([low, high, found[:, 4:5], points[:, 2:].reshape(-1, 10)], axis=1).astype(np.float32)
