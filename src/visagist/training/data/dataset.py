"""The crops of one identity on the device, and what each of their pixels counts."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from visagist.core.errors import ConfigError, FacesetError
from visagist.faceset.split import validation_count
from visagist.training.data.crops import Crops

PLANES = 5  # of a crop: three of RGB, hull, and eyes and mouth as read or importance as trained with
DETAIL_WINDOW = 9  # px, in which detail is measured
PROFILE = 90.0  # degrees, the largest yaw that has a step of its own


class IdentityDataset:
    """The crops of one identity on the device: those trained on, then a contiguous end held out for validation.

    Attributes:
        planes: `(N, S, S, 5)` uint8: RGB, hull, importance (see `importance`).
        palette: colours inside the hulls.
        validation: number of crops at the end that are never trained on.
        centroid: `(128,)` mean embedding of the identity, empty if unknown.
        weights: how often each of the others is drawn, None if all are drawn equally often.

    Raises:
        FacesetError: there is nothing within the hulls.
        ConfigError: yaws are to be drawn equally often, but are unknown.
    """

    def __init__(self, crops: Crops, held_out: float, device: torch.device, yaw_bins: int = 0) -> None:
        images, hulls = torch.from_numpy(crops.images), torch.from_numpy(crops.hulls)
        features = torch.zeros_like(hulls) if crops.features is None else torch.from_numpy(crops.features)
        self.planes = torch.empty(*hulls.shape, PLANES, dtype=torch.uint8, device=device)
        parts = zip(self.planes.split(64), images.split(64), hulls.split(64), features.split(64), strict=True)
        for planes, rgb, hull, feature in parts:  # each into its place, for a pool of many people is large
            planes.copy_(torch.cat([rgb, hull[..., None], importance(rgb, hull, feature)[..., None]], -1))
        self.validation = validation_count(len(images), held_out) if crops.validation is None else crops.validation
        self.training = len(images) - self.validation
        self.palette = palette(images[: self.training], hulls[: self.training])
        self.centroid = crops.centroid
        self.weights: Tensor | None = None
        if yaw_bins:
            if crops.yaws is None or not np.isfinite(crops.yaws).all():
                raise ConfigError(
                    f"{crops.name}: {yaw_bins} yaw bins are asked for, but not all these crops have a known pose; "
                    "extract them with visagist, or leave --augmentation.yaw-bins at 0"
                )
            self.weights = yaw_weights(torch.from_numpy(crops.yaws[: self.training]), yaw_bins)

    def crops(self, indices: Tensor) -> Tensor:
        """`(B, 5, S, S)` float32 in [0, 1], channels_last, on the device."""
        return self.planes[indices.to(self.planes.device)].permute(0, 3, 1, 2).float() / 255

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """`(B, 5, S, S)` crops drawn at random from the training part."""
        if self.weights is None:
            return self.crops(torch.randint(self.training, (count,), generator=generator))
        return self.crops(torch.multinomial(self.weights, count, replacement=True, generator=generator))

    def validation_crops(self, count: int) -> Tensor:
        """`(B, 5, S, S)`: at most `count` of the crops held out, evenly spaced."""
        indices = torch.linspace(self.training, len(self.planes) - 1, min(count, self.validation)).round().long()
        return self.crops(indices)


def yaw_weights(yaws: Tensor, bins: int) -> Tensor:
    """The weight of each crop with which all steps of yaw that have crops are drawn equally often.

    The steps are equal, from -90 to 90 degrees; what lies beyond belongs to the last ones. Within a step all crops
    count the same: one that is alone there is drawn as often as all of a full one together.

    Args:
        yaws: `(N,)` degrees.
        bins: steps, 1 or more; 1 weighs all crops alike.

    Returns:
        `(N,)` float64, sum 1.

    >>> yaw_weights(torch.tensor([-2.0, 0.0, 1.0, 40.0]), 9).mul(6).round().tolist()
    [1.0, 1.0, 1.0, 3.0]
    """
    step = ((yaws.double() / PROFILE + 1) / 2 * bins).floor().clamp(0, bins - 1).long()
    crops = torch.bincount(step, minlength=bins)
    return 1 / (crops[step] * (crops > 0).sum()).double()


def importance(images: Tensor, hulls: Tensor, features: Tensor) -> Tensor:
    """How much more than plain skin each pixel counts: eyes and mouth most, a quarter of it where there is detail.

    Without it a network first learns the mean face: lids and lips are small, and their moving hardly changes a mean
    over all pixels.

    Args:
        images: `(N, S, S, 3)` uint8.
        hulls: `(N, S, S)` uint8.
        features: `(N, S, S)` uint8, 255 at eyes and mouth.

    Returns:
        `(N, S, S)` uint8.
    """
    return torch.maximum(detail(images, hulls) // 4, features)


def detail(images: Tensor, hulls: Tensor) -> Tensor:
    """How much happens around each pixel: deviation of the brightness there, by twice its mean in the hull.

    Eyes, brows, nostrils and teeth come out near 1, cheeks near 0: a map of where sharpness is seen, whatever the
    coverage.

    Args:
        images: `(N, S, S, 3)` uint8.
        hulls: `(N, S, S)` uint8.

    Returns:
        `(N, S, S)` uint8, 0 outside the hull.
    """
    grey = images.float().mean(-1)[:, None] / 255  # (N, 1, S, S)

    def blur(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, DETAIL_WINDOW, 1, DETAIL_WINDOW // 2, count_include_pad=False)

    deviation = (blur(grey**2) - blur(grey) ** 2).clamp_min(0).sqrt()
    inside = (hulls[:, None] > 127).float()
    mean = (deviation * inside).sum((1, 2, 3), keepdim=True) / inside.sum((1, 2, 3), keepdim=True).clamp_min(1)
    return ((deviation / (3 * mean + 1e-6)).clamp(0, 1) * inside * 255).round().to(torch.uint8)[:, 0]


def palette(images: Tensor, hulls: Tensor) -> Tensor:
    """`(2, 3)` mean and deviation of each channel inside the hulls of `(N, S, S, 3)` uint8 images, in [0, 1]."""
    inside = images[:: max(1, len(images) // 100)][hulls[:: max(1, len(images) // 100)] > 127].float() / 255  # (P, 3)
    if len(inside) < 2:
        raise FacesetError("the hulls of the crops are empty: nothing to train on")
    return torch.stack([inside.mean(0), inside.std(0).clamp_min(1e-3)])
