"""Image sequences at a chosen frame rate, exact to the tick."""

from fractions import Fraction
from pathlib import Path

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.media.conftest import Maker, pattern
from visagist.core.events import Event, Note
from visagist.core.settings import Settings
from visagist.media import (
    ChunkWriter,
    EncodeOptions,
    Footage,
    FrameRate,
    Reader,
    find_footage,
    footage_sha256,
    join,
    note_reading,
    parse_rate,
    probe,
    write_picture,
)

FILM = Fraction(24000, 1001)


class Options(Settings):
    rate: FrameRate = Fraction(25)


@pytest.fixture
def plates(tmp_path: Path) -> Path:
    for number in range(1001, 1010):
        write_picture(tmp_path / "plates" / f"shot_{number}.png", pattern(64, 48, number))
    return tmp_path / "plates"


@pytest.mark.parametrize(
    ("given", "rate"),
    [
        ("24", Fraction(24)),
        (24, Fraction(24)),
        ("25.0", Fraction(25)),
        ("12.5", Fraction(25, 2)),
        ("23.976", FILM),
        (23.98, FILM),
        ("23.97602", FILM),
        ("24000/1001", FILM),
        ("29.97", Fraction(30000, 1001)),
        ("30000/1001", Fraction(30000, 1001)),
        ("47.952", Fraction(48000, 1001)),
        ("59.94", Fraction(60000, 1001)),
        ("119.88", Fraction(120000, 1001)),
    ],
)
def test_rates_are_exact(given: str | float, rate: Fraction) -> None:
    assert parse_rate(given) == rate


@pytest.mark.parametrize("given", ["0", "-24", "1/0", "24/", "fast", "", "nan", "1e9", "24.12345678", "241", True])
def test_invalid_rates_are_rejected(given: str) -> None:
    with pytest.raises(ValueError, match=r"23\.976 or 30000/1001"):
        parse_rate(given)


@given(st.fractions(min_value=1, max_value=240, max_denominator=1001))
def test_a_rate_survives_saving_and_loading(rate: Fraction) -> None:
    options = Options(rate=rate)
    assert Options.model_validate(options.model_dump()) == options
    assert Options.model_validate(options.model_dump(mode="json")) == options


@pytest.mark.parametrize("rate", [FILM, Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(25, 2)])
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_a_rendered_sequence_has_the_exact_times_of_its_rate(
    plates: Path, tmp_path: Path, rate: Fraction, suffix: str
) -> None:
    """Plates at 24 frames/s were once read at 25, and their renders drifted."""
    footage, output = probe(plates, rate=rate), tmp_path / f"render{suffix}"
    options = EncodeOptions(encoder_preset="veryfast").resolved(footage, output)
    chunks = [tmp_path / "a.nut", tmp_path / "b.nut"]
    for chunk, (first, last) in zip(chunks, [(0, 4), (5, 8)], strict=True):
        with Reader(footage, first=first, last=last) as frames, ChunkWriter(chunk, footage, options) as writer:
            for frame in frames:
                writer.write(frame)
    join(chunks, output, footage, options)
    with av.open(str(output)) as container:
        stream = container.streams.video[0]
        times = sorted(p.pts * p.time_base for p in container.demux(stream) if p.size and p.pts is not None)
        assert stream.average_rate == rate
        assert stream.duration is not None
        assert stream.time_base is not None
        assert stream.duration * stream.time_base == 9 / rate
    assert times == [number / rate for number in range(9)]


def test_the_rate_applies_to_sequences_only(plates: Path, make_video: Maker) -> None:
    make_video("plates/video.mp4")
    write_picture(plates / "portrait.png", pattern(32, 24))
    found = {footage.kind: footage for footage in find_footage(plates, FILM)}
    assert found["sequence"].rate == FILM
    assert found["video"].rate == 25
    assert found["still"].rate is None


def test_the_hash_of_a_sequence_is_the_same_at_any_rate(plates: Path) -> None:
    assert footage_sha256(probe(plates, rate=FILM)) == footage_sha256(probe(plates))


def test_an_assumed_rate_is_noted_once_with_the_remedy(plates: Path, make_video: Maker) -> None:
    video = probe(make_video())

    def notes(*clips: Footage) -> list[Event]:
        events: list[Event] = []
        note_reading(clips, "merge", events.append)
        return events

    assumed = Note("merge", "image sequence: read at 25 frames/s; change it with --rate")
    assert notes(probe(plates), video, probe(plates)) == [assumed]
    assert notes(probe(plates, rate=FILM)) == [Note("merge", "image sequence: read at 24000/1001 frames/s")]
    assert notes(video) == []
