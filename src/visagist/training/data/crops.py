"""Facesets in memory, on the device, as the trainer wants them.

- `Crops`: one person's crops and hulls as plain arrays, or a pool of many people's, and where they come from
- `load_crops`: those of a faceset in a folder; `crops_of`: of one that is open
- `Side`: one person's training and held-out crops on the device
- `held_out_count`: where the held-out ones begin
- `yaw_weights`: how often each is drawn where all yaws should be seen equally often
"""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from visagist.core.errors import ConfigError, FacesetError
from visagist.faces import Coverage
from visagist.faceset import Faceset, is_alone
from visagist.training.augment import Palette

MIN_CROPS = 8
PLANES = 5  # of a crop: three of RGB, hull, and eyes and mouth as read or importance as trained with
DETAIL_WINDOW = 9  # px, in which detail is measured
PROFILE = 90.0  # degrees, the largest yaw that has a step of its own


@dataclass(frozen=True)
class Crops:
    """One person's crops, or those of many people in one pool, to pretrain on.

    Attributes:
        images: `(N, S, S, 3)` uint8 RGB; the network's faces grown by a margin about their centre.
        hulls: `(N, S, S)` uint8, 255 inside the landmark hull.
        footage: SHA-256 of each footage file that the crops come from.
        centroid: `(128,)` mean embedding of the person, or empty.
        name: what to call it in a message.
        features: `(N, S, S)` uint8, 255 at eyes and mouth; None where nobody knows where they are.
        is_alone: whether the footage shows this person and nobody else; None where nobody knows.
        yaws: `(N,)` float32 degrees by which the heads are turned aside; None where nobody knows.
        people: how many people these are.
        held_out: how many of the last crops are only judged; None: the part that the options say.
    """

    images: NDArray[np.uint8]
    hulls: NDArray[np.uint8]
    footage: tuple[str, ...] = ()
    centroid: tuple[float, ...] = ()
    name: str = "crops"
    features: NDArray[np.uint8] | None = None
    is_alone: bool | None = None
    yaws: NDArray[np.float32] | None = None
    people: int = 1
    held_out: int | None = None

    def __post_init__(self) -> None:
        n = len(self.images)
        if n < MIN_CROPS:
            raise FacesetError(
                f"{self.name}: {n} crops are too few to train on; {MIN_CROPS} are the least, 300 are fair"
            )
        if self.features is not None and self.features.shape != self.hulls.shape:
            raise FacesetError(f"{self.name}: features {self.features.shape} do not fit hulls {self.hulls.shape}")
        if self.yaws is not None and self.yaws.shape != (n,):
            raise FacesetError(f"{self.name}: yaws {self.yaws.shape} do not fit {n} crops")
        if self.images.shape != (*self.hulls.shape, 3) or self.images.shape[1] != self.images.shape[2]:
            raise FacesetError(
                f"{self.name}: images {self.images.shape} and hulls {self.hulls.shape} do not fit together"
            )
        if self.held_out is not None and not 0 < self.held_out < n:
            raise FacesetError(f"{self.name}: {self.held_out} of {n} crops cannot be held out; 1 to {n - 1} can")

    @cached_property
    def fingerprint(self) -> str:
        """Hexadecimal SHA-256 of all pixels, and of how many are held out where the crops themselves say so."""
        digest = hashlib.sha256(str(self.images.shape).encode())
        digest.update(np.ascontiguousarray(self.images).data)
        digest.update(np.ascontiguousarray(self.hulls).data)
        if self.held_out is not None:
            digest.update(str(self.held_out).encode())
        return digest.hexdigest()


def load_crops(folder: Path, coverage: Coverage, size: int, margin: float) -> Crops:
    """A faceset's crops for a network of `size` px faces, `margin` times as large.

    Raises:
        FacesetError: the folder is no faceset, a crop cannot be read, or there are too few.
    """
    faceset = Faceset.open(folder)
    crops = crops_of(faceset, coverage, size, margin)  # refuses too few, of which no mean could be made
    return replace(crops, is_alone=is_alone(faceset), centroid=tuple(faceset.centroid().tolist()))


def crops_of(faceset: Faceset, coverage: Coverage, size: int, margin: float) -> Crops:
    """The crops themselves, without what is known of the person.

    Raises:
        FacesetError: a crop cannot be read, or there are too few.
    """
    images, hulls, features = faceset.load(coverage, size, margin)
    poses = [record.pose for record in faceset.records]
    yaws = np.array([yaw for yaw, *_ in poses], np.float32) if all(poses) else None
    return Crops(images, hulls, faceset.footage_hashes, name=str(faceset.folder), features=features, yaws=yaws)


class Side:
    """One person's crops on the device, divided into those trained on and a contiguous end that is held out.

    Attributes:
        planes: `(N, S, S, 5)` uint8: RGB, hull, importance (see `importance`).
        palette: colours inside the hulls.
        held_out: number of crops at the end that are never trained on.
        centroid: `(128,)` the person's mean embedding, empty where nobody knows.
        weights: how often each of the others is drawn, None where all are equally often.

    Raises:
        FacesetError: there is nothing within the hulls.
        ConfigError: yaws are to be drawn equally often, and are not known.
    """

    def __init__(self, crops: Crops, held_out: float, device: torch.device, yaw_bins: int = 0) -> None:
        images, hulls = torch.from_numpy(crops.images), torch.from_numpy(crops.hulls)
        features = torch.zeros_like(hulls) if crops.features is None else torch.from_numpy(crops.features)
        self.planes = torch.empty(*hulls.shape, PLANES, dtype=torch.uint8, device=device)
        parts = zip(self.planes.split(64), images.split(64), hulls.split(64), features.split(64), strict=True)
        for planes, rgb, hull, feature in parts:  # each into its place, for a pool of many people is large
            planes.copy_(torch.cat([rgb, hull[..., None], importance(rgb, hull, feature)[..., None]], -1))
        self.held_out = held_out_count(len(images), held_out) if crops.held_out is None else crops.held_out
        self.training = len(images) - self.held_out
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

    def judged(self, count: int) -> Tensor:
        """`(B, 5, S, S)`: at most `count` of the held-out crops, evenly spaced."""
        indices = torch.linspace(self.training, len(self.planes) - 1, min(count, self.held_out)).round().long()
        return self.crops(indices)


def held_out_count(crops: int, part: float) -> int:
    """How many crops, the last of a faceset, are never trained on.

    >>> held_out_count(100, 0.06), held_out_count(8, 0.06)
    (6, 1)
    """
    return max(1, round(part * crops))


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


def palette(images: Tensor, hulls: Tensor) -> Palette:
    """Mean and deviation of each channel inside the hulls of `(N, S, S, 3)` uint8 images, in [0, 1]."""
    inside = images[:: max(1, len(images) // 100)][hulls[:: max(1, len(images) // 100)] > 127].float() / 255  # (P, 3)
    if len(inside) < 2:
        raise FacesetError("the hulls of the crops are empty: nothing to train on")
    return Palette(inside.mean(0), inside.std(0).clamp_min(1e-3))
