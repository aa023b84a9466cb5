"""A head before a camera.

- `Placement`: where the head is and which way it is turned
- `Scene`: camera, light and background; `scene` makes one
- `photograph`: a `Photograph` with the picture and all that is true of it
- `encoded`: linear light to what a file holds
"""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.synthetic.paint import Head
from benchmarks.synthetic.render import SAMPLES, Camera, Light, Tracer, average, normals, project, shade
from visagist.faces import head_rotation

Floats = NDArray[np.float32]

DISTANCE = 60.0  # cm from the camera
PUPILS = 6.2  # cm between them, of the mean head
REMAP = 2**15 - 2  # rows that OpenCV takes at once


@dataclass(frozen=True)
class Placement:
    """A head's place; angles as `visagist.faces.head_pose` has them."""

    yaw: float  # degrees
    pitch: float
    roll: float
    offset: tuple[float, float, float]  # cm right, down and away from where it is by default


@dataclass(frozen=True, eq=False)
class Scene:
    """What stays the same while a clip is shot."""

    camera: Camera
    light: Light
    background: Floats  # (S, S, 3) linear RGB


@dataclass(frozen=True, eq=False)
class Photograph:
    """A picture and the truth about it."""

    picture: Floats  # (S, S, 3) linear RGB
    swapped: Floats  # (S, S) 0..1: how much a swap replaces each pixel
    landmarks: NDArray[np.float64]  # (70, 2) px
    seen: NDArray[np.bool_]  # (70,) whether the camera sees them


def scene(size: int, pupils: float, seed: int) -> Scene:
    """A room.

    Args:
        size: px.
        pupils: px between the pupils of the mean head.
        seed: of lamp and background.
    """
    generator = np.random.default_rng(seed)
    direction = np.array([generator.uniform(-0.7, 0.7), generator.uniform(-0.8, -0.3), -1.0])
    warmth = generator.uniform(-0.08, 0.08) * np.array([1, 0, -1])
    lamp, above = 0.85 * (1 + warmth), 0.5 * (1 - warmth)
    light = Light(direction / np.linalg.norm(direction), lamp, above, 0.5 * above)
    background = np.ones((size, size, 3), np.float32) * generator.uniform(0.12, 0.3, 3).astype(np.float32)
    for scale in (0.15, 0.05, 0.02):  # of the picture's side: furniture, pattern, texture
        grey, tint = generator.normal(size=(size, size, 1)), 0.3 * generator.normal(size=(size, size, 3))
        cloud = cv2.GaussianBlur((grey + tint).astype(np.float32), (0, 0), scale * size)
        background *= 1 + 0.2 * cloud / cloud.std()
    camera = Camera(size, pupils / PUPILS * DISTANCE)
    return Scene(camera, light, np.clip(background, 0.01, 0.8))


def photograph(head: Head, expression: Mapping[str, float], placement: Placement, scene: Scene) -> Photograph:
    """Take a picture.

    Args:
        head: who.
        expression: names of the head model, 0 to 1 each.
        placement: where.
        scene: in what.
    """
    model, size = head.shape.model, scene.camera.size
    turn = head_rotation(placement.yaw, placement.pitch, placement.roll)
    upright = head.shape.moved(expression) * np.array([1, -1, -1])  # the model's y points up, its z to the viewer
    vertices = (upright @ turn.T + placement.offset + np.array([0, 0, DISTANCE])).astype(np.float32)
    tracer = Tracer(vertices, model.triangles)
    surface = tracer.cast(scene.camera)
    hit = surface.hit
    triangles, weights = surface.triangles[hit], surface.weights[hit][..., None]  # (n,), (n, 3, 1)
    normal = (normals(vertices, model.triangles)[model.triangles[triangles]] * weights).sum(1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
    texels = (head.canvas.uv[triangles] * weights).sum(1)  # (n, 2)
    paint = _look_up(head.atlas, texels)
    samples = np.zeros((*hit.shape, 5), np.float32)  # RGB, how much a swap replaces, whether there is a head
    samples[hit, :3] = shade(paint[:, :3], paint[:, 3], normal, scene.light)
    samples[hit, 3] = _look_up(head.canvas.swapped, texels)
    samples[hit, 4] = 1
    pixels = average(samples)
    y, x = surface.origin
    here = (slice(y, y + hit.shape[0] // SAMPLES), slice(x, x + hit.shape[1] // SAMPLES))
    picture, swapped = scene.background.copy(), np.zeros((size, size), np.float32)
    picture[here] = pixels[..., :3] + (1 - pixels[..., 4:]) * picture[here]
    swapped[here] = pixels[..., 3]
    points = vertices[model.landmarks]
    return Photograph(picture, swapped, project(points, scene.camera), tracer.sees(points))


def encoded(linear: Floats) -> Floats:
    """sRGB of linear light, both in [0, 1]; what is brighter is white.

    >>> encoded(np.array([0.0, 0.2140411, 1.5], np.float32)).round(3)
    array([0. , 0.5, 1. ], dtype=float32)
    """
    clipped = np.clip(linear, 0, 1)
    return np.where(clipped <= 0.0031308, 12.92 * clipped, 1.055 * clipped ** np.float32(1 / 2.4) - 0.055)


def _look_up(atlas: Floats, texels: Floats) -> Floats:
    """Bilinear values `(n, C)` or `(n,)` at texels `(n, 2)`."""
    pieces = [texels[i : i + REMAP] for i in range(0, len(texels), REMAP)]
    places = (np.ascontiguousarray(piece[:, None]) for piece in pieces)
    found = [cv2.remap(atlas, place, None, cv2.INTER_LINEAR)[:, 0] for place in places]  # type: ignore[call-overload]
    return np.concatenate(found).astype(np.float32, copy=False)
