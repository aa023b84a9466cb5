"""What a metric looks at: the performer's face, frame by frame, in the target and in what is judged.

Render, unswapped target, copy-paste and jittered target are all an `Appearance` of the same target frames, seen by the
same detectors from the same box. Crops lie in memory-mapped files: a case of any length fits.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray

from visagist.faces import Face, transform


@dataclass(frozen=True, eq=False)
class Appearance:
    """How one piece of footage shows the performer's face in N frames of the target; NaN where no face was found."""

    name: str
    crops: NDArray[np.uint8]  # (N, S, S, 3) RGB through `Case.matrices`, the target's own way into the crop
    landmarks: NDArray[np.float32]  # (N, 478, 3) frame px
    scores: NDArray[np.float32]  # (N,) presence logit of the mesh
    poses: NDArray[np.float32]  # (N, 3) yaw, pitch, roll in degrees
    blendshapes: NDArray[np.float32]  # (N, 52) 0..1
    independent: NDArray[np.float32]  # (N, 128) unit length, of dlib's embedder, which no training sees
    sface: NDArray[np.float32]  # (N, 128) unit length, of SFace
    outside: NDArray[np.float64]  # (N,) PSNR in dB to the target outside the face, after encoding; inf where equal

    @property
    def is_found(self) -> NDArray[np.bool_]:
        """`(N,)`: whether the detector saw a face."""
        return np.isfinite(self.landmarks[:, 0, 0])

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True, eq=False)
class Source:
    """Real faces of the source, sampled over their footage; the last quarter of the samples is held out."""

    crops: NDArray[np.uint8]  # (M, S, S, 3) RGB, whole coverage, each in its own alignment
    hulls: NDArray[np.uint8]  # (M, S, S) 255 inside the face
    landmarks: NDArray[np.float32]  # (M, 478, 3) px of `crops`
    poses: NDArray[np.float32]  # (M, 3) degrees
    independent: NDArray[np.float32]  # (M, 128) unit length
    sface: NDArray[np.float32]  # (M, 128) unit length

    @property
    def held_out(self) -> slice:
        """The samples that the centroids are not made from: at least one, at most a quarter."""
        count = len(self.poses)
        return slice(count - max(1, count // 4), count)

    def centroid(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """The mean direction `(128,)` of those `(M, 128)` that are not held out."""
        mean = embeddings[: self.held_out.start].mean(0)
        return (mean / np.linalg.norm(mean)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Case:
    """N frames of the target that show the performer, as the target has them and as `judged` has them."""

    frames: NDArray[np.int64]  # (N,) index in the target, rising
    times: NDArray[np.float64]  # (N,) s
    follows: NDArray[np.bool_]  # (N,) whether entry i - 1 is the frame just before, in the same shot
    matrices: NDArray[np.float64]  # (N, 2, 3) frame px to crop px, smoothed along the track
    masks: NDArray[np.uint8]  # (N, S, S) how much of the face was replaced: the merge's own mask, or the hull
    hulls: NDArray[np.uint8]  # (N, S, S) 255 inside the target's face
    is_swapped: NDArray[np.bool_]  # (N,) whether the render differs from the target there
    target: Appearance
    judged: Appearance
    source: Source
    strangers: NDArray[np.float32]  # (K, 128) independent embeddings of other people, unit length

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

    def judging(self, other: Appearance) -> Self:
        """The same case with something else judged."""
        return replace(self, judged=other)


def follows_previous(faces: Sequence[Face]) -> NDArray[np.bool_]:
    """`(N,)`: whether the entry before is the frame before, of the same track; tracks end at cuts."""
    return np.array([False, *(b.frame == a.frame + 1 and b.track == a.track for a, b in pairwise(faces))])
