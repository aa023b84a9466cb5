"""OpenEXR: scene-linear samples stay bit-identical except where they are changed."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import OpenEXR
import pytest

from tests.media.exr import read_exr_file, read_rgb, scene, write_exr_file
from visagist.core.errors import ConfigError, FootageError, OutputError
from visagist.media import ChunkWriter, EncodeOptions, Frame, Reader, Region, join, probe, read_picture, write_picture
from visagist.media.scene_linear import rec709_matrix

AP1 = (0.713, 0.293, 0.165, 0.830, 0.128, 0.044, 0.32168, 0.33767)


def srgb(linear: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1."""
    clipped = np.clip(linear, 0, 1)
    return np.where(clipped <= 0.0031308, 12.92 * clipped, 1.055 * clipped ** (1 / 2.4) - 0.055)


def rendered(target: Path, output: Path, change: np.ndarray | None = None, region: Region | None = None) -> list[Path]:
    """Render `target` with a change in `region`, through a chunk and `join`."""
    footage = probe(target)
    options = EncodeOptions().resolved(footage, output)
    chunk = output.parent / "chunk.nut"
    with Reader(footage) as reader, ChunkWriter(chunk, footage, options) as writer:
        for frame in reader:
            writer.write(frame if change is None or region is None else frame.add(region, change))
    return list(join([chunk], output, footage, options).files)


def bits(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values).view(np.uint16 if values.dtype == np.float16 else np.uint32)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_the_rendition_is_srgb_of_linear_values(tmp_path: Path, dtype: type) -> None:
    """Linear values were once displayed unconverted: middle grey (0.18) was dark, and highlights were clipped."""
    picture = scene(40, 30, dtype=dtype)
    picture[0, 0] = (np.nan, np.inf, -np.inf)
    path = write_exr_file(tmp_path / "plate.exr", picture)
    seen = read_picture(path)
    assert np.abs(seen[1:] - srgb(picture[1:].astype(np.float64))).max() < 3e-4
    assert seen[0, 0].tolist() == [0, 1, 0]
    footage = probe(path)
    assert (footage.kind, footage.frames, footage.codec, footage.color.transfer) == ("still", 1, "exr", "linear")
    with Reader(path) as reader:
        (frame,) = reader
    small, scale = frame.thumbnail(20)
    assert (small.dtype, small.shape, scale) == (np.uint8, (15, 20, 3), 0.5)
    shift = np.array([[1.0, 0, -5], [0, 1, -4]])
    assert np.array_equal(frame.warp(shift, (10, 8)), frame.rgb(Region(5, 4, 15, 12)))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("compression", ["ZIP", "PIZ", "NO", "DWAA"])
def test_untouched_samples_stay_bit_identical(tmp_path: Path, dtype: type, compression: str) -> None:
    for number in range(3):
        path = tmp_path / "in" / f"plate.{number:04d}.exr"
        write_exr_file(path, scene(64, 48, number, dtype), compression=getattr(OpenEXR, f"{compression}_COMPRESSION"))
    region, change = Region(10, 12, 40, 31), np.zeros((19, 30, 3), np.float32)
    change[4:12, 5:20] = 0.1
    files = rendered(tmp_path / "in", tmp_path / "out", change, region)
    assert [file.name for file in files] == [f"plate.{number:04d}.exr" for number in range(3)]
    for file in files:
        before, after = read_rgb(tmp_path / "in" / file.name), read_rgb(file)
        assert after.dtype == dtype
        assert ((before > 1).any(), (before < 0).any()) == (True, True)
        is_same = (bits(before) == bits(after)).all(axis=2)
        assert is_same[16:24, 15:30].mean() < 0.2  # white cannot get whiter
        is_same[16:24, 15:30] = True
        assert is_same.all()


def one_frame(path: Path) -> Frame:
    with Reader(path) as reader:
        (frame,) = reader
    return frame


def linear(frame: Frame) -> np.ndarray:
    return np.stack([frame.planes[plane] for plane, _ in frame.layout.places], axis=2).astype(np.float64)


