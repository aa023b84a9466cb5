"""Driven faces in a batch: the input shows the face of the next identity, driven by the crop's landmarks.

Driven crops of a source also get an expression of the target, so that its decoder learns expressions that the source's
footage lacks.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from visagist.training.augment.drive import drive, move
from visagist.training.criterion import TARGET
from visagist.training.data.dataset import IdentityDataset

DEFAULT_CHANCE = 0.5
MAX_SHAPE_GAIN = 1.2  # maximum multiple of the difference between two face shapes
MAX_EXPRESSION_GAIN = 1.25  # maximum multiple of the difference between two expressions
CANDIDATES = 16  # random expressions, of which the nearest is used
UNWARPABLE_LANDMARKS = [13, 14, 159, 145, 386, 374, 1]  # landmarks: upper and lower lips and lids; tip of the nose
STRIDE = 3  # every third landmark moves pixels, since their influences overlap


def default_chance(datasets: Sequence[IdentityDataset]) -> float:
    """Default fraction of driven faces; 0 in a pretraining, where identities share their crops."""
    is_possible = all(each.landmarks is not None for each in datasets)
    return DEFAULT_CHANCE if is_possible and len(set(map(id, datasets))) == len(datasets) else 0.0


def drive_batch(
    planes: Tensor,
    rows: Sequence[Tensor],
    datasets: Sequence[IdentityDataset],
    chance: float,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Drive a random part of a batch.

    Args:
        planes: `(B, 5, S, S)` of the batch, identity after identity: source, target, further sources.
        rows: indices of each identity's crops.
        datasets: of the identities, with landmarks.
        chance: fraction of driven faces.
        generator: on the CPU.

    Returns:
        The ground truth `(B, 5, S, S)`, in which driven crops of sources have an expression of the target, and the
        input `(B, 3, S, S)`, in which all driven crops have the skin and shape of the next identity. RGB in [0, 1].
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
    """Landmarks `(B, 478, 2)` with random expressions of the target.

    A warp can neither open a closed mouth or eye nor turn the head far, so of some candidates the nearest in these
    features is used.
    """
    assert target.landmarks is not None
    count, device = len(points), points.device
    rows = target.draw(count * CANDIDATES, generator).to(device)
    theirs = unwarpable_features(
        target.landmarks[rows[:, None], UNWARPABLE_LANDMARKS], target.shape[UNWARPABLE_LANDMARKS]
    )
    ours = unwarpable_features(points[:, UNWARPABLE_LANDMARKS], own.shape[UNWARPABLE_LANDMARKS])
    distances = (theirs.unflatten(0, (count, CANDIDATES)) - ours[:, None]).norm(dim=-1)
    nearest = rows.view(count, CANDIDATES).gather(1, distances.argmin(1, keepdim=True))[:, 0]
    expression = target.landmarks[nearest] - target.shape
    return points + MAX_EXPRESSION_GAIN * strengths(count, device, generator) * (own.shape + expression - points)


def unwarpable_features(points: Tensor, mean: Tensor) -> Tensor:
    """`(B, 5)` openings of mouth and eyes and turn of the head, in crop widths, from `UNWARPABLE_LANDMARKS`."""

    def openings(of: Tensor) -> Tensor:
        upper, lower = of[..., :6, :].unflatten(-2, (3, 2)).unbind(-2)
        return (upper - lower).norm(dim=-1)

    lids = openings(points)[..., 1:] - openings(mean)[..., 1:]  # eyes at rest differ in size
    return torch.cat([openings(points)[..., :1], lids, 0.5 * (points - mean)[..., 6, :]], -1)


def strengths(count: int, device: torch.device, generator: torch.Generator) -> Tensor:
    """`(count, 1, 1)` random numbers in [0, 1)."""
    return torch.rand(count, 1, 1, generator=generator).to(device)
