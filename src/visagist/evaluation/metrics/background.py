"""Changes outside the face, and detection of frames in which the face was replaced."""

import cv2
import numpy as np
from numpy.typing import NDArray

from visagist.core.errors import EvaluationError
from visagist.evaluation.evaluation_data import EvaluationData
from visagist.evaluation.metric import Metric
from visagist.evaluation.metrics import METRICS
from visagist.faces import hull_mask
from visagist.media import Frame
from visagist.merging.pipeline import Merged

HULL_SCALE = 1.3  # size of the excluded hull relative to the face; feathering and encoder blocks reach beyond it
MAX_PSNR_DB = 100.0  # value for equal pictures; one 8-bit code of difference in 100,000 px gives 98

# Lengths are fractions of the crop's side.
FINE_SIGMA = 0.01  # finer differences are mostly caused by the encoder
NEIGHBOURHOOD_SIGMA = 0.04  # scale at which differences are compared
OUTLINE_MARGIN = 0.05  # ignored on either side of the face's outline
CALM_QUANTILE = 0.25  # of the differences outside the face; hair or neck may have been replaced too
# Re-encoded at crf 18 to 30 with H.264, H.265 and MPEG-4, faces of four clips differed at most 1.75 times as much as
# the calm part, at crf 40 up to 2.5 times; swapped faces 10 times as much, 4.4 times at crf 30, 2.2 times at crf 40.
MIN_CHANGE_RATIO = 2.2
MAX_CALM = 8.0  # code values; upper limit for the difference of the calm part, more than any reasonable encoder causes
CALM_OFFSET = 0.3  # code values added to the calm part; without encoder noise, changes below 0.7 do not count


def outside_psnr(target: Frame, render: Frame, landmarks: NDArray[np.floating]) -> float:
    """PSNR in dB of a render's R'G'B' outside the face; inf if equal to the target, NaN if the face fills the frame.

    Args:
        target: a frame of the target.
        render: the matching frame of the render.
        landmarks: `(478, 2 or 3)` frame px, of the target's face.

    Raises:
        EvaluationError: the frames differ in size.
    """
    if (target.width, target.height) != (render.width, render.height):
        sizes = f"{render.width}x{render.height} against {target.width}x{target.height}"
        raise EvaluationError(f"frame {target.index}: {sizes}; give the render at the target's own size")
    points = landmarks[:, :2].astype(np.float64)
    centre = (points.min(0) + points.max(0)) / 2
    hull = hull_mask(centre + HULL_SCALE * (points - centre), max(target.width, target.height))
    is_outside = hull[: target.height, : target.width] == 0
    if not is_outside.any():
        return np.nan
    error = cv2.absdiff(target.rgb(), render.rgb())[is_outside]  # (P, 3)
    mean = float(np.mean(error * error, dtype=np.float64))
    return float(-10 * np.log10(mean)) if mean > 0 else np.inf


def is_changed(target: NDArray[np.uint8], render: NDArray[np.uint8], hull: NDArray[np.uint8]) -> bool:
    """Whether a face was replaced, rather than only encoded or graded together with its surroundings.

    A replaced face differs clearly more than the calmest quarter of its surroundings.

    Args:
        target: `(S, S, 3)` RGB crop.
        render: `(S, S, 3)` RGB, the same crop of the render.
        hull: `(S, S)` 255 inside the face.
    """
    size = len(hull)
    difference = cv2.GaussianBlur(render.astype(np.float32) - target.astype(np.float32), (0, 0), FINE_SIGMA * size)
    energy = cv2.GaussianBlur((difference**2).mean(2), (0, 0), NEIGHBOURHOOD_SIGMA * size)
    side = 2 * round(OUTLINE_MARGIN * size) + 1
    rim = np.ones((side, side), np.uint8)
    inside, outside = cv2.erode(hull, rim) > 127, cv2.dilate(hull, rim) < 128
    if not inside.any():
        return False
    calm = min(MAX_CALM, float(np.sqrt(np.quantile(energy[outside], CALM_QUANTILE)))) if outside.any() else 0.0
    return float(np.sqrt(energy[inside].mean())) > MIN_CHANGE_RATIO * (calm + CALM_OFFSET)


def planes_changed_outside(merged: Merged) -> int:
    """The largest absolute change of a plane sample where the mask of the merge is 0.

    In codes of the frame's bit depth, or in units in the last place for float samples. Subsampled chroma counts where
    its cell contains no masked luma sample.
    """
    kind = merged.frame.layout
    is_masked = _masked_samples(merged)  # (rows, columns) as stored
    across, down = kind.chroma
    rows, columns = is_masked.shape
    whole = np.pad(is_masked, ((0, -rows % (1 << down)), (0, -columns % (1 << across))))
    cells = whole.reshape(whole.shape[0] >> down, 1 << down, whole.shape[1] >> across, 1 << across).any((1, 3))
    greatest = 0
    for plane, (new, old) in enumerate(zip(merged.frame.planes, merged.original.planes, strict=True)):
        if new is old:
            continue
        if kind.is_float:
            bits = np.uint16 if new.dtype == np.float16 else np.uint32
            change = np.abs(new.view(bits).astype(np.int64) - old.view(bits))
        else:
            change = cv2.absdiff(np.ascontiguousarray(new), np.ascontiguousarray(old)).reshape(new.shape)
        change[cells if kind.is_chroma(plane) else is_masked] = 0
        greatest = max(greatest, int(change.max()) >> kind.shift)
    return greatest


def _masked_samples(merged: Merged) -> NDArray[np.bool_]:
    """`(rows, columns)` as stored: where the mask of the merge is above 0."""
    frame, region = merged.frame, merged.region
    shown = np.zeros((frame.height, frame.width), np.float32)
    if region is not None:
        shown[region.y0 : region.y1, region.x0 : region.x1] = merged.weight > 0
    if frame.display.is_stretched:
        size = (frame.display.columns, frame.display.rows)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(shown, frame.display.from_stored[:2], size, flags=flags) > 0
    return frame.display.turn_back(shown) > 0


def _outside(data: EvaluationData) -> NDArray[np.float64]:
    return np.minimum(data.evaluated.outside, MAX_PSNR_DB)


OUTSIDE_PSNR = Metric(
    name="outside_psnr",
    title="Outside the face, PSNR",
    unit="dB",
    better="higher",
    formula="10 log10(1 / mean squared difference of R'G'B' in [0, 1]) over the picture outside the face's hull "
    f"grown by {100 * HULL_SCALE - 100:.0f} %; at most {MAX_PSNR_DB:g}",
    source="PSNR; measured after encoding, so it describes the encoder where the merge changed nothing",
    fooled_by="plain backgrounds, which any encoder preserves well, and noise, which none does; the more of the "
    "picture the face fills, the less meaningful it is. Differences at 40 dB and more are hard to see.",
    measure=_outside,
    order=90,
)
METRICS.register(OUTSIDE_PSNR, __name__)
