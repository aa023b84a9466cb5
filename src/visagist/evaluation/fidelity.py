"""SSIM, PSNR and MS-SSIM against a ground truth, inside a mask; by torchmetrics, which returns the SSIM map.

These are not the SSIM of `training.losses`. Means over pixels are fooled by blur; read them beside the sharpness.
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

SIGMA, RADIUS = 1.5, 5  # px, of Wang et al.'s 11 x 11 window
MIN_MS_SSIM_SIDE = 176  # px; in smaller pictures the window does not fit into the fifth scale


def masked_ssim(pictures: Pictures, originals: Pictures, masks: Masks) -> NDArray[np.float64]:
    """Mean of the SSIM map over the mask and the three channels, `(N,)` in [-1, 1]; NaN if the mask is empty.

    Wang, Bovik, Sheikh, Simoncelli 2004, "Image quality assessment: from error visibility to structural similarity".
    The map is computed on the whole pictures, so at the mask's edge windows include 5 px beyond it.
    """
    return _each(_ssim, pictures, originals, masks)


def masked_psnr(pictures: Pictures, originals: Pictures, masks: Masks) -> NDArray[np.float64]:
    """Peak signal-to-noise ratio inside the mask, over all channels, `(N,)` dB; inf if equal, NaN if it is empty."""
    return _each(_psnr, pictures, originals, masks)


def masked_ms_ssim(pictures: Pictures, originals: Pictures, masks: Masks) -> NDArray[np.float64]:
    """MS-SSIM with the pixels outside the mask taken from the originals, `(N,)` in [0, 1]; NaN if the mask is empty.

    Wang, Simoncelli, Bovik 2003, "Multi-scale structural similarity for image quality assessment". MS-SSIM has no map
    to average inside a mask. The identical outside raises the value, so compare only values of the same coverage.

    Raises:
        ValueError: the pictures are smaller than `MIN_MS_SSIM_SIDE`.
    """
    return _each(_ms_ssim, pictures, originals, masks)


def _each(
    measure: Callable[[Pictures, Pictures, NDArray[np.bool_]], float],
    pictures: Pictures,
    originals: Pictures,
    masks: Masks,
) -> NDArray[np.float64]:
    triples = zip(pictures, originals, masks > 127, strict=True)
    return np.array([measure(*triple) if triple[2].any() else np.nan for triple in triples], np.float64)


def _ssim(picture: Pictures, original: Pictures, inside: NDArray[np.bool_]) -> float:
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    # Windows centred in the mask do not reach beyond this, so the map inside it equals that of the whole pictures.
    y0, x0 = max(0, int(rows[0]) - RADIUS), max(0, int(columns[0]) - RADIUS)
    place = np.s_[y0 : int(rows[-1]) + RADIUS + 1, x0 : int(columns[-1]) + RADIUS + 1]
    _, values = structural_similarity_index_measure(
        _tensor(picture[place]),
        _tensor(original[place]),
        sigma=SIGMA,
        kernel_size=2 * RADIUS + 1,
        data_range=1.0,
        return_full_image=True,
    )
    return values[0].permute(1, 2, 0)[torch.from_numpy(inside[place])].mean().item()


def _psnr(picture: Pictures, original: Pictures, inside: NDArray[np.bool_]) -> float:
    return peak_signal_noise_ratio(_plain(picture[inside]), _plain(original[inside]), data_range=1.0).item()


def _ms_ssim(picture: Pictures, original: Pictures, inside: NDArray[np.bool_]) -> float:
    mixed = np.where(inside[..., None], picture, original)
    return multiscale_structural_similarity_index_measure(
        _tensor(mixed), _tensor(original), sigma=SIGMA, kernel_size=2 * RADIUS + 1, data_range=1.0
    ).item()


def _tensor(picture: Pictures) -> Tensor:
    """`(1, 3, h, w)` float32 in [0, 1], channels last in memory, which is twice as fast."""
    return _plain(np.ascontiguousarray(picture)).permute(2, 0, 1)[None]


def _plain(values: Pictures) -> Tensor:
    tensor = torch.from_numpy(values)
    return tensor.float() / 255 if values.dtype == np.uint8 else tensor
