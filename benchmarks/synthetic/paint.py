"""What the head model does not have: skin, brows, lips, eyes and hair, painted by rule.

- `Look`: what tells one person from another besides the shape
- `Canvas`, `stretch`: where on the head each texel of the atlas lies
- `paint`: the atlas of a look
- `Head`, `dress`: shape, hair and atlas together
- `lay`: one person's head where another's is
- `transplant`: one person's face on another's head, which is what a perfect swap shows

Everything is a function of the place on the mean head, so one landmark has the same paint on every head, and no texel
depends on the resolution. Noise is a sum of cosines with wavelengths that a frame can hold.
"""

import functools
from dataclasses import dataclass, replace
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.synthetic.model import PARTS, SKIN, HeadModel, Shape
from benchmarks.synthetic.render import Tracer, normals, openness
from visagist.faces import similarity, transform

Floats = NDArray[np.float32]

TILE = 512  # texels; half a millimetre on a face
NAMES = tuple(PARTS)
# Tiles of the model: 0 the face, 1 the head and the sockets, 2 gums, 3 teeth; eyeballs lie on 0 and get their own.
SHIFT = {"left_eye": 4, "right_eye": 5}
TILES = 6
TEMPLE = 0.35  # cm that the hair's rim comes forward for each cm that it rises
REACH = 4.0  # cm around a line within which anything depends on it
WAVES = 32  # of a noise

JAW, BROWS = range(17), (range(17, 22), range(22, 27))
EYES, LIPS, MOUTH = (range(36, 42), range(42, 48)), range(48, 60), range(60, 68)


@dataclass(frozen=True)
class Look:
    """Colours of a person, in linear RGB."""

    seed: int
    skin: tuple[float, float, float]
    lips: tuple[float, float, float]
    hair: tuple[float, float, float]
    iris: tuple[float, float, float]
    hairline: float  # cm above the mean head's origin, at the forehead's middle
    hair_depth: float  # cm that it stands off the scalp
    brow: float  # cm, half its height at the thick end
    beard: float = 0.0  # 0 shaven, 1 full
    freckles: float = 0.0  # 0 to 1
    shirt: tuple[float, float, float] = (0.1, 0.12, 0.2)


@dataclass(frozen=True, eq=False)
class Canvas:
    """The atlas before it is painted."""

    uv: Floats  # (T, 3, 2) texels of the triangles' corners, x and y
    places: Floats  # (TILE, TILES * TILE, 3) cm on the mean head
    parts: NDArray[np.int8]  # (TILE, TILES * TILE) index in PARTS, -1 where the atlas is empty
    open: Floats  # (TILE, TILES * TILE) 0..1: how much of the room's light reaches the place
    swapped: Floats  # (TILE, TILES * TILE) 0..1: how much a swap replaces it
    nearest: tuple[NDArray[np.intp], NDArray[np.intp]]  # (TILE, TILES * TILE) row and column of the nearest used texel


@dataclass(frozen=True, eq=False)
class Head:
    """A person, ready to be rendered."""

    shape: Shape
    canvas: Canvas
    atlas: Floats  # (TILE, TILES * TILE, 4) linear RGB albedo and gloss


@functools.cache
def stretch(model: HeadModel) -> Canvas:
    """The atlas of the head model."""
    uv = model.uv - np.floor(model.uv.min(1, keepdims=True)) * np.array([1, 0], np.float32)  # within its tile
    tile = np.floor(model.uv.min(1)[:, 0])
    for name, place in SHIFT.items():
        tile[model.parts == NAMES.index(name)] = place
    corners = np.stack([uv[..., 0] + tile[:, None], 1 - uv[..., 1]], axis=-1) * TILE - 0.5  # (T, 3, 2) texels
    corners = corners.astype(np.float32)
    flat = np.concatenate([corners, np.zeros((*corners.shape[:2], 1))], axis=2).reshape(-1, 3)
    y, x = np.mgrid[:TILE, : TILES * TILE]
    above = np.stack([x, y, np.full(x.shape, -1)], axis=-1).reshape(-1, 3)
    sheet = Tracer(flat, np.arange(len(flat), dtype=np.int32).reshape(-1, 3))
    index, weights, _ = sheet.hits(above, np.tile([0, 0, 1], (len(above), 1)))
    index, weights = index.reshape(x.shape), weights.reshape(*x.shape, 3)
    ao = openness(model.neutral, model.triangles)
    values = np.column_stack([model.neutral, ao, face_weights(model)]).astype(np.float32)  # (V, 5)
    filled = (values[model.triangles[index]] * weights[..., None]).sum(-2)
    parts = np.where(index >= 0, model.parts[index], -1).astype(np.int8)
    within = np.isin(parts, [NAMES.index("teeth"), NAMES.index("gums")])
    filled[within, 3] = 0.6 * _ramp(filled[within, 2], 5.0, 10.5)  # the mean head's mouth is shut; this is an open one
    filled[parts >= NAMES.index("left_eye"), 3] = 0.8  # eyes turn, and shadows would turn with them
    nearest = _nearest(index >= 0)
    return Canvas(corners, filled[..., :3], parts, filled[..., 3], filled[nearest][..., 4], nearest)


