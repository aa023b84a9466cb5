"""Seam: whether the edge of the mask is visible.

A seam is an edge that the target does not have, so each point of the mask's contour is compared with the same point in
the target, and only an increase counts. Ratios are averaged as logarithms, so that a few strong edges do not dominate.
Pictures are first averaged along the contour, which keeps a seam but suppresses skin texture and noise.
"""

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from visagist.evaluation.evaluation_data import EvaluationData
from visagist.evaluation.metric import Metric
from visagist.evaluation.metrics import METRICS

# Lengths are fractions of the crop's side.
EDGE_REACH = 0.0125  # on either side of the contour, within which the slope is measured
NEAR, FAR = 0.007, 0.02  # distances of the rings whose colours are compared; the feather lies between them
ALONG_SIGMA = 0.015  # of the average along the contour
CONTOUR_SIGMA = 0.01  # of the smoothing of the contour itself
MIN_POINTS = 16  # of the contour, inside the crop
SLOPE_FLOOR = 0.5  # code values per px, added to both slopes; smaller ones are invisible, and a flat target has none
COLOR_FLOOR = 1.0  # CIE Lab, added to both differences; half of a just noticeable difference

Points = NDArray[np.float64]
Measure = Callable[[NDArray[np.uint8], Points, Points], NDArray[np.float64]]  # crop, contour, normals to (K,) above 0


def outline(mask: NDArray[np.uint8], reach: float) -> tuple[Points, Points] | None:
    """Contour of a mask at half height, one point per px, and its outward normals.

    Args:
        mask: `(S, S)`; of several components, the largest is used.
        reach: px; points closer to the crop's border are dropped.

    Returns:
        `(K, 2)` px and `(K, 2)` unit vectors; None if fewer than `MIN_POINTS` are left.
    """
    contours, _ = cv2.findContours((mask > 127).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return None
    corners = max(contours, key=cv2.contourArea)[:, 0].astype(np.float64)
    closed = np.vstack([corners, corners[:1]])
    lengths = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
    count = int(lengths[-1])
    if count < MIN_POINTS:
        return None
    places = np.arange(count) * lengths[-1] / count
    points = np.column_stack([np.interp(places, lengths, closed[:, axis]) for axis in (0, 1)])
    points = _smoothed(points, CONTOUR_SIGMA * len(mask))
    tangents = np.roll(points, -2, 0) - np.roll(points, 2, 0)
    normals = np.column_stack([tangents[:, 1], -tangents[:, 0]])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    x, y = points.T
    if float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) < 0:
        normals = -normals
    points = points + normals / 2  # OpenCV's contours run through the centres of the outermost pixels
    inside = ((points >= reach) & (points <= len(mask) - 1 - reach)).all(1)
    return (points[inside], normals[inside]) if inside.sum() >= MIN_POINTS else None


def seam_gradient(data: EvaluationData) -> NDArray[np.float64]:
    """Slope of the luma across the mask's edge, evaluated over target, `(N,)`."""
    half = max(1.5, EDGE_REACH * data.size)
    offsets = np.linspace(-half, half, 2 * round(2 * half) + 1)

    def steepness(crop: NDArray[np.uint8], points: Points, normals: Points) -> NDArray[np.float64]:
        luma = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32)
        profiles = _smoothed(_sampled(luma, points, normals, offsets), ALONG_SIGMA * data.size)  # (K, T)
        slopes = np.gradient(profiles, offsets[1] - offsets[0], axis=1)  # code values per px
        # The root mean square: a hard edge counts for more than a soft one of the same height.
        return np.sqrt((slopes**2).mean(1)) + SLOPE_FLOOR

    return _ratios(data, half, steepness)


