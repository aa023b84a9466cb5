"""Baselines that a render is compared with: a copy-paste of the source, and the target with slight jitter and noise.

The copy-paste warps a photograph of the source onto the target's landmarks. It does well in pose and sharpness, less
well in identity, because the face keeps the performer's shape, and poorly in teeth, gaze and light.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from visagist.evaluation.evaluation_data import Source, follows_previous
from visagist.faces import Face, hull_mask, mean_mesh
from visagist.faces.align import OVAL_POINTS

Picture = NDArray[np.uint8]
Points = NDArray[np.floating]

ANGLE = 10.0  # degrees of yaw or pitch that add 1 to the distance of two views
OPENING = 0.12  # change in the aspect ratio of the mouth or an eye that adds 1
SWITCH_COST = 2.0  # of changing the view between consecutive frames
EYES = ((33, 133, 159, 145), (263, 362, 386, 374))  # outer and inner corner, upper and lower lid
MOUTH = (61, 291, 13, 14)  # corners, inner rims of the lips

SKIN = 468  # points of the mesh without irises, which reach beyond closed lids and would fold the warp
RING = 1.25  # size of the extended mesh relative to the face: blending needs pixels beyond the edge
MIN_AREA = 0.02  # px^2; smaller triangles are folded or seen edge-on
SMOOTHING = 0.006  # sigma as a fraction of the crop's side; smooths kinks between triangles
FOREHEAD = 0.3  # fraction of the forehead that is pasted, as by default in a merge
INSET = 0.03  # of the crop's side; keeps the paste inside the hull, so that there is skin on both sides of its edge
MAX_GAIN = 2.0  # of a colour channel, in either direction
EDGE_SIGMA = 0.005  # of the crop's side
SOLVER_SIDE = 64  # px, longer side at which the smooth correction of the blending is solved
SWEEPS = 24  # of the solver, per scale
NEIGHBOURS = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], np.float32) / 4

MAX_SHIFT, MAX_SCALE, MAX_TURN = 0.5, 0.01, 0.5  # px, fraction, degrees: range of the jitter, in either direction
NOISE = 1.0  # standard deviation in 8-bit codes


@dataclass(frozen=True, eq=False)
class CopyPaste:
    """Copy-paste of a source onto a target; frames can be pasted in any order and from any thread."""

    source: Source
    views: dict[int, int]  # from the target's frame index to the index in `source`

    @classmethod
    def plan(cls, source: Source, faces: Sequence[Face]) -> "CopyPaste":
        """Choose a face of the source for each frame; `faces` are the performer's, in frame order."""
        landmarks, poses = np.stack([face.landmarks for face in faces]), np.stack([face.pose for face in faces])
        views = choose_views(landmarks, poses, follows_previous(faces), source)
        return cls(source, {face.frame: view for face, view in zip(faces, views.tolist(), strict=True)})

    def paste(self, frame: int, crop: Picture, landmarks: Points) -> Picture:
        """The target's crop of `frame` with the chosen face of the source; see `paste`."""
        view = self.views[frame]
        return paste(crop, landmarks, self.source.crops[view], self.source.landmarks[view])


def choose_views(
    landmarks: Points, poses: NDArray[np.floating], follows: NDArray[np.bool_], source: Source
) -> NDArray[np.int64]:
    """Indices `(N,)` of the source faces that are nearest to the target's in pose and expression.

    Minimises the sum over all frames of the squared differences in yaw, pitch and openness of eyes and mouth, plus a
    cost for every change of the view within a shot (Viterbi 1967).

    Args:
        landmarks: `(N, 478, 2 or 3)` of the target, any unit.
        poses: `(N, 3)` of the target, degrees.
        follows: `(N,)` whether entry i - 1 is the previous frame of the same shot.
        source: M faces.
    """
    ours, theirs = _view(landmarks, poses), _view(source.landmarks, source.poses)  # (N, 5), (M, 5)
    distances = ((ours[:, None] - theirs[None]) ** 2).sum(2)  # (N, M)
    count, choices = distances.shape
    came_from = np.empty((count, choices), np.int64)
    total = np.zeros(choices)
    for i in range(count):
        best = int(total.argmin())
        switched = total[best] + (SWITCH_COST if follows[i] else 0.0)
        came_from[i] = np.where(total > switched, best, np.arange(choices))
        total = np.minimum(total, switched) + distances[i]
    views = np.empty(count, np.int64)
    view = int(total.argmin())
    for i in range(count - 1, -1, -1):
        views[i] = view
        view = int(came_from[i, view])
    return views


