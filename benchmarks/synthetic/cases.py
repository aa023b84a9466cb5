"""Clips of synthetic people with a known exact swap, and known degradations of that swap.

- `PEOPLE`: who there is
- `Take`: the motion of a head; `talk` creates one
- `Clip`: frames with their truth; `film` shoots one
- `Bench`: a target, the exact swap, degradations of it, and footage of the source; `build` makes it
- `DEGRADATIONS`: what each one does

The right swap is the source's face on the performer's own head, in the same pose, expression and light: the same
renderer draws it as the target, so that outside the mask both are equal to the bit.
"""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.synthetic.model import IDENTITIES, HeadModel, identity
from benchmarks.synthetic.paint import Floats, Head, Look, dress, lay, stretch, transplant
from benchmarks.synthetic.scene import Photograph, Placement, Scene, encoded, photograph, scene

DRAW = 1  # seed of the identity coefficients: source, performer and impostor differ clearly
WORKERS = 2
RATE = 25  # frames/s
GRAIN = 0.004  # deviation of the sensor's noise, of white
SINGLE = ("jawOpen", "mouthFunnel", "mouthPucker")  # expressions without a left and a right
BLUR, BLOB = 0.035, 0.1  # of the pupils' distance: deviation of the blurs
SHIFT = 2  # px
FLICKER = 0.05

DEGRADATIONS = {
    "perfect": "the source's face, exactly",
    "blurred": "the same, blurred by 3.5 % of the pupils' distance",
    "shifted": "the same, 2 px to the right",
    "trembling": "the same, up to 1 px off in each direction, by chance, each frame",
    "frozen": "in every frame the expression of the first",
    "blob": "the same as frozen, blurred by 10 % of the pupils' distance: an undertrained network's face",
    "unswapped": "the target as it is",
    "wrong person": "a third person's face, exactly",
    "flicker": "brightness of the face 5 % up or down, by chance, each frame",
    "hard edge": "the source's whole head pasted through a mask of 0 and 1, colours as they are",
}
PEOPLE: Mapping[str, Look] = {
    "Ada": Look(1, (0.66, 0.41, 0.30), (0.50, 0.15, 0.15), (0.30, 0.16, 0.06), (0.10, 0.22, 0.35), 10.6, 1.3, 0.30),
    "Ben": Look(2, (0.42, 0.23, 0.14), (0.32, 0.12, 0.10), (0.012, 0.009, 0.008), (0.05, 0.025, 0.012), 11.4, 0.4, 0.52,
                beard=0.75, shirt=(0.3, 0.07, 0.06)),
    "Cleo": Look(3, (0.20, 0.095, 0.055), (0.20, 0.06, 0.055), (0.01, 0.008, 0.007), (0.03, 0.015, 0.008), 11.0, 0.9,
                 0.36, shirt=(0.45, 0.4, 0.1)),
    "Dan": Look(4, (0.72, 0.45, 0.35), (0.48, 0.2, 0.18), (0.34, 0.10, 0.03), (0.12, 0.2, 0.08), 12.0, 0.6, 0.44,
                beard=0.4, freckles=1.0, shirt=(0.06, 0.2, 0.1)),
    "Eve": Look(5, (0.56, 0.33, 0.20), (0.42, 0.10, 0.10), (0.02, 0.014, 0.012), (0.06, 0.03, 0.015), 10.4, 1.1, 0.34,
                shirt=(0.5, 0.48, 0.45)),
    "Finn": Look(6, (0.50, 0.29, 0.20), (0.40, 0.18, 0.16), (0.35, 0.33, 0.31), (0.18, 0.25, 0.3), 13.0, 0.2, 0.46,
                 shirt=(0.05, 0.05, 0.06)),
}  # fmt: skip
SOURCE, PERFORMER, STRANGER = "Ada", "Finn", "Cleo"


@dataclass(frozen=True)
class Take:
    """Motion of a talking head over N frames."""

    placements: tuple[Placement, ...]
    expressions: tuple[Mapping[str, float], ...]

    def __len__(self) -> int:
        return len(self.placements)


@dataclass(frozen=True, eq=False)
class Clip:
    """N frames and the truth about them."""

    frames: NDArray[np.uint8]  # (N, S, S, 3) RGB
    masks: NDArray[np.uint8]  # (N, S, S) how much a swap replaces
    landmarks: NDArray[np.float64]  # (N, 70, 2) px: the usual 68, right and left pupil
    seen: NDArray[np.bool_]  # (N, 70)
    take: Take


