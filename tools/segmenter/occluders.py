"""Things in front of a face, drawn with exact alpha: hands, strands of hair, glasses, microphones, heads and objects.

A `Layer` is composited over a `Scene`. Lengths are in interpupillary distances unless stated otherwise.
"""

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from tools.segmenter.sources import SHARED

Picture = NDArray[np.float32]  # (h, w, 3) RGB in [0, 1]
Alpha = NDArray[np.float32]  # (h, w) in [0, 1]

HAND_SIDE = 100  # px of the pictures of hands
EYES = ((33, 133, 159, 145), (362, 263, 386, 374))
TEMPLES = (127, 356)
MOUTH = 13


@dataclass
class Scene:
    """A face to be covered.

    Attributes:
        picture: `(S, S, 3)` RGB in [0, 1].
        face: `(S, S)` probability of uncovered skin.
        hair: `(S, S)` probability of hair.
        landmarks: `(478, 2)`, px.
        unit: px per interpupillary distance of the mean face.
    """

    picture: Picture
    face: Alpha
    hair: Alpha
    landmarks: NDArray[np.float32]
    unit: float


@dataclass
class Layer:
    """Something in front of a face."""

    picture: Picture
    alpha: Alpha
    is_hair: bool = False


def load_hands(archive: Path | None = None) -> list[NDArray[np.uint8]]:
    """Hands cut out of their ground, `(100, 100, 4)` RGBA each; fingers up, wrist at the lower edge."""
    found: list[NDArray[np.uint8]] = []
    with tarfile.open(archive or SHARED / "faces/hands/sign_digits.tar") as files:
        for member in files.getmembers():
            content = files.extractfile(member) if member.name.upper().endswith(".JPG") else None
            if content is not None:
                with Image.open(io.BytesIO(content.read())) as picture:
                    rgb = np.asarray(picture.convert("RGB").resize((HAND_SIDE, HAND_SIDE)))
                alpha = _hand_alpha(rgb)
                if 0.08 < alpha.mean() < 0.6:
                    found.append(np.dstack([_spread(rgb, alpha), np.round(alpha * 255).astype(np.uint8)]))
    return found


def _hand_alpha(rgb: NDArray[np.uint8]) -> Alpha:
    """Cut a hand out of a white ground whose shading is a polynomial of the second degree."""
    lab = cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB).reshape(-1, 3)
    y, x = (v.ravel() for v in np.mgrid[-1 : 1 : HAND_SIDE * 1j, -1 : 1 : HAND_SIDE * 1j])
    terms = np.column_stack([np.ones_like(x), x, y, x * x, y * y, x * y])
    is_ground = lab[:, 2] < np.percentile(lab[:, 2], 50)
    distance = np.zeros(len(lab))
    for _ in range(4):
        ground = terms @ np.linalg.lstsq(terms[is_ground], lab[is_ground], rcond=None)[0]
        distance = np.abs((lab - ground) * [0.6, 1.5, 1.5]).max(1)
        is_ground = distance < np.clip(np.percentile(distance, 55), 3, 8)
    distance = distance.reshape(HAND_SIDE, HAND_SIDE)
    labels = np.full(distance.shape, cv2.GC_PR_BGD, np.uint8)
    labels[distance > 10], labels[distance > 22], labels[distance < 4] = cv2.GC_PR_FGD, cv2.GC_FGD, cv2.GC_BGD
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(np.ascontiguousarray(rgb[..., ::-1]), labels, None, *models, 3, cv2.GC_INIT_WITH_MASK)  # pyright: ignore
    hand = ((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)).astype(np.uint8)
    count, parts, stats, _ = cv2.connectedComponentsWithStats(hand)
    if count > 1:
        hand = (parts == 1 + np.argmax(stats[1:, cv2.CC_STAT_AREA])).astype(np.uint8)
    soft = cv2.GaussianBlur(hand.astype(np.float32), (0, 0), 0.8)
    return np.clip(1.6 * soft - 0.6, 0, 1).astype(np.float32)


def _spread(rgb: NDArray[np.uint8], alpha: Alpha) -> NDArray[np.uint8]:
    """Replace the ground's colour at the edge by that of the nearest inner pixels."""
    inner = (alpha > 0.97).astype(np.float32)
    colors, weight = rgb.astype(np.float32) * inner[..., None], inner
    for sigma in (1.0, 2.0, 4.0, 12.0):
        blurred, share = cv2.GaussianBlur(colors, (0, 0), sigma), cv2.GaussianBlur(weight, (0, 0), sigma)
        fill = (weight < 0.5) & (share > 1e-3)
        colors[fill], weight[fill] = blurred[fill] / share[fill, None], 1
    return np.clip(colors, 0, 255).astype(np.uint8)


