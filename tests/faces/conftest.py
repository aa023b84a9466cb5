"""Test footage: the bundled clips and short clips made from them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
import pytest

import visagist
from visagist.faces import FaceTable, analyze
from visagist.media import Frame, Reader

DEMO = Path(visagist.__file__).parent / "demo" / "footage"
SHARED = Path(__file__).parents[3] / "shared" / "footage"
TARGET = DEMO / "target" / "sbia1a.mpg"
SOURCES = sorted((DEMO / "source").glob("*.mpg"))


def frames_of(path: Path, last: int | None = None) -> list[Frame]:
    with Reader(path, last=last) as reader:
        return list(reader)


def pixels_of(path: Path, last: int | None = None) -> list[np.ndarray]:
    return [(frame.rgb() * 255 + 0.5).astype(np.uint8) for frame in frames_of(path, last)]


def write_clip(path: Path, pictures: Sequence[np.ndarray], rate: int = 25) -> Path:
    with av.open(path.as_posix(), "w") as container:
        stream = container.add_stream(
            "libx264", rate=rate, options={"crf": "12", "preset": "ultrafast", "x264-params": "mbtree=0"}
        )
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="session")
def target_table(tmp_path_factory: pytest.TempPathFactory) -> FaceTable:
    return analyze(TARGET, tmp_path_factory.mktemp("table") / "target.parquet")


@pytest.fixture(scope="session")
def target_frame() -> Frame:
    return frames_of(TARGET, 30)[30]


@pytest.fixture(scope="session")
def make_clip(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Sequence[np.ndarray]], Path]:
    folder = tmp_path_factory.mktemp("clips")
    return lambda name, pictures: write_clip(folder / name, pictures)


@pytest.fixture(scope="session")
def two_people(make_clip: Callable[[str, Sequence[np.ndarray]], Path]) -> Path:
    """30 frames with the source on the left and the target on the right."""
    pairs = zip(pixels_of(SOURCES[0], 29), pixels_of(TARGET, 29), strict=True)
    return make_clip("two.mp4", [np.hstack(pair) for pair in pairs])
