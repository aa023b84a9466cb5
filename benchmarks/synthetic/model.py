"""The head model: ICT-FaceKit's mesh, its identities and its expressions.

- `HeadModel`: mesh, deltas, landmarks; `load` it, `find` where it lies
- `Shape`: the vertices of a head at rest, and their movement with an expression
- `PARTS`: which vertices are skin, mouth, teeth, eyes

Li et al. 2020, "Learning formation of physically-based face attributes" (ICT-FaceKit, MIT). Twenty of its hundred
identity modes and all expressions are in the developers' footage; nothing of it is copied into this repository.
Units are cm; x to the right of a picture of the face, y up, z towards the viewer.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import SHARED

FOLDER = SHARED / "synthetic"
MODEL, INDICES = "ict_facekit_compact.npz", "vertex_indices.json"

# Vertices of each part, by the topology that ICT-FaceKit states. Lacrimal fluid, eye occlusion and lashes are sheets
# of transparent material, and the iris lies below the clear cornea of the eyeball's shell: these are left out.
PARTS = {
    "face": range(9409),
    "head": range(9409, 11248),
    "mouth": range(11248, 13294),  # the socket
    "sockets": range(13294, 14062),  # of the eyes
    "gums": range(14062, 17039),  # and tongue
    "teeth": range(17039, 21451),
    "left_eye": range(21451, 22221),  # the person's own
    "right_eye": range(23021, 23791),
}
SKIN = range(PARTS["sockets"].stop)  # one connected surface
IDENTITIES = 20
GAZE = 30.0  # degrees that an eye turns at 1
LOWERED = 4.0  # degrees; at rest the model's eyes look up, as its lids lie


@dataclass(frozen=True, eq=False)
class HeadModel:
    """The mean head and how it varies."""

    neutral: NDArray[np.float32]  # (V, 3) cm
    deltas: Mapping[str, NDArray[np.float16]]  # (V, 3) each: "identity000".., then ARKit's expressions
    triangles: NDArray[np.int32]  # (T, 3), of the visible parts
    uv: NDArray[np.float32]  # (T, 3, 2) of the corners, in the model's own tiles
    parts: NDArray[np.int8]  # (T,) index in PARTS
    landmarks: NDArray[np.int32]  # (70,) vertices: the usual 68, then right and left pupil


@dataclass(frozen=True, eq=False)
class Shape:
    """A head."""

    model: HeadModel
    rest: NDArray[np.float32]  # (V, 3) cm

    def moved(self, expression: Mapping[str, float]) -> NDArray[np.float32]:
        """The vertices `(V, 3)` in an expression: names of the model, 0 to 1 each."""
        vertices = self.rest.copy()
        for name, value in expression.items():
            if value:
                vertices += self.model.deltas[name].astype(np.float32) * np.float32(value)
        for side, part in (("L", PARTS["left_eye"]), ("R", PARTS["right_eye"])):
            # The model's expressions move the lids alone. "Out" is away from the nose: to the right for the left eye.
            out, into, up, down = (expression.get(f"eyeLook{way}_{side}", 0.0) for way in ("Out", "In", "Up", "Down"))
            aside = np.radians(GAZE * (out - into)) * (1 if side == "L" else -1)
            ball = vertices[part.start : part.stop]
            centre = (ball.min(0) + ball.max(0)) / 2
            ball[:] = (ball - centre) @ _turn(aside, np.radians(GAZE * (up - down) - LOWERED)).T + centre
        return vertices


def find() -> Path | None:
    """The folder of the head model; None in a clone without the developers' footage."""
    return FOLDER if (FOLDER / MODEL).exists() and (FOLDER / INDICES).exists() else None


def load(folder: Path) -> HeadModel:
    """Read the model."""
    with np.load(folder / MODEL) as arrays:
        neutral, faces, faces_uv, uv = (arrays[name] for name in ("neutral", "faces", "faces_uv", "uv"))
        deltas = dict(zip(map(str, arrays["names"]), arrays["deltas"], strict=True))
    indices: dict[str, Any] = json.loads((folder / INDICES).read_text())
    triangles, corners = _split(faces), _split(faces_uv)
    parts = np.full(len(triangles), -1, np.int8)
    for i, vertices in enumerate(PARTS.values()):
        parts[(triangles[:, 0] >= vertices.start) & (triangles[:, 0] < vertices.stop)] = i
    kept = parts >= 0
    pupils = [_foremost(neutral, PARTS[name]) for name in ("right_eye", "left_eye")]
    landmarks = np.array([*indices["idx_to_landmark_verts"], *pupils], np.int32)
    return HeadModel(neutral, deltas, triangles[kept], uv[corners[kept]], parts[kept], landmarks)


def identity(model: HeadModel, coefficients: NDArray[np.floating]) -> Shape:
    """The head of an identity: up to 20 coefficients, each of deviation 1 among people."""
    rest = model.neutral.copy()
    for i, value in enumerate(coefficients):
        rest += model.deltas[f"identity{i:03}"].astype(np.float32) * np.float32(value)
    return Shape(model, rest)


def _turn(aside: float, up: float) -> NDArray[np.float32]:
    """The `(3, 3)` rotation of an eye by these angles (radians): to the right of the image, and up."""
    a, u = np.cos(aside), np.cos(up)
    b, v = np.sin(aside), np.sin(up)
    about_y, about_x = np.array([[a, 0, b], [0, 1, 0], [-b, 0, a]]), np.array([[1, 0, 0], [0, u, v], [0, -v, u]])
    return (about_y @ about_x).astype(np.float32)


def _split(polygons: NDArray[np.int32]) -> NDArray[np.int32]:
    """Triangles `(T, 3)` of quads `(N, 4)`; a fourth corner of -1 is none."""
    quads = polygons[polygons[:, 3] >= 0]
    return np.concatenate([polygons[:, :3], quads[:, [0, 2, 3]]])


def _foremost(vertices: NDArray[np.float32], part: range) -> int:
    """The vertex of an eyeball on its axis, which points to the viewer."""
    points = vertices[part.start : part.stop]
    centre = (points.min(0) + points.max(0)) / 2
    aside = np.linalg.norm(points[:, :2] - centre[:2], axis=1) + 9 * (points[:, 2] < centre[2])
    return part.start + int(aside.argmin())
