"""Tracking faces from frame to frame.

The mesh follows each face from its landmarks in the previous frame, in one pass. The detector runs if no face is
followed, after a face was lost, and every `SEARCH_INTERVAL_S` for new faces. A shot cut or a jump of the face ends a
track. A face that the mesh loses but the detector still finds (in profile, or behind a hand) keeps its track, with a
low score.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from visagist.faces.detection import DETECTION_SIZE, Detection, box_overlap, detect_faces
from visagist.faces.landmarks import LEFT_EYE, RIGHT_EYE, Mesh, find_best_landmarks, find_landmarks, follow_landmarks
from visagist.media import Frame

MIN_START_SCORE = 2.0  # mesh score to start a track
MIN_FOLLOW_SCORE = 0.0  # mesh score to continue a track without the detector
SEARCH_INTERVAL_S = 0.2  # between searches while faces are followed
ROTATED_SEARCH_INTERVAL_S = 0.5  # between searches at all quarter turns while no face is followed
LOST_SEARCH_S = 0.5  # how long to search every frame after a face was lost
EMBED_INTERVAL_S = 0.2
MAX_JUMP = 0.6  # per frame, relative to the distance of the outer eye corners (or the mean radius in profile)
MIN_SHOT_CORRELATION = 0.8  # between frames of a shot; the minimum in 3,500 frames of real shots was 0.91


@dataclass(frozen=True, eq=False)
class Sighting:
    """A tracked face in one frame."""

    track: int
    mesh: Mesh
    detected: float  # detector score, NaN if it did not run
    wants_embedding: bool


@dataclass(frozen=True, eq=False)
class Followed:
    """A face being followed."""

    track: int
    landmarks: NDArray[np.float32]  # (478, 3) in the last frame
    embedded: float  # s, time of the last embedding


@dataclass
class TrackerState:
    """State of a tracker between two frames."""

    next_track: int = 0
    followed: list[Followed] = field(default_factory=list)
    searched: float = -1e9  # s
    turned: float = -1e9  # s
    lost: float = -1e9  # s
    miniature: NDArray[np.float32] | None = None  # (40, 40)

    def plain(self) -> dict[str, Any]:
        """The state as JSON values."""
        followed = [[face.track, face.landmarks.tolist(), face.embedded] for face in self.followed]
        small = None if self.miniature is None else self.miniature.tolist()
        clock = {"searched": self.searched, "turned": self.turned, "lost": self.lost}
        return {"next_track": self.next_track, "followed": followed, "miniature": small, **clock}

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> "TrackerState":
        """The inverse of `plain`."""
        followed = [Followed(n, np.array(points, np.float32), when) for n, points, when in values["followed"]]
        small = None if values["miniature"] is None else np.array(values["miniature"], np.float32)
        return cls(**{**values, "followed": followed, "miniature": small})


class Tracker:
    """Track all faces of one piece of footage, given its frames in order."""

    def __init__(
        self, *, threshold: float, min_size: float, state: TrackerState | None = None, pool: ThreadPoolExecutor | None
    ) -> None:
        """Start tracking, or resume from a saved state.

        Args:
            threshold: minimum detection score, 0..1.
            min_size: minimum longer side of a face, frame px.
            state: state after the previous frame.
            pool: threads for following several faces in parallel.
        """
        self.threshold = threshold
        self.min_size = min_size
        self.state = state or TrackerState()
        self.map: Callable[..., Iterable[Mesh]] = pool.map if pool else map

    def cut(self) -> None:
        """End all tracks, because the next frame starts a new shot."""
        self.state.followed, self.state.searched, self.state.turned = [], -1e9, -1e9

    def step(self, frame: Frame) -> list[Sighting]:
        """Process the next frame and return its faces, ordered by track."""
        state, now = self.state, float(frame.time)
        small = miniature(frame)
        if state.miniature is not None and is_cut(state.miniature, small):
            self.cut()
        state.miniature = small

        meshes = list(self.map(lambda face: follow_landmarks(frame, face.landmarks), state.followed))
        kept: list[tuple[Followed, Mesh, float]] = []
        doubtful: list[Followed] = []
        for face, mesh in zip(state.followed, meshes, strict=True):
            if mesh.score < MIN_FOLLOW_SCORE or not self._fits(mesh, frame):
                doubtful.append(face)
            elif _jumped(face.landmarks, mesh.landmarks):
                kept.append((self._new_track(mesh), mesh, np.nan))
            else:
                kept.append((face, mesh, np.nan))
        if doubtful or not kept or now - state.searched >= SEARCH_INTERVAL_S or now - state.lost < LOST_SEARCH_S:
            kept = self._search(frame, kept, doubtful)
        kept = _without_duplicates(kept)

        sightings: list[Sighting] = []
        state.followed = []
        for face, mesh, detected in kept:
            wants = now - face.embedded >= EMBED_INTERVAL_S - 1e-6 and mesh.score > MIN_FOLLOW_SCORE
            state.followed.append(replace(face, landmarks=mesh.landmarks, embedded=now if wants else face.embedded))
            sightings.append(Sighting(face.track, mesh, detected, wants))
        return sightings

    def _search(
        self, frame: Frame, kept: list[tuple[Followed, Mesh, float]], doubtful: list[Followed]
    ) -> list[tuple[Followed, Mesh, float]]:
        """Run the detector to confirm followed faces, recover doubtful ones and find new ones."""
        state, now = self.state, float(frame.time)
        state.searched = now
        found = self._detect(frame, (0,))
        if not found and not kept and now - state.turned >= ROTATED_SEARCH_INTERVAL_S:
            state.turned = now
            found = self._detect(frame, (1, 2, 3))
        result: list[tuple[Followed, Mesh, float]] = []
        for face, mesh, _ in kept:
            match = _take(found, mesh.box)
            result.append((face, mesh, match.score if match else np.nan))
        for face in doubtful:
            match = _take(found, _box(face.landmarks))
            if match is None:
                state.lost = now
                continue
            eyes = face.landmarks[LEFT_EYE, :2] - face.landmarks[RIGHT_EYE, :2]
            # Keep the previous roll, which does not change abruptly, even if a hidden face confuses the mesh.
            mesh = find_landmarks(frame, match.box, float(np.degrees(np.arctan2(eyes[1], eyes[0]))))
            result.append((face, mesh, match.score))
        for detection in found:
            mesh = find_best_landmarks(frame, detection)
            if mesh.score >= MIN_START_SCORE and self._fits(mesh, frame):
                result.append((self._new_track(mesh), mesh, detection.score))
        return result

    def _detect(self, frame: Frame, turns: tuple[int, ...]) -> list[Detection]:
        thumbnail, scale = frame.thumbnail(DETECTION_SIZE)
        found = detect_faces(thumbnail, threshold=self.threshold, min_size=self.min_size * scale * 0.8, turns=turns)
        return [
            Detection(((d.box + 0.5) / scale - 0.5), d.score, ((d.points + 0.5) / scale - 0.5)) for d in found
        ]  # frame px

    def _fits(self, mesh: Mesh, frame: Frame) -> bool:
        """Whether the face is large enough and its centre inside the frame."""
        box = mesh.box
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        inside = 0 <= x < frame.width and 0 <= y < frame.height
        return inside and max(box[2] - box[0], box[3] - box[1]) >= self.min_size

    def _new_track(self, mesh: Mesh) -> Followed:
        number = self.state.next_track
        self.state.next_track += 1
        return Followed(number, mesh.landmarks, -1e9)


def is_cut(before: NDArray[np.floating], after: NDArray[np.floating]) -> bool:
    """Whether there is a shot cut between two frames, given their miniatures `(h, w)`.

    Uses the correlation, which is insensitive to changes of brightness such as flashes, and to moving faces.

    >>> ramp = np.tile(np.arange(8.0), (8, 1))
    >>> is_cut(ramp, 20 + 3 * ramp), is_cut(ramp, ramp.T)
    (False, True)
    """
    if before.shape != after.shape:
        return True
    a, b = before - before.mean(), after - after.mean()
    spread = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return spread > 0 and float((a * b).sum()) / spread < MIN_SHOT_CORRELATION


def miniature(frame: Frame) -> NDArray[np.float32]:
    """The frame's first plane reduced to `(40, 40)`: enough to detect cuts, at almost no cost."""
    plane = frame.display_referred.planes[0]
    rows, columns = max(1, plane.shape[0] // 160), max(1, plane.shape[1] // 160)
    sparse = np.ascontiguousarray(plane[::rows, ::columns])
    small = cv2.resize(sparse if sparse.ndim == 2 else sparse[:, :, 1], (40, 40), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32)


def _box(landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate([landmarks[:, :2].min(0), landmarks[:, :2].max(0)])


def _take(found: list[Detection], box: NDArray[np.float32]) -> Detection | None:
    """Remove all detections of the face in `box` and return the best one."""
    middle = (box[:2] + box[2:]) / 2
    size = float((box[2:] - box[:2]).max())
    same = [
        d
        for d in found
        if box_overlap(d.box, box) > 0.25
        or (np.abs((d.box[:2] + d.box[2:]) / 2 - middle).max() < 0.35 * size and 0.4 < d.size / size < 2.5)
    ]
    for detection in same:
        found.remove(detection)
    return max(same, key=lambda d: box_overlap(d.box, box), default=None)


def _jumped(before: NDArray[np.float32], after: NDArray[np.float32]) -> bool:
    """Whether the movement or growth within one frame is implausible for a single face."""
    eyes_a, eyes_b = before[[RIGHT_EYE, LEFT_EYE], :2], after[[RIGHT_EYE, LEFT_EYE], :2]  # (2, 2)
    size_a, size_b = (float(np.linalg.norm(m[:, :2] - m[:, :2].mean(0), axis=1).mean()) for m in (before, after))
    moved = float(np.linalg.norm(eyes_a.mean(0) - eyes_b.mean(0)))
    return (
        moved > MAX_JUMP * max(float(np.linalg.norm(eyes_a[1] - eyes_a[0])), size_a)
        or not 0.75 < size_b / size_a < 1.33
    )


def _without_duplicates(faces: list[tuple[Followed, Mesh, float]]) -> list[tuple[Followed, Mesh, float]]:
    """If two tracks converge on the same face, keep the older one."""
    kept: list[tuple[Followed, Mesh, float]] = []
    for entry in sorted(faces, key=lambda entry: entry[0].track):
        points = entry[1].landmarks[:, :2]
        size = float(np.ptp(points, axis=0).max())
        if all(
            float(np.linalg.norm(points - other[1].landmarks[:, :2], axis=1).mean()) > 0.25 * size for other in kept
        ):
            kept.append(entry)
    return kept
