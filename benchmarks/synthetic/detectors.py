"""How far the detectors are from the truth.

- `landmark_errors`: the mesh's points against the head model's, by region
- `pose_errors`: the angles
- `expression_correlations`: the blendshapes against the coefficients that moved the head

The mesh's 478 points and the head model's 68 name the same places by two hands: part of every distance is where each
hand put the point. So there are two figures: the whole distance, and what is left of it when the mean difference of
each point, in the face's own frame and over the clip, is taken away - the detector's own wandering.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.synthetic.cases import Clip
from benchmarks.synthetic.scene import DISTANCE, Placement
from visagist.evaluation import FaceObservations
from visagist.faces import BLENDSHAPE_NAMES, align, transform

# Points of the mesh at the places of the usual 68, and the irises' centres.
CORRESPONDING = (
    *(162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389),
    *(71, 63, 105, 66, 107, 336, 296, 334, 293, 301),
    *(168, 197, 5, 4, 75, 97, 2, 326, 305),
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181),
    *(78, 82, 13, 312, 308, 317, 14, 87),
    *(468, 473),
)
REGIONS = {
    "jaw": range(17),
    "brows": range(17, 27),
    "nose": range(27, 36),
    "eyes": range(36, 48),
    "mouth": range(48, 68),
    "irises": range(68, 70),
}
ANGLES = ("yaw", "pitch", "roll")
MOVES = 0.02  # standard deviation of a coefficient that is worth following


@dataclass(frozen=True)
class LandmarkError:
    """Of one region, in % of the distance between the outer corners of the eyes."""

    whole: float  # mean distance of the visible points
    wandering: float  # of what is left without each point's mean difference


@dataclass(frozen=True)
class PoseError:
    """Of one angle."""

    offset: float  # degrees, mean difference: what the mean face calls straight, and the head model does not
    slope: float  # of what was seen on the truth: above 1 turns are overstated; NaN where nothing turns
    wandering: float  # degrees, deviation from that line


def landmark_errors(seen: FaceObservations, truth: Clip) -> dict[str, LandmarkError]:
    """By region; only points that the camera sees, only frames in which a face was found."""
    found = np.flatnonzero(seen.is_found)
    mesh = seen.landmarks[found][:, list(CORRESPONDING), :2].astype(np.float64)  # (n, 70, 2)
    true, visible = truth.landmarks[found], truth.seen[found]
    eyes = np.linalg.norm(true[:, 45] - true[:, 36], axis=1)  # (n,)
    whole = np.where(visible, np.linalg.norm(mesh - true, axis=2) / eyes[:, None], np.nan)
    ways = [align(points) for points in seen.landmarks[found]]
    apart = np.stack([transform(way, a) - transform(way, b) for way, a, b in zip(ways, mesh, true, strict=True)])
    apart[~visible] = np.nan
    corners = np.stack([transform(way, points[[36, 45]]) for way, points in zip(ways, true, strict=True)])
    width = np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1)
    left = np.linalg.norm(apart - _mean(apart), axis=2) / width[:, None]
    return {
        name: LandmarkError(100 * float(np.nanmean(whole[:, points])), 100 * float(np.nanmean(left[:, points])))
        for name, points in {**REGIONS, "all but the jaw": range(17, 70)}.items()
    }


def pose_errors(seen: FaceObservations, truth: Clip) -> dict[str, PoseError]:
    """By angle; the truth is the angle to the line of sight, which a head beside the picture's middle shows."""
    angles = np.array([_to_sight(place) for place in truth.take.placements])[seen.is_found]
    found = {}
    for i, name in enumerate(ANGLES):
        true = angles[:, i]
        detected = seen.poses[seen.is_found, i].astype(np.float64)
        centred = true - true.mean()
        slope = float(centred @ detected / (centred @ centred)) if centred.any() else np.nan
        left = detected - np.nan_to_num(slope) * true
        found[name] = PoseError(float((detected - true).mean()), slope, float(left.std()))
    return found


def expression_correlations(seen: FaceObservations, truth: Clip) -> dict[str, float]:
    """Pearson's r over time between what was seen and what was set of each blendshape that moves, by ARKit's name.

    Of those with two sides, the mean of both.
    """
    found: dict[str, list[float]] = {}
    for name in truth.take.expressions[0]:
        arkit = name.replace("_L", "Left").replace("_R", "Right")
        curve = np.array([expression[name] for expression in truth.take.expressions])[seen.is_found]
        if arkit in BLENDSHAPE_NAMES and curve.std() > MOVES:
            detected = seen.blendshapes[seen.is_found, BLENDSHAPE_NAMES.index(arkit)]
            found.setdefault(name.split("_")[0], []).append(float(np.corrcoef(curve, detected)[0, 1]))
    return {name: float(np.mean(values)) for name, values in found.items()}


def _to_sight(place: Placement) -> tuple[float, float, float]:
    right, down, away = place.offset
    aside, below = (float(np.degrees(np.arctan2(way, DISTANCE + away))) for way in (right, down))
    return place.yaw + aside, place.pitch - below, place.roll


def _mean(apart: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each point over the frames `(70, 2)`; 0 for one that is never seen."""
    known = np.isfinite(apart)
    return np.where(known, apart, 0).sum(0) / np.maximum(known.sum(0), 1)