@dataclass(frozen=True, eq=False)
class Bench:
    """A target and swaps of it."""

    target: Clip
    swaps: Mapping[str, NDArray[np.uint8]]  # (N, S, S, 3) by name in DEGRADATIONS
    perfect: Clip  # the perfect swap; its mask is 0 where it equals the target
    source: Clip


def talk(count: int, seed: int) -> Take:
    """A head that talks, blinks, looks around and turns slightly."""
    generator = np.random.default_rng(seed)
    times = np.arange(count) / RATE

    def wave(slowest: float, fastest: float) -> NDArray[np.float64]:  # in about -1..1, frequencies in Hz
        rates, phases = generator.uniform(slowest, fastest, 3), generator.uniform(0, 2 * np.pi, 3)
        return np.sin(2 * np.pi * rates * times[:, None] + phases).sum(1) / 2

    yaw, pitch, roll = 16 * wave(0.1, 0.4), 6 * wave(0.1, 0.5), 4 * wave(0.1, 0.4)
    offsets = np.stack([1.2 * wave(0.1, 0.3), 0.6 * wave(0.1, 0.3), 1.5 * wave(0.1, 0.3)], axis=1)
    voice = np.clip(wave(0.3, 0.8) + 0.7, 0, 1)
    values = {
        "jawOpen": 0.45 * voice * np.clip(wave(2, 4) + 0.4, 0, 1.3),
        "mouthFunnel": 0.4 * voice * np.clip(wave(1, 3), 0, 1),
        "mouthPucker": 0.5 * voice * np.clip(wave(1, 2), 0, 1),
        "mouthUpperUp": 0.3 * voice * np.clip(wave(1, 3), 0, 1),
        "mouthLowerDown": 0.4 * voice * np.clip(wave(1, 3), 0, 1),
        "mouthSmile": 0.7 * np.clip(wave(0.2, 0.5), 0, 1),
        "browInnerUp": 0.8 * np.clip(wave(0.2, 0.7), 0, 1),
        "browOuterUp": 0.6 * np.clip(wave(0.2, 0.7), 0, 1),
        "browDown": 0.5 * np.clip(wave(0.2, 0.7), 0, 1),
        "eyeBlink": np.zeros(count),
    }
    for start in np.cumsum(generator.uniform(1.0, 2.5, 2 + count // RATE)):
        values["eyeBlink"] = np.maximum(values["eyeBlink"], np.clip(1.4 - np.abs(times - start) / 0.08, 0, 1))
    single = {name: curve for name, curve in values.items() if name in SINGLE}
    both = single | {f"{name}_{side}": curve for name, curve in values.items() if name not in SINGLE for side in "LR"}
    # "In" and "Out" are the person's own: to the right of the picture is out for the left eye.
    aside, up = 0.8 * np.round(1.4 * wave(0.2, 0.6)) / 1.4, 0.5 * wave(0.2, 0.6)
    for name, right in (("eyeLookOut_L", 1), ("eyeLookIn_R", 1), ("eyeLookIn_L", -1), ("eyeLookOut_R", -1)):
        both[name] = np.clip(right * aside, 0, 1)
    for side in "LR":
        both[f"eyeLookUp_{side}"], both[f"eyeLookDown_{side}"] = np.clip(up, 0, 1), np.clip(-up, 0, 1)
    return Take(
        tuple(
            Placement(float(y), float(p), float(r), (float(a), float(b), float(c)))
            for y, p, r, (a, b, c) in zip(yaw, pitch, roll, offsets, strict=True)
        ),
        tuple({name: float(curve[i]) for name, curve in both.items()} for i in range(count)),
    )


def cast_people(model: HeadModel, names: Iterable[str]) -> dict[str, Head]:
    """Heads of PEOPLE by name."""
    canvas, heads = stretch(model), {}
    for name in names:
        look = PEOPLE[name]
        coefficients = np.random.default_rng((look.seed, DRAW)).choice([-1, 1], IDENTITIES)
        heads[name] = dress(model, canvas, identity(model, coefficients), look)
    return heads


def film(head: Head, take: Take, scene: Scene) -> list[Photograph]:
    """One photograph a frame."""
    with ThreadPoolExecutor(WORKERS, "film") as pool:
        return list(pool.map(lambda e, p: photograph(head, e, p, scene), take.expressions, take.placements))


def develop(shots: list[Photograph], take: Take, seed: int) -> Clip:
    """Photographs to a clip, with the sensor's noise."""
    frames = np.stack([_exposed(encoded(shot.picture), seed, i) for i, shot in enumerate(shots)])
    masks = np.stack([_mask(shot.swapped) for shot in shots])
    return Clip(
        frames, masks, np.stack([shot.landmarks for shot in shots]), np.stack([shot.seen for shot in shots]), take
    )


def build(model: HeadModel, count: int, size: int, pupils: float, seed: int) -> Bench:
    """SOURCE's face on PERFORMER, well and badly.

    Args:
        model: of heads.
        count: frames of the target; the source's footage has as many, in another room, with other movements.
        size: px, side of the frames.
        pupils: px between the pupils.
        seed: of movements, rooms and noise.
    """
    heads = cast_people(model, (SOURCE, PERFORMER, STRANGER))
    take, room = talk(count, seed), scene(size, pupils, seed)
    still = replace(take, expressions=(take.expressions[0],) * count)
    other, there = talk(count, seed + 1), scene(size, pupils, seed + 1)
    performer = heads[PERFORMER]
    target = film(performer, take, room)
    swap = transplant(heads[SOURCE], performer)
    perfect = _onto(target, film(swap, take, room))
    frozen = _onto(target, film(swap, still, room))
    wrong = _onto(target, film(transplant(heads[STRANGER], performer), take, room))
    pasted = film(lay(heads[SOURCE], performer), take, room)
    gains = 1 + FLICKER * np.random.default_rng(seed).choice([-1, 1], count)
    trembles = np.random.default_rng(seed).integers(-1, 2, (count, 2))  # px
    swaps: dict[str, list[Floats]] = {name: [] for name in DEGRADATIONS}
    for i in range(count):
        before, right, mask = encoded(target[i].picture), encoded(perfect[i].picture), perfect[i].swapped[..., None]
        swaps["perfect"].append(right)
        swaps["blurred"].append(_blurred(right, mask, BLUR * pupils))
        swaps["shifted"].append(_over(before, np.roll(right, SHIFT, axis=1), mask))
        across, down = trembles[i]
        swaps["trembling"].append(_over(before, np.roll(right, (int(down), int(across)), axis=(0, 1)), mask))
        still_face = encoded(frozen[i].picture)
        swaps["frozen"].append(still_face)
        swaps["blob"].append(_blurred(still_face, frozen[i].swapped[..., None], BLOB * pupils))
        swaps["unswapped"].append(before)
        swaps["wrong person"].append(encoded(wrong[i].picture))
        swaps["flicker"].append(right * (1 + mask * (gains[i] - 1)).astype(np.float32))
        swaps["hard edge"].append(np.where(mask > 0.5, encoded(pasted[i].picture), before))
    return Bench(
        target=develop(target, take, seed),
        swaps={name: np.stack([_exposed(p, seed, i) for i, p in enumerate(each)]) for name, each in swaps.items()},
        perfect=develop(perfect, take, seed),
        source=develop(film(heads[SOURCE], other, there), other, seed + 1),
    )


def _onto(target: list[Photograph], swapped: list[Photograph]) -> list[Photograph]:
    """Swapped photographs that equal the target's wherever neither shows a part that a swap replaces."""
    pairs = []
    for before, after in zip(target, swapped, strict=True):
        mask = np.maximum(before.swapped, after.swapped)
        picture = np.where(mask[..., None] > 0, after.picture, before.picture)
        pairs.append(replace(after, picture=picture, swapped=mask))
    return pairs


def _over(below: Floats, above: Floats, mask: Floats) -> Floats:
    return (below + mask * (above - below)).astype(np.float32, copy=False)


def _blurred(picture: Floats, mask: Floats, sigma: float) -> Floats:
    return _over(picture, np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.float32), mask)


def _exposed(picture: Floats, seed: int, number: int) -> NDArray[np.uint8]:
    """A picture with the noise of frame `number`: the same one on every picture of that frame."""
    noise = np.random.default_rng((seed, number)).standard_normal(picture.shape, np.float32)
    return np.clip((picture + GRAIN * noise) * 255 + 0.5, 0, 255).astype(np.uint8)


def _mask(swapped: Floats) -> NDArray[np.uint8]:
    """0 only where nothing was replaced."""
    return np.ceil(np.clip(swapped, 0, 1) * 255).astype(np.uint8)