@functools.cache
def face_weights(model: HeadModel) -> Floats:
    """`(V,)`: how much of each vertex a swap replaces: 1 within the face, falling to 0 at jaw, hairline and ears."""
    place = model.neutral[model.landmarks]
    jaw = place[list(JAW), :2] * np.array([0.97, 0.99])
    angle = np.linspace(0, np.pi, 25)[1:-1]
    forehead = np.column_stack([7.0 * np.cos(angle), 4.2 + 5.6 * np.sin(angle) ** 0.8])
    outline = np.concatenate([jaw, forehead]).astype(np.float32)
    inside = np.array([cv2.pointPolygonTest(outline[:, None], (float(x), float(y)), True) for x, y, _ in model.neutral])
    back = np.maximum(2.0, 3.4 + TEMPLE * (model.neutral[:, 1] - 4))  # where hair begins, on anybody
    front = _ramp(model.neutral[:, 2] - back, 0.0, 2.5)
    weights = _ramp(inside, 0.0, 1.8) * front
    weights[SKIN.stop :] = 1.0  # eyes, teeth and gums
    for name in ("mouth", "sockets"):
        weights[PARTS[name].start : PARTS[name].stop] = 1.0
    return weights.astype(np.float32)


def paint(canvas: Canvas, model: HeadModel, look: Look) -> Floats:
    """The atlas `(TILE, TILES * TILE, 4)` of a look: linear RGB albedo and gloss."""
    atlas = np.zeros((*canvas.parts.shape, 4), np.float32)
    marks = model.neutral[model.landmarks]
    for i, name in enumerate(NAMES):
        texels = np.nonzero(canvas.parts == i)
        place = canvas.places[texels]
        if name in ("face", "head"):
            colour, gloss = _skin(place, marks, look)
        elif name.endswith("eye"):
            part = PARTS[name]
            colour, gloss = _eye(place, model.neutral[part.start : part.stop], look)
        else:
            flat = {"mouth": (0.12, 0.02, 0.02), "sockets": (0.25, 0.08, 0.07), "gums": (0.32, 0.08, 0.08)}
            colour, gloss = np.full_like(place, flat.get(name, (0.55, 0.5, 0.42))), np.full(len(place), 0.04)
        atlas[texels] = np.column_stack([colour, gloss])
    atlas[..., :3] *= canvas.open[..., None]
    atlas[..., 3] *= canvas.open**2
    return atlas[canvas.nearest]  # the colour continues beyond the edge of a patch, for bilinear look-ups


def dress(model: HeadModel, canvas: Canvas, shape: Shape, look: Look) -> Head:
    """A head with hair and paint."""
    hair = _hair(model.neutral, look) * (np.arange(len(model.neutral)) < PARTS["mouth"].start)
    rest = shape.rest + normals(shape.rest, model.triangles) * (look.hair_depth * hair)[:, None]
    return Head(replace(shape, rest=rest.astype(np.float32)), canvas, paint(canvas, model, look))


def lay(face: Head, head: Head) -> Head:
    """`face` moved and scaled as a swap lays it upon `head`: by the similarity between the two faces, seen in front."""
    core = face_weights(face.shape.model) > 0.99
    ours, theirs = face.shape.rest, head.shape.rest
    matrix = similarity(ours[core, :2], theirs[core, :2])
    scale = float(np.sqrt(np.linalg.det(matrix[:, :2])))
    z = ours[:, 2:] * scale + (theirs[core, 2].mean() - ours[core, 2].mean() * scale)
    rest = np.concatenate([transform(matrix, ours[:, :2]), z], axis=1).astype(np.float32)
    return replace(face, shape=replace(face.shape, rest=rest))


def transplant(face: Head, head: Head) -> Head:
    """`face`'s face on `head`: the right answer of a swap, with its mean colour taken to that of `head`'s face.

    Vertices and texels that a swap leaves alone are exactly `head`'s.
    """
    canvas, weights = head.canvas, face_weights(head.shape.model)[:, None]
    rest = head.shape.rest + weights * (lay(face, head).shape.rest - head.shape.rest)
    core = (canvas.swapped > 0.99) & (canvas.parts == NAMES.index("face"))
    gain = head.atlas[core, :3].mean(0) / face.atlas[core, :3].mean(0)
    matched = face.atlas * np.append(gain, 1).astype(np.float32)
    atlas = head.atlas + canvas.swapped[..., None] * (matched - head.atlas)
    return Head(replace(head.shape, rest=rest.astype(np.float32)), canvas, atlas.astype(np.float32, copy=False))