def test_a_change_is_applied_in_linear_and_scales_highlights(tmp_path: Path) -> None:
    picture = np.zeros((4, 4, 3), np.float32)
    picture[0], picture[1], picture[2], picture[3] = 0.18, 0.9, 4.0, -0.05
    frame = one_frame(write_exr_file(tmp_path / "a.exr", picture))
    region = Region(0, 0, 4, 4)

    # Values in [0, 1] equal the linear values of the new rendition.
    new = np.full((4, 4, 3), 0.5, np.float32)
    after = linear(frame.add(region, new - frame.rgb()))
    linear_half = ((0.5 + 0.055) / 1.055) ** 2.4
    assert after[0] == pytest.approx(linear_half, abs=1e-4)
    assert after[1] == pytest.approx(linear_half, abs=1e-4)
    assert after[2] == pytest.approx(4 * linear_half, abs=1e-3)  # a highlight at 4 times white
    assert after[3] == pytest.approx(linear_half - 0.05 * (1 - linear_half), abs=1e-4)

    white = linear(frame.add(region, 1 - frame.rgb()))
    assert white[2] == pytest.approx(4.0, abs=1e-3)

    # A small change has a small effect, so that the mask leaves no visible edge.
    nearly = linear(frame.add(region, np.full((4, 4, 3), -1e-5, np.float32)))
    assert np.abs(nearly - picture).max() < 1e-3


def test_other_primaries_are_converted_to_bt709_and_back(tmp_path: Path) -> None:
    """With ACEScg, common for rendered plates, networks would otherwise see a pale face."""
    wanted = np.abs(scene(16, 12, dtype=np.float32))  # in BT.709
    matrix = rec709_matrix(AP1)
    # AP1 to BT.709 with Bradford adaptation, from the ACES documentation (TB-2014-004).
    published = [[1.70505, -0.62179, -0.08326], [-0.13026, 1.14080, -0.01055], [-0.02400, -0.12897, 1.15297]]
    assert np.abs(matrix - published).max() < 2e-4
    stored = (wanted @ np.linalg.inv(matrix).T).astype(np.float32)
    frame = one_frame(write_exr_file(tmp_path / "a.exr", stored, chromaticities=AP1))
    assert np.abs(frame.rgb() - srgb(wanted)).max() < 2e-3
    after = linear(frame.add(Region(0, 0, 16, 12), np.full((12, 16, 3), 0.25, np.float32) - frame.rgb()))
    shown = srgb(after @ matrix.T)
    assert np.abs(shown - 0.25)[(wanted < 1).all(axis=2)].max() < 1e-3


def test_other_channels_windows_and_metadata_are_preserved(tmp_path: Path) -> None:
    code = OpenEXR.TimeCode()
    code.hours, code.minutes, code.seconds, code.frame = 1, 2, 3, 4
    others = {
        "A": scene(40, 30)[:, :, 0],
        "depth.Z": scene(40, 30, 1, np.float32)[:, :, 0],
        "id": np.arange(1200, dtype=np.uint32).reshape(30, 40),
    }
    header = {
        "chromaticities": AP1, "timeCode": code, "framesPerSecond": Fraction(24000, 1001), "owner": "us",
        "worldToCamera": np.eye(4, dtype=np.float32), "pixelAspectRatio": 1.0,
        "preview": OpenEXR.PreviewImage(np.zeros((4, 4, 4), np.uint8)),
        # The data window exceeds the display window on the left and falls short of it on the right.
        "dataWindow": (np.array([-4, -2], np.int32), np.array([35, 27], np.int32)),
        "displayWindow": (np.array([0, 0], np.int32), np.array([49, 27], np.int32)),
    }  # fmt: skip
    path = write_exr_file(tmp_path / "in" / "a.exr", scene(40, 30), others=others, **header)
    footage = probe(path)
    assert (footage.width, footage.height) == (50, 28)
    assert (footage.pixel_format, footage.timecode) == ("gbrapf16le", "01:02:03:04")
    assert one_frame(path).rgb()[:, 36:].max() == 0

    change = np.full((28, 50, 3), 0.2, np.float32)
    (file,) = rendered(path, tmp_path / "out.exr", change, Region(0, 0, 50, 28))
    (before, old), (after, new) = read_exr_file(path), read_exr_file(file)
    assert {name: str(after[name]) for name in after} == {
        name: str(before[name]) for name in before if name != "preview"
    }
    for name in others:
        assert np.array_equal(bits(old[name]), bits(new[name])), name
    is_changed = bits(old["G"]) != bits(new["G"])
    assert is_changed[2:, 4:].mean() > 0.8
    assert not is_changed[:2].any()
    assert not is_changed[:, :4].any()


