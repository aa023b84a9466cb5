"""Driven faces in a batch: what the network sees has the face of the next identity, driven by landmarks.

Driven crops of a source also take on an expression of the target, so that its decoder learns expressions that the
source's footage does not have.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from visagist.training.augment.drive import drive, move
from visagist.training.criterion import TARGET
from visagist.training.data.dataset import IdentityDataset

CHANCE = 0.5
SHAPE = 1.2  # of the difference between two face shapes, at most
EXPRESSION = 1.25  # of the difference between two expressions, at most
CANDIDATES = 16  # expressions of which the nearest is taken
NOSE, OPENINGS = 1, ((13, 14), (159, 145), (386, 374))  # landmarks: tip of the nose; lips and lids, upper and lower


def default_chance(datasets: Sequence[IdentityDataset]) -> float:
    """Fraction of driven faces, unless given: none in a pretraining, whose identities share their crops."""
    is_possible = all(each.landmarks is not None for each in datasets)
    return CHANCE if is_possible and len(set(map(id, datasets))) == len(datasets) else 0.0


def drive_batch(
    planes: Tensor,
    rows: Sequence[Tensor],
    datasets: Sequence[IdentityDataset],
    chance: float,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """A batch of which a random part is driven.

    Args:
        planes: `(B, 5, S, S)` of the batch, identity after identity: source, target, further sources.
        rows: indices of each identity's crops.
        datasets: of the identities, with landmarks.
        chance: fraction of driven faces.
        generator: on the CPU.

    Returns:
        The truth `(B, 5, S, S)`, in which driven crops of sources have an expression of the target, and the network's
        input `(B, 3, S, S)`, in which all driven crops have skin and shape of the next identity. RGB in [0, 1].
    """
    truth, seen = planes.clone(), planes[:, :3].clone()
    counts, following = [len(each) for each in rows], [*datasets[1:], datasets[0]]
    parts = zip(truth.split(counts), seen.split(counts), rows, datasets, following, strict=True)
    for index, (crops, faces, own_rows, own, other) in enumerate(parts):
        driven = (torch.rand(len(own_rows), generator=generator) < chance).nonzero()[:, 0]
        if not len(driven):
            continue
        assert own.landmarks is not None
        assert other.landmarks is not None
        device = planes.device
        points, at = own.landmarks[own_rows[driven].to(device)], driven.to(device)
        if index != TARGET:
            to = express(points, own, datasets[TARGET], generator)
            crops[at] = move(crops[at], points, to)
            points = to
        texture = other.draw(len(driven), generator).to(device)
        shape = other.landmarks.mean(0) - own.landmarks.mean(0)
        to = points + SHAPE * strengths(len(driven), device, generator) * shape
        faces[at] = drive(crops[at], points, other.crops(texture)[:, :3], other.landmarks[texture], to)
    return truth, seen


def express(points: Tensor, own: IdentityDataset, target: IdentityDataset, generator: torch.Generator) -> Tensor:
    """Landmarks `(B, 478, 2)` with expressions of the target, of which some are drawn and the most feasible is taken.

    A warp can neither open a closed mouth or eye nor turn the head far, so it is the nearest in these.
    """
    assert own.landmarks is not None
    assert target.landmarks is not None
    count, device = len(points), points.device
    own_mean, target_mean = own.landmarks.mean(0), target.landmarks.mean(0)
    drawn = target.landmarks[target.draw(count * CANDIDATES, generator).to(device)] - target_mean
    distances = obstacles(drawn + target_mean, target_mean).unflatten(0, (count, CANDIDATES))
    distances = (distances - obstacles(points, own_mean)[:, None]).norm(dim=-1)
    nearest = drawn.unflatten(0, (count, CANDIDATES))[torch.arange(count, device=device), distances.argmin(1)]
    return points + EXPRESSION * strengths(count, device, generator) * (own_mean + nearest - points)


def obstacles(points: Tensor, mean: Tensor) -> Tensor:
    """`(B, 5)`: how far mouth and eyes are open, and the turn of the head, in crop widths."""

    def gaps(of: Tensor) -> Tensor:
        return torch.stack([(of[..., upper, :] - of[..., lower, :]).norm(dim=-1) for upper, lower in OPENINGS], -1)

    lids = gaps(points)[..., 1:] - gaps(mean)[..., 1:]  # eyes at rest differ in size
    return torch.cat([gaps(points)[..., :1], lids, 0.5 * (points - mean)[..., NOSE, :]], -1)


def strengths(count: int, device: torch.device, generator: torch.Generator) -> Tensor:
    """`(count, 1, 1)` random numbers in [0, 1)."""
    return torch.rand(count, 1, 1, generator=generator).to(device)
