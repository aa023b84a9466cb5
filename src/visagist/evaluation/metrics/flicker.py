"""Flicker: whether the judged face is as steady as the target's.

The change between two frames is compared after the target's optical flow has been taken out: what moves as the target
moves leaves as little as the target does. The residual is softened first, so that noise and skin texture, of which a
softer render has less, count little.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from visagist.evaluation.evaluation_data import Case
from visagist.evaluation.metric import Metric
from visagist.evaluation.metrics import METRICS

SOFT = 0.01  # of the crop's side, sigma
FLOOR = 0.25  # code values, added on both sides: in a still picture nothing smaller is seen
MAX_SIDE = 224  # px; larger crops are halved, the residual is softened by more than that anyway
FINEST_SCALE = 1  # halvings at which the flow is searched last
MIN_MASK = 8  # of 255; the soft edge belongs to the mask
MARGIN = 0.08  # of the crop's side, around the mask
MIN_SEEN = 0.25  # of the mask, in both frames
MIN_FLOW_SIDE = 32  # px; below 16 OpenCV crashes the process

Luma = NDArray[np.uint8]
Flow = NDArray[np.float32]


def backward_flow(before: Luma, after: Luma) -> tuple[Flow, NDArray[np.bool_]]:
    """Where each pixel of a picture was in the one before.

    Dense inverse search (Kroeger et al. 2016), and the way there and back as a check (Sundaram et al. 2010).

    Args:
        before: `(h, w)`, both sides at least `MIN_FLOW_SIDE` px.
        after: `(h, w)`.

    Returns:
        `(h, w, 2)` places in `before`, px, and `(h, w)` whether the pixel is seen in both.
    """
    before, after = np.ascontiguousarray(before), np.ascontiguousarray(after)  # the search takes no other
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    search.setFinestScale(FINEST_SCALE)
    back = np.asarray(search.calc(after, before, None), np.float32)  # type: ignore[call-overload]
    search.setFinestScale(FINEST_SCALE + 1)  # for the check, where half a pixel is near enough
    forth = np.asarray(search.calc(before, after, None), np.float32)  # type: ignore[call-overload]
    rows, columns = np.indices(after.shape, np.float32)
    places = back + np.dstack([columns, rows])
    returned = _moved(forth, places)
    there, again, both = (np.einsum("hwc,hwc->hw", way, way) for way in (back, returned, back + returned))
    return places, both <= 0.01 * (there + again) + 0.5


def warp_errors(
    before: NDArray[np.float32], after: NDArray[np.float32], places: Flow, region: NDArray[np.bool_], sigma: float
) -> NDArray[np.float64]:
    """Mean |softened residual| `(C,)` within a region of C pictures `(h, w, C)` that move by one flow.

    Args:
        before: the pictures.
        after: the next ones.
        places: `(h, w, 2)`, as `backward_flow` gives them.
        region: `(h, w)`, True somewhere.
        sigma: px, of the softening.
    """
    residual = cv2.GaussianBlur(after - _moved(before, places), (0, 0), sigma)
    return np.abs(residual[region]).mean(0).astype(np.float64)


def flicker(case: Case) -> NDArray[np.float64]:
    """`(N,)`: warp error from the frame before, judged over target; NaN where no frame of the shot goes before."""
    values = np.full(len(case.frames), np.nan)
    shrink = 2 if case.size > MAX_SIDE else 1
    for i in np.flatnonzero(case.follows[1:]) + 1:
        # of either frame: a face that comes or goes is flicker too
        masked = np.maximum(case.masks[i], case.masks[i - 1])[::shrink, ::shrink] >= MIN_MASK
        if not masked.any():
            continue
        window = _window(masked, round(MARGIN * case.size / shrink))
        pairs = [(_luma(case.target.crops[k], shrink), _luma(case.judged.crops[k], shrink)) for k in (i - 1, i)]
        lumas = [[luma[window] for luma in pair] for pair in pairs]
        if min(lumas[0][0].shape) < MIN_FLOW_SIDE:
            continue
        places, is_seen = backward_flow(lumas[0][0], lumas[1][0])
        region = masked[window] & is_seen
        if region.sum() < MIN_SEEN * masked.sum():
            continue
        before, after = (np.dstack(pair).astype(np.float32) for pair in lumas)  # (h, w, 2): target, judged
        target, judged = warp_errors(before, after, places, region, SOFT * case.size / shrink)
        values[i] = (judged + FLOOR) / (target + FLOOR)
    return values


def _luma(crop: NDArray[np.uint8], shrink: int) -> Luma:
    luma = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    if shrink > 1:
        side = -(-len(luma) // shrink)  # as many as every second pixel of the mask
        luma = cv2.resize(luma, (side, side), interpolation=cv2.INTER_AREA)
    return luma.astype(np.uint8, copy=False)


def _window(masked: NDArray[np.bool_], margin: int) -> tuple[slice, slice]:
    """The rectangle around a mask, with a margin."""
    rows, columns = np.flatnonzero(masked.any(1)), np.flatnonzero(masked.any(0))
    return (
        slice(max(0, int(rows[0]) - margin), int(rows[-1]) + margin + 1),
        slice(max(0, int(columns[0]) - margin), int(columns[-1]) + margin + 1),
    )


def _moved(picture: NDArray[np.float32], places: Flow) -> NDArray[np.float32]:
    moved = cv2.remap(picture, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    return np.asarray(moved, np.float32)


FLICKER = Metric(
    name="flicker",
    title="Flicker",
    unit="",
    better="lower",
    formula="w(judged) / w(target), w = mean inside the mask of |frame - frame before, moved by the optical flow "
    f"of the target|, luma, softened by a Gaussian of {100 * SOFT:g} % of the crop's side, + {FLOOR} code values; "
    "without pixels that are not seen in both frames (the flow there and back must agree)",
    source="warp error of Lai et al. 2018, Learning blind video temporal consistency; flow: dense inverse search, "
    "Kroeger et al. 2016; check: Sundaram et al. 2010",
    fooled_by="blur, which also takes away what the target itself has of noise and grain: a soft face may have "
    "less than 1. A target with much noise or flickering light hides the render's. The unswapped target has 1.",
    measure=flicker,
    aim=1.2,
    order=70,
)
METRICS.register(FLICKER, __name__)
