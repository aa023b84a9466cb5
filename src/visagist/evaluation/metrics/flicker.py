"""Whether the judged face is as steady as the target's.

- `backward_flow`: where each pixel of a frame was in the frame before
- `warp_errors`: what is left of the change between two frames when the flow has been taken out
- `METRICS`: that of the judged face over the target's own, by the target's flow

A face that moves as the target moves leaves as little as the target does, however fast. What does not move with it is
left over: brightness that jumps, an edge that trembles, a face that freezes. The residual is softened before it is
taken, so that noise and skin texture, of which a softer render has less, count little beside what the eye calls
flicker.

The flow is found anew for every appearance that is judged: that takes a few milliseconds a frame, and what is not kept
needs no room, however long the shot.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from visagist.evaluation.evaluation_data import Case
from visagist.evaluation.metric import Metric
from visagist.evaluation.metrics import METRICS

SOFT = 0.01  # of the crop's side, sigma
FLOOR = 0.25  # code values, added on both sides: in a still picture nothing smaller is seen
LARGE = 224  # px, crop side above which crops are halved: the residual is softened by more than that anyway
FINEST = 1  # halvings of what is left, at which the flow is searched last
MASKED = 8  # of 255, from which on a pixel counts as replaced: the soft edge belongs to it
AROUND = 0.08  # of the crop's side, left around the mask: the rest of the picture need not be looked at
LEAST = 0.25  # part of the mask that must be seen in both frames
SMALLEST = 32  # px, least side of pictures for the flow; below 16 OpenCV crashes the process

Luma = NDArray[np.uint8]
Flow = NDArray[np.float32]


def backward_flow(before: Luma, after: Luma) -> tuple[Flow, NDArray[np.bool_]]:
    """Where each pixel of a picture was in the one before.

    Dense inverse search (Kroeger et al. 2016), and the way there and back as a check (Sundaram et al. 2010).

    Args:
        before: `(h, w)`, both sides from `SMALLEST` px.
        after: `(h, w)`.

    Returns:
        `(h, w, 2)` places in `before`, px, and `(h, w)` whether the pixel is seen in both.
    """
    before, after = np.ascontiguousarray(before), np.ascontiguousarray(after)  # the search takes no other
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    search.setFinestScale(FINEST)
    back = np.asarray(search.calc(after, before, None), np.float32)  # type: ignore[call-overload]
    search.setFinestScale(FINEST + 1)  # for the check, where half a pixel is near enough
    forth = np.asarray(search.calc(before, after, None), np.float32)  # type: ignore[call-overload]
    rows, columns = np.indices(after.shape, np.float32)
    places = back + np.dstack([columns, rows])
    returned = _moved(forth, places)
    there, again, both = (np.einsum("hwc,hwc->hw", way, way) for way in (back, returned, back + returned))
    return places, both <= 0.01 * (there + again) + 0.5


def warp_errors(
    before: NDArray[np.float32], after: NDArray[np.float32], places: Flow, region: NDArray[np.bool_], sigma: float
) -> NDArray[np.float64]:
    """Mean |softened residual| within a region of C pictures that move by one flow.

    Args:
        before: `(h, w, C)`.
        after: `(h, w, C)`.
        places: `(h, w, 2)`, as `backward_flow` gives them.
        region: `(h, w)`, True somewhere.
        sigma: px, of the softening.

    Returns:
        `(C,)` in the unit of the pictures.
    """
    residual = cv2.GaussianBlur(after - _moved(before, places), (0, 0), sigma)
    return np.abs(residual[region]).mean(0).astype(np.float64)


def flicker(case: Case) -> NDArray[np.float64]:
    """`(N,)`: warp error from the frame before, judged over target; NaN where no frame of the shot goes before."""
    values = np.full(len(case.frames), np.nan)
    shrink = 2 if case.size > LARGE else 1
    for i in np.flatnonzero(case.follows[1:]) + 1:
        # of either frame: a face that comes or goes is flicker too
        masked = np.maximum(case.masks[i], case.masks[i - 1])[::shrink, ::shrink] >= MASKED
        if not masked.any():
            continue
        window = _window(masked, round(AROUND * case.size / shrink))
        pairs = [(_luma(case.target.crops[k], shrink), _luma(case.judged.crops[k], shrink)) for k in (i - 1, i)]
        lumas = [[luma[window] for luma in pair] for pair in pairs]
        if min(lumas[0][0].shape) < SMALLEST:
            continue
        places, is_seen = backward_flow(lumas[0][0], lumas[1][0])
        region = masked[window] & is_seen
        if region.sum() < LEAST * masked.sum():
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


FAMILY = (
    Metric(
        name="flicker",
        title="Flicker",
        unit="",
        better="lower",
        order=70,
        formula="w(judged) / w(target), w = mean inside the mask of |frame - frame before, moved by the optical flow "
        f"of the target|, luma, softened by a Gaussian of {100 * SOFT:g} % of the crop's side, + {FLOOR} code values; "
        "without pixels that are not seen in both frames (the flow there and back must agree)",
        source="warp error of Lai et al. 2018, Learning blind video temporal consistency; flow: dense inverse search, "
        "Kroeger et al. 2016; check: Sundaram et al. 2010",
        fooled_by="blur, which also takes away what the target itself has of noise and grain: a soft face may have "
        "less than 1. A target with much noise or flickering light hides the render's. The unswapped target has 1.",
        measure=flicker,
        aim=1.2,
    ),
)

METRICS.register(FAMILY, __name__)
