"""What a render is compared with: a copy-paste of the source, and the target seen once more with slight noise.

The copy-paste warps a photograph of the source onto the target's landmarks. It does well in pose and sharpness, less in
identity, because the shape stays the performer's, and loses where the photograph does not fit: teeth, gaze, light.
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

ANGLE = 10.0  # degrees of yaw or pitch that count 1 in the distance of two views
OPENING = 0.12  # change of the mouth's or an eye's height over its width that counts 1
SWITCH_COST = 2.0  # of another view from one frame to the next
EYES = ((33, 133, 159, 145), (263, 362, 386, 374))  # outer and inner corner, upper and lower lid
MOUTH = (61, 291, 13, 14)  # corners, inner rims of the lips

SKIN = 468  # points of the mesh without the irises, which reach beyond closed lids and would fold the warp
RING = 1.25  # of the rim: the mesh extends that far, because the blending looks beyond the face's edge
MIN_AREA = 0.02  # px2; smaller triangles are folded or seen from the side
SMOOTHING = 0.006  # of the crop's side, sigma: evens the kinks between triangles
FOREHEAD = 0.3  # pasted part of it, as by default in a merge: no fringe
INSET = 0.03  # of the crop's side: the paste stays that far inside the hull, so that both sides of its edge are skin
MAX_GAIN = 2.0  # of a colour channel, either way
SOFT = 0.005  # of the crop's side, sigma of the paste's edge
SOLVED_SIDE = 64  # px, longer side at which the blending's correction is solved; it is smooth
SWEEPS = 24  # of the solver, at each scale
NEIGHBOURS = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], np.float32) / 4

MAX_SHIFT, MAX_SCALE, MAX_TURN = 0.5, 0.01, 0.5  # px, part, degrees: of a jittered crop, either way
NOISE = 1.0  # 8-bit codes, deviation of its noise


@dataclass(frozen=True, eq=False)
class Paster:
    """The copy-paste of a source onto a target. Frames are pasted in any order, in any thread, with the same result."""

    source: Source
    views: dict[int, int]  # index in `source` by index of the target's frame

    @classmethod
    def plan(cls, source: Source, faces: Sequence[Face]) -> "Paster":
        """Decide which face of the source goes into which frame; `faces` are the performer's in frame order."""
        landmarks, poses = np.stack([face.landmarks for face in faces]), np.stack([face.pose for face in faces])
        views = choose_views(landmarks, poses, follows_previous(faces), source)
        return cls(source, {face.frame: view for face, view in zip(faces, views.tolist(), strict=True)})

    def paste(self, frame: int, crop: Picture, landmarks: Points) -> Picture:
        """A face of the source in the target's crop of `frame`; see `paste`."""
        view = self.views[frame]
        return paste(crop, landmarks, self.source.crops[view], self.source.landmarks[view])


def choose_views(
    landmarks: Points, poses: NDArray[np.floating], follows: NDArray[np.bool_], source: Source
) -> NDArray[np.int64]:
    """For each frame of the target the index `(N,)` of the source's face that is nearest in pose and expression.

    The distance is the sum of squared differences in yaw, pitch and the openings of eyes and mouth. Its sum over all
    frames is minimised, with a cost for every change of the view within a shot (Viterbi 1967).

    Args:
        landmarks: `(N, 478, 2 or 3)` of the target, any px.
        poses: `(N, 3)` of the target, degrees.
        follows: `(N,)` whether entry i - 1 is the frame just before, in the same shot.
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
    """A crop with another face on its landmarks; equal to `crop` outside the hull of these.

    The face is warped affinely in each triangle of the mesh, brought to the crop's median colour, and blended by Pérez,
    Gangnet, Blake 2003, "Poisson Image Editing".

    Args:
        crop: `(S, S, 3)` RGB, what is pasted into.
        landmarks: `(478, 2 or 3)` px of `crop`; the face may lie partly or wholly outside.
        face: `(R, R, 3)` RGB, where the face comes from.
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
    weight = cv2.GaussianBlur(hole.astype(np.float32), (0, 0), SOFT * side) * (hull[place] > 0)
    pasted = crop.copy()
    pasted[place] = np.clip(before + weight[..., None] * (blended - before) + 0.5, 0, 255).astype(np.uint8)
    return pasted


