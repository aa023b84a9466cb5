"""Sharpness: how much fine detail the judged face shows.

Fine is a band of about 3 to 8 px of the target's frame: the finest that the footage carries well, and the first that a
network or a soft merge loses. It is measured from brows to chin, without the face's outline. Source footage coarser
than the target has less to give: a render as soft as it reads 1 against the source, and only the ratio to the target
tells that it is softer than the shot around it.
"""

from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from visagist.evaluation.evaluation_data import Appearance, Case
from visagist.evaluation.metric import Metric
from visagist.evaluation.metrics import METRICS
from visagist.faces import hull_mask

FINE, COARSE = 0.7, 1.4  # frame px, sigmas of the Gaussians whose difference is the band; it peaks at 4.6 px
RIM = 0.02  # of the crop's side, left out at the outline of the face
MIN_COVERED = 0.25  # of the region, by the mask
FAINT = 1.0  # code values, added to the contrast: a flat picture has no detail, whatever its noise


def detail(crop: NDArray[np.uint8], region: NDArray[np.bool_], unit: float) -> float:
    """Fine detail within a region, as a share of its contrast; about 0.05 to 0.15 in faces.

    Args:
        crop: `(S, S, 3)` RGB.
        region: `(S, S)`, True somewhere.
        unit: px that sigmas are counted in, 1 or more.

    >>> flat = np.full((32, 32, 3), 128, np.uint8)
    >>> detail(flat, np.ones((32, 32), bool), 1.0)
    0.0
    """
    luma = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32)
    band = cv2.GaussianBlur(luma, (0, 0), FINE * unit) - cv2.GaussianBlur(luma, (0, 0), COARSE * unit)
    return float(np.sqrt((band[region] ** 2).mean()) / (luma[region].std() + FAINT))


def detail_unit(case: Case) -> float:
    """Crop px per px of the target's frame, at least 1; that of the smaller faces, so that all have the same band."""
    scales = np.sqrt(np.abs(np.linalg.det(case.matrices[:, :, :2])))
    return float(max(1.0, np.quantile(scales, 0.9)))


def sharpness(case: Case) -> NDArray[np.float64]:
    """`(N,)`: detail of the judged face over the median of the real faces of the source."""
    unit = detail_unit(case)
    real = []
    for crop, points, hull in zip(case.source.crops, case.source.landmarks, case.source.hulls, strict=True):
        region = _middle(points, case.size) & (hull > 127)
        if region.any():
            real.append(detail(crop, region, unit))
    median = float(np.median(real)) if real else 0.0
    return _details(case, case.judged) / (median if median > 0 else np.nan)


def sharpness_to_target(case: Case) -> NDArray[np.float64]:
    """`(N,)`: detail of the judged face over that of the target's own."""
    target = _details(case, case.target)
    target[target == 0] = np.nan
    return _details(case, case.judged) / target


def _details(case: Case, seen: Appearance) -> NDArray[np.float64]:
    """Detail `(N,)` of the replaced part of each face; NaN if that is too little of it."""
    unit = detail_unit(case)
    values = np.full(len(case.frames), np.nan)
    for i, points in enumerate(case.in_crop(case.target.landmarks)):
        if not np.isfinite(points).all():
            continue
        middle = _middle(points, case.size)
        region = middle & (case.masks[i] > 127)
        if region.any() and region.sum() >= MIN_COVERED * middle.sum():
            values[i] = detail(seen.crops[i], region, unit)
    return values


def _middle(points: NDArray[np.floating], size: int) -> NDArray[np.bool_]:
    """`(size, size)`: the face from its brows to its chin without its rim, by landmarks in crop px."""
    side = 2 * max(1, round(RIM * size)) + 1
    return cv2.erode(hull_mask(points, size, 0.0), np.ones((side, side), np.uint8)) > 127


_metric = partial(
    Metric, order=50, unit="", better="one", source="our own; difference of Gaussians, Marr and Hildreth 1980"
)
FAMILY = (
    _metric(
        name="sharpness",
        title="Sharpness, over real source",
        formula="d(judged) / median of d(real faces of the source), where d = root mean square of the luma's band "
        f"between Gaussians of sigma {FINE} and {COARSE} px of the target's frame (of the crop, where the face is "
        "larger than that) / standard deviation of the luma, inside the mask from brows to chin",
        fooled_by="noise, grain, compression blocks and sharpening halos, which count as detail; a source filmed in "
        "coarser footage than the target (a soft render then reads 1), or made up or lit otherwise. With footage twice "
        "as fine as the target's even a perfect render reads 0.93.",
        aim=1.25,
        measure=sharpness,
    ),
    _metric(
        name="sharpness_to_target",
        title="Sharpness, over target",
        formula="as the sharpness over real source, over d of the target's own face in the same frame and place",
        fooled_by="noise, as above; a source whose skin is smoother or rougher than the performer's, or who has a "
        "beard or glasses, should not read 1. The unswapped target has 1.",
        measure=sharpness_to_target,
    ),
)
METRICS.register(FAMILY, __name__)
