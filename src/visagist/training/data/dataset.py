"""Crops of one identity on the device, and the importance of their pixels."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from visagist.core.errors import ConfigError, FacesetError
from visagist.faceset.split import validation_count
from visagist.training.data.crops import Crops

PLANES = 5  # of a crop: RGB, hull, importance
DETAIL_WINDOW = 9  # px
MAX_YAW = 90.0  # degrees


class IdentityDataset:
    """Crops of one identity on the device; the last ones are held out for validation.

    Attributes:
        planes: `(N, S, S, 5)` uint8: RGB, hull, importance (see `importance`).
        palette: `(2, 3)` mean and standard deviation of each channel inside the hulls, in [0, 1], on the CPU.
        validation: number of validation crops.
        centroid: `(128,)` mean embedding of the identity, empty if unknown.
        landmarks: `(N, 478, 2)` in crop widths, on the device; None if unknown.
        shape: `(478, 2)` mean landmarks, on the device; empty if unknown.
        weights: probability of each training crop; None if all are equal.

    Raises:
        FacesetError: the hulls are empty.
        ConfigError: yaw bins without known yaws.
    """

    def __init__(self, crops: Crops, held_out: float, device: torch.device, yaw_bins: int = 0) -> None:
        images, hulls = torch.from_numpy(crops.images), torch.from_numpy(crops.hulls)
        features = torch.zeros_like(hulls) if crops.features is None else torch.from_numpy(crops.features)
        self.planes = torch.empty(*hulls.shape, PLANES, dtype=torch.uint8, device=device)
        parts = zip(self.planes.split(64), images.split(64), hulls.split(64), features.split(64), strict=True)
        for planes, rgb, hull, feature in parts:  # in chunks, since pools for pretraining are large
            planes.copy_(torch.cat([rgb, hull[..., None], importance(rgb, hull, feature)[..., None]], -1))
        self.validation = validation_count(len(images), held_out) if crops.validation is None else crops.validation
        self.training = len(images) - self.validation
        every = max(1, self.training // 100)
        inside = images[: self.training : every][hulls[: self.training : every] > 127].float() / 255  # (P, 3)
        if len(inside) < 2:
            raise FacesetError("the hulls of the crops are empty: nothing to train on")
        self.palette = torch.stack([inside.mean(0), inside.std(0).clamp_min(1e-3)])
        self.centroid = crops.centroid
        self.landmarks = None if crops.landmarks is None else torch.from_numpy(crops.landmarks).to(device)
        self.shape = torch.empty(0, device=device) if self.landmarks is None else self.landmarks.mean(0)
        self.weights: Tensor | None = None
        if yaw_bins:
            if crops.yaws is None or not np.isfinite(crops.yaws).all():
                raise ConfigError(
                    f"{crops.name}: yaw bins need the pose of every crop, but some are unknown; "
                    "extract them with visagist, or leave --augmentation.yaw-bins at 0"
                )
            self.weights = yaw_weights(torch.from_numpy(crops.yaws[: self.training]), yaw_bins)

    def crops(self, indices: Tensor) -> Tensor:
        """`(B, 5, S, S)` float32 in [0, 1], channels_last, on the device."""
        return self.planes[indices.to(self.planes.device)].permute(0, 3, 1, 2).float() / 255

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """`(B,)` indices of random training crops."""
        if self.weights is None:
            return torch.randint(self.training, (count,), generator=generator)
        return torch.multinomial(self.weights, count, replacement=True, generator=generator)

    def validation_crops(self, count: int) -> Tensor:
        """At most `count` evenly spaced validation crops, `(B, 5, S, S)`."""
        indices = torch.linspace(self.training, len(self.planes) - 1, min(count, self.validation)).round().long()
        return self.crops(indices)


def yaw_weights(yaws: Tensor, bins: int) -> Tensor:
    """Probabilities, `(N,)` float64, that draw all non-empty bins of `(N,)` yaws in degrees equally often.

    Bins are equal intervals from -90 to 90 degrees; larger yaws belong to the outermost bins.

    >>> yaw_weights(torch.tensor([-2.0, 0.0, 1.0, 40.0]), 9).mul(6).round().tolist()
    [1.0, 1.0, 1.0, 3.0]
    """
    each = ((yaws.double() / MAX_YAW + 1) / 2 * bins).floor().clamp(0, bins - 1).long()
    crops = torch.bincount(each, minlength=bins)
    return 1 / (crops[each] * (crops > 0).sum()).double()


def importance(images: Tensor, hulls: Tensor, features: Tensor) -> Tensor:
    """Additional weight of pixels over plain skin: 255 at eyes and mouth, up to a quarter of that at other detail.

    Lids and lips are so small that their movement would hardly affect the loss. Detail is the local standard deviation
    of brightness, relative to its mean in the hull.

    All arrays are uint8: `(N, S, S, 3)` images, `(N, S, S)` hulls, features (255 at eyes and mouth) and result.
    """
    grey = images.float().mean(-1)[:, None] / 255  # (N, 1, S, S)

    def blur(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, DETAIL_WINDOW, 1, DETAIL_WINDOW // 2, count_include_pad=False)

    deviation = (blur(grey**2) - blur(grey) ** 2).clamp_min(0).sqrt()
    inside = (hulls[:, None] > 127).float()
    mean = (deviation * inside).sum((1, 2, 3), keepdim=True) / inside.sum((1, 2, 3), keepdim=True).clamp_min(1)
    detail = ((deviation / (3 * mean + 1e-6)).clamp(0, 1) * inside * 255).round().to(torch.uint8)[:, 0]
    return torch.maximum(detail // 4, features)