def paste(crop: Picture, landmarks: Points, face: Picture, face_landmarks: Points) -> Picture:
    """Paste a face onto the landmarks of a crop; outside their hull the crop is unchanged.

    The face is warped affinely in each triangle of the mesh, scaled to the crop's median colour, and blended (Pérez,
    Gangnet, Blake 2003, "Poisson Image Editing").

    Args:
        crop: `(S, S, 3)` RGB, destination.
        landmarks: `(478, 2 or 3)` px of `crop`; may lie partly or wholly outside.
        face: `(R, R, 3)` RGB.
        face_landmarks: `(478, 2 or 3)` px of `face`.
    """
    side = len(crop)
    hull = hull_mask(landmarks, side, FOREHEAD)
    inset = round(INSET * side)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * inset + 1, 2 * inset + 1))
    inside = cv2.erode(hull, kernel) > 127
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if len(rows) == 0:
        return crop.copy()
    margin = inset + 2
    x0, y0 = max(0, int(columns[0]) - margin), max(0, int(rows[0]) - margin)
    x1, y1 = min(side, int(columns[-1]) + margin + 1), min(side, int(rows[-1]) + margin + 1)
    place = np.s_[y0:y1, x0:x1]
    lookup = warp_map(landmarks[:, :2] - np.array([x0, y0]), face_landmarks, (x1 - x0, y1 - y0), SMOOTHING * side)
    x, y = lookup[..., 0], lookup[..., 1]
    warped = cv2.remap(face, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    before, hole = crop[place].astype(np.float32), inside[place]
    gain = np.median(before[hole], 0) / np.maximum(np.median(warped[hole], 0), 1)
    warped *= np.clip(gain, 1 / MAX_GAIN, MAX_GAIN)
    blended = warped + _correction(before - warped, hole)
    weight = cv2.GaussianBlur(hole.astype(np.float32), (0, 0), EDGE_SIGMA * side) * (hull[place] > 0)
    pasted = crop.copy()
    pasted[place] = np.clip(before + weight[..., None] * (blended - before) + 0.5, 0, 255).astype(np.uint8)
    return pasted


def warp_map(landmarks: Points, face_landmarks: Points, size: tuple[int, int], smoothing: float) -> NDArray[np.float32]:
    """Lookup map that warps `face_landmarks` onto `landmarks`.

    Affine in each triangle of the mesh; outside of the mesh, the least-squares affine map of all points.

    Args:
        landmarks: `(478, 2 or 3)` px of the output.
        face_landmarks: `(478, 2 or 3)` px of the input.
        size: width and height of the output, px.
        smoothing: px, sigma of the Gaussian that smooths the map.

    Returns:
        `(height, width, 2)` x and y, px of the input.
    """
    ends, starts = _with_ring(landmarks), _with_ring(face_landmarks)  # (504, 2)
    corners = ends[triangles()]  # (T, 3, 2)
    (ax, ay), (bx, by) = (corners[:, 1] - corners[:, 0]).T, (corners[:, 2] - corners[:, 0]).T
    is_seen = ax * by - ay * bx > MIN_AREA
    corners, origins = corners[is_seen], starts[triangles()[is_seen]]
    whole = np.linalg.lstsq(_homogeneous(ends), starts, rcond=None)[0]  # (3, 2): [x y 1] @ whole
    affine = np.concatenate([whole[None], np.linalg.solve(_homogeneous(corners), origins)])  # (1 + T, 3, 2)
    drawn = np.zeros((size[1], size[0]), np.int32)
    for number, triangle in enumerate(np.round(corners * 16).astype(np.int32), 1):
        cv2.fillConvexPoly(drawn, triangle, number, cv2.LINE_8, 4)
    x, y = np.arange(size[0], dtype=np.float32), np.arange(size[1], dtype=np.float32)[:, None]
    shifts: list[NDArray[np.float32]] = []  # smoothed instead of the map itself, which would shrink at the borders
    for by_x, by_y, offset in (affine - np.eye(3, 2)).astype(np.float32).transpose(2, 1, 0):  # (1 + T,) each
        shift = by_x.take(drawn) * x + by_y.take(drawn) * y + offset.take(drawn)  # (h, w)
        shifts.append(
            np.asarray(cv2.GaussianBlur(shift, (0, 0), smoothing, borderType=cv2.BORDER_REPLICATE), np.float32)
        )
    return np.stack([shifts[0] + x, shifts[1] + y], -1)


@functools.cache
def triangles() -> NDArray[np.int64]:
    """Delaunay triangles `(T, 3)` of the mean face and the ring around it, clockwise.

    Sorted far to near, so that drawing them in order hides a cheek behind the nose.
    """
    points = _with_ring(mean_mesh())  # (504, 2)
    low, high = points.min(0) - 1, points.max(0) + 1
    plane = cv2.Subdiv2D((float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])))
    for x, y in points.tolist():
        plane.insert((x, y))
    corners = np.reshape(plane.getTriangleList(), (-1, 3, 2))  # some include OpenCV's auxiliary outer points
    gaps = np.linalg.norm(corners[:, :, None] - points, axis=3)  # (T, 3, 504)
    found = gaps.argmin(2)[(gaps.min(2) < 1e-4).all(1)]
    (ax, ay), (bx, by) = (points[found[:, 1]] - points[found[:, 0]]).T, (points[found[:, 2]] - points[found[:, 0]]).T
    is_turned = ax * by - ay * bx < 0
    found[is_turned] = found[is_turned][:, ::-1]
    depth = np.concatenate([mean_mesh()[:SKIN, 2], mean_mesh()[OVAL_POINTS, 2]])  # smaller is nearer
    return found[np.argsort(-depth[found].mean(1), kind="stable")]


