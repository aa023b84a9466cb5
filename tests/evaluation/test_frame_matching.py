"""Frames of render and target are put side by side."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from visagist.evaluation.frame_matching import Pairing, number_rate, pair_frames
from visagist.media import Footage, Reader, probe, write_picture

FILM = Fraction(24000, 1001)


def sequence(folder: Path, count: int, rate: Fraction) -> Footage:
    for number in range(count):
        write_picture(folder / f"{number:03d}.png", np.full((16, 16, 3), 9 * number, np.uint8))
    return probe(folder, rate=rate)


@pytest.mark.parametrize(("rate", "rate_of_render"), [(FILM, FILM), (FILM, Fraction(25)), (Fraction(24), FILM)])
def test_an_excerpt_of_a_sequence_is_laid_by_its_number(
    tmp_path: Path, rate: Fraction, rate_of_render: Fraction
) -> None:
    """Seconds of an offset were taken as frames, so that no frame of an excerpt found its partner."""
    target, render = sequence(tmp_path / "target", 20, rate), sequence(tmp_path / "render", 6, rate_of_render)
    pairing = Pairing(number_rate(target, render), Fraction(float(10 / rate)))
    with Reader(target) as whole, Reader(render) as part:
        pairs = [(a.index, b.index) for a, b in pair_frames(whole, part, pairing) if b is not None]
    assert pairs == [(10 + number, number) for number in range(6)]
    pairing.check(target, render)
