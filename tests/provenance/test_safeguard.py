"""The safeguard: its rule, its sampling, and benign footage with the real classifier."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.classifier import classifier_of

import visagist
from visagist.core.errors import SafeguardError
from visagist.media import Reader
from visagist.provenance import Safeguard, inspect_footage, refuses
from visagist.provenance import safeguard as room
from visagist.zoo.sessions import cached_session, session

DEMO = Path(visagist.__file__).parent / "demo" / "footage"
SHARED = Path(__file__).parents[3] / "shared" / "footage"


@pytest.mark.parametrize(
    ("probabilities", "refused"),
    [
        ([], False),
        ([0.99], True),  # a single frame must be more certain
        ([0.80], False),
        ([0.99, 0.1], False),
        ([0.71, 0.71], True),
        ([0.70, 0.70], False),  # must exceed
        ([0.71, 0.71] + [0.0] * 18, True),  # exactly a tenth
        ([0.71, 0.71] + [0.0] * 19, False),
        ([0.86] * 3 + [0.0] * 97, True),
        ([0.85] * 3 + [0.0] * 97, False),
        ([0.86, 0.86, 0.0, 0.86, 0.86] + [0.0] * 95, False),
    ],
)
def test_the_rule(probabilities: list[float], refused: bool) -> None:
    assert refuses(probabilities) is refused


@given(st.lists(st.floats(0, 1), max_size=60))
def test_the_rule_matches_an_independent_implementation(values: list[float]) -> None:
    array = np.array(values)
    share = (array > 0.7).sum()
    in_a_row = bool(np.convolve(array > 0.85, np.ones(3), "valid").max(initial=0) >= 3) if len(array) >= 3 else False
    is_sure_still = 0 < len(values) < 3 and bool((array > 0.85).all())
    assert refuses(values) == (bool(share >= 2 and share >= len(values) / 10) or in_a_row or is_sure_still)


def test_two_frames_per_second_are_sampled() -> None:
    grey = np.full((36, 64, 3), 128, np.uint8)
    seen = inspect_footage((Fraction(index, 25), grey) for index in range(75))
    assert len(seen.probabilities) == 6
    seen = inspect_footage((float(index), grey) for index in range(4))  # slower than that: every frame
    assert len(seen.probabilities) == 4


def test_a_high_rate_does_not_thin_the_samples() -> None:
    grey = np.full((36, 64, 3), 128, np.uint8)
    seen = inspect_footage((Fraction(index, 240), grey) for index in range(75))
    assert len(seen.probabilities) == 5


def test_the_classifier_takes_values_up_to_1() -> None:
    """With values up to 255 it calls nearly every photograph a drawing."""
    with Reader(DEMO / "target" / "sbia1a.mpg", last=0) as reader:
        picture = np.rint(next(iter(reader)).rgb() * 255).astype(np.uint8)
    small = cv2.resize(picture, (224, 224), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    (probabilities,) = session("safeguard").run(["probs"], {"image": small[None]})
    assert probabilities[0].argmax() == 2  # neutral
    assert room.intimacy(picture) == pytest.approx(probabilities[0, [1, 3]].sum(), abs=1e-6)


def test_a_replacement_runs_in_addition_to_the_embedded_classifier(config: Path) -> None:
    grey = np.full((224, 224, 3), 128, np.uint8)
    embedded = room.intimacy(grey)
    config.mkdir(exist_ok=True)
    for share, expected in ((0.0, embedded), (1.0, 128 / 255)):  # a lenient replacement changes nothing
        cached_session.cache_clear()
        model = classifier_of(config / f"{share}.onnx", share)
        (config / "config.toml").write_text(f"[weights]\nsafeguard = '{model.as_posix()}'\n")
        assert room.intimacy(grey) == pytest.approx(expected, abs=1e-4)
    cached_session.cache_clear()


def test_clear_cases_are_refused_early() -> None:
    grey = np.full((36, 64, 3), 128, np.uint8)
    answers = iter([0.1, 0.9, 0.9, 0.9])
    safeguard = Safeguard(lambda rgb: next(answers))
    for second in range(3):
        safeguard.see_picture(second, grey)
    with pytest.raises(SafeguardError, match=r"intimate imagery \(3 of 4 sampled frames\)"):
        safeguard.see_picture(3, grey)


def test_other_cases_are_refused_at_the_end() -> None:
    safeguard = Safeguard(lambda rgb: 0.75)
    for second in range(2):
        safeguard.see_picture(second, np.full((36, 64, 3), 128, np.uint8))
    with pytest.raises(SafeguardError, match="2 of 2"):
        safeguard.finish()


@pytest.mark.parametrize("name", ["target/sbia1a.mpg", "source/s1_bbaf2n.mpg"])
def test_demo_footage_passes(name: str) -> None:
    with Reader(DEMO / name) as reader:
        seen = inspect_footage(reader)
    assert len(seen.probabilities) >= 5
    assert max(seen.probabilities) < 0.7


def test_a_thumbnail_has_the_probability_of_the_whole_frame() -> None:
    path = SHARED / "id_A_man_kitchen" / "A_1080x1920_hevc.mp4"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    with av.open(str(path)) as container:
        whole = next(container.decode(video=0)).to_ndarray(format="rgb24")
    with Reader(path, first=0, last=3) as reader:
        safeguard = Safeguard()
        safeguard.see(next(iter(reader)))
    squashed = cv2.resize(whole, (224, 224), interpolation=cv2.INTER_AREA)
    assert safeguard.probabilities[0] == pytest.approx(room.intimacy(squashed), abs=0.03)


@pytest.mark.parametrize("name", ["occlusion_turns_woman_640x360.mp4", "lowres_asl", "noface_bottles_640x360.mp4"])
def test_other_benign_footage_passes(name: str) -> None:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    with Reader(next(iter(sorted(path.iterdir()))) if path.is_dir() else path) as reader:
        inspect_footage(reader)
