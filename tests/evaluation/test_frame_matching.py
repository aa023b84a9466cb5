"""Matching of frames of render and target."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visagist.core.errors import EvaluationError
from visagist.demo import TARGET
from visagist.evaluation.frame_matching import FrameMatching, excerpt_offset
from visagist.media import Footage, Frame, Reader, frame_from_rgb, probe, write_picture

FILM = Fraction(24000, 1001)
CLIP = probe(TARGET)


def sequence(folder: Path, count: int, rate: Fraction) -> Footage:
    for number in range(count):
        write_picture(folder / f"{number:03d}.png", np.full((16, 16, 3), 9 * number, np.uint8))
    return probe(folder, rate=rate)


def frames(milliseconds: list[int]) -> list[Frame]:
    picture = np.zeros((2, 2, 3), np.uint8)
    return [frame_from_rgb(picture, i, Fraction(each, 1000)) for i, each in enumerate(milliseconds)]


@pytest.mark.parametrize(("rate", "rate_of_render"), [(FILM, FILM), (FILM, Fraction(25)), (Fraction(24), FILM)])
@pytest.mark.parametrize("saved_call", [True, False])
def test_an_excerpt_of_a_sequence_is_matched_by_number(
    tmp_path: Path, rate: Fraction, rate_of_render: Fraction, saved_call: bool
) -> None:
    target, render = sequence(tmp_path / "target", 20, rate), sequence(tmp_path / "render", 6, rate_of_render)
    offset = Fraction(float(10 / rate))
    if saved_call:
        offset = excerpt_offset(target, render, 10, deinterlace=False, seek=True)
    matching = FrameMatching(target, render, offset)
    with Reader(target) as whole, Reader(render) as part:
        pairs = [(a.index, b.index) for a, b in matching.pairs(whole, part) if b is not None]
    assert pairs == [(10 + number, number) for number in range(6)]
    matching.check()


def test_an_excerpt_of_a_clip_is_matched_by_time() -> None:
    offset = excerpt_offset(CLIP, CLIP, 10, deinterlace=False, seek=True)
    assert offset == Fraction(10, 25)


@given(
    target=st.lists(st.integers(0, 60), unique=True).map(sorted),
    render=st.lists(st.integers(0, 60), unique=True).map(sorted),
    offset=st.integers(-20, 20),
)
def test_frames_match_by_time_and_all_are_counted(target: list[int], render: list[int], offset: int) -> None:
    """Compared with the intersection of sets, in steps of 10 ms; the render's clock may be off by 1 ms."""
    matching = FrameMatching(CLIP, CLIP, Fraction(10 * offset, 1000))
    ours, theirs = frames([10 * each for each in target]), frames([10 * each + each % 3 - 1 for each in render])
    pairs = list(matching.pairs(ours, theirs))
    assert [frame for frame, _ in pairs] == ours
    matched = {target[a.index]: render[b.index] for a, b in pairs if b is not None}
    assert matched == {each + offset: each for each in render if each + offset in target}
    assert matching.matched == len(matched)
    assert [target[i] for i in matching.target_only] == [each for each in target if each not in matched]
    assert matching.render_only == len(render) - len(matched)


@pytest.mark.parametrize(("count", "is_refused"), [(0, True), (4, True), (5, False)])
def test_fewer_than_half_of_the_frames_are_no_match(count: int, is_refused: bool) -> None:
    matching = FrameMatching(CLIP, CLIP)
    times = list(range(0, 400, 40))  # ten frames, of which `count` have the render's time
    list(matching.pairs(frames(times), frames([t + (0 if i < count else 13) for i, t in enumerate(times)])))
    if is_refused:
        with pytest.raises(EvaluationError, match=f"{count} of its 10 frames"):
            matching.check()
    else:
        matching.check()