def test_layers_parts_tiles_and_gray(tmp_path: Path) -> None:
    picture = scene(32, 24)
    r, g, b = (np.ascontiguousarray(picture[:, :, i]) for i in range(3))
    plain = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    tiled = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.tiledimage, "tiles": OpenEXR.TileDescription()}
    layer = {"beauty.R": r, "beauty.G": g, "beauty.B": b, "depth.Z": g}
    cases = {
        "layer": [OpenEXR.Part(dict(plain), layer)],
        "tiled": [OpenEXR.Part(tiled, {"R": r, "G": g, "B": b})],
        "parts": [
            OpenEXR.Part(dict(plain), {"Z": b}, "depth"),
            OpenEXR.Part(dict(plain), {"R": r, "G": g, "B": b}, "rgb"),
        ],
        "grey": [OpenEXR.Part(dict(plain), {"Y": g})],
    }
    for name, parts in cases.items():
        path = tmp_path / f"{name}.exr"
        OpenEXR.File(parts).write(str(path))
        expected = srgb((picture if name != "grey" else np.repeat(g[:, :, None], 3, axis=2)).astype(np.float64))
        assert np.abs(read_picture(path) - expected).max() < 3e-4, name
        (file,) = rendered(path, tmp_path / name / "out.exr")
        assert file.read_bytes() == path.read_bytes(), name


def test_unreadable_files_are_rejected_by_name(tmp_path: Path) -> None:
    r = scene(32, 24)[:, :, 0].copy()
    whole = np.zeros((24, 32), np.uint32)
    plain = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    cases = {
        "two layers": ({f"{layer}.{name}": r for layer in ("left", "right") for name in "RGB"}, "left.R"),
        "no colour": ({"Z": r}, "found: Z"),
        "whole numbers": ({"R": whole, "G": whole, "B": whole}, "not stored as half or float"),
    }
    for name, (channels, message) in cases.items():
        path = tmp_path / f"{name}.exr"
        OpenEXR.File(plain, channels).write(str(path))
        with pytest.raises(FootageError, match=message) as caught:
            probe(path)
        assert str(path) in str(caught.value)
    good = write_exr_file(tmp_path / "good.exr", scene(64, 64)).read_bytes()
    for name, content in {"empty": b"", "text": b"words " * 30, "cut": good[: len(good) // 2]}.items():
        (tmp_path / f"{name}.exr").write_bytes(content)
        with pytest.raises(FootageError, match=f"{name}.exr"):
            probe(tmp_path / f"{name}.exr")
    with pytest.raises(FootageError, match="no such file"):
        probe(tmp_path / "missing.exr")


def test_a_picture_of_different_size_is_named(tmp_path: Path) -> None:
    write_exr_file(tmp_path / "a1.exr", scene(32, 24))
    write_exr_file(tmp_path / "a2.exr", scene(40, 24))
    with pytest.raises(FootageError, match=r"a2\.exr: is 40x24.*32x24"), Reader(tmp_path) as reader:
        list(reader)


@pytest.mark.parametrize(("name", "codec"), [("out.mov", "hevc"), ("out.png", "png")])
def test_other_formats_get_the_rendition_with_a_note(tmp_path: Path, name: str, codec: str) -> None:
    smooth = np.linspace(-0.1, 1.4, 64 * 48 * 3, dtype=np.float32).reshape(48, 64, 3)
    path = write_exr_file(tmp_path / "in.exr", smooth)
    footage, output = probe(path), tmp_path / name
    options = EncodeOptions().resolved(footage, output)
    with Reader(footage) as reader, ChunkWriter(tmp_path / "chunk.nut", footage, options) as writer:
        for frame in reader:
            writer.write(frame)
    made = join([tmp_path / "chunk.nut"], output, footage, options)
    assert any("scene-linear" in note for note in made.notes)
    assert np.abs(read_picture(output) - srgb(smooth)).mean() < 0.01
    with av.open(str(output)) as container:
        assert container.streams.video[0].codec_context.name == codec


def test_only_openexr_targets_become_openexr(tmp_path: Path) -> None:
    write_picture(tmp_path / "in.png", np.zeros((24, 32, 3), np.uint8))
    footage = probe(tmp_path / "in.png")
    for output in (tmp_path / "out.exr", tmp_path / "out"):
        with pytest.raises(ConfigError, match="only OpenEXR targets"):
            EncodeOptions(codec="exr").resolved(footage, output)
    assert EncodeOptions().resolved(footage, tmp_path / "out").codec == "png"
    several = write_exr_file(tmp_path / "s" / "a1.exr", scene(32, 24))
    write_exr_file(tmp_path / "s" / "a2.exr", scene(32, 24))
    with pytest.raises(OutputError, match="2 frames do not fit"):
        rendered(several.parent, tmp_path / "one.exr")