def hand(scene: Scene, rng: Generator, hands: list[NDArray[np.uint8]]) -> Layer:
    """A hand that comes from any side, recoloured to the face's skin in most cases."""
    cut = hands[rng.integers(len(hands))].astype(np.float32) / 255
    if rng.random() < 0.5:
        cut = cut[:, ::-1]
    arm = np.repeat(cut[-3:-2], 3 * HAND_SIDE, 0)  # the wrist, prolonged
    arm[..., :3] *= rng.uniform(0.85, 1.1)
    if rng.random() < 0.5:  # a sleeve
        start = rng.integers(0, HAND_SIDE // 2)
        arm[start:, :, :3] = rng.uniform(0.05, 0.95, 3) * rng.uniform(0.8, 1, (len(arm) - start, 1, 1))
        arm[start:, :, 3] = cv2.dilate(arm[start:, :, 3], np.ones((1, 15)))
    cut = np.vstack([cut, arm]).astype(np.float32)
    if rng.random() < 0.85:
        cut[..., :3] = _recolored(cut[..., :3], cut[..., 3], scene, rng)
    scale = rng.uniform(1.8, 4.2) * scene.unit / HAND_SIDE
    centre = scene.landmarks[rng.integers(468)] + rng.normal(0, 0.35, 2) * scene.unit
    tip = (rng.uniform(30, 70), rng.uniform(15, 75))  # the point of the hand that lies there, px of the hand
    return _placed(cut, scene, centre, tip, scale, rng.uniform(-180, 180))


def _recolored(rgb: Picture, alpha: Alpha, scene: Scene, rng: Generator) -> Picture:
    """Colours moved to the mean of the face's skin in Lab, give or take."""
    skin = cv2.cvtColor(scene.picture, cv2.COLOR_RGB2LAB)[scene.face > 0.8]
    lab = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2LAB)
    own = lab[:HAND_SIDE][alpha[:HAND_SIDE] > 0.8]
    if len(skin) < 20 or len(own) < 20:
        return rgb
    shift = np.median(skin, 0) - np.median(own, 0) + rng.normal(0, 1, 3) * [7, 3, 4]
    return np.clip(cv2.cvtColor((lab + shift).astype(np.float32), cv2.COLOR_LAB2RGB), 0, 1)


