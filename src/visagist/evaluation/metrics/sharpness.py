"""Sharpness: how much fine detail the evaluated face shows.

Fine detail is a band of about 3 to 8 px of the target's frame: the finest that footage carries well, and the first that
a network or a soft merge loses. It is measured from brows to chin, without the outline of the face. If the source
footage is coarser than the target, only the ratio to the target shows that the render is softer than the shot.
"""

from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from visagist.evaluation.evaluation_data import EvaluationData, FaceObservations
from visagist.evaluation.metric import Metric
from visagist.evaluation.metrics import METRICS
from visagist.faces import hull_mask

FINE, COARSE = 0.7, 1.4  # frame px, sigmas of the Gaussians whose difference is the band; it peaks at 4.6 px
OUTLINE_MARGIN = 0.02  # of the crop's side, excluded at the outline of the face
MIN_COVERED = 0.25  # fraction of the region that the mask must cover
CONTRAST_FLOOR = 1.0  # code values added to the contrast, so that noise in a flat picture does not count as detail


def detail(crop: NDArray[np.uint8], region: NDArray[np.bool_], unit: float) -> float:
    """Fine detail within a region relative to its contrast; about 0.05 to 0.15 in faces.

    Args:
        crop: `(S, S, 3)` RGB.
        region: `(S, S)`, not empty.
        unit: unit of the sigmas in px, 1 or more.

    >>> flat = np.full((32, 32, 3), 128, np.uint8)
    >>> detail(flat, np.ones((32, 32), bool), 1.0)
    0.0
    """
    luma = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32)
    band = cv2.GaussianBlur(luma, (0, 0), FINE * unit) - cv2.GaussianBlur(luma, (0, 0), COARSE * unit)
    return float(np.sqrt((band[region] ** 2).mean()) / (luma[region].std() + CONTRAST_FLOOR))


def detail_unit(data: EvaluationData) -> float:
    """Crop px per frame px of the target, at least 1; that of the smallest faces, so that all share one band."""
    scales = np.sqrt(np.abs(np.linalg.det(data.matrices[:, :, :2])))
    return float(max(1.0, np.quantile(scales, 0.9)))


def sharpness(data: EvaluationData) -> NDArray[np.float64]:
    """Detail of the evaluated face over the median of the source's real faces, `(N,)`."""
    unit = detail_unit(data)
    real = []
    for crop, points, hull in zip(data.source.crops, data.source.landmarks, data.source.hulls, strict=True):
        region = _middle(points, data.size) & (hull > 127)
        if region.any():
            real.append(detail(crop, region, unit))
    median = float(np.median(real)) if real else 0.0
    return _details(data, data.evaluated) / (median if median > 0 else np.nan)


def sharpness_to_target(data: EvaluationData) -> NDArray[np.float64]:
    """Detail of the evaluated face over that of the target's face, `(N,)`."""
    target = _details(data, data.target)
    target[target == 0] = np.nan
    return _details(data, data.evaluated) / target


def _details(data: EvaluationData, seen: FaceObservations) -> NDArray[np.float64]:
    """Detail `(N,)` of the replaced part of each face; NaN if that part is too small."""
    unit = detail_unit(data)
    values = np.full(len(data.frames), np.nan)
    for i, points in enumerate(data.in_crop(data.target.landmarks)):
        if not np.isfinite(points).all():
            continue
        middle = _middle(points, data.size)
        region = middle & (data.masks[i] > 127)
        if region.any() and region.sum() >= MIN_COVERED * middle.sum():
            values[i] = detail(seen.crops[i], region, unit)
    return values


def _middle(points: NDArray[np.floating], size: int) -> NDArray[np.bool_]:
    """`(size, size)`: the face from brows to chin without its outline, from landmarks in crop px."""
    side = 2 * max(1, round(OUTLINE_MARGIN * size)) + 1
    return cv2.erode(hull_mask(points, size, 0.0), np.ones((side, side), np.uint8)) > 127


_metric = partial(
    Metric, order=50, unit="", better="one", source="visagist; difference of Gaussians, Marr and Hildreth 1980"
)
FAMILY = (
    _metric(
        name="sharpness",
        title="Sharpness, over real source",
        formula="d(evaluated) / median of d(real faces of the source), where d = root mean square of the luma's band "
        f"between Gaussians of sigma {FINE} and {COARSE} px of the target's frame (of the crop, where the face is "
        "larger than that) / standard deviation of the luma, inside the mask from brows to chin",
        fooled_by="noise, grain, compression blocks and sharpening halos, which count as detail; source footage that "
        "is coarser than the target (a soft render then has 1), or with different make-up or light. If it is twice as "
        "fine, even a perfect render has 0.93.",
        aim=1.25,
        measure=sharpness,
    ),
    _metric(
        name="sharpness_to_target",
        title="Sharpness, over target",
        formula="as the sharpness over real source, over d of the target's own face in the same frame and place",
        fooled_by="noise, as above; a source with smoother or rougher skin than the performer's, a beard or glasses, "
        "for which 1 would be wrong. The unswapped target has 1.",
        measure=sharpness_to_target,
    ),
)
METRICS.register(FAMILY, __name__)
