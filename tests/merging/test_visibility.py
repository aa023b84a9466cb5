"""What is in front of the performer's face stays there: the bundled target, holding a card in front of the mouth."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from visagist.demo import TARGET
from visagist.faces import Face, describe
from visagist.masks import INPUT_SIDE
from visagist.media import Frame, Reader, frame_from_rgb
from visagist.merging import MergeOptions
from visagist.merging.pipeline import BATCH, merge_frames
from visagist.merging.visibility import FLOW_SIDE, RESTART_FRAMES, Sight, Steadier, look

MAGENTA = torch.tensor([1.0, 0.0, 1.0])[:, None, None]
CARD = (0.55, 0.1, 0.15)


class Painter:
    """A network that predicts magenta."""

    path, coverage, size = Path("run"), "full", 128

    def predict(self, faces: torch.Tensor, identity: str, morph: float | None) -> tuple[torch.Tensor, torch.Tensor]:
        return MAGENTA.expand_as(faces).clone(), torch.ones(len(faces), 1, self.size, self.size)


@pytest.fixture(scope="module")
def scene() -> tuple[Frame, Face, tuple[slice, slice]]:
    """A frame with a card, its face as found without the card, and where the card lies."""
    with Reader(TARGET, first=30, last=30) as reader:
        frame = next(iter(reader))
    (face,) = describe(frame)
    rgb = frame.rgb().copy()
    x, y = np.round(face.landmarks[13, :2]).astype(int)
    card = slice(y - 5, y + 30), slice(x - 20, x + 45)
    rgb[card] = CARD
    return replace(frame_from_rgb(rgb), index=0), replace(face, frame=0, track=0), card


def painted(frame: Frame, face: Face, masks: str) -> NDArray[np.float32]:
    """How much of each pixel was replaced, `(h, w)`."""
    options = MergeOptions.parse({"masks": masks, "color": "none", "mask_forehead": 0.0}, "test")
    (merged,) = merge_frames([frame], lambda _: face, Painter(), options)
    weight = np.zeros(frame.rgb().shape[:2], np.float32)
    assert merged.region is not None
    weight[merged.region.y0 : merged.region.y1, merged.region.x0 : merged.region.x1] = merged.weight
    return weight


def test_an_object_stays_in_front_of_the_face(scene: tuple[Frame, Face, tuple[slice, slice]]) -> None:
    frame, face, card = scene
    inner = slice(card[0].start + 3, card[0].start + 12), slice(card[1].start + 8, card[1].start + 32)
    over, behind = painted(frame, face, "hull"), painted(frame, face, "segmentation")
    assert over[inner].mean() > 0.9
    assert behind[inner].mean() < 0.1
    x, y = np.round(face.landmarks[[205, 425], :2].mean(0)).astype(int)  # between the cheeks, on the nose
    assert behind[y - 12, x] > 0.9
    assert (behind <= over + 1e-6).all()


def sights(count: int, track: int = 0) -> list[Sight]:
    """The same picture, whose segmentation flickers."""
    noise = np.random.default_rng(0)
    grey = cv2.resize(noise.integers(0, 256, (16, 16)).astype(np.uint8), (FLOW_SIDE, FLOW_SIDE))
    planes = noise.uniform(0.3, 0.7, (count, 8, 8)).astype(np.float32)
    size = (INPUT_SIDE, INPUT_SIDE)
    return [Sight(i, track, np.eye(2, 3), np.asarray(grey), cv2.resize(each, size)) for i, each in enumerate(planes)]


def test_flicker_is_reduced_without_delay() -> None:
    steadier = Steadier()
    given = sights(60)
    found = [steadier.step(each) for each in given]
    before, after = (np.std([each.face for each in faces[5:]], 0).mean() for faces in (given, found))
    assert after < 0.6 * before
    moved = replace(given[0], frame=60, grey=255 - given[0].grey, face=np.ones_like(given[0].face))
    assert steadier.step(moved).face.mean() > 0.9  # another picture owes nothing to those before


@pytest.mark.parametrize(("frame", "track"), [(RESTART_FRAMES, 0), (RESTART_FRAMES - 1, 1), (RESTART_FRAMES + 1, 0)])
def test_chunks_tracks_and_gaps_begin_anew(frame: int, track: int) -> None:
    first, then = sights(2)
    steadier = Steadier()
    steadier.step(replace(first, frame=RESTART_FRAMES - 1 if track == 0 else RESTART_FRAMES - 2))
    then = replace(then, frame=frame, track=track)
    assert steadier.step(then) is then


def test_chunks_end_at_batches() -> None:
    assert RESTART_FRAMES % BATCH == 0


@pytest.mark.parametrize("coverage", ["mouth", "full", "head"])
def test_every_coverage_can_be_segmented(coverage: str, scene: tuple[Frame, Face, tuple[slice, slice]]) -> None:
    frame, face, _ = scene
    sight = look(frame, face, coverage)  # pyright: ignore[reportArgumentType]
    x, y = sight.matrix[:, :2] @ face.landmarks[6, :2] + sight.matrix[:, 2]  # the bridge of the nose
    assert sight.face[round(y), round(x)] > 0.9
