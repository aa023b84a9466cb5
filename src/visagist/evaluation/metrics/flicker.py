"""Flicker: whether the evaluated face is as steady as the target's.

Compares the change between two frames after compensating for the target's optical flow. The residual is blurred first,
so that noise and skin texture, of which a softer render has less, hardly count.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from visagist.evaluation.evaluation_data import EvaluationData
from visagist.evaluation.metric import Metric
from visagist.evaluation.metrics import METRICS

RESIDUAL_SIGMA = 0.01  # of the crop's side
FLOOR = 0.25  # code values added to both errors; smaller changes are invisible
MAX_SIDE = 224  # px; larger crops are halved, because the residual is blurred by more than that anyway
FINEST_SCALE = 1  # finest level of the flow's pyramid
MIN_MASK = 8  # of 255; includes the soft edge
MARGIN = 0.08  # of the crop's side, around the mask
MIN_SEEN = 0.25  # fraction of the mask that must be visible in both frames
MIN_FLOW_SIDE = 32  # px; OpenCV crashes below 16

Luma = NDArray[np.uint8]
Flow = NDArray[np.float32]


def backward_flow(before: Luma, after: Luma) -> tuple[Flow, NDArray[np.bool_]]:
    """Position of each pixel in the previous picture.

    Dense inverse search (Kroeger et al. 2016) with a forward-backward check (Sundaram et al. 2010).

    Args:
        before: `(h, w)`, both sides at least `MIN_FLOW_SIDE` px.
        after: `(h, w)`.

    Returns:
        `(h, w, 2)` positions in `before`, px, and `(h, w)` whether the pixel is visible in both.
    """
    before, after = np.ascontiguousarray(before), np.ascontiguousarray(after)  # required by the search
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    search.setFinestScale(FINEST_SCALE)
    back = np.asarray(search.calc(after, before, None), np.float32)  # type: ignore[call-overload]
    search.setFinestScale(FINEST_SCALE + 1)  # half a pixel is accurate enough for the check
    forth = np.asarray(search.calc(before, after, None), np.float32)  # type: ignore[call-overload]
    rows, columns = np.indices(after.shape, np.float32)
    places = back + np.dstack([columns, rows])
    returned = _moved(forth, places)
    there, again, both = (np.einsum("hwc,hwc->hw", way, way) for way in (back, returned, back + returned))
    return places, both <= 0.01 * (there + again) + 0.5


def warp_errors(
    before: NDArray[np.float32], after: NDArray[np.float32], places: Flow, region: NDArray[np.bool_], sigma: float
) -> NDArray[np.float64]:
    """Mean absolute blurred residual `(C,)` within a region of C pictures that share one flow.

    Args:
        before: `(h, w, C)`.
        after: `(h, w, C)`, the next frame.
        places: `(h, w, 2)`, positions in `before` as returned by `backward_flow`.
        region: `(h, w)`, not empty.
        sigma: px, of the blur.
    """
    residual = cv2.GaussianBlur(after - _moved(before, places), (0, 0), sigma)
    return np.abs(residual[region]).mean(0).astype(np.float64)


def flicker(data: EvaluationData) -> NDArray[np.float64]:
    """Warp error `(N,)` from the previous frame, evaluated over target; NaN in the first frame of a shot."""
    values = np.full(len(data.frames), np.nan)
    shrink = 2 if data.size > MAX_SIDE else 1
    for i in np.flatnonzero(data.follows[1:]) + 1:
        # The union, because a face that appears or disappears is flicker too.
        masked = np.maximum(data.masks[i], data.masks[i - 1])[::shrink, ::shrink] >= MIN_MASK
        if not masked.any():
            continue
        window = _window(masked, round(MARGIN * data.size / shrink))
        pairs = [(_luma(data.target.crops[k], shrink), _luma(data.evaluated.crops[k], shrink)) for k in (i - 1, i)]
        lumas = [[luma[window] for luma in pair] for pair in pairs]
        if min(lumas[0][0].shape) < MIN_FLOW_SIDE:
            continue
        places, is_seen = backward_flow(lumas[0][0], lumas[1][0])
        region = masked[window] & is_seen
        if region.sum() < MIN_SEEN * masked.sum():
            continue
        before, after = (np.dstack(pair).astype(np.float32) for pair in lumas)  # (h, w, 2): target, evaluated
        target, evaluated = warp_errors(before, after, places, region, RESIDUAL_SIGMA * data.size / shrink)
        values[i] = (evaluated + FLOOR) / (target + FLOOR)
    return values


def _luma(crop: NDArray[np.uint8], shrink: int) -> Luma:
    luma = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    if shrink > 1:
        side = -(-len(luma) // shrink)  # size of the mask after slicing
        luma = cv2.resize(luma, (side, side), interpolation=cv2.INTER_AREA)
    return luma.astype(np.uint8, copy=False)


def _window(masked: NDArray[np.bool_], margin: int) -> tuple[slice, slice]:
    """Bounding box of a mask with a margin."""
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
    formula="w(evaluated) / w(target), w = mean inside the mask of |frame - frame before, moved by the optical flow "
    f"of the target|, luma, blurred by a Gaussian of {100 * RESIDUAL_SIGMA:g} % of the crop's side, + {FLOOR} code "
    "values; over pixels visible in both frames (forward and backward flow must agree)",
    source="warp error of Lai et al. 2018, Learning blind video temporal consistency; flow: dense inverse search, "
    "Kroeger et al. 2016; check: Sundaram et al. 2010",
    fooled_by="blur, which also removes noise and grain that the target has: a soft face may have less than 1. A noisy "
    "target, or one with flickering light, hides flicker of the render. The unswapped target has 1.",
    measure=flicker,
    aim=1.2,
    order=70,
)
METRICS.register(FLICKER, __name__)
