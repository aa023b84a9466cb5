"""Every native pixel format with every codec preserves colour."""

import dataclasses
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.media.conftest import Maker
from visagist.demo import TARGET
from visagist.media import ChunkWriter, Color, Display, EncodeOptions, Frame, Reader, join, probe
from visagist.media.layout import layout, nearest_layout

FORMATS = [
    "gray", "gray10le", "gray16le", "yuv420p", "yuvj420p", "yuv422p", "yuv444p", "yuv411p", "yuv410p", "yuv440p",
    "yuv420p9le", "yuv420p10le", "yuv422p10le", "yuv444p10le", "yuv420p12le", "yuv422p12le", "yuv420p14le",
    "yuv420p16le", "yuv444p16le", "nv12", "nv21", "nv16", "p010le", "p016le", "yuva420p", "yuva444p10le", "rgb24",
    "bgr24", "rgba", "bgra", "argb", "0rgb", "rgb48le", "bgr48le", "rgba64le", "gbrp", "gbrp10le", "gbrp12le",
    "gbrap", "gbrap16le", "ya8", "ya16le",
]  # fmt: skip


def coloured(name: str, color: Color) -> Frame:
    """An opaque frame with three fields of flat colour."""
    kind = layout(name)
    assert kind is not None
    unit = 1 << (kind.depth - 8)
    codes = {"yuv": (120, 100, 160), "rgb": (180, 90, 60), "gray": (140,)}[kind.family]
    planes = []
    for number, channels in enumerate(kind.channels):
        columns, rows = kind.plane_size(number, 64, 48)
        plane = np.full((rows, columns, channels), (1 << kind.depth) - 1, np.uint32)
        for (place, channel), code in zip(kind.places, codes, strict=True):
            if place == number:
                plane[:, :, channel] = code * unit << kind.shift
        plane = plane.astype(kind.dtype)
        planes.append(plane[:, :, 0] if channels == 1 else plane)
    return Frame(0, Fraction(0), name, tuple(planes), color, Display(64, 48))


@pytest.mark.parametrize("codec", ["h264", "h265", "prores", "png"])
@pytest.mark.parametrize("name", FORMATS)
def test_encoding_preserves_colour(make_video: Maker, tmp_path: Path, name: str, codec: str) -> None:
    kind = layout(name)
    assert kind is not None
    full = kind.family != "yuv" or name.startswith("yuvj")
    color = Color("rgb" if kind.family == "rgb" else "bt709", "pc" if full else "tv")
    frame = coloured(name, color)
    base = probe(make_video(count=1))
    target = dataclasses.replace(base, pixel_format=name, color=color, display=frame.display, audio=(), frames=1)
    output = tmp_path / ("out" if codec == "png" else "out.mov")
    preset = "ultrafast" if codec in ("h264", "h265") else None
    options = EncodeOptions(codec=codec, encoder_preset=preset).resolved(target, output)  # type: ignore[arg-type]
    chunk = tmp_path / "0.nut"
    with ChunkWriter(chunk, target, options) as writer:
        writer.write(frame)
    summary = join([chunk], output, target, options)
    with Reader(summary.files[0]) as reader:
        made = next(iter(reader))
    assert np.abs(made.rgb() - frame.rgb()).max() < 2.5 / 255
    kept = {"h264": 10, "h265": 12, "prores": 10, "png": 16}[codec]
    assert made.layout.depth >= min(kind.depth, kept)
    if made.layout.family != kind.family or made.layout.chroma != kind.chroma or made.layout.depth != kind.depth:
        assert any("becomes" in note for note in summary.notes)


@pytest.mark.parametrize(
    ("name", "native"),
    [
        ("yuyv422", "yuv422p"), ("uyvy422", "yuv422p"), ("pal8", "rgba"), ("monob", "gray"), ("gray16be", "gray16le"),
        ("rgb565le", "gbrp"), ("x2rgb10le", "gbrp10le"), ("y210le", "yuv422p10le"), ("xyz12le", "gbrp12le"),
        ("gbrpf32le", "gbrp16le"), ("rgb48be", "rgb48le"), ("yuv440p10le", "yuv440p10le"), ("grayf32le", "gray16le"),
    ],
)  # fmt: skip
def test_other_formats_map_to_a_native_one(name: str, native: str) -> None:
    assert nearest_layout(name).name == native


ENCODE = """
import sys
from pathlib import Path
from visagist.media import ChunkWriter, EncodeOptions, Reader, probe
target, output = probe(Path(sys.argv[1])), Path(sys.argv[2])
with Reader(target) as frames, ChunkWriter(output, target, EncodeOptions(codec=sys.argv[3])) as writer:
    for frame in frames:
        writer.write(frame)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs glibc's MALLOC_PERTURB_")
@pytest.mark.parametrize("codec", ["h264", "h265", "prores"])
def test_encoding_does_not_depend_on_uninitialised_memory(tmp_path: Path, codec: str) -> None:
    written = [tmp_path / "0.nut", tmp_path / "1.nut"]
    for fill, path in enumerate(written):
        environment = {**os.environ, "MALLOC_PERTURB_": str(fill)}
        subprocess.run([sys.executable, "-c", ENCODE, TARGET, path, codec], env=environment, check=True)
    a, b = (path.read_bytes() for path in written)
    assert a == b