def _skin(place: Floats, marks: Floats, look: Look) -> tuple[Floats, Floats]:
    """Colour `(n, 3)` and gloss `(n,)` of places on the head."""
    x, y, z = place.T
    noise = functools.partial(_noise, place, look.seed)
    skin = np.array(look.skin, np.float32)
    blotches = 0.07 * noise(0, 2.0, 5.0) + 0.05 * noise(1, 0.7, 1.5) + 0.05 * noise(2, 0.25, 0.5)
    colour = skin * (1 + blotches)[:, None]
    blood = noise(3, 1.0, 3.0) * 0.3 + 1
    cheeks = np.exp(-(((np.abs(x) - 4.3) / 1.8) ** 2) - ((y + 0.2) / 1.8) ** 2) + np.exp(-(x**2) - (y - 0.2) ** 2)
    colour *= 1 + (0.35 * cheeks * blood)[:, None] * np.array([0.1, -0.3, -0.3], np.float32)
    if look.freckles:
        spots = _ramp(noise(4, 0.3, 0.45), 1.0, 1.8) * np.exp(-(((y - 1.5) / 3.5) ** 2)) * (z > 3)
        colour *= 1 - (look.freckles * spots)[:, None] * np.array([0.45, 0.55, 0.6], np.float32)
    front = z > 4
    hairs = 1 + 0.25 * _noise(place * np.array([1, 0.3, 1]), look.seed, 5, 0.3, 0.7)
    if look.beard:
        chin = _ramp(_distance(place, marks[3:14]), 3.2, 1.8) + _ramp(_distance(place, marks[48:55]), 1.3, 0.7)
        chin = np.clip(chin, 0, 1) * _ramp(y, -0.4, -1.4) * _ramp(y, -9.5, -8.5) * _ramp(z, 2.0, 4.0)
        colour = _over(
            colour, np.array(look.hair) * hairs[:, None], look.beard * chin * (0.8 + 0.2 * noise(6, 0.3, 0.6))
        )
    lips = _ramp(_signed(place, marks[list(LIPS)]), -0.12, 0.08) * front
    colour = _over(colour, np.array(look.lips) * (1 + 0.1 * noise(7, 0.3, 0.8))[:, None], 0.85 * lips)
    colour *= 1 - 0.5 * (np.exp(-((_distance(place, marks[list(MOUTH)]) / 0.12) ** 2)) * front)[:, None]
    for eye in EYES:
        rim = marks[[*eye, eye[0]]]
        away = _distance(place, rim)
        colour *= 1 - 0.18 * np.exp(-((away / 0.7) ** 2))[:, None]
        upper = _distance(place, rim[:4])
        lash = 0.75 * np.exp(-((upper / 0.13) ** 2)) + 0.35 * np.exp(-((away / 0.1) ** 2))
        crease = 0.3 * np.exp(-((_distance(place, rim[:4] + np.array([0, 0.55, 0])) / 0.1) ** 2))
        colour *= 1 - np.clip(lash + crease, 0, 0.9)[:, None]
    for brow, inner in zip(BROWS, (marks[21], marks[22]), strict=True):
        line = marks[list(brow)] - np.array([0, 0.25, 0])
        along = np.clip(np.abs(x - inner[0]) / 4.7, 0, 1)
        half = look.brow * (1 - 0.55 * along**1.5)
        cover = _ramp(_distance(place, line) / half, 1.25, 0.55) * (np.sign(x) == np.sign(inner[0]))
        colour = _over(colour, np.array(look.hair) * 0.8, cover * (0.9 + 0.08 * noise(8, 0.25, 0.5)))
    scalp = _hair(place, look)
    colour = _over(colour, np.array(look.hair) * hairs[:, None], scalp)
    shirt = _ramp(y + 0.15 * np.abs(x), -11.5, -11.8)
    colour = _over(colour, np.array(look.shirt) * (1 + 0.15 * noise(9, 0.4, 1.5))[:, None], shirt)
    gloss = 0.05 + 0.05 * lips - 0.03 * scalp
    return colour.astype(np.float32), (gloss * (1 - shirt)).astype(np.float32)


