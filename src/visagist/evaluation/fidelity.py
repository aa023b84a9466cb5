"""How near a picture comes to the right answer, where there is one.

- `masked_ssim`: structural similarity inside a mask
- `masked_psnr`: peak signal-to-noise ratio inside a mask
- `masked_ms_ssim`: structural similarity at five scales, from `LEAST_SIDE` px on

All three are torchmetrics' own. Of the maintained libraries it is the one that gives the SSIM map, which a mean inside
a mask needs, that has MS-SSIM too, and that works on the tensors that the networks give (its only dependency besides
PyTorch is a small one). scikit-image has no MS-SSIM and works on one picture at a time; piq gives no map.
What training minimises is another SSIM (`training.losses`), so a mistake there cannot praise itself here.

A mean over pixels is fooled by blur: of two pictures that are equally near, it prefers the one without detail. Read
it beside the sharpness.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

Pictures = NDArray[Any]  # (N, S, S, 3) RGB, uint8, or float32 in [0, 1]
Masks = NDArray[np.uint8]  # (N, S, S), above 127 inside

SIGMA, RADIUS = 1.5, 5  # px, of the window of Wang et al.: 11 x 11
LEAST_SIDE = 176  # px; below it the window of MS-SSIM does not fit into the fifth scale


def masked_ssim(pictures: Pictures, truths: Pictures, masks: Masks) -> NDArray[np.float64]:
    """Mean of the SSIM map over the mask and the three channels.

    Wang, Bovik, Sheikh, Simoncelli 2004, "Image quality assessment: from error visibility to structural similarity",
    in Gaussian windows of 11 x 11 px (deviation 1.5 px). The map is made of the whole pictures: at the mask's edge the
    windows look 5 px beyond it.

    Returns:
        `(N,)` in [-1, 1], 1 where the pictures are equal; NaN where the mask is empty.
    """
    return _each(_ssim, pictures, truths, masks)


def masked_psnr(pictures: Pictures, truths: Pictures, masks: Masks) -> NDArray[np.float64]:
    """Peak signal-to-noise ratio inside the mask, of the squared differences of all three channels together.

    Returns:
        `(N,)` dB, of a full scale of 1; infinite where the pictures are equal, NaN where the mask is empty.
    """
    return _each(_psnr, pictures, truths, masks)


def masked_ms_ssim(pictures: Pictures, truths: Pictures, masks: Masks) -> NDArray[np.float64]:
    """MS-SSIM of pictures that are right outside the mask.

    Wang, Simoncelli, Bovik 2003, "Multi-scale structural similarity for image quality assessment". It has no map whose
    mean could be taken inside a mask, so what lies outside is taken from the truth. That part counts as right and
    raises the value: compare only values of one coverage.

    Returns:
        `(N,)` in [0, 1], 1 where the pictures are equal inside the mask; NaN where the mask is empty.

    Raises:
        ValueError: the pictures are smaller than `LEAST_SIDE`.
    """
    return _each(_ms_ssim, pictures, truths, masks)


def _each(
    measure: Callable[[Pictures, Pictures, Masks], float], pictures: Pictures, truths: Pictures, masks: Masks
) -> NDArray[np.float64]:
    values = [measure(picture, truth, mask) for picture, truth, mask in zip(pictures, truths, masks, strict=True)]
    return np.array(values, np.float64)


def _ssim(picture: Pictures, truth: Pictures, mask: Masks) -> float:
    inside = mask > 127
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if len(rows) == 0:
        return np.nan
    # Windows centred in the mask see nothing beyond this, so the map there is that of the whole pictures.
    y0, x0 = max(0, int(rows[0]) - RADIUS), max(0, int(columns[0]) - RADIUS)
    place = np.s_[y0 : int(rows[-1]) + RADIUS + 1, x0 : int(columns[-1]) + RADIUS + 1]
    _, values = structural_similarity_index_measure(
        _tensor(picture[place]),
        _tensor(truth[place]),
        sigma=SIGMA,
        kernel_size=2 * RADIUS + 1,
        data_range=1.0,
        return_full_image=True,
    )
    return values[0].permute(1, 2, 0)[torch.from_numpy(inside[place])].mean().item()


def _psnr(picture: Pictures, truth: Pictures, mask: Masks) -> float:
    inside = mask > 127
    if not inside.any():
        return np.nan
    return peak_signal_noise_ratio(_plain(picture[inside]), _plain(truth[inside]), data_range=1.0).item()


def _ms_ssim(picture: Pictures, truth: Pictures, mask: Masks) -> float:
    inside = mask > 127
    if not inside.any():
        return np.nan
    mixed = np.where(inside[..., None], picture, truth)
    return multiscale_structural_similarity_index_measure(
        _tensor(mixed), _tensor(truth), sigma=SIGMA, kernel_size=2 * RADIUS + 1, data_range=1.0
    ).item()


def _tensor(picture: Pictures) -> Tensor:
    """`(1, 3, h, w)` float32 in [0, 1], channels last in memory: twice as fast."""
    return _plain(np.ascontiguousarray(picture)).permute(2, 0, 1)[None]


def _plain(values: Pictures) -> Tensor:
    tensor = torch.from_numpy(values)
    return tensor.float() / 255 if values.dtype == np.uint8 else tensor
