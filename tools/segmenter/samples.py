"""Training samples: framed, covered and degraded crops with their class probabilities."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from tools.segmenter import occluders
from tools.segmenter.occluders import Layer, Picture, Scene
from tools.segmenter.sources import MARGIN, SIDE, Sample, to_bytes

from visagist.faces import COVERAGES

SIZE = 256  # px of the network's input
CLASSES = ("face", "hair", "occluder", "background")
FRAMINGS = (2.8, 6.6)  # smallest and largest side of the crop, interpupillary distances
UNIT = SIDE / (COVERAGES["head"].side * MARGIN)  # px per interpupillary distance in a `Sample`
COVERED = 0.7  # fraction of faces with something in front


class Composer:
    """Draws random training samples; each depends on its number and the seed only."""

    def __init__(self, samples: list[Sample], hands: list[NDArray[np.uint8]], seed: int = 0) -> None:
        self.samples, self.hands, self.seed = samples, hands, seed
        people = [_person(each.name) for each in samples]
        names, counts = np.unique(people, return_counts=True)
        # A person in many frames counts as up to twelve portraits: only video shows open mouths, talking and turning.
        share = {name: min(count, 12) / count for name, count in zip(names, counts, strict=True)}
        weights = np.array([share[name] for name in people])
        self.weights = weights / weights.sum()

    def draw(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """`(SIZE, SIZE, 3)` RGB, and `(SIZE, SIZE, 4)`: face, hair, occluder, and 255 where the target is known."""
        rng = np.random.default_rng((self.seed, number))
        sample = self._pick(rng)
        matrix, unit = _framing(sample, rng)
        mirror = rng.random() < 0.5
        scene, person, known = _framed(sample, matrix, unit)
        if rng.random() < 0.3:
            self._replace_background(scene, person, rng)
        occluder = np.zeros((SIZE, SIZE), np.float32)
        if rng.random() < COVERED:
            for _ in range(1 + (rng.random() < 0.3)):
                layer = self._layer(scene, rng)
                alpha = occluders.put(scene, layer, rng)
                occluder = occluder * (1 - alpha) + (0 if layer.is_hair else alpha)
                known = np.maximum(known, alpha)  # what is composited is known everywhere
        picture = degrade(scene.picture, rng)
        planes = np.dstack([scene.face, scene.hair, occluder, known])
        if mirror:
            picture, planes = picture[:, ::-1], planes[:, ::-1]
        return to_bytes(picture), to_bytes(planes)

    def _pick(self, rng: Generator) -> Sample:
        return self.samples[rng.choice(len(self.samples), p=self.weights)]

    def _layer(self, scene: Scene, rng: Generator) -> Layer:
        kinds: list[tuple[float, Callable[[], Layer]]] = [
            (0.45, lambda: occluders.hand(scene, rng, self.hands)),
            (0.13, lambda: occluders.strands(scene, rng)),
            (0.14, lambda: occluders.glasses(scene, rng)),
            (0.06, lambda: occluders.microphone(scene, rng)),
            (0.15, lambda: occluders.object_(scene, rng, self._texture(rng))),
            (0.07, lambda: self._head(scene, rng)),
        ]
        return kinds[rng.choice(len(kinds), p=[weight for weight, _ in kinds])][1]()

    def _head(self, scene: Scene, rng: Generator) -> Layer:
        other = self._pick(rng)
        framed, person, _ = _framed(other, *_framing(other, rng))
        return occluders.head(scene, rng, framed.picture, person)

    def _texture(self, rng: Generator) -> Picture:
        """A plain colour, a gradient, or a piece of some picture."""
        if rng.random() < 0.4:
            ends = rng.uniform(0, 1, (2, 1, 1, 3)).astype(np.float32)
            ramp = np.linspace(0, 1, SIZE, dtype=np.float32)[:, None, None]
            ramp = ramp if rng.random() < 0.5 else ramp.transpose(1, 0, 2)
            mixed = ends[0] * (1 - ramp) + (ends[1] if rng.random() < 0.5 else ends[0] * rng.uniform(0.6, 1.2)) * ramp
            return np.ascontiguousarray(np.clip(np.broadcast_to(mixed, (SIZE, SIZE, 3)), 0, 1), np.float32)
        image = self._pick(rng).image
        side = int(rng.integers(24, 160))
        y, x = rng.integers(0, SIDE - side, 2)
        piece = cv2.resize(image[y : y + side, x : x + side], (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
        piece = piece.astype(np.float32) / 255
        return piece[..., rng.permutation(3)] if rng.random() < 0.5 else piece

    def _replace_background(self, scene: Scene, person: NDArray[np.float32], rng: Generator) -> None:
        keep = np.maximum(np.clip(2 * person - 0.6, 0, 1), np.maximum(scene.face, scene.hair))[..., None]
        other = cv2.resize(self._texture(rng), (SIZE, SIZE))
        scene.picture[:] = keep * scene.picture + (1 - keep) * other


def _framing(sample: Sample, rng: Generator) -> tuple[NDArray[np.float64], float]:
    """A random framing of the face as a matrix from the sample's px, and its px per interpupillary distance."""
    side = np.exp(rng.uniform(*np.log(FRAMINGS)))
    unit = SIZE / side
    # Tight framings are centred on the face, wide ones on the head.
    share = np.clip((side - 3) / 2.5, 0, 1)
    y = (1 - share) * COVERAGES["full"].y + share * COVERAGES["head"].y
    centre = (SIDE - 1) / 2 + np.array([0.0, (y - COVERAGES["head"].y) * UNIT])
    centre += rng.normal(0, 0.04, 2) * side * UNIT
    turn = rng.normal(0, 8) if rng.random() < 0.8 else rng.uniform(-35, 35)
    matrix = cv2.getRotationMatrix2D(tuple(centre), turn, unit / UNIT)
    matrix[:, 2] += (SIZE - 1) / 2 - centre
    return matrix, unit


