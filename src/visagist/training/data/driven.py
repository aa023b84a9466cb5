"""Driven faces in a batch: each identity's crops, shown with the face of the next."""

from collections.abc import Sequence

import torch
from torch import Tensor

from visagist.training.augment.drive import drive
from visagist.training.data.dataset import IdentityDataset

SHAPE = 1.2  # of the difference between two face shapes, at most


def drive_batch(
    planes: Tensor,
    rows: Sequence[Tensor],
    datasets: Sequence[IdentityDataset],
    chance: float,
    generator: torch.Generator,
) -> Tensor:
    """RGB of a batch, of which a random part is driven: shown with skin and shape of the next identity.

    Args:
        planes: `(B, 5, S, S)` of the batch, identity after identity.
        rows: indices of each identity's crops.
        datasets: of the identities, with landmarks.
        chance: fraction of driven faces.
        generator: on the CPU.

    Returns:
        `(B, 3, S, S)` RGB in [0, 1].
    """
    faces = planes[:, :3].clone()
    parts = faces.split([len(each) for each in rows])
    crops = planes.split([len(each) for each in rows])
    following = [*datasets[1:], datasets[0]]
    for part, own_crops, own_rows, own, other in zip(parts, crops, rows, datasets, following, strict=True):
        chosen = (torch.rand(len(own_rows), generator=generator) < chance).nonzero()[:, 0]
        texture, strength = other.draw(len(chosen), generator), torch.rand(len(chosen), 1, 1, generator=generator)
        if len(chosen):
            assert own.landmarks is not None
            assert other.landmarks is not None
            device = planes.device
            points = own.landmarks[own_rows[chosen].to(device)]
            shape = other.landmarks.mean(0) - own.landmarks.mean(0)
            to = points + SHAPE * strength.to(device) * shape
            chosen, texture_points = chosen.to(device), other.landmarks[texture.to(device)]
            part[chosen] = drive(own_crops[chosen], points, other.crops(texture)[:, :3], texture_points, to)
    return faces
