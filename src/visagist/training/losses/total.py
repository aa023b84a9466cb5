"""The losses of one iteration, weighed as the options say.

- `reconstruction_parts`: of faces drawn as themselves; `RECONSTRUCTION`: their names
- `style_parts`: of the swap
- `face_loss`: the sum of the former with the options left alone
"""

from torch import Tensor

from visagist.training.losses.frequency import focal_frequency
from visagist.training.losses.options import LossOptions
from visagist.training.losses.pixel import absolute, edges, mask_error, squared
from visagist.training.losses.similarity import dssim
from visagist.training.losses.style import background_style, face_style

RECONSTRUCTION = ("dssim", "absolute", "squared", "edges", "focal_frequency", "mask")


def reconstruction_parts(
    rgb: Tensor, mask: Tensor, truth: Tensor, hull: Tensor, weights: Tensor, options: LossOptions
) -> dict[str, Tensor]:
    """The losses of faces drawn as themselves, by the names of their weights.

    Args:
        rgb: drawn faces.
        mask: their masks, `(B, 1, H, W)` in [0, 1].
        truth: the real faces.
        hull: their landmark hulls, `(B, 1, H, W)` in [0, 1].
        weights: what each pixel counts; see `pixel_weights`.
        options: a loss of weight 0 is not computed.

    Returns:
        Scalars, already weighed: their sum is to be minimised.
    """
    parts: dict[str, Tensor] = {}
    if options.dssim:
        parts["dssim"] = options.dssim * dssim(rgb, truth, weights)
    if options.absolute:
        parts["absolute"] = options.absolute * absolute(rgb, truth, weights)
    if options.squared:
        parts["squared"] = options.squared * squared(rgb, truth, weights)
    if options.edges:
        parts["edges"] = options.edges * edges(rgb, truth, weights)
    if options.focal_frequency:  # the face against its surroundings, but no sharp steps around eyes and mouth
        parts["focal_frequency"] = options.focal_frequency * focal_frequency(rgb, truth, weights.clamp_max(1))
    if options.mask:
        parts["mask"] = options.mask * mask_error(mask, hull)
    return parts


def style_parts(
    swap: Tensor, known: Tensor | None, target: Tensor, hull: Tensor, options: LossOptions
) -> dict[str, Tensor]:
    """The losses of the swap against the target's own crops, by the names of their weights.

    Args:
        swap: `(B, 3, H, W)`: the source's decoder on the target's latent, detached; see `style.py`.
        known: what the network of before face style draws of the same; None where face style is not asked for.
        target: the real crops that were encoded.
        hull: their landmark hulls, `(B, 1, H, W)` in [0, 1].
        options: a loss of weight 0 is not computed.

    Returns:
        Scalars, already weighed.
    """
    parts: dict[str, Tensor] = {}
    if known is not None:
        parts["face_style"] = options.face_style * face_style(swap, known, target, hull)
    if options.background_style:
        parts["background_style"] = options.background_style * background_style(swap, target, hull)
    return parts


def face_loss(rgb: Tensor, mask: Tensor, truth: Tensor, hull: Tensor, weights: Tensor) -> Tensor:
    """The sum of `reconstruction_parts` with the default weights: DSSIM, L1 and edges, and half of the mask's error."""
    parts = reconstruction_parts(rgb, mask, truth, hull, weights, LossOptions())
    return sum(parts.values(), start=rgb.new_zeros(()))
