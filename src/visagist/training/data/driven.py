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

DEFAULT_CHANCE = 0.5
MAX_SHAPE_GAIN = 1.2  # of the difference between two face shapes, at most
MAX_EXPRESSION_GAIN = 1.25  # of the difference between two expressions, at most
CANDIDATES = 16  # expressions of which the nearest is taken
OBSTACLES = [13, 14, 159, 145, 386, 374, 1]  # landmarks: lips and lids, upper and lower each; tip of the nose
STRIDE = 3  # between landmarks that move pixels: their influences overlap


def default_chance(datasets: Sequence[IdentityDataset]) -> float:
    """Fraction of driven faces, unless given: none in a pretraining, whose identities share their crops."""
    is_possible = all(each.landmarks is not None for each in datasets)
    return DEFAULT_CHANCE if is_possible and len(set(map(id, datasets))) == len(datasets) else 0.0


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
            to = random_expressions(points, own, datasets[TARGET], generator)
            crops[at] = move(crops[at], points[:, ::STRIDE], to[:, ::STRIDE])
            points = to
        texture = other.draw(len(driven), generator).to(device)
        to = points + MAX_SHAPE_GAIN * strengths(len(driven), device, generator) * (other.shape - own.shape)
        landmarks = [each[:, ::STRIDE] for each in (points, other.landmarks[texture], to)]
        faces[at] = drive(crops[at], landmarks[0], other.crops(texture)[:, :3], landmarks[1], landmarks[2])
    return truth, seen


def random_expressions(
    points: Tensor, own: IdentityDataset, target: IdentityDataset, generator: torch.Generator
) -> Tensor:
    """Landmarks `(B, 478, 2)` with expressions of the target, of which some are drawn and the most feasible is taken.

    A warp can neither open a closed mouth or eye nor turn the head far, so it is the nearest in these.
    """
    assert target.landmarks is not None
    count, device = len(points), points.device
    rows = target.draw(count * CANDIDATES, generator).to(device)
    theirs = unwarpable_features(target.landmarks[rows[:, None], OBSTACLES], target.shape[OBSTACLES])
    ours = unwarpable_features(points[:, OBSTACLES], own.shape[OBSTACLES])
    distances = (theirs.unflatten(0, (count, CANDIDATES)) - ours[:, None]).norm(dim=-1)
    nearest = rows.view(count, CANDIDATES).gather(1, distances.argmin(1, keepdim=True))[:, 0]
    expression = target.landmarks[nearest] - target.shape
    return points + MAX_EXPRESSION_GAIN * strengths(count, device, generator) * (own.shape + expression - points)


def unwarpable_features(points: Tensor, mean: Tensor) -> Tensor:
    """`(B, 5)` openings of mouth and eyes, and the turn of the head, in crop widths, from landmarks `OBSTACLES`."""

    def openings(of: Tensor) -> Tensor:
        upper, lower = of[..., :6, :].unflatten(-2, (3, 2)).unbind(-2)
        return (upper - lower).norm(dim=-1)

    lids = openings(points)[..., 1:] - openings(mean)[..., 1:]  # eyes at rest differ in size
    return torch.cat([openings(points)[..., :1], lids, 0.5 * (points - mean)[..., 6, :]], -1)


def strengths(count: int, device: torch.device, generator: torch.Generator) -> Tensor:
    """`(count, 1, 1)` random numbers in [0, 1)."""
    return torch.rand(count, 1, 1, generator=generator).to(device)
