"""A mesh to a picture, by ray casting on the CPU.

- `Camera`: a pinhole
- `Tracer`: which triangle each sample of the picture shows, and where in it (`Surface`); which points can be seen
- `project`: points to pixels
- `normals`, `openness`: of vertices
- `Light`, `shade`: colour of what was hit
- `average`: samples to pixels

Rays are traced by Embree (embreex): exact coverage and depth, the same on every run, no GPU and no display.
Camera space: x to the right, y down, z away from the viewer, cm; pixel centres at integers.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import NDArray

SAMPLES = 2  # each way, a pixel
OPEN_RAYS = 48
OPEN_REACH = 6.0  # cm; what is further away takes no light
WET = 0.2  # gloss of what is smooth and has a small highlight
NEAR = 0.4  # cm that may lie before a visible point: lips and lids that touch it


@dataclass(frozen=True)
class Camera:
    """A pinhole camera at the origin with its axis along z and a square image."""

    size: int  # px
    focal: float  # px

    @property
    def centre(self) -> float:
        """Where the axis meets the picture, px both ways."""
        return (self.size - 1) / 2


@dataclass(frozen=True, eq=False)
class Surface:
    """What the samples of a picture show: a rectangle of them, the others show nothing."""

    origin: tuple[int, int]  # px, y and x, of the rectangle's first pixel
    triangles: NDArray[np.int32]  # (h * SAMPLES, w * SAMPLES), -1 for none
    weights: NDArray[np.float32]  # (h * SAMPLES, w * SAMPLES, 3) barycentric
    depth: NDArray[np.float32]  # (h * SAMPLES, w * SAMPLES) cm along z; inf for none

    @property
    def hit(self) -> NDArray[np.bool_]:
        """`(h * SAMPLES, w * SAMPLES)`: whether there is anything."""
        return self.triangles >= 0


@dataclass(frozen=True, eq=False)
class Light:
    """One lamp far away, and the room."""

    direction: NDArray[np.float64]  # (3,) towards the lamp, camera space
    lamp: NDArray[np.float64]  # (3,) linear RGB
    above: NDArray[np.float64]  # (3,) linear RGB of the room, on what faces up
    below: NDArray[np.float64]  # (3,)


def project(points: NDArray[np.floating], camera: Camera) -> NDArray[np.float64]:
    """Pixels `(N, 2)` of points `(N, 3)` before the camera.

    >>> project(np.array([[0, 0, 50.0], [5, -10, 50]]), Camera(101, 200.0))
    array([[50., 50.],
           [70., 10.]])
    """
    return camera.centre + camera.focal * points[:, :2].astype(np.float64) / points[:, 2:]


class Tracer:
    """A mesh that rays are sent at.

    Args:
        vertices: `(V, 3)`.
        triangles: `(T, 3)`.
    """

    def __init__(self, vertices: NDArray[np.floating], triangles: NDArray[np.int32]) -> None:
        self.vertices, self.triangles = np.ascontiguousarray(vertices, np.float32), triangles
        self._scene = EmbreeScene()
        self._mesh = TriangleMesh(self._scene, self.vertices, np.ascontiguousarray(triangles, np.int32))

    def hits(
        self, origins: NDArray[np.floating], directions: NDArray[np.floating]
    ) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
        """What rays meet first.

        Args:
            origins: `(N, 3)`.
            directions: `(N, 3)`.

        Returns:
            triangles `(N,)`, -1 for none; where in them `(N, 3)`, barycentric; how far `(N,)` in lengths of
            `directions`, inf for none.
        """
        rays = (np.ascontiguousarray(array, np.float32) for array in (origins, directions))
        found = self._scene.run(*rays, output=1)
        index, u, v = found["primID"], found["u"], found["v"]
        reach = np.where(index >= 0, found["tfar"], np.inf).astype(np.float32)
        return index, np.stack([1 - u - v, u, v], axis=-1), reach

    def cast(self, camera: Camera) -> Surface:
        """What each sample of a picture shows; the mesh lies before the camera, in its space."""
        flat = project(self.vertices[np.unique(self.triangles)], camera)
        low = np.clip(np.floor(flat.min(0)), 0, camera.size - 1).astype(int)
        high = np.clip(np.ceil(flat.max(0)) + 1, low + 1, camera.size).astype(int)
        steps = (np.arange(SAMPLES) + 0.5) / SAMPLES - 0.5
        x = (np.arange(low[0], high[0])[:, None] + steps).ravel()
        y = (np.arange(low[1], high[1])[:, None] + steps).ravel()
        rays = np.ones((len(y), len(x), 3), np.float32)
        rays[..., 0] = (x - camera.centre) / camera.focal
        rays[..., 1] = (y[:, None] - camera.centre) / camera.focal
        index, weights, depth = self.hits(np.zeros((len(y) * len(x), 3)), rays.reshape(-1, 3))
        shape = (len(y), len(x))
        return Surface(
            (int(low[1]), int(low[0])), index.reshape(shape), weights.reshape(*shape, 3), depth.reshape(shape)
        )

    def sees(self, points: NDArray[np.floating]) -> NDArray[np.bool_]:
        """`(N,)`: whether a camera at the origin sees points `(N, 3)` of the mesh."""
        _, _, reach = self.hits(np.zeros_like(points), points)  # 1 at the point itself
        return reach > 1 - NEAR / np.linalg.norm(points, axis=1)


def openness(vertices: NDArray[np.floating], triangles: NDArray[np.int32]) -> NDArray[np.float32]:
    """`(V,)` 0..1: how much of the room each vertex sees, the rest of the mesh being in its way."""
    normal = normals(vertices, triangles)
    steps = np.arange(OPEN_RAYS) + 0.5
    angle, height = steps * np.pi * (3 - np.sqrt(5)), 1 - 2 * steps / OPEN_RAYS  # a Fibonacci sphere
    radius = np.sqrt(1 - height**2)
    ball = np.column_stack([radius * np.cos(angle), radius * np.sin(angle), height]) * 0.98  # off the tangent plane
    rays = normal[:, None] + ball  # (V, OPEN_RAYS, 3), as dense as Lambert's law weighs them
    starts = np.repeat(vertices + 0.02 * normal, OPEN_RAYS, axis=0)
    _, _, reach = Tracer(vertices, triangles).hits(starts, rays.reshape(-1, 3))
    distance = reach.reshape(-1, OPEN_RAYS) * np.linalg.norm(rays, axis=2)
    return np.clip(distance / OPEN_REACH, 0, 1).mean(1).astype(np.float32)


def normals(vertices: NDArray[np.floating], triangles: NDArray[np.int32]) -> NDArray[np.float32]:
    """Unit normals `(V, 3)` of vertices, the area-weighted mean of the triangles about each."""
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    across = np.cross(b - a, c - a)
    total = np.stack(
        [np.bincount(triangles.ravel(), np.repeat(across[:, i], 3), len(vertices)) for i in range(3)], axis=1
    )
    return (total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def shade(
    albedo: NDArray[np.float32], gloss: NDArray[np.float32], normal: NDArray[np.float32], light: Light
) -> NDArray[np.float32]:
    """Linear RGB `(N, 3)` of surface points.

    Lambert's law wrapped a little around the edge, as skin scatters; Blinn's highlight; a room that is brighter above.

    Args:
        albedo: `(N, 3)` linear RGB.
        gloss: `(N,)` strength of the highlight.
        normal: `(N, 3)` unit, camera space, towards the viewer.
        light: from where.
    """
    facing = normal @ light.direction.astype(np.float32)  # (N,)
    lit = np.clip((facing + 0.25) / 1.25, 0, None)
    half = light.direction + np.array([0, 0, -1.0])
    bright = np.clip(normal @ (half / np.linalg.norm(half)).astype(np.float32), 0, 1) ** 24
    shine = gloss * np.where(gloss > WET, bright**8, bright)
    up = ((1 - normal[:, 1]) / 2)[:, None]
    room = light.below.astype(np.float32) * (1 - up) + light.above.astype(np.float32) * up
    lamp = light.lamp.astype(np.float32)
    return (albedo * (room + lit[:, None] * lamp) + shine[:, None] * lamp).astype(np.float32, copy=False)


def average(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Pixels `(h, w, C)` of samples `(h * SAMPLES, w * SAMPLES, C)`."""
    height, width = samples.shape[0] // SAMPLES, samples.shape[1] // SAMPLES
    return np.asarray(cv2.resize(samples, (width, height), interpolation=cv2.INTER_AREA), np.float32)