def _framed(
    sample: Sample, matrix: NDArray[np.float64], unit: float
) -> tuple[Scene, NDArray[np.float32], NDArray[np.float32]]:
    """The framed scene, with the person's alpha and where the target is known."""

    def warp(plane: NDArray[np.uint8], border: int = cv2.BORDER_CONSTANT) -> NDArray[np.float32]:
        flags = cv2.INTER_AREA if unit < UNIT / 2 else cv2.INTER_LINEAR
        found = cv2.warpAffine(plane, matrix, (SIZE, SIZE), flags=flags, borderMode=border)
        return found.astype(np.float32) / 255

    landmarks = (sample.landmarks @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    picture = warp(sample.image, cv2.BORDER_REPLICATE)
    scene = Scene(picture, warp(sample.face), warp(sample.hair), landmarks, unit)
    return scene, warp(sample.person), warp(sample.known)


def degrade(picture: Picture, rng: Generator) -> Picture:
    """Light, colour, blur, noise, low resolution and compression, as footage has them."""
    x = picture
    if rng.random() < 0.8:
        x = np.clip(x, 0, 1) ** np.exp(rng.normal(0, 0.3))
        x = x * np.exp(rng.normal(0, 0.12, 3)).astype(np.float32) + rng.normal(0, 0.03)
    if rng.random() < 0.3:  # light from one side
        turn, depth = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.5)
        y, x_ = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j].astype(np.float32)
        x = x * (1 + depth * (np.cos(turn) * x_ + np.sin(turn) * y))[..., None]
    if rng.random() < 0.3:
        grey = x.mean(-1, keepdims=True)
        x = grey + (x - grey) * rng.uniform(0, 1.6)
    x = np.clip(x, 0, 1).astype(np.float32)
    if rng.random() < 0.5:  # hand and face lose their detail together
        small = int(rng.integers(48, 200))
        x = cv2.resize(
            cv2.resize(x, (small, small), interpolation=cv2.INTER_AREA), (SIZE, SIZE), interpolation=cv2.INTER_CUBIC
        )
    elif rng.random() < 0.3:
        x = cv2.GaussianBlur(x, (0, 0), rng.uniform(0.3, 2.0))
    if rng.random() < 0.4:
        x = x + rng.normal(0, rng.uniform(0.005, 0.06), x.shape).astype(np.float32)
    if rng.random() < 0.5:
        quality = int(rng.integers(15, 90))
        _, data = cv2.imencode(".jpg", to_bytes(x), [cv2.IMWRITE_JPEG_QUALITY, quality])
        x = cv2.imdecode(data, cv2.IMREAD_COLOR).astype(np.float32) / 255
    return np.clip(x, 0, 1).astype(np.float32)


def _person(name: str) -> str:
    """Key of the person of a sample, from its name."""
    if name.startswith(("s1_", "A_", "B_", "brb", "lbb", "sbw", "s30", "s33", "s34")):
        return name.split("_")[0].split("-")[0]
    if name.startswith(("neutral", "smiling")):
        return name.split("_")[2]
    return name


def contact_sheet(composer: Composer, first: int, count: int, path: Path) -> None:
    """Write samples with their targets beside them: face red, hair blue, occluder green, unknown dark."""
    rows = []
    for number in range(first, first + count):
        picture, planes = composer.draw(number)
        colors = planes[..., [0, 2, 1]] * (0.3 + 0.7 * (planes[..., 3:] > 127))
        rows.append(np.hstack([picture, (0.5 * picture + 0.5 * colors).astype(np.uint8)]))
    grid = [np.hstack(rows[i : i + 4]) for i in range(0, count - 3, 4)]
    cv2.imwrite(str(path), cv2.cvtColor(np.vstack(grid), cv2.COLOR_RGB2BGR))
