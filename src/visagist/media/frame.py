"""One decoded frame: the decoder's own planes, and the four things that visagist does with them.

- `Frame.rgb`, `Frame.warp`, `Frame.thumbnail`: look at it, in RGB
- `Frame.add`: change it, by a difference in RGB that touches only the samples it must
- `Frame.display_referred`: what of scene-linear OpenEXR is looked at
- `align_region`: grow a rectangle to the chroma grid
- `frame_from_rgb`: a frame from a picture

Planes lie as the file stores them (a rotated phone video is stored on its side); all coordinates that go in or come
out are display pixels (see `display`). A warp samples each plane at its own scale and converts only its output.
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
from visagist.media.linear import LARGEST_HALF, changed, rendition

Siting = Literal["left", "center"]


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame of footage. `planes` are read-only arrays `(h, w)`, or `(h, w, c)` where components are interleaved."""

    index: int  # position in presentation order, from 0
    time: Fraction  # seconds
    format: str  # FFmpeg's name of the pixel format
    planes: tuple[np.ndarray, ...]
    color: Color
    display: Display
    siting: Siting = "left"  # where chroma samples lie between luma columns
    duration: Fraction | None = None  # seconds, where the file says

    @property
    def width(self) -> int:
        """Display pixels across."""
        return self.display.size[0]

    @property
    def height(self) -> int:
        """Display pixels down."""
        return self.display.size[1]

    @property
    def layout(self) -> Layout:
        """Where the samples lie."""
        found = layout(self.format)
        assert found is not None, self.format
        return found

    @functools.cached_property
    def display_referred(self) -> "Frame":
        """What is looked at: of scene-linear floats their rendition at 16 bits (see `linear`), else the frame."""
        kind = self.layout
        if not kind.is_float:
            return self
        color = Color("rgb", "pc", "bt709", "iec61966-2-1")
        if kind.family == "gray":
            planes = [rendition(self.planes[0], None)]
        else:
            linear = np.stack([self.planes[plane] for plane, _ in kind.places], axis=2)  # (h, w, 3)
            codes = rendition(linear, self.color.chromaticities)
            planes = [np.ascontiguousarray(codes[:, :, component]) for component in (1, 2, 0)]
        if kind.alpha:
            alpha = np.clip(np.nan_to_num(self.planes[3].astype(np.float32)), 0, 1)
            planes.append(np.rint(alpha * 65535).astype(np.uint16))
        for plane in planes:
            plane.flags.writeable = False
        return replace(self, format=kind.display_referred, planes=tuple(planes), color=color)

    def rgb(self, region: Region | None = None) -> np.ndarray:
        """The picture, or a rectangle of it.

        Returns:
            `(h, w, 3)` float32 R'G'B' in [0, 1] by the declared matrix and range; of scene-linear floats the
            rendition.

        Raises:
            GeometryError: the region is empty or reaches out of the frame.
        """
        region = Region(0, 0, self.width, self.height) if region is None else Region(*region)
        self._check(region)
        shift = np.array([[1.0, 0, -region.x0], [0, 1, -region.y0], [0, 0, 1]])
        return self._sampled(shift, (region.width, region.height))

    def warp(self, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """The picture seen through an affine map; what lies outside continues the border.

        Args:
            matrix: `(2, 3)`, takes display px of this frame to px of the output.
            size: width and height of the output, px.

        Returns:
            `(h, w, 3)` float32 R'G'B' in [0, 1]; averaged where the output is half as large or smaller.
        """
        return self._sampled(np.vstack([np.asarray(matrix, np.float64), [0, 0, 1]]), size)

    def thumbnail(self, long_side: int) -> tuple[np.ndarray, float]:
        """The whole picture, shrunk so that its longer side is at most `long_side`; never enlarged.

        Returns:
            `(h, w, 3)` uint8 R'G'B', and thumbnail px per display px.
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
        """This frame with a change added; samples whose change is zero keep their bits.

        The change is taken to the planes' space linearly, rounded at the frame's own depth and clipped to legal
        codes (a sample that lay outside them before may stay there). A chroma sample changes only where the change
        is not zero in its own cell of the chroma grid. To scene-linear floats the change is made as `linear.changed`
        says.

        Args:
            region: display px; need not lie on the chroma grid.
            delta: `(h, w, 3)` float32 change of R'G'B', of the region's size.

        Raises:
            GeometryError: the region reaches out of the frame or has another size than `delta`.
        """
        region = Region(*region)
        self._check(region)
        if delta.shape != (region.height, region.width, 3):
            size = f"{region.width}x{region.height}"
            raise GeometryError(f"a change of shape {delta.shape} does not fit a region of {size}")
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
        after = changed(before, change, self.color.chromaticities)
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
            raise GeometryError(f"region {tuple(region)} is empty or reaches out of a frame of {size}")

    def _sampled(self, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """`(h, w, 3)` float32 RGB in [0, 1] through the `(3, 3)` map from display px to output px."""
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
        """The change on stored samples, and the rectangle of them it covers, grown to the chroma grid."""
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
    """`region` clipped to the frame and grown until its stored samples fill whole cells of the chroma grid.

    Raises:
        GeometryError: nothing of it lies inside the frame.
    """
    x0, y0, x1, y1 = region
    clipped = Region(max(0, x0), max(0, y0), min(frame.width, x1), min(frame.height, y1))
    if clipped.width <= 0 or clipped.height <= 0:
        raise GeometryError(f"region {tuple(region)} lies outside a frame of {frame.width}x{frame.height}")
    stored = _on_grid(frame.display.stored_region(clipped), *frame.layout.chroma, frame.display)
    return frame.display.shown_region(stored)


def frame_from_rgb(rgb: np.ndarray, index: int = 0, time: Fraction = Fraction(0)) -> Frame:
    """A frame that holds a picture.

    Args:
        rgb: `(h, w, 3)` R'G'B', uint8, or float32 in [0, 1], which is kept at 16 bits.
    """
    color = Color("rgb", "pc", "bt709", "iec61966-2-1")
    display = Display(rgb.shape[1], rgb.shape[0])
    if rgb.dtype == np.uint8:
        return Frame(index, time, "rgb24", (rgb.copy(),), color, display)
    words = np.clip(rgb * 65535 + 0.5, 0, 65535).astype(np.uint16)
    return Frame(index, time, "rgb48le", (words,), color, display)


def _shrunk(samples: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Halve by averaging as often as possible, then scale linearly: 3 times as fast as averaging at any ratio."""
    while samples.shape[1] >= 2 * size[0] and samples.shape[0] >= 2 * size[1]:
        half = (samples.shape[1] // 2, samples.shape[0] // 2)
        samples = cv2.resize(samples, half, interpolation=cv2.INTER_AREA)
    if samples.shape[1::-1] == size:
        return samples
    halves_one_way = samples.shape[1] >= 2 * size[0] or samples.shape[0] >= 2 * size[1]
    return cv2.resize(samples, size, interpolation=cv2.INTER_AREA if halves_one_way else cv2.INTER_LINEAR)


def _color_planes(kind: Layout) -> list[tuple[int, int]]:
    """(plane, channels) of the planes that hold colour: all but an alpha plane."""
    used = {plane for plane, _ in kind.places}
    return [(plane, channels) for plane, channels in enumerate(kind.channels) if plane in used]


def _arranged(matrix: np.ndarray, kind: Layout, columns: dict[tuple[int, int], int]) -> np.ndarray:
    """The map to RGB with its columns in the order of the merged samples; those of alpha are zero."""
    arranged = np.zeros((3, len(columns) + 1))
    for component, place in enumerate(kind.places):
        arranged[:, columns[place]] = matrix[:, component]
    arranged[:, -1] = matrix[:, -1]
    return arranged


def _plane_to_stored(kind: Layout, plane: int, siting: Siting) -> np.ndarray:
    """`(3, 3)`: px of a plane to stored px."""
    if not kind.is_chroma(plane):
        return np.eye(3)
    fx, fy = 1 << kind.chroma[0], 1 << kind.chroma[1]
    return np.array([[fx, 0, 0 if siting == "left" else (fx - 1) / 2], [0, fy, (fy - 1) / 2], [0, 0, 1.0]])


def _on_grid(stored: Region, across: int, down: int, display: Display) -> Region:
    """The rectangle grown to cells of 2**across by 2**down samples."""
    fx, fy = 1 << across, 1 << down
    return Region(
        stored.x0 // fx * fx, stored.y0 // fy * fy,
        min(display.columns, -(-stored.x1 // fx) * fx), min(display.rows, -(-stored.y1 // fy) * fy),
    )  # fmt: skip


def _warped(plane: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`(h, w)` or `(h, w, c)` float32 samples of a plane through the `(3, 3)` map from its px to output px."""
    rows, columns = plane.shape[:2]
    width, height = size
    shift_x, shift_y = matrix[0, 2], matrix[1, 2]
    if np.array_equal(matrix[:2, :2], np.eye(2)) and shift_x == round(shift_x) and shift_y == round(shift_y):
        x, y = -round(shift_x), -round(shift_y)
        if x >= 0 and y >= 0 and x + width <= columns and y + height <= rows:
            return plane[y : y + height, x : x + width].astype(np.float32)
    corners = np.array([[0, width - 1, 0, width - 1], [0, 0, height - 1, height - 1], [1, 1, 1, 1.0]])
    x, y, _ = np.linalg.inv(matrix) @ corners
    # A column of the matrix says how far the output moves for a step in the plane: its length is the scale.
    # Powers of two, because OpenCV halves several times faster than it averages at any other ratio.
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
        if fx >= 4 and fy >= 4:  # all halvings but the last are rounded to codes: half the bytes to move
            patch = _shrunk(patch, (2 * reduced[0], 2 * reduced[1]))
        patch = _shrunk(patch.astype(np.float32), reduced)
        to_plane = to_plane @ np.array([[fx, 0, (fx - 1) / 2], [0, fy, (fy - 1) / 2], [0, 0, 1]])
    patch = patch.astype(np.float32, copy=False)
    return cv2.warpAffine(patch, (matrix @ to_plane)[:2], size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _touched_cells(change: np.ndarray, chroma: tuple[int, int]) -> np.ndarray:
    """`(h, w)` bool on the chroma grid: whether any change in the cell is not zero."""
    fx, fy = 1 << chroma[0], 1 << chroma[1]
    touched = _padded(cv2.transform(np.abs(change), np.ones((1, 3))), fx, fy)
    return cv2.resize(touched, (touched.shape[1] // fx, touched.shape[0] // fy), interpolation=cv2.INTER_AREA) > 0


def _on_chroma_grid(values: np.ndarray, chroma: tuple[int, int], siting: Siting) -> np.ndarray:
    """`(h, w)` full-resolution values averaged at the places of the chroma samples."""
    fx, fy = 1 << chroma[0], 1 << chroma[1]
    padded = _padded(values, fx, fy)
    rows, columns = padded.shape
    if siting == "center" or fx == 1:
        return cv2.resize(padded, (columns // fx, rows // fy), interpolation=cv2.INTER_AREA)
    tall = cv2.resize(padded, (columns, rows // fy), interpolation=cv2.INTER_AREA)
    # Chroma lies on the first column of its cell: a tent over the fx - 1 neighbours on either side.
    tent = np.bartlett(2 * fx + 1)[1:-1].astype(np.float32)
    smooth = cv2.filter2D(tall, -1, (tent / tent.sum())[None], borderType=cv2.BORDER_REPLICATE)
    return smooth[:, ::fx]


def _padded(values: np.ndarray, fx: int, fy: int) -> np.ndarray:
    """The last row and column repeated up to whole cells (pictures of odd size)."""
    bottom, right = -values.shape[0] % fy, -values.shape[1] % fx
    return np.pad(values, ((0, bottom), (0, right)), mode="edge") if bottom or right else values


def _added(patch: np.ndarray, values: np.ndarray, kind: Layout, legal: tuple[int, int]) -> np.ndarray:
    """Words plus a change in words, rounded at the depth that counts; unchanged where the rounded change is zero."""
    unit = 1 << kind.shift
    old = patch.astype(np.float32)  # exact: words have at most 16 bits
    new = old + np.rint(values * np.float32(1 / unit)) * unit
    return np.clip(new, np.minimum(old, legal[0]), np.maximum(old, legal[1])).astype(patch.dtype)