def _hair(place: Floats, look: Look) -> Floats:
    """`(n,)` 0..1: how much hair covers places on the head."""
    x, y, z = place.T
    ragged = 0.2 * _noise(place, look.seed, 10, 0.8, 2.0)
    top = y - (look.hairline - 0.05 * x**2) + ragged
    side = np.minimum(2.7 + TEMPLE * (y - 4) - z + ragged, y - 4.6)  # before and above the ear
    back = np.minimum(-1.6 - z + ragged, y + 4.5)
    ear = np.minimum(np.abs(x) - 7.7, 5.2 - y)  # above 0 on the ears, which have none
    return _ramp(np.maximum(top, np.minimum(np.maximum(side, back), -2 * ear)), -0.4, 0.5)


def _eye(place: Floats, ball: Floats, look: Look) -> tuple[Floats, Floats]:
    """Colour and gloss of places on an eyeball's shell."""
    centre = (ball.min(0) + ball.max(0)) / 2
    aside = np.linalg.norm(place[:, :2] - centre[:2], axis=1) + 9 * (place[:, 2] < centre[2])
    white = np.array([0.62, 0.57, 0.53]) * np.ones((len(place), 1))
    fibres = 1 + 0.25 * _noise(place, look.seed, 11, 0.2, 0.4)
    iris = np.array(look.iris) * fibres[:, None] * (0.55 + 0.45 * _ramp(aside, 0.66, 0.5))[:, None]
    colour = _over(white, iris, _ramp(aside, 0.68, 0.6))
    colour = _over(colour, np.full(3, 0.006), _ramp(aside, 0.28, 0.22))
    return colour.astype(np.float32), np.full(len(place), 0.5, np.float32)


def _noise(place: Floats, seed: int, layer: int, shortest: float, longest: float) -> Floats:
    """`(n,)` of deviation 1: isotropic, smooth, wavelengths in cm."""
    generator = np.random.default_rng((seed, layer))
    direction = generator.normal(size=(WAVES, 3))
    length = 2 * np.pi / generator.uniform(shortest, longest, (WAVES, 1))
    waves = (direction / np.linalg.norm(direction, axis=1, keepdims=True) * length).astype(np.float32)
    phases = generator.uniform(0, 2 * np.pi, WAVES).astype(np.float32)
    total = np.zeros(len(place), np.float32)
    for wave, phase in zip(waves, phases, strict=True):
        total += np.cos(place.astype(np.float32) @ wave + phase)
    return total / np.float32(np.sqrt(WAVES / 2))


def _distance(place: Floats, line: Floats) -> Floats:
    """`(n,)` cm from places to a polyline `(k, 3)`; inf beyond REACH of its bounding box."""
    best = np.full(len(place), np.inf, np.float32)
    near = np.flatnonzero(((place > line.min(0) - REACH) & (place < line.max(0) + REACH)).all(1))
    close = place[near]
    squares = np.full(len(near), np.inf, np.float32)
    for a, b in pairwise(line.astype(np.float32)):
        way = b - a
        along = np.clip((close - a) @ way / max(float(way @ way), 1e-9), 0, 1)
        squares = np.minimum(squares, ((close - a - along[:, None] * way) ** 2).sum(1))
    best[near] = np.sqrt(squares)
    return best


def _signed(place: Floats, outline: Floats) -> Floats:
    """`(n,)` cm into an outline `(k, 3)` seen from the front; below 0 outside."""
    closed = np.concatenate([outline, outline[:1]])
    flat = np.array([1, 1, 0], np.float32)
    away = _distance(place * flat, closed * flat)
    near = np.flatnonzero(np.isfinite(away))
    inside = np.zeros(len(near), bool)
    for (x0, y0, _), (x1, y1, _) in pairwise(closed.tolist()):
        if y0 != y1:
            y = place[near, 1]
            inside ^= ((y0 > y) != (y1 > y)) & (place[near, 0] < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    away *= -1
    away[near[inside]] *= -1
    return away


def _ramp(values: NDArray[np.floating], start: float, end: float) -> Floats:
    """0 at `start`, 1 at `end`, smooth between."""
    t = np.clip((values - start) / (end - start), 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


def _over(below: NDArray[np.floating], above: NDArray[np.floating], cover: NDArray[np.floating]) -> Floats:
    return (below + np.clip(cover, 0, 1)[:, None] * (above - below)).astype(np.float32)


def _nearest(known: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices `(H, W)` each of the nearest known texel."""
    empty = (~known).astype(np.uint8)
    _, found = cv2.distanceTransformWithLabels(empty, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    labels = np.asarray(found, np.intp)
    rows, columns = np.nonzero(known)
    row_of, column_of = np.zeros(labels.max() + 1, np.intp), np.zeros(labels.max() + 1, np.intp)
    row_of[labels[known]], column_of[labels[known]] = rows, columns
    return row_of[labels], column_of[labels]
