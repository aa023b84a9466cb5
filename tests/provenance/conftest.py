"""Small real files of every format that is signed, and a config folder for the tests."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from visagist.provenance import Claim, ConsentTerms, Signer


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's config folder, empty."""
    folder = tmp_path / "config"
    monkeypatch.setenv("VISAGIST_CONFIG_DIR", str(folder))
    return folder


@pytest.fixture
def signer(config: Path) -> Signer:
    """The user's own signer."""
    return Signer.default()


@pytest.fixture
def claim() -> Claim:
    """A claim of one model and two consent records."""
    return Claim("ab" * 32, (ConsentTerms("cd" * 32), ConsentTerms("ef" * 32)))


def picture(seed: int) -> np.ndarray:
    """(96, 96, 3) uint8, smooth and never black."""
    phases = np.random.default_rng(seed).uniform(0, 6, 3)
    rows, columns = np.mgrid[0:96, 0:96] / 96
    return np.stack([127 + 90 * np.sin(6 * rows + 4 * columns + phase) for phase in phases], -1).astype(np.uint8)


def write_video(path: Path) -> None:
    """12 frames, H.264, independent of the machine."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 96, "yuv420p"
        for number in range(12):
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture(number), format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def write_exr(path: Path) -> None:
    """A float picture, by FFmpeg's encoder, because neither Pillow nor OpenCV's wheel writes EXR."""
    with av.open(str(path), "w", format="image2", options={"update": "1"}) as container:
        stream = container.add_stream("exr", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 96, "gbrpf32le"
        frame = av.VideoFrame(96, 96, "gbrpf32le")
        for plane, channel in zip(frame.planes, (1, 2, 0), strict=True):
            padded = np.zeros((96, plane.line_size // 4), np.float32)
            padded[:, :96] = picture(0)[..., channel] / 255
            plane.update(padded.tobytes())
        for packet in [*stream.encode(frame), *stream.encode()]:
            container.mux(packet)


@pytest.fixture
def write() -> Callable[[Path], Path]:
    """A function that writes a small real file in the format of the path's suffix."""

    def write_kind(path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".mp4", ".mov", ".mkv"):
            write_video(path)
        elif path.suffix == ".exr":
            write_exr(path)
        else:
            Image.fromarray(picture(0)).save(path)
        return path

    return write_kind


@pytest.fixture
def target(tmp_path: Path, write: Callable[[Path], Path]) -> Path:
    """A target without credentials, whose path must not appear in any manifest."""
    return write(tmp_path / "Jane-Doe-production" / "Jane_Doe_interview.mp4")
