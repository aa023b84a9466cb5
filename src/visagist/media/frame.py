"""One decoded frame: the decoder's own planes, read as RGB and changed by RGB differences.

Planes are in stored orientation (a rotated phone video is stored on its side), but all coordinates in the interface
are display pixels (see `display`). Warps sample each plane at its own resolution and convert only the output.
"""

import functools
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

import cv2
import numpy as np

from visagist.core.errors import GeometryError
from visagist.media.color import Color, from_rgb_change, legal_codes, to_rgb
from visagist.media.display import Display, Region
from visagist.media.layout import Layout, layout
from visagist.media.scene_linear import LARGEST_HALF, add_difference, to_display_referred

Siting = Literal["left", "center"]


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame of footage, with read-only planes `(h, w)`, or `(h, w, c)` for interleaved components."""

    index: int  # position in presentation order, from 0
    time: Fraction  # seconds
    format: str  # FFmpeg's name
    planes: tuple[np.ndarray, ...]
    color: Color
    display: Display
    siting: Siting = "left"  # horizontal position of chroma samples
    duration: Fraction | None = None  # seconds, if stated by the file

    @property
    def width(self) -> int:
        """Display width in px."""
        return self.display.size[0]

    @property
    def height(self) -> int:
        """Display height in px."""
        return self.display.size[1]

    @property
    def layout(self) -> Layout:
        """Sample layout of the pixel format."""
        found = layout(self.format)
        assert found is not None, self.format
        return found

    @functools.cached_property
    def display_referred(self) -> "Frame":
        """The 16-bit rendition of a scene-linear frame (see `scene_linear`); other frames are returned unchanged."""
        kind = self.layout
        if not kind.is_float:
            return self
        color = Color("rgb", "pc", "bt709", "iec61966-2-1")
        if kind.family == "gray":
            planes = [to_display_referred(self.planes[0], None)]
        else:
            linear = np.stack([self.planes[plane] for plane, _ in kind.places], axis=2)  # (h, w, 3)
            codes = to_display_referred(linear, self.color.chromaticities)
            planes = [np.ascontiguousarray(codes[:, :, component]) for component in (1, 2, 0)]
        if kind.alpha:
            alpha = np.clip(np.nan_to_num(self.planes[3].astype(np.float32)), 0, 1)
            planes.append(np.rint(alpha * 65535).astype(np.uint16))
        for plane in planes:
            plane.flags.writeable = False
        return replace(self, format=kind.display_referred, planes=tuple(planes), color=color)

    def rgb(self, region: Region | None = None) -> np.ndarray:
        """The frame, or a region of it, as RGB.

        Returns:
            `(h, w, 3)` float32 R'G'B' in [0, 1], using the declared matrix and range; for scene-linear frames, the
            display-referred rendition.

        Raises:
            GeometryError: the region is empty or exceeds the frame.
        """
        region = Region(0, 0, self.width, self.height) if region is None else Region(*region)
        self._check(region)
        shift = np.array([[1.0, 0, -region.x0], [0, 1, -region.y0], [0, 0, 1]])
        return self._sampled(shift, (region.width, region.height))

    def warp(self, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Warp the frame by an affine transform, replicating the border.

        Args:
            matrix: `(2, 3)` from display px to output px.
            size: width and height of the output, px.

        Returns:
            `(h, w, 3)` float32 R'G'B' in [0, 1], area-averaged when reduced to half the size or less.
        """
        return self._sampled(np.vstack([np.asarray(matrix, np.float64), [0, 0, 1]]), size)

    def thumbnail(self, long_side: int) -> tuple[np.ndarray, float]:
        """The frame scaled down so that its longer side is at most `long_side` px; never enlarged.

        Returns:
            `(h, w, 3)` uint8 R'G'B', and the scale in thumbnail px per display px.
        """
        if self.layout.is_float:
            return self.display_referred.thumbnail(long_side)
        scale = min(1.0, long_side / max(self.width, self.height))
        width, height = max(1, round(self.width * scale)), max(1, round(self.height * scale))
        size = (height, width) if self.display.turn[0] == 0 else (width, height)
        kind = self.layout
        parts, columns = [], {}
        for plane, channels in _color_planes(kind):
            samples = _shrunk(self.planes[plane], size)
            columns |= {(plane, channel): len(columns) + channel for channel in range(channels)}
            parts.append(samples)
        merged = parts[0] if len(parts) == 1 else cv2.merge([*parts])
        matrix = _arranged(to_rgb(kind, self.color), kind, columns) * 255
        if merged.dtype != np.uint8:
            merged = merged.astype(np.float32)
        colored = cv2.transform(merged, matrix)
        if colored.dtype != np.uint8:
            colored = cv2.convertScaleAbs(np.maximum(colored, 0))
        return np.ascontiguousarray(self.display.turn_upright(colored)), scale

    def add(self, region: Region, delta: np.ndarray) -> "Frame":
        """Add an RGB difference; samples with zero difference stay bit-identical.

        The difference is converted linearly to the planes' components, rounded at the frame's bit depth and clipped to
        legal codes (samples already outside these may remain so). A chroma sample changes only if the difference is
        nonzero within its cell of the chroma grid. For scene-linear frames see `scene_linear.add_difference`.

        Args:
            region: display px; need not be aligned to the chroma grid.
            delta: `(h, w, 3)` float32 difference in R'G'B', of the region's size.

        Raises:
            GeometryError: the region exceeds the frame or its size differs from that of `delta`.
        """
        region = Region(*region)
        self._check(region)
        if delta.shape != (region.height, region.width, 3):
            size = f"{region.width}x{region.height}"
            raise GeometryError(f"a difference of shape {delta.shape} does not fit a region of {size}")
        kind = self.layout
        stored, change = self._stored_change(region, delta)
        if kind.is_float:
            return self._add_linear(stored, change)
        words = cv2.transform(change, from_rgb_change(kind, self.color))  # (h, w, C) in stored words
        words = words[:, :, None] if words.ndim == 2 else words
        cells = None
        across, down = kind.chroma
        planes = list(self.planes)
        for component, (plane, channel) in enumerate(kind.places):
            if planes[plane] is self.planes[plane]:
                planes[plane] = self.planes[plane].copy()
            target = planes[plane] if planes[plane].ndim == 2 else planes[plane][:, :, channel]
            values, place = words[:, :, component], stored
            if kind.is_chroma(plane) and (across or down):
                if cells is None:
                    cells = _touched_cells(change, kind.chroma)
                values = _on_chroma_grid(values, kind.chroma, self.siting) * cells
                place = Region(stored.x0 >> across, stored.y0 >> down, -(-stored.x1 >> across), -(-stored.y1 >> down))
            patch = target[place.y0 : place.y1, place.x0 : place.x1]
            patch[...] = _added(patch, values, kind, legal_codes(kind, self.color, component))
        for plane in planes:
            plane.flags.writeable = False
        return replace(self, planes=tuple(planes))

    def _add_linear(self, stored: Region, change: np.ndarray) -> "Frame":
        kind, area = self.layout, (slice(stored.y0, stored.y1), slice(stored.x0, stored.x1))
        places = kind.places if kind.family == "rgb" else kind.places * 3
        before = np.stack([self.planes[plane][area] for plane, _ in places], axis=2)
        after = add_difference(before, change, self.color.chromaticities)
        if kind.family == "gray":
            after = after @ np.array([[0.2126], [0.7152], [0.0722]], np.float32)
        if kind.depth == 16:
            after = np.clip(after, -LARGEST_HALF, LARGEST_HALF)
        planes, is_touched = list(self.planes), change.any(axis=2)
        for component, (plane, _) in enumerate(kind.places):
            planes[plane] = self.planes[plane].copy()
            planes[plane][area][is_touched] = after[is_touched, component]
            planes[plane].flags.writeable = False
        return replace(self, planes=tuple(planes))

    def _check(self, region: Region) -> None:
        if not (0 <= region.x0 < region.x1 <= self.width and 0 <= region.y0 < region.y1 <= self.height):
            size = f"{self.width}x{self.height}"
            raise GeometryError(f"region {tuple(region)} is empty or exceeds the frame of {size}")

    def _sampled(self, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """`(h, w, 3)` float32 RGB in [0, 1], warped by a `(3, 3)` matrix from display px to output px."""
        if self.layout.is_float:
            return self.display_referred._sampled(matrix, size)
        kind = self.layout
        from_stored = matrix @ self.display.from_stored
        parts, columns = [], {}
        for plane, channels in _color_planes(kind):
            columns |= {(plane, channel): len(columns) + channel for channel in range(channels)}
            to_output = from_stored @ _plane_to_stored(kind, plane, self.siting)
            parts.append(_warped(self.planes[plane], to_output, size))
        merged = parts[0] if len(parts) == 1 else cv2.merge(parts)
        rgb = cv2.transform(merged, _arranged(to_rgb(kind, self.color), kind, columns))
        return np.clip(rgb, 0, 1, out=rgb)

    def _stored_change(self, region: Region, delta: np.ndarray) -> tuple[Region, np.ndarray]:
        """The difference on stored samples, and the chroma-aligned rectangle that it covers."""
        stored = self.display.stored_region(region)
        delta = delta.astype(np.float32, copy=False)
        if self.display.is_stretched:
            to_shown = np.array([[1.0, 0, -region.x0], [0, 1, -region.y0], [0, 0, 1]]) @ self.display.from_stored
            to_shown = to_shown @ np.array([[1.0, 0, stored.x0], [0, 1, stored.y0], [0, 0, 1]])
            change = cv2.warpAffine(
                delta, to_shown[:2], (stored.width, stored.height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            )
        else:
            change = self.display.turn_back(delta)
        across, down = self.layout.chroma
        grown = _on_grid(stored, across, down, self.display)
        top, left = stored.y0 - grown.y0, stored.x0 - grown.x0
        bottom, right = grown.y1 - stored.y1, grown.x1 - stored.x1
        if top or left or bottom or right:
            change = cv2.copyMakeBorder(np.ascontiguousarray(change), top, bottom, left, right, cv2.BORDER_CONSTANT)
        return grown, np.ascontiguousarray(change)


def align_region(frame: Frame, region: Region) -> Region:
    """Clip a region to the frame and grow it to whole cells of the chroma grid.

    Raises:
        GeometryError: the region is outside the frame.
    """
    x0, y0, x1, y1 = region
    clipped = Region(max(0, x0), max(0, y0), min(frame.width, x1), min(frame.height, y1))
    if clipped.width <= 0 or clipped.height <= 0:
        raise GeometryError(f"region {tuple(region)} is outside the frame of {frame.width}x{frame.height}")
    stored = _on_grid(frame.display.stored_region(clipped), *frame.layout.chroma, frame.display)
    return frame.display.shown_region(stored)


def frame_from_rgb(rgb: np.ndarray, index: int = 0, time: Fraction = Fraction(0)) -> Frame:
    """Make a frame from a picture.

    Args:
        rgb: `(h, w, 3)` R'G'B', uint8, or float32 in [0, 1] (stored as 16 bits).
        index: frame index.
        time: seconds.
    """
    color = Color("rgb", "pc", "bt709", "iec61966-2-1")
    display = Display(rgb.shape[1], rgb.shape[0])
    if rgb.dtype == np.uint8:
        return Frame(index, time, "rgb24", (rgb.copy(),), color, display)
    words = np.clip(rgb * 65535 + 0.5, 0, 65535).astype(np.uint16)
    return Frame(index, time, "rgb48le", (words,), color, display)


def _shrunk(samples: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Halve by averaging as often as possible, then scale linearly: 3 times as fast as area averaging."""
    while samples.shape[1] >= 2 * size[0] and samples.shape[0] >= 2 * size[1]:
        half = (samples.shape[1] // 2, samples.shape[0] // 2)
        samples = cv2.resize(samples, half, interpolation=cv2.INTER_AREA)
    if samples.shape[1::-1] == size:
        return samples
    halves_one_way = samples.shape[1] >= 2 * size[0] or samples.shape[0] >= 2 * size[1]
    return cv2.resize(samples, size, interpolation=cv2.INTER_AREA if halves_one_way else cv2.INTER_LINEAR)


def _color_planes(kind: Layout) -> list[tuple[int, int]]:
    """(plane, channels) of all planes except alpha."""
    used = {plane for plane, _ in kind.places}
    return [(plane, channels) for plane, channels in enumerate(kind.channels) if plane in used]


def _arranged(matrix: np.ndarray, kind: Layout, columns: dict[tuple[int, int], int]) -> np.ndarray:
    """The matrix to RGB with columns in the order of the merged channels; zero for alpha."""
    arranged = np.zeros((3, len(columns) + 1))
    for component, place in enumerate(kind.places):
        arranged[:, columns[place]] = matrix[:, component]
    arranged[:, -1] = matrix[:, -1]
    return arranged


def _plane_to_stored(kind: Layout, plane: int, siting: Siting) -> np.ndarray:
    """`(3, 3)` matrix from plane px to stored px."""
    if not kind.is_chroma(plane):
        return np.eye(3)
    fx, fy = 1 << kind.chroma[0], 1 << kind.chroma[1]
    return np.array([[fx, 0, 0 if siting == "left" else (fx - 1) / 2], [0, fy, (fy - 1) / 2], [0, 0, 1.0]])


def _on_grid(stored: Region, across: int, down: int, display: Display) -> Region:
    """The rectangle grown to whole cells of 2**across by 2**down samples."""
    fx, fy = 1 << across, 1 << down
    return Region(
        stored.x0 // fx * fx, stored.y0 // fy * fy,
        min(display.columns, -(-stored.x1 // fx) * fx), min(display.rows, -(-stored.y1 // fy) * fy),
    )  # fmt: skip


def _warped(plane: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`(h, w)` or `(h, w, c)` float32 samples of a plane, warped by a `(3, 3)` matrix from plane px to output px."""
    rows, columns = plane.shape[:2]
    width, height = size
    shift_x, shift_y = matrix[0, 2], matrix[1, 2]
    if np.array_equal(matrix[:2, :2], np.eye(2)) and shift_x == round(shift_x) and shift_y == round(shift_y):
        x, y = -round(shift_x), -round(shift_y)
        if x >= 0 and y >= 0 and x + width <= columns and y + height <= rows:
            return plane[y : y + height, x : x + width].astype(np.float32)
    corners = np.array([[0, width - 1, 0, width - 1], [0, 0, height - 1, height - 1], [1, 1, 1, 1.0]])
    x, y, _ = np.linalg.inv(matrix) @ corners
    # The length of a matrix column is the scale from plane to output. Reduce by powers of two, because OpenCV halves
    # several times faster than it averages at other ratios.
    lengths = np.maximum(np.hypot(matrix[0, :2], matrix[1, :2]), [1 / columns, 1 / rows])
    fx, fy = (1 << max(0, int(-np.log2(length) + 1e-9)) for length in lengths)
    x0 = int(np.clip(np.floor(x.min()) - 2 * fx, 0, columns - 1)) // fx * fx
    y0 = int(np.clip(np.floor(y.min()) - 2 * fy, 0, rows - 1)) // fy * fy
    x1 = x0 - (x0 - int(np.clip(np.ceil(x.max()) + 2 * fx + 1, x0 + 1, columns))) // fx * fx
    y1 = y0 - (y0 - int(np.clip(np.ceil(y.max()) + 2 * fy + 1, y0 + 1, rows))) // fy * fy
    patch = plane[y0:y1, x0:x1]
    to_plane = np.array([[1.0, 0, x0], [0, 1, y0], [0, 0, 1]])
    if fx > 1 or fy > 1:
        if x1 > columns or y1 > rows:
            bottom, right = max(0, y1 - rows), max(0, x1 - columns)
            patch = cv2.copyMakeBorder(patch, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
        reduced = ((x1 - x0) // fx, (y1 - y0) // fy)
        if fx >= 4 and fy >= 4:  # all halvings but the last stay integer, to move half the bytes
            patch = _shrunk(patch, (2 * reduced[0], 2 * reduced[1]))
        patch = _shrunk(patch.astype(np.float32), reduced)
        to_plane = to_plane @ np.array([[fx, 0, (fx - 1) / 2], [0, fy, (fy - 1) / 2], [0, 0, 1]])
    patch = patch.astype(np.float32, copy=False)
    return cv2.warpAffine(patch, (matrix @ to_plane)[:2], size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _touched_cells(change: np.ndarray, chroma: tuple[int, int]) -> np.ndarray:
    """`(h, w)` bool on the chroma grid: cells with a nonzero difference."""
    fx, fy = 1 << chroma[0], 1 << chroma[1]
    touched = _padded(cv2.transform(np.abs(change), np.ones((1, 3))), fx, fy)
    return cv2.resize(touched, (touched.shape[1] // fx, touched.shape[0] // fy), interpolation=cv2.INTER_AREA) > 0


def _on_chroma_grid(values: np.ndarray, chroma: tuple[int, int], siting: Siting) -> np.ndarray:
    """Full-resolution values `(h, w)` averaged at the chroma sample positions."""
    fx, fy = 1 << chroma[0], 1 << chroma[1]
    padded = _padded(values, fx, fy)
    rows, columns = padded.shape
    if siting == "center" or fx == 1:
        return cv2.resize(padded, (columns // fx, rows // fy), interpolation=cv2.INTER_AREA)
    tall = cv2.resize(padded, (columns, rows // fy), interpolation=cv2.INTER_AREA)
    # Chroma is sited on the first column of its cell: apply a tent filter over fx - 1 neighbours on either side.
    tent = np.bartlett(2 * fx + 1)[1:-1].astype(np.float32)
    smooth = cv2.filter2D(tall, -1, (tent / tent.sum())[None], borderType=cv2.BORDER_REPLICATE)
    return smooth[:, ::fx]


def _padded(values: np.ndarray, fx: int, fy: int) -> np.ndarray:
    """Repeat the last row and column up to whole cells, for odd sizes."""
    bottom, right = -values.shape[0] % fy, -values.shape[1] % fx
    return np.pad(values, ((0, bottom), (0, right)), mode="edge") if bottom or right else values


def _added(patch: np.ndarray, values: np.ndarray, kind: Layout, legal: tuple[int, int]) -> np.ndarray:
    """Add a difference in stored words, rounded at the bit depth and clipped to legal codes."""
    unit = 1 << kind.shift
    old = patch.astype(np.float32)  # exact for 16 bits
    new = old + np.rint(values * np.float32(1 / unit)) * unit
    return np.clip(new, np.minimum(old, legal[0]), np.maximum(old, legal[1])).astype(patch.dtype)