def seam_color(data: EvaluationData) -> NDArray[np.float64]:
    """Colour difference across the mask's edge, evaluated over target, `(N,)`."""
    near, far = max(1.0, NEAR * data.size), max(3.0, FAR * data.size)
    ring = np.linspace(near, far, max(3, round(far - near) + 1))

    def difference(crop: NDArray[np.uint8], points: Points, normals: Points) -> NDArray[np.float64]:
        offsets = np.concatenate([-ring, ring])
        both = _sampled(crop.astype(np.float32), points, normals, offsets) / 255  # (K, 2R, 3)
        lab = cv2.cvtColor(both.astype(np.float32), cv2.COLOR_RGB2LAB)
        inside, outside = (half.mean(1) for half in np.split(lab, 2, axis=1))  # (K, 3)
        return np.linalg.norm(_smoothed(inside - outside, ALONG_SIGMA * data.size), axis=1) + COLOR_FLOOR

    return _ratios(data, far, difference)


def _ratios(data: EvaluationData, reach: float, measure: Measure) -> NDArray[np.float64]:
    """Geometric mean along the contour of max(1, evaluated / target), `(N,)`."""
    values = np.full(len(data.frames), np.nan)
    for i, mask in enumerate(data.masks):
        edge = outline(mask, reach)
        if edge is not None:
            evaluated, target = (measure(seen.crops[i], *edge) for seen in (data.evaluated, data.target))
            values[i] = np.exp(np.log(np.maximum(1, evaluated / target)).mean())
    return values


def _sampled(picture: NDArray[np.floating], points: Points, normals: Points, offsets: Points) -> NDArray[np.float64]:
    """`picture` `(S, S)` or `(S, S, 3)` at each point and offset along its normal, `(K, T)` or `(K, T, 3)`."""
    places = (points[:, None] + normals[:, None] * offsets[:, None]).astype(np.float32)  # (K, T, 2)
    x, y = np.ascontiguousarray(places[..., 0]), np.ascontiguousarray(places[..., 1])
    return cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(np.float64)


def _smoothed(values: Points, sigma: float) -> Points:
    """Blur `(K, C)` values along a closed contour."""
    kernel = cv2.getGaussianKernel(2 * round(3 * sigma) + 1, sigma)
    reach = len(kernel) // 2
    wrapped = np.take(values, np.arange(-reach, len(values) + reach), axis=0, mode="wrap")
    smooth = cv2.sepFilter2D(wrapped, -1, np.ones(1), kernel)[reach : reach + len(values)]
    return np.asarray(smooth, np.float64)


_metric = partial(Metric, order=60, unit="", better="lower", aim=1.15, needs_mask=True)
FAMILY = (
    _metric(
        name="seam_gradient",
        title="Seam, steepness across the edge",
        formula="geometric mean along the mask's contour at half height of max(1, g(evaluated) / g(target)), g = root "
        f"mean square of the luma's slope across the contour within {100 * EDGE_REACH:g} % of the crop's side on "
        f"either side + {SLOPE_FLOOR} code values per px",
        source="visagist",
        fooled_by="a feather so wide that both faces are visible at once; a seam along an edge that the target has. "
        "Anything new at the mask's edge counts as a seam, such as the source's hair; a whole picture moved by 2 px "
        "has 1.05 to 1.2. If the mask of the render is unknown, the outline of the face is used instead, and a seam "
        "elsewhere is not found. The unswapped target has 1, the minimum.",
        measure=seam_gradient,
    ),
    _metric(
        name="seam_color",
        title="Seam, colour across the edge",
        formula="geometric mean along the mask's contour of max(1, c(evaluated) / c(target)), c = CIE Lab difference "
        f"(1976) between the means of {100 * NEAR:g} to {100 * FAR:g} % of the crop's side inside and outside "
        f"+ {COLOR_FLOOR:g}",
        source="visagist; CIE 1976 L*a*b*",
        fooled_by="a face whose colour is wrong all over but fades out softly; a seam along an edge that the target "
        "has; an unknown mask, as above. The unswapped target has 1, the minimum.",
        measure=seam_color,
    ),
)
METRICS.register(FAMILY, __name__)
