"""Following faces from frame to frame.

- `Tracker`: takes frames in order and says for each which faces it shows and which track each belongs to
- `Sighting`: one face in one frame
- `is_cut`: whether the shot changes between two frames
- `TrackerState`: what a tracker knows between two frames, as plain values, so that it can go on after a stop

A face is followed by the mesh with the box of its own landmarks in the frame before: one pass a frame. The detector
looks when nothing is followed, when a face was just lost, and every `SEARCH_EVERY` seconds for newcomers. A shot cut,
or a face that jumps, ends the track. A face that the mesh loses but the detector still sees (profile, hand before it)
stays a track, with its low score.
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

START = 2.0  # least mesh score for a track to begin
KEEP = 0.0  # least mesh score to be followed without the detector's word
SEARCH_EVERY = 0.2  # s, while something is followed
TURN_EVERY = 0.5  # s, between searches at all quarter turns while nothing is followed
PATIENCE = 0.5  # s after a loss during which every frame is searched
EMBED_EVERY = 0.2  # s
JUMP = 0.6  # of the distance between the outer eye corners (or the mean radius in profile), in one frame
SAME_SHOT = 0.8  # least correlation of two frames of one shot; 0.91 was the least in 3,500 frames of real shots


@dataclass(frozen=True, eq=False)
class Sighting:
    """One face in one frame."""

    track: int
    mesh: Mesh
    detected: float  # the detector's score where it looked, else NaN
    wants_embedding: bool


@dataclass(frozen=True, eq=False)
class Followed:
    """A face being followed."""

    track: int
    landmarks: NDArray[np.float32]  # (478, 3) in the last frame
    embedded: float  # s, time of the last embedding


@dataclass
class TrackerState:
    """What a tracker knows between two frames."""

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
        """The state that `plain` gave."""
        followed = [Followed(n, np.array(points, np.float32), when) for n, points, when in values["followed"]]
        small = None if values["miniature"] is None else np.array(values["miniature"], np.float32)
        return cls(**{**values, "followed": followed, "miniature": small})


class Tracker:
    """Follows all faces of one piece of footage; frames must come in order."""

    def __init__(
        self, *, threshold: float, min_size: float, state: TrackerState | None = None, pool: ThreadPoolExecutor | None
    ) -> None:
        """Start, or go on from `state`.

        Args:
            threshold: least score of a detection, 0..1.
            min_size: least longer side of a face in frame px.
            state: of a tracker that saw the frame before.
            pool: where several faces are followed at once.
        """
        self.threshold = threshold
        self.min_size = min_size
        self.state = state or TrackerState()
        self.map: Callable[..., Iterable[Mesh]] = pool.map if pool else map

    def cut(self) -> None:
        """End all tracks: the next frame begins a new shot."""
        self.state.followed, self.state.searched, self.state.turned = [], -1e9, -1e9

    def step(self, frame: Frame) -> list[Sighting]:
        """The faces of the next frame, by track."""
        state, now = self.state, float(frame.time)
        small = miniature(frame)
        if state.miniature is not None and is_cut(state.miniature, small):
            self.cut()
        state.miniature = small

        meshes = list(self.map(lambda face: follow_landmarks(frame, face.landmarks), state.followed))
        kept: list[tuple[Followed, Mesh, float]] = []
        doubtful: list[Followed] = []
        for face, mesh in zip(state.followed, meshes, strict=True):
            if mesh.score < KEEP or not self._fits(mesh, frame):
                doubtful.append(face)
            elif _jumped(face.landmarks, mesh.landmarks):
                kept.append((self._new_track(mesh), mesh, np.nan))
            else:
                kept.append((face, mesh, np.nan))
        if doubtful or not kept or now - state.searched >= SEARCH_EVERY or now - state.lost < PATIENCE:
            kept = self._search(frame, kept, doubtful)
        kept = _without_doubles(kept)

        sightings: list[Sighting] = []
        state.followed = []
        for face, mesh, detected in kept:
            wants = now - face.embedded >= EMBED_EVERY - 1e-6 and mesh.score > KEEP
            state.followed.append(replace(face, landmarks=mesh.landmarks, embedded=now if wants else face.embedded))
            sightings.append(Sighting(face.track, mesh, detected, wants))
        return sightings

    def _search(
        self, frame: Frame, kept: list[tuple[Followed, Mesh, float]], doubtful: list[Followed]
    ) -> list[tuple[Followed, Mesh, float]]:
        """Look with the detector: confirm what is followed, rescue what is doubtful, find what is new."""
        state, now = self.state, float(frame.time)
        state.searched = now
        found = self._detect(frame, (0,))
        if not found and not kept and now - state.turned >= TURN_EVERY:
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
            # A head does not turn over between two frames, whatever a hidden face may look like to the mesh
            mesh = find_landmarks(frame, match.box, float(np.degrees(np.arctan2(eyes[1], eyes[0]))))
            result.append((face, mesh, match.score))
        for detection in found:
            mesh = find_best_landmarks(frame, detection)
            if mesh.score >= START and self._fits(mesh, frame):
                result.append((self._new_track(mesh), mesh, detection.score))
        return result

    def _detect(self, frame: Frame, turns: tuple[int, ...]) -> list[Detection]:
        thumbnail, scale = frame.thumbnail(DETECTION_SIZE)
        found = detect_faces(thumbnail, threshold=self.threshold, min_size=self.min_size * scale * 0.8, turns=turns)
        return [
            Detection(((d.box + 0.5) / scale - 0.5), d.score, ((d.points + 0.5) / scale - 0.5)) for d in found
        ]  # frame px

    def _fits(self, mesh: Mesh, frame: Frame) -> bool:
        """Large enough, and its middle inside the frame."""
        box = mesh.box
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        inside = 0 <= x < frame.width and 0 <= y < frame.height
        return inside and max(box[2] - box[0], box[3] - box[1]) >= self.min_size

    def _new_track(self, mesh: Mesh) -> Followed:
        number = self.state.next_track
        self.state.next_track += 1
        return Followed(number, mesh.landmarks, -1e9)


def is_cut(before: NDArray[np.floating], after: NDArray[np.floating]) -> bool:
    """Whether the shot changes between the miniatures `(h, w)` of two frames.

    The pattern must change, not just the brightness: a flash keeps the pattern, and so does a face that moves.

    >>> ramp = np.tile(np.arange(8.0), (8, 1))
    >>> is_cut(ramp, 20 + 3 * ramp), is_cut(ramp, ramp.T)
    (False, True)
    """
    if before.shape != after.shape:
        return True
    a, b = before - before.mean(), after - after.mean()
    spread = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return spread > 0 and float((a * b).sum()) / spread < SAME_SHOT


def miniature(frame: Frame) -> NDArray[np.float32]:
    """The frame's first plane at about 40 x 40 samples, `(h, w)`: enough to see a cut, and almost free."""
    plane = frame.display_referred.planes[0]
    rows, columns = max(1, plane.shape[0] // 160), max(1, plane.shape[1] // 160)
    sparse = np.ascontiguousarray(plane[::rows, ::columns])
    small = cv2.resize(sparse if sparse.ndim == 2 else sparse[:, :, 1], (40, 40), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32)


def _box(landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate([landmarks[:, :2].min(0), landmarks[:, :2].max(0)])


def _take(found: list[Detection], box: NDArray[np.float32]) -> Detection | None:
    """Remove and return the detection of the face in `box`, if any; others of the same face go too."""
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
    """Whether a face moved or grew more in one frame than a face can."""
    eyes_a, eyes_b = before[[RIGHT_EYE, LEFT_EYE], :2], after[[RIGHT_EYE, LEFT_EYE], :2]  # (2, 2)
    size_a, size_b = (float(np.linalg.norm(m[:, :2] - m[:, :2].mean(0), axis=1).mean()) for m in (before, after))
    moved = float(np.linalg.norm(eyes_a.mean(0) - eyes_b.mean(0)))
    return moved > JUMP * max(float(np.linalg.norm(eyes_a[1] - eyes_a[0])), size_a) or not 0.75 < size_b / size_a < 1.33


def _without_doubles(faces: list[tuple[Followed, Mesh, float]]) -> list[tuple[Followed, Mesh, float]]:
    """Where two tracks have come to lie on one face the older one stays."""
    kept: list[tuple[Followed, Mesh, float]] = []
    for entry in sorted(faces, key=lambda entry: entry[0].track):
        points = entry[1].landmarks[:, :2]
        size = float(np.ptp(points, axis=0).max())
        if all(
            float(np.linalg.norm(points - other[1].landmarks[:, :2], axis=1).mean()) > 0.25 * size for other in kept
        ):
            kept.append(entry)
    return kept