def warp_map(landmarks: Points, face_landmarks: Points, size: tuple[int, int], smoothing: float) -> NDArray[np.float32]:
    """Where each pixel of a picture comes from, if `face_landmarks` are pulled onto `landmarks`.

    Affine in each triangle of the mesh; beyond them, the affine map that suits all points best.

    Args:
        landmarks: `(478, 2 or 3)` px of the picture.
        face_landmarks: `(478, 2 or 3)` px of the face's own picture.
        size: width and height of the picture, px.
        smoothing: px, sigma of the Gaussian that evens the map.

    Returns:
        `(height, width, 2)` x and y, px of the face's own picture.
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
    shifts: list[NDArray[np.float32]] = []  # smoothed in place of the map, which would be drawn in at the borders
    for by_x, by_y, offset in (affine - np.eye(3, 2)).astype(np.float32).transpose(2, 1, 0):  # (1 + T,) each
        shift = by_x.take(drawn) * x + by_y.take(drawn) * y + offset.take(drawn)  # (h, w)
        shifts.append(
            np.asarray(cv2.GaussianBlur(shift, (0, 0), smoothing, borderType=cv2.BORDER_REPLICATE), np.float32)
        )
    return np.stack([shifts[0] + x, shifts[1] + y], -1)


@functools.cache
def triangles() -> NDArray[np.int64]:
    """Delaunay triangles `(T, 3)` of the mean face's skin and ring, clockwise.

    In the order they are drawn, near ones last: where the nose hides a cheek, the nose is seen.
    """
    points = _with_ring(mean_mesh())  # (504, 2)
    low, high = points.min(0) - 1, points.max(0) + 1
    plane = cv2.Subdiv2D((float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])))
    for x, y in points.tolist():
        plane.insert((x, y))
    corners = np.reshape(plane.getTriangleList(), (-1, 3, 2))  # some with corners at the plane's own far points
    gaps = np.linalg.norm(corners[:, :, None] - points, axis=3)  # (T, 3, 504)
    found = gaps.argmin(2)[(gaps.min(2) < 1e-4).all(1)]
    (ax, ay), (bx, by) = (points[found[:, 1]] - points[found[:, 0]]).T, (points[found[:, 2]] - points[found[:, 0]]).T
    is_turned = ax * by - ay * bx < 0
    found[is_turned] = found[is_turned][:, ::-1]
    depth = np.concatenate([mean_mesh()[:SKIN, 2], mean_mesh()[OVAL_POINTS, 2]])  # smaller is nearer
    return found[np.argsort(-depth[found].mean(1), kind="stable")]


def membrane(values: NDArray[np.float32], hole: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The smoothest continuation of a picture `(h, w, C)` into a hole `(h, w)`, C at least 2.

    Laplace's equation with the hole's rim given, solved from coarse to fine by Jacobi sweeps.
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
    """A crop seen again: moved by up to 0.5 px, 1 % and 0.5 degrees about its middle, and slightly noised.

    Args:
        crop: `(S, S, 3)` RGB.
        index: of the frame; seeds the jitter.

    Returns:
        `(S, S, 3)` RGB, and the matrix `(2, 3)` that takes its px back to px of `crop`.
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
    """`(N, 5)`: yaw, pitch, openings of both eyes and the mouth, in units of a clear difference."""

    def opening(points: tuple[int, ...]) -> NDArray[np.float64]:
        a, b, upper, lower = (landmarks[:, point, :2].astype(np.float64) for point in points)
        return np.linalg.norm(upper - lower, axis=1) / np.maximum(np.linalg.norm(a - b, axis=1), 1e-9) / OPENING

    angles = poses[:, :2].astype(np.float64) / ANGLE
    return np.column_stack([angles, *(opening(points) for points in (*EYES, MOUTH))])


def _with_ring(landmarks: Points) -> NDArray[np.float64]:
    """`(504, 2)`: the skin's points of `(478, 2 or 3)`, and the rim's once more further out."""
    points = np.asarray(landmarks[:, :2], np.float64)
    rim, middle = points[OVAL_POINTS, :], points[OVAL_POINTS, :].mean(0)
    return np.concatenate([points[:SKIN], middle + RING * (rim - middle)])


def _homogeneous(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """`(..., 2)` points with a one behind each."""
    return np.concatenate([points, np.ones((*points.shape[:-1], 1))], -1)


def _correction(differences: NDArray[np.float32], hole: NDArray[np.bool_]) -> NDArray[np.float32]:
    """What is added to a paste, `(h, w, 3)`: the membrane of the differences along its edge, solved small."""
    height, width = hole.shape
    scale = min(1.0, SOLVED_SIDE / max(height, width))
    small = (max(3, round(width * scale)), max(3, round(height * scale)))
    solved = membrane(*_shrunk(differences, hole, small))
    return np.asarray(cv2.resize(solved, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _shrunk(
    values: NDArray[np.float32], hole: NDArray[np.bool_], size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Picture and hole at a smaller width and height; a pixel is the mean of what is known in its place."""
    known = (~hole).astype(np.float32)
    share = np.asarray(cv2.resize(known, size, interpolation=cv2.INTER_AREA), np.float32)
    sums = np.asarray(cv2.resize(values * known[..., None], size, interpolation=cv2.INTER_AREA), np.float32)
    return np.asarray(sums / np.maximum(share, 1e-6)[..., None], np.float32), share == 0
