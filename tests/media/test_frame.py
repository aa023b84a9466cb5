"""Frame: RGB against independent references, warps, and changes limited to the samples concerned."""

from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.media.conftest import pattern, random_frame
from visagist.core.errors import GeometryError
from visagist.media import Color, Display, Frame, Region, align_region, frame_from_rgb
from visagist.media.layout import layout

KR_KB = {"smpte170m": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020nc": (0.2627, 0.0593)}


def encoded_by_hand(rgb: np.ndarray, matrix: str, full: bool, depth: int) -> list[np.ndarray]:
    """Y, Cb, Cr code values at full resolution, by the equations of H.273."""
    kr, kb = KR_KB[matrix]
    red, green, blue = np.moveaxis(rgb.astype(np.float64), 2, 0)
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    cb, cr = (blue - luma) / (2 * (1 - kb)), (red - luma) / (2 * (1 - kr))
    if full:
        top = 2**depth - 1
        return [luma * top, cb * top + 2 ** (depth - 1), cr * top + 2 ** (depth - 1)]
    unit = 2 ** (depth - 8)
    return [(219 * luma + 16) * unit, (224 * cb + 128) * unit, (224 * cr + 128) * unit]


@pytest.mark.parametrize("matrix", list(KR_KB))
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(("name", "depth"), [("yuv444p", 8), ("yuv444p10le", 10), ("yuv444p16le", 16)])
def test_rgb_inverts_the_h273_equations(matrix: str, full: bool, name: str, depth: int) -> None:
    rgb = pattern(40, 30) / 255
    planes = [
        np.rint(plane).astype(np.uint8 if depth == 8 else np.uint16)
        for plane in encoded_by_hand(rgb, matrix, full, depth)
    ]
    frame = Frame(0, Fraction(0), name, tuple(planes), Color(matrix, "pc" if full else "tv"), Display(40, 30))
    assert np.abs(frame.rgb() - rgb).max() < 1.8 / 2**depth + 1e-6
    assert frame.rgb().dtype == np.float32


@pytest.mark.parametrize("name", ["yuv420p", "yuv422p", "nv12", "p010le", "yuv420p10le", "yuv422p10le"])
@pytest.mark.parametrize(("color", "space", "levels"), [(Color("bt709", "tv"), 1, 1), (Color("smpte170m", "pc"), 5, 2)])
def test_subsampled_rgb_matches_swscale(name: str, color: Color, space: int, levels: int) -> None:
    smooth = pattern(96, 80)
    smooth[20:40, 24:48] = smooth[10, 10]  # swscale and a bilinear filter differ at hard edges
    made = av.VideoFrame.from_ndarray(smooth, "rgb24").reformat(
        format=name, src_colorspace=space, dst_colorspace=space, src_color_range=2, dst_color_range=levels
    )
    back = made.reformat(
        format="rgb48le", src_colorspace=space, dst_colorspace=space, src_color_range=levels, dst_color_range=2,
        interpolation=0x4 | 0x40000 | 0x4000 | 0x2000,
    )  # fmt: skip
    kind = layout(name)
    assert kind is not None
    planes = []
    for number, plane in enumerate(made.planes):
        columns, rows = kind.plane_size(number, 96, 80)
        channels = kind.channels[number]
        words = np.frombuffer(bytes(plane), kind.dtype).reshape(rows, -1)[:, : columns * channels]
        planes.append(words if channels == 1 else words.reshape(rows, columns, channels))
    frame = Frame(0, Fraction(0), name, tuple(planes), color, Display(96, 80), "center")
    difference = np.abs(frame.rgb() - back.to_ndarray() / 65535)
    inside = difference[4:18, 4:-4]
    assert inside.max() < 2.5 / 255


def test_packed_and_planar_rgb_are_equal() -> None:
    picture = pattern(20, 10)
    frame = frame_from_rgb(picture)
    assert np.abs(frame.rgb() * 255 - picture).max() < 1e-3
    deep = frame_from_rgb(picture.astype(np.float32) / 255)
    assert deep.format == "rgb48le"
    assert np.abs(deep.rgb() * 255 - picture).max() < 0.01
    color = Color("rgb", "pc")
    swapped = Frame(
        0, Fraction(0), "bgra", (np.dstack([picture[:, :, ::-1], picture[:, :, :1]]),), color, Display(20, 10)
    )
    planar = Frame(0, Fraction(0), "gbrp", tuple(picture[:, :, c] for c in (1, 2, 0)), color, Display(20, 10))
    assert np.array_equal(swapped.rgb(), frame.rgb())
    assert np.array_equal(planar.rgb(), frame.rgb())
    assert swapped.thumbnail(20)[0].shape == (10, 20, 3)
    assert np.abs(swapped.thumbnail(20)[0].astype(int) - picture).max() <= 1


@pytest.mark.parametrize(
    "name", ["yuv420p", "yuv422p10le", "yuv444p12le", "nv12", "p010le", "gray", "gray16le", "rgb24", "gbrp10le"]
)
def test_a_region_equals_that_part_of_the_whole_frame(name: str) -> None:
    frame = random_frame(name, 50, 40, Color("bt709", "tv"))
    region = Region(7, 5, 31, 38)
    assert np.abs(frame.rgb(region) - frame.rgb()[5:38, 7:31]).max() < 1e-5
    shift = np.array([[1.0, 0, -7], [0, 1, -5]])
    assert np.abs(frame.warp(shift, (24, 33)) - frame.rgb(region)).max() < 1e-5


@pytest.mark.parametrize("scale", [2.0, 0.8, 0.37, 0.11])
def test_warp_preserves_a_smooth_picture_at_every_scale(scale: float) -> None:
    y, x = np.mgrid[0:300, 0:400]
    ramp = np.stack([x / 400, y / 300, (x + y) / 700], axis=2).astype(np.float32)
    frame = frame_from_rgb(ramp)
    angle = np.deg2rad(20)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = np.column_stack([turn, np.array([16, 16]) - turn @ np.array([200, 150])])
    seen = frame.warp(matrix, (32, 32))
    v, u = np.mgrid[0:32, 0:32]
    px, py = np.linalg.inv(turn) @ (np.stack([u.ravel(), v.ravel()]) - matrix[:, 2:])
    edge = 1 + 1 / scale
    inside = (px > edge) & (px < 399 - edge) & (py > edge) & (py < 299 - edge)
    truth = np.stack([px / 400, py / 300, (px + py) / 700], axis=1)
    assert np.abs(seen.reshape(-1, 3) - truth)[inside].max() < 0.004


def test_warp_averages_when_reducing() -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    shrunk = frame_from_rgb(stripes).warp(np.array([[0.25, 0, 0], [0, 0.25, 0]]), (64, 64))
    assert np.abs(shrunk - 0.5).max() < 0.01


def test_warp_replicates_the_border_far_outside() -> None:
    frame = frame_from_rgb(np.full((20, 30, 3), 90, np.uint8))
    seen = frame.warp(np.array([[1.0, 0, 500], [0, 1, 500]]), (16, 16))
    assert np.allclose(seen, 90 / 255, atol=1e-3)


FORMATS = ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le", "nv12", "p010le", "yuvj420p"]


@pytest.mark.parametrize("name", [*FORMATS, "rgb24", "rgba", "gbrp10le", "gray10le", "yuva420p"])
@pytest.mark.parametrize("siting", ["left", "center"])
def test_add_changes_only_samples_with_a_nonzero_difference(name: str, siting: str) -> None:
    kind = layout(name)
    assert kind is not None
    plain = random_frame(name, 52, 38, Color("bt709", "pc" if kind.family == "rgb" else "tv"))
    frame = Frame(0, Fraction(0), name, plain.planes, plain.color, plain.display, siting)  # type: ignore[arg-type]
    region = Region(9, 7, 40, 30)  # deliberately off the chroma grid
    delta = np.zeros((23, 31, 3), np.float32)
    delta[5:12, 6:17] = np.random.default_rng(1).uniform(0.1, 0.3, (7, 11, 3))
    changed = frame.add(region, delta)
    touched = np.zeros((38, 52), bool)
    touched[12:19, 15:26] = True
    for number, (before, after) in enumerate(zip(frame.planes, changed.planes, strict=True)):
        differs = before != after
        differs = differs.any(axis=2) if differs.ndim == 3 else differs
        fx, fy = (1 << kind.chroma[0], 1 << kind.chroma[1]) if kind.is_chroma(number) else (1, 1)
        cells = (
            np.pad(touched, ((0, -38 % fy), (0, -52 % fx))).reshape(-(-38 // fy), fy, -(-52 // fx), fx).any(axis=(1, 3))
        )
        assert not differs[~cells].any()
        if not kind.is_chroma(number) and not (kind.alpha and number == 3):
            assert differs[cells].all()
    assert np.array_equal(
        frame.planes[0], random_frame(name, 52, 38, plain.color).planes[0]
    )  # the original frame is unchanged


@pytest.mark.parametrize("name", FORMATS)
def test_a_uniform_difference_is_exact_at_the_frames_depth(name: str) -> None:
    kind = layout(name)
    assert kind is not None
    frame = random_frame(name, 48, 32, Color("bt709", "pc" if name.startswith("yuvj") else "tv"))
    shift = np.array([0.06, -0.03, 0.04])
    changed = frame.add(Region(8, 8, 40, 24), np.broadcast_to(shift, (16, 32, 3)).astype(np.float32))
    luma = 0.2126 * shift[0] + 0.7152 * shift[1] + 0.0722 * shift[2]
    spans = (255, 255) if name.startswith("yuvj") else (219 * 2 ** (kind.depth - 8), 224 * 2 ** (kind.depth - 8))
    expected = [luma * spans[0], (shift[2] - luma) / 1.8556 * spans[1], (shift[0] - luma) / 1.5748 * spans[1]]
    for (number, channel), wanted in zip(kind.places, expected, strict=True):
        before, after = (
            f.planes[number] if f.planes[number].ndim == 2 else f.planes[number][:, :, channel]
            for f in (frame, changed)
        )
        step = ((after.astype(int) - before) >> kind.shift)[after != before]
        assert set(step.tolist()) <= {int(np.floor(wanted)), int(np.ceil(wanted))}
        assert abs(step.mean() - wanted) <= 0.51


def test_add_then_rgb_returns_the_difference_and_leaves_the_rest() -> None:
    frame = random_frame("yuv444p16le", 40, 40, Color("bt2020nc", "tv"))
    delta = np.random.default_rng(2).uniform(-0.1, 0.1, (10, 12, 3)).astype(np.float32)
    changed = frame.add(Region(4, 6, 16, 16), delta)
    seen = changed.rgb() - frame.rgb()
    unclipped = (frame.rgb()[6:16, 4:16] > 0.11) & (frame.rgb()[6:16, 4:16] < 0.89)
    assert np.abs(seen[6:16, 4:16] - delta)[unclipped].max() < 1e-4
    seen[6:16, 4:16] = 0
    assert not seen.any()


def test_add_clips_to_legal_codes_but_keeps_samples_outside_them() -> None:
    luma = np.array([[230, 235, 250, 16]], np.uint8)
    neutral = np.full((1, 4), 128, np.uint8)
    frame = Frame(0, Fraction(0), "yuv444p", (luma, neutral, neutral), Color("bt709", "tv"), Display(4, 1))
    brighter = frame.add(Region(0, 0, 4, 1), np.full((1, 4, 3), 0.1, np.float32))
    darker = frame.add(Region(0, 0, 4, 1), np.full((1, 4, 3), -0.1, np.float32))
    assert brighter.planes[0].tolist() == [[235, 235, 250, 38]]
    assert darker.planes[0].tolist() == [[208, 213, 228, 16]]


@settings(max_examples=40)
@given(
    st.sampled_from(["yuv420p", "yuv422p10le", "nv12", "gbrp"]),
    st.integers(1, 33), st.integers(1, 33), st.data(),
)  # fmt: skip
def test_a_zero_difference_changes_nothing(name: str, width: int, height: int, data: st.DataObject) -> None:
    frame = random_frame(name, width, height, Color("bt709", "tv"))
    x0, y0 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    x1, y1 = data.draw(st.integers(x0 + 1, width)), data.draw(st.integers(y0 + 1, height))
    same = frame.add(Region(x0, y0, x1, y1), np.zeros((y1 - y0, x1 - x0, 3), np.float32))
    assert all(np.array_equal(a, b) for a, b in zip(frame.planes, same.planes, strict=True))
    grown = align_region(frame, Region(x0, y0, x1, y1))
    assert grown == Region(min(grown.x0, x0), min(grown.y0, y0), max(grown.x1, x1), max(grown.y1, y1))


TURNS = {
    "90": (0, -1, 1, 0), "180": (-1, 0, 0, -1), "270": (0, 1, -1, 0), "mirror": (-1, 0, 0, 1),
    "transpose": (0, 1, 1, 0),
}  # fmt: skip


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS.keys())
@pytest.mark.parametrize("name", ["rgb24", "yuv420p", "yuv422p"])
def test_a_rotated_frame_is_read_and_changed_upright(turn: tuple[int, int, int, int], name: str) -> None:
    stored = random_frame(name, 24, 16, Color("bt709", "tv"))
    stored = Frame(0, Fraction(0), name, stored.planes, stored.color, stored.display, "center")
    turned = Frame(0, Fraction(0), name, stored.planes, stored.color, Display(24, 16, Fraction(1), turn), "center")
    upright = turned.display.turn_upright(stored.rgb())
    assert (turned.height, turned.width) == upright.shape[:2]
    assert np.abs(turned.rgb() - upright).max() < 1e-3
    assert np.abs(turned.thumbnail(99)[0].astype(float) - 255 * upright).mean() < 3
    region = Region(2, 4, 10, 14)
    delta = np.random.default_rng(3).uniform(0.02, 0.05, (10, 8, 3)).astype(np.float32)
    change = np.zeros_like(upright)
    change[4:14, 2:10] = delta
    whole = stored.add(Region(0, 0, 24, 16), np.ascontiguousarray(turned.display.turn_back(change)))
    assert all(np.array_equal(a, b) for a, b in zip(turned.add(region, delta).planes, whole.planes, strict=True))


def test_rotation_by_90_degrees_is_clockwise() -> None:
    stored = np.zeros((4, 6, 3), np.uint8)
    stored[0, 0] = 255
    frame = frame_from_rgb(stored)
    turned = Frame(0, Fraction(0), "rgb24", frame.planes, frame.color, Display(6, 4, Fraction(1), TURNS["90"]))
    assert turned.rgb()[0, 3].tolist() == [1, 1, 1]  # top left moves to top right
    assert turned.display.rotation == 90


@pytest.mark.parametrize("aspect", [Fraction(16, 15), Fraction(2), Fraction(1, 2)])
def test_anamorphic_samples_are_displayed_with_square_pixels(aspect: Fraction) -> None:
    y, x = np.mgrid[0:60, 0:80]
    ramp = np.stack([x / 80, y / 60, x * 0.0], axis=2).astype(np.float32)
    plain = frame_from_rgb(ramp)
    frame = Frame(0, Fraction(0), plain.format, plain.planes, plain.color, Display(80, 60, aspect))
    assert abs(frame.width / frame.height - 80 / 60 * float(aspect)) < 0.02
    seen = frame.rgb()
    assert seen.shape == (frame.height, frame.width, 3)
    centre = (np.arange(frame.width) + 0.5) / frame.width
    assert np.abs(seen[frame.height // 2, 3:-3, 0] - (centre * 80 - 0.5)[3:-3] / 80).max() < 0.003
    delta = np.zeros((12, 20, 3), np.float32)
    delta[3:9, 4:16] = 0.05
    changed = frame.add(Region(20, 20, 40, 32), delta)
    where = np.argwhere((changed.planes[0] != frame.planes[0]).any(axis=2))
    shown = frame.display.from_stored @ np.column_stack([where[:, ::-1], np.ones(len(where))]).T
    assert len(where) > 0
    assert np.all((shown[0] > 22) & (shown[0] < 37) & (shown[1] > 21) & (shown[1] < 30))


def test_regions_that_do_not_fit_are_rejected() -> None:
    frame = frame_from_rgb(np.zeros((10, 12, 3), np.uint8))
    with pytest.raises(GeometryError, match="12x10"):
        frame.rgb(Region(0, 0, 13, 10))
    with pytest.raises(GeometryError, match="does not fit"):
        frame.add(Region(0, 0, 4, 4), np.zeros((4, 5, 3), np.float32))
    with pytest.raises(GeometryError, match="outside"):
        align_region(frame, Region(20, 20, 30, 30))