def _placed(
    cut: Picture, scene: Scene, centre: NDArray[np.floating], anchor: tuple[float, float], scale: float, turn: float
) -> Layer:
    """An RGBA picture whose `anchor` (px) lies at `centre`, turned by degrees."""
    matrix = cv2.getRotationMatrix2D(anchor, turn, scale)
    matrix[:, 2] += np.asarray(centre) - anchor
    side = len(scene.picture)
    alpha = cv2.warpAffine(cut[..., 3], matrix, (side, side), flags=cv2.INTER_LINEAR)
    rgb = cv2.warpAffine(cut[..., :3], matrix, (side, side), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return Layer(np.clip(rgb, 0, 1), np.clip(alpha, 0, 1))


def strands(scene: Scene, rng: Generator) -> Layer:
    """Loose hair in the colour of the person's own, or any other."""
    side, unit = len(scene.picture), scene.unit
    own = scene.picture[scene.hair > 0.9]
    base = (
        own[rng.integers(len(own))]
        if len(own) > 50 and rng.random() < 0.8
        else rng.uniform(0.03, 0.8) * np.array([1, rng.uniform(0.6, 0.95), rng.uniform(0.4, 0.9)])
    )
    rgba = np.zeros((side, side, 4), np.float32)
    rgba[..., :3] = base
    hairline = scene.landmarks[rng.choice([10, 338, 109, 54, 284, 67, 297, 103, 332])]
    start = hairline + rng.normal(0, 0.25, 2) * unit - [0, rng.uniform(0, 0.6) * unit]
    end = scene.landmarks[rng.integers(468)] + rng.normal(0, 0.3, 2) * unit
    bend = (start + end) / 2 + rng.normal(0, 0.5, 2) * unit
    spread, t = rng.uniform(0.02, 0.3) * unit, np.linspace(0, 1, 16)[:, None]
    for _ in range(rng.integers(4, 60)):
        a, b, c = start + rng.normal(0, spread, 2), bend + rng.normal(0, spread, 2), end + rng.normal(0, spread, 2)
        line = (1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c
        color = np.clip(base * rng.uniform(0.6, 1.4) + rng.normal(0, 0.02, 3), 0, 1)
        points = np.round(line * 16).astype(np.int32)
        width = 1 if rng.random() < 0.7 else max(1, round(0.02 * unit))
        cv2.polylines(rgba, [points], False, (*color.tolist(), 1.0), width, cv2.LINE_AA, 4)
    return Layer(np.clip(rgba[..., :3], 0, 1), np.clip(rgba[..., 3], 0, 1), is_hair=True)


def glasses(scene: Scene, rng: Generator) -> Layer:
    """Frames around the eyes; lenses are clear or, in some, dark. Clear lenses belong to the face."""
    side, unit = len(scene.picture), scene.unit
    eyes = [scene.landmarks[list(eye)].mean(0) for eye in EYES]
    across = (eyes[1] - eyes[0]) / max(float(np.linalg.norm(eyes[1] - eyes[0])), 1e-3)
    down = np.array([-across[1], across[0]])
    width = rng.uniform(0.36, 0.46) * float(np.linalg.norm(eyes[1] - eyes[0]))
    height = rng.uniform(0.5, 0.95) * width
    power, drop = rng.uniform(2, 5), rng.uniform(0.0, 0.12) * unit
    stroke = max(1, round(rng.uniform(0.03, 0.11) * unit))
    angles = np.linspace(0, 2 * np.pi, 48)
    shape = np.column_stack([np.cos(angles), np.sin(angles)])
    shape = np.sign(shape) * np.abs(shape) ** (2 / power) * [width, height]
    lenses = [eye + down * drop + shape[:, :1] * across + shape[:, 1:] * down for eye in eyes]
    frame, glass = np.zeros((side, side), np.float32), np.zeros((side, side), np.float32)
    for lens, temple, outer in zip(lenses, TEMPLES, (24, 0), strict=True):
        points = np.round(lens * 16).astype(np.int32)
        cv2.fillPoly(glass, [points], 1.0, cv2.LINE_AA, 4)
        cv2.polylines(frame, [points], True, 1.0, stroke, cv2.LINE_AA, 4)
        arm = np.round(np.array([lens[outer], scene.landmarks[temple]]) * 16).astype(np.int32)
        cv2.polylines(frame, [arm], False, 1.0, stroke, cv2.LINE_AA, 4)
    bridge = np.round(np.array([lenses[0][0], lenses[1][24]]) * 16).astype(np.int32)
    cv2.polylines(frame, [bridge], False, 1.0, stroke, cv2.LINE_AA, 4)
    color = rng.uniform(0, 0.25, 3) if rng.random() < 0.7 else rng.uniform(0.2, 0.95, 3)
    picture = np.broadcast_to(color, (side, side, 3)).astype(np.float32)
    picture = picture * _noise(side, rng, 0.15)[..., None]
    alpha = frame
    if rng.random() < 0.3:
        tint = rng.uniform(0.75, 0.98)
        shade = np.linspace(rng.uniform(0.5, 1), rng.uniform(0.8, 1.3), side, dtype=np.float32)[:, None, None]
        dark = np.broadcast_to(rng.uniform(0, 0.25, 3) * shade, (side, side, 3)).astype(np.float32)
        picture = picture * frame[..., None] + dark * (1 - frame[..., None])
        alpha = np.maximum(frame, glass * tint)
    return Layer(np.clip(picture, 0, 1).astype(np.float32), alpha)


def microphone(scene: Scene, rng: Generator) -> Layer:
    """A round head on a stick, near the mouth."""
    side, unit = len(scene.picture), scene.unit
    head = scene.landmarks[MOUTH] + rng.normal(0, 0.45, 2) * unit + [0, 0.3 * unit]
    foot = head + np.array([rng.normal(0, 1.2), rng.uniform(2, 5)]) * unit
    alpha = np.zeros((side, side), np.float32)
    radius, thick = rng.uniform(0.2, 0.5) * unit, rng.uniform(0.1, 0.25) * unit
    cv2.polylines(
        alpha,
        [np.round(np.array([head, foot]) * 16).astype(np.int32)],
        False,
        1.0,
        max(1, round(thick)),
        cv2.LINE_AA,
        4,
    )
    axes = (round(radius * 16), round(radius * rng.uniform(1, 1.4) * 16))
    cv2.ellipse(alpha, tuple(np.round(head * 16).astype(int).tolist()), axes, 0, 0, 360, 1.0, -1, cv2.LINE_AA, 4)
    color = np.full(3, rng.uniform(0.02, 0.5)) if rng.random() < 0.7 else rng.uniform(0, 1, 3)
    grid = 1 + rng.uniform(0, 0.3) * np.sin(np.arange(side) * rng.uniform(0.6, 2))
    light = np.linspace(rng.uniform(0.6, 1.4), rng.uniform(0.6, 1.4), side)[None, :]
    picture = color * (np.outer(grid, grid) * light)[..., None]
    return Layer(np.clip(picture, 0, 1).astype(np.float32), alpha)


def object_(scene: Scene, rng: Generator, texture: Picture) -> Layer:
    """A blob, card or band of a texture; a band may cover mouth and nose like a mask."""
    side, unit = len(scene.picture), scene.unit
    centre = scene.landmarks[rng.integers(468)] + rng.normal(0, 0.5, 2) * unit
    size = rng.uniform(0.4, 2.2) * unit
    kind = rng.random()
    if kind < 0.2:  # a face mask, scarf or cup
        low = scene.landmarks[[234, 132, 172, 150, 152, 379, 397, 361, 454, 4 if rng.random() < 0.5 else 0]]
        points = low + rng.normal(0, 0.06, low.shape) * unit
        points[3:6, 1] += rng.uniform(0, 0.5) * unit
    elif kind < 0.55:  # phone, book, card
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [size, size * rng.uniform(0.4, 2)] / 2
        turn = rng.uniform(0, np.pi)
        points = corners @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) + centre
    else:
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(5, 12)))
        radii = size * rng.uniform(0.4, 1, len(angles))
        points = centre + np.column_stack([np.cos(angles), np.sin(angles)]) * radii[:, None]
    alpha = np.zeros((side, side), np.float32)
    cv2.fillPoly(alpha, [np.round(points * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
    if kind >= 0.55:
        sigma = rng.uniform(0.02, 0.12) * unit
        alpha = np.clip((cv2.GaussianBlur(alpha, (0, 0), sigma) - 0.5) * sigma * 1.5 + 0.5, 0, 1)
    return Layer(cv2.resize(texture, (side, side), interpolation=cv2.INTER_LINEAR), alpha.astype(np.float32))


def head(scene: Scene, rng: Generator, other: Picture, person: Alpha) -> Layer:
    """Another person's head and shoulders at the side or below."""
    side = len(scene.picture)
    angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(1.3, 2.6) * scene.unit
    matrix = cv2.getRotationMatrix2D((other.shape[1] / 2, other.shape[0] / 2), rng.normal(0, 15), rng.uniform(0.5, 0.9))
    matrix[:, 2] += np.array([np.cos(angle), abs(np.sin(angle))]) * distance + (side - other.shape[0]) / 2
    alpha = cv2.warpAffine(person, matrix, (side, side))
    rgb = cv2.warpAffine(other, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)
    return Layer(rgb, np.clip(2 * alpha - 0.5, 0, 1))


def put(scene: Scene, layer: Layer, rng: Generator) -> Alpha:
    """Composite a layer over a scene in place, with a shadow; returns the alpha used.

    The sum of face and hair probabilities falls by what is covered, unless the layer is hair itself.
    """
    alpha, picture = layer.alpha, layer.picture
    if rng.random() < 0.25:
        alpha, picture = _motion_blurred(alpha, picture, rng, scene.unit)
    shift, sigma = rng.normal(0, 0.06, 2) * scene.unit, rng.uniform(0.02, 0.2) * scene.unit
    moved = cv2.warpAffine(alpha, np.array([[1, 0, shift[0]], [0, 1, shift[1]]]), alpha.shape[::-1])
    shadow = cv2.GaussianBlur(moved, (0, 0), sigma) * rng.uniform(0, 0.6)
    scene.picture *= (1 - shadow * (1 - alpha))[..., None]
    scene.picture += alpha[..., None] * (picture - scene.picture)
    scene.face *= 1 - alpha
    scene.hair *= 1 - alpha
    if layer.is_hair:
        scene.hair += alpha
    return alpha


def _motion_blurred(alpha: Alpha, picture: Picture, rng: Generator, unit: float) -> tuple[Alpha, Picture]:
    length = max(3, round(rng.uniform(0.05, 0.35) * unit))
    kernel = np.zeros((length, length), np.float32)
    turn = rng.uniform(0, np.pi)
    middle, reach = (length - 1) / 2, np.array([np.cos(turn), np.sin(turn)]) * (length - 1) / 2
    ends = np.round((middle + np.array([-reach, reach])) * 16).astype(np.int32)
    cv2.polylines(kernel, [ends], False, 1.0, 1, cv2.LINE_AA, 4)
    kernel /= max(float(kernel.sum()), 1e-6)
    soft = cv2.filter2D(alpha, -1, kernel)
    colors = cv2.filter2D(picture * alpha[..., None], -1, kernel) / np.maximum(soft, 1e-3)[..., None]
    return soft, np.where(soft[..., None] > 1e-3, colors, picture)


def _noise(side: int, rng: Generator, amount: float) -> Alpha:
    coarse = rng.normal(1, amount, (8, 8)).astype(np.float32)
    return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