def membrane(values: NDArray[np.float32], hole: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Fill a hole `(h, w)` in `values` `(h, w, C)` smoothly; C >= 2.

    Solves Laplace's equation with the hole's border as boundary condition, from coarse to fine by Jacobi sweeps.
    """
    height, width = hole.shape
    filled = np.where(hole[..., None], np.float32(0), values)
    if hole.any() and not hole.all() and min(height, width) > 2:
        coarse = membrane(*_shrunk(values, hole, ((width + 1) // 2, (height + 1) // 2)))
        guess = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
        np.copyto(filled, guess, where=hole[..., None])
        for _ in range(SWEEPS):
            around = cv2.filter2D(filled, -1, NEIGHBOURS, borderType=cv2.BORDER_REPLICATE)
            np.copyto(filled, around, where=hole[..., None])
    return filled


def jittered(crop: Picture, index: int) -> tuple[Picture, NDArray[np.float64]]:
    """Shift, scale and rotate a crop by up to 0.5 px, 1 % and 0.5 degrees about its centre, and add slight noise.

    Args:
        crop: `(S, S, 3)` RGB.
        index: frame index, used as the seed.

    Returns:
        `(S, S, 3)` RGB, and the `(2, 3)` matrix from its px to px of `crop`.
    """
    generator = np.random.default_rng(index)
    dx, dy, grown, turned = generator.uniform(-1, 1, 4) * [MAX_SHIFT, MAX_SHIFT, MAX_SCALE, MAX_TURN]
    middle = (len(crop) - 1) / 2
    back = np.array(cv2.getRotationMatrix2D((middle, middle), float(turned), 1 + float(grown)), np.float64)
    back[:, 2] += [dx, dy]
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(crop, back, crop.shape[1::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)
    noised = moved + NOISE * generator.standard_normal(crop.shape, np.float32)
    return np.clip(np.rint(noised), 0, 255).astype(np.uint8), back


def _view(landmarks: Points, poses: NDArray[np.floating]) -> NDArray[np.float64]:
    """`(N, 5)`: yaw, pitch, openness of both eyes and the mouth, in units of `ANGLE` and `OPENING`."""

    def opening(points: tuple[int, ...]) -> NDArray[np.float64]:
        a, b, upper, lower = (landmarks[:, point, :2].astype(np.float64) for point in points)
        return np.linalg.norm(upper - lower, axis=1) / np.maximum(np.linalg.norm(a - b, axis=1), 1e-9) / OPENING

    angles = poses[:, :2].astype(np.float64) / ANGLE
    return np.column_stack([angles, *(opening(points) for points in (*EYES, MOUTH))])


def _with_ring(landmarks: Points) -> NDArray[np.float64]:
    """`(504, 2)`: the skin points of `(478, 2 or 3)` landmarks, and the face oval scaled by `RING`."""
    points = np.asarray(landmarks[:, :2], np.float64)
    rim, middle = points[OVAL_POINTS, :], points[OVAL_POINTS, :].mean(0)
    return np.concatenate([points[:SKIN], middle + RING * (rim - middle)])


def _homogeneous(points: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([points, np.ones((*points.shape[:-1], 1))], -1)


def _correction(differences: NDArray[np.float32], hole: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Correction to add to a paste, `(h, w, 3)`: the membrane of the differences along its edge, at low resolution."""
    height, width = hole.shape
    scale = min(1.0, SOLVER_SIDE / max(height, width))
    small = (max(3, round(width * scale)), max(3, round(height * scale)))
    solved = membrane(*_shrunk(differences, hole, small))
    return np.asarray(cv2.resize(solved, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _shrunk(
    values: NDArray[np.float32], hole: NDArray[np.bool_], size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Picture and hole at a smaller width and height; pixels are means of the known pixels they cover."""
    known = (~hole).astype(np.float32)
    share = np.asarray(cv2.resize(known, size, interpolation=cv2.INTER_AREA), np.float32)
    sums = np.asarray(cv2.resize(values * known[..., None], size, interpolation=cv2.INTER_AREA), np.float32)
    return np.asarray(sums / np.maximum(share, 1e-6)[..., None], np.float32), share == 0
