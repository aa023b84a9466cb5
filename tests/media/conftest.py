"""Small real media files, written with PyAV."""

from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from visagist.media import Color, Display, Frame
from visagist.media.layout import layout


def pattern(width: int, height: int, number: int = 0) -> np.ndarray:
    """A smooth colour picture for frame `number`, (h, w, 3) uint8."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    red = 127 + 90 * np.sin(x / width * 5 + number / 7)
    green = 127 + 90 * np.cos(y / height * 4 - number / 9)
    blue = 40 + 150 * (x + y) / (width + height)
    picture = np.stack([red, green, blue], axis=2)
    picture[height // 4 : height // 2, width // 4 : width // 2] = (200, 60 + number % 100, 90)
    return np.clip(picture, 0, 255).astype(np.uint8)


def random_frame(name: str, width: int, height: int, color: Color, seed: int = 0, **display: object) -> Frame:
    """A frame of random legal samples in any native format."""
    kind = layout(name)
    assert kind is not None
    generator = np.random.default_rng(seed)
    planes = []
    for number, channels in enumerate(kind.channels):
        columns, rows = kind.plane_size(number, width, height)
        low, high = 40 << (kind.depth - 8), 200 << (kind.depth - 8)
        shape = (rows, columns) if channels == 1 else (rows, columns, channels)
        plane = (generator.integers(low, high, shape) << kind.shift).astype(kind.dtype)
        plane.flags.writeable = False
        planes.append(plane)
    return Frame(0, Fraction(0), name, tuple(planes), color, Display(width, height, **display))  # type: ignore[arg-type]


Maker = Callable[..., Path]


@pytest.fixture
def make_video(tmp_path: Path) -> Maker:
    """Write a video: `times` are ticks of `clock`, `options` go to the encoder, `change` may modify the stream."""

    def make(
        name: str = "video.mp4",
        *,
        count: int = 12,
        size: tuple[int, int] = (64, 48),
        codec: str = "libx264",
        pixel_format: str = "yuv420p",
        clock: Fraction = Fraction(1, 12800),
        times: Iterable[int] | None = None,
        options: dict[str, str] | None = None,
        change: Callable[[av.VideoStream], None] | None = None,
        sound: str | None = None,
        chapters: bool = False,
    ) -> Path:
        path = tmp_path / name
        # MP4's default time base of 1 ms would round a late start.
        exact = {"movie_timescale": str(clock.denominator)} if path.suffix in (".mp4", ".mov") else {}
        with av.open(str(path), "w", container_options=exact) as out:
            stream = out.add_stream(codec, rate=25, options=options or {})
            stream.width, stream.height, stream.pix_fmt = *size, pixel_format
            stream.codec_context.time_base = clock
            if change:
                change(stream)
            audio = out.add_stream(sound, rate=44100, layout="stereo") if sound else None
            if chapters:
                second = {"time_base": Fraction(1, 1000)}
                out.set_chapters(
                    [
                        {"id": 1, "start": 0, "end": 200, "metadata": {"title": "one"}, **second},
                        {"id": 2, "start": 200, "end": 480, "metadata": {"title": "two"}, **second},
                    ]
                )
            ticks = list(times) if times is not None else [round(number / 25 / clock) for number in range(count)]
            for number, tick in enumerate(ticks):
                frame = av.VideoFrame.from_ndarray(pattern(*size, number), "rgb24").reformat(format=pixel_format)
                frame.pts, frame.time_base = tick, clock
                frame.color_range, frame.colorspace = stream.color_range, stream.colorspace
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
            if audio is not None:
                total = int((ticks[-1] + 512) * clock * 44100)
                tone = (8000 * np.sin(np.arange(total) / 20)).astype(np.int16)
                kind = audio.codec_context.format.name if audio.codec_context.format else "s16"
                resampler = av.AudioResampler(format=kind, layout="stereo", rate=44100, frame_size=1152)
                whole = av.AudioFrame.from_ndarray(np.stack([tone, tone], axis=1).reshape(1, -1), "s16", "stereo")
                whole.sample_rate, whole.pts, whole.time_base = 44100, 0, Fraction(1, 44100)
                for piece in [*resampler.resample(whole), *resampler.resample(None)]:
                    out.mux(audio.encode(piece))
                out.mux(audio.encode(None))
        return path

    return make
