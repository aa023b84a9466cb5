"""Input of the metrics: the performer's face, frame by frame, in the target and in the evaluated footage.

The render and each baseline are `FaceObservations` of the same target frames, made by the same detectors from the same
box. Crops are memory-mapped, so footage of any length fits.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray

from visagist.faces import Face, transform


@dataclass(frozen=True, eq=False)
class FaceObservations:
    """The performer's face in one piece of footage, in N frames of the target; NaN where no face was found."""

    name: str
    crops: NDArray[np.uint8]  # (N, S, S, 3) RGB, cropped by `EvaluationData.matrices`
    landmarks: NDArray[np.float32]  # (N, 478, 3) frame px
    scores: NDArray[np.float32]  # (N,) presence logit of the mesh
    poses: NDArray[np.float32]  # (N, 3) yaw, pitch, roll in degrees
    blendshapes: NDArray[np.float32]  # (N, 52) 0..1
    independent: NDArray[np.float32]  # (N, 128) unit length, dlib's embedding, which training never uses
    sface: NDArray[np.float32]  # (N, 128) unit length, SFace's embedding
    outside: NDArray[np.float64]  # (N,) PSNR in dB against the target outside the face, after encoding; inf if equal

    @property
    def is_found(self) -> NDArray[np.bool_]:
        """`(N,)`: whether the detector found a face."""
        return np.isfinite(self.landmarks[:, 0, 0])

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True, eq=False)
class Source:
    """Real faces of the source, sampled evenly over the faceset; the last quarter is held out."""

    crops: NDArray[np.uint8]  # (M, S, S, 3) RGB, whole coverage, each in its own alignment
    hulls: NDArray[np.uint8]  # (M, S, S) 255 inside the face
    landmarks: NDArray[np.float32]  # (M, 478, 3) px of `crops`
    poses: NDArray[np.float32]  # (M, 3) degrees
    independent: NDArray[np.float32]  # (M, 128) unit length
    sface: NDArray[np.float32]  # (M, 128) unit length

    @property
    def held_out(self) -> slice:
        """The samples that centroids do not include: the last quarter, at least one."""
        count = len(self.poses)
        return slice(count - max(1, count // 4), count)

    def centroid(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mean direction `(128,)` of the embeddings `(M, 128)` that are not held out."""
        mean = embeddings[: self.held_out.start].mean(0)
        return (mean / np.linalg.norm(mean)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class EvaluationData:
    """N frames of the target that show the performer, observed in the target and in the evaluated footage."""

    frames: NDArray[np.int64]  # (N,) index in the target, increasing
    times: NDArray[np.float64]  # (N,) s
    follows: NDArray[np.bool_]  # (N,) whether entry i - 1 is the previous frame of the same shot
    matrices: NDArray[np.float64]  # (N, 2, 3) frame px to crop px, smoothed along the track
    masks: NDArray[np.uint8]  # (N, S, S) where the face was replaced: the mask of the merge if known, else the hull
    hulls: NDArray[np.uint8]  # (N, S, S) 255 inside the target's face
    is_swapped: NDArray[np.bool_]  # (N,) whether the render differs from the target there
    target: FaceObservations
    evaluated: FaceObservations
    source: Source
    impostors: NDArray[np.float32]  # (K, 128) independent embeddings of other people, unit length

    @property
    def size(self) -> int:
        """Side of the crops in px."""
        return self.masks.shape[1]

    @property
    def eye_distances(self) -> NDArray[np.float64]:
        """`(N,)` px between the outer corners of the target's eyes, in the frame."""
        corners = self.target.landmarks[:, [33, 263], :2].astype(np.float64)
        return np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1)

    def in_crop(self, landmarks: NDArray[np.floating]) -> NDArray[np.float64]:
        """Landmarks `(N, 478, 3)` in frame px as `(N, 478, 2)` in crop px."""
        pairs = zip(self.matrices, landmarks[:, :, :2].astype(np.float64), strict=True)
        return np.stack([transform(matrix, points) for matrix, points in pairs])

    def with_evaluated(self, other: FaceObservations) -> Self:
        """The same data with `other` in place of the evaluated observations."""
        return replace(self, evaluated=other)


def follows_previous(faces: Sequence[Face]) -> NDArray[np.bool_]:
    """`(N,)`: whether the previous entry is the previous frame of the same track; tracks end at cuts."""
    return np.array([False, *(b.frame == a.frame + 1 and b.track == a.track for a, b in pairwise(faces))])
