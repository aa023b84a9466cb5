"""How far a drawn face is from what it should be.

- `LossOptions`: the weight of each loss
- `reconstruction_parts`, `style_parts`: all picture losses of an iteration, weighed; `face_loss`: with the defaults
- `pixel.py`, `similarity.py`, `frequency.py`: against the real face (`absolute`, `squared`, `edges`, `mask_error`;
  `dssim`; `focal_frequency`)
- `style.py`: of the swap against the target's crop (`face_style`, `background_style`)
- `identity.py`: of the swap against the source's embedding (`FaceEmbedder`, `identity_loss`)
- `adversarial.py`: discriminators (`PatchDiscriminator`, `LatentDiscriminator`), and `Adversary` to train one
- `masked_ssim`, `masked_psnr`: what held-out faces are judged by

Pictures are `(B, 3, H, W)` float32 RGB in [0, 1]; weights and masks `(B, 1, H, W)` >= 0. Means run over pixels of all
faces together, so that a loss does not depend on how many faces a batch has. All of it is float32 and belongs outside
of autocast: a variance as the difference of two means does not survive bf16. Only the networks among them
(discriminators, embedder) gain by it.
"""

from visagist.training.losses.adversarial import (
    Adversary,
    LatentDiscriminator,
    PatchDiscriminator,
    discriminator_loss,
    generator_loss,
)
from visagist.training.losses.frequency import focal_frequency
from visagist.training.losses.identity import FaceEmbedder, aligned, aligned_grid, identity_loss
from visagist.training.losses.options import LossOptions
from visagist.training.losses.pixel import absolute, edges, mask_error, pixel_weights, squared, weighted_mean
from visagist.training.losses.similarity import dssim, inner, masked_psnr, masked_ssim, ssim_map
from visagist.training.losses.style import background_style, face_style
from visagist.training.losses.total import RECONSTRUCTION, face_loss, reconstruction_parts, style_parts

__all__ = [
    "RECONSTRUCTION",
    "Adversary",
    "FaceEmbedder",
    "LatentDiscriminator",
    "LossOptions",
    "PatchDiscriminator",
    "absolute",
    "aligned",
    "aligned_grid",
    "background_style",
    "discriminator_loss",
    "dssim",
    "edges",
    "face_loss",
    "face_style",
    "focal_frequency",
    "generator_loss",
    "identity_loss",
    "inner",
    "mask_error",
    "masked_psnr",
    "masked_ssim",
    "pixel_weights",
    "reconstruction_parts",
    "squared",
    "ssim_map",
    "style_parts",
    "weighted_mean",
]
