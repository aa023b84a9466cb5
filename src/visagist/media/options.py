"""Encoding settings of renders.

Defaults: H.264 for 8-bit targets, which every player supports; H.265 for deeper ones, because phones, browsers and
televisions decode 10-bit H.265 but rarely 10-bit H.264; ProRes for ProRes targets written as `.mov`; in a folder,
OpenEXR for OpenEXR targets and PNG for others.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from visagist.core.errors import ConfigError
from visagist.core.settings import Settings, shown
from visagist.media.color import Color
from visagist.media.footage import Footage
from visagist.media.layout import Layout, layout

Codec = Literal["h264", "h265", "prores", "png", "exr"]
_CODECS_BY_SUFFIX: dict[str, tuple[Codec, ...]] = {
    ".mp4": ("h264", "h265"),
    ".m4v": ("h264", "h265"),
    ".mov": ("h264", "h265", "prores"),
    ".mkv": ("h264", "h265", "prores"),
    ".png": ("png",),
    ".exr": ("exr",),
    "": ("png", "exr"),
}
EncoderPreset = Literal[
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo",
]  # fmt: skip
_DEFAULT_CRF = {"h264": 16, "h265": 18}  # hard to distinguish from the target at normal viewing distance
_DEFAULT_PRESET: dict[str, EncoderPreset] = {
    "h264": "fast",
    "h265": "veryfast",
}  # 512x512 at well over 20 frames/s on two busy cores


class EncodeOptions(Settings):
    """Codec and quality of a render; None selects automatically."""

    group = "Encoding"

    codec: Annotated[Codec | None, shown(first=True)] = None
    """Video codec. Default: `h264` for 8-bit targets, `h265` for deeper ones, `prores` for ProRes targets rendered to
    .mov; for a folder, `png`, or `exr` if the target is OpenEXR."""

    crf: Annotated[Annotated[int, Field(ge=0, le=51)] | None, shown(first=True)] = None
    """Constant rate factor: 0 is lossless, 14 to 24 are usual. Default: 16 for H.264, 18 for H.265; not available for
    other codecs."""

    encoder_preset: EncoderPreset | None = None
    """Encoder speed; slower presets give smaller files. Default: `fast` for H.264, `veryfast` for H.265; not available
    for other codecs."""

    @model_validator(mode="after")
    def _applies(self) -> Self:
        for name in ("crf", "encoder_preset"):
            if self.codec and self.codec not in _DEFAULT_CRF and getattr(self, name) is not None:
                raise ValueError(f"{name}: does not apply to {self.codec}; omit it or choose h264 or h265")
        return self

    def resolved(self, target: Footage, output: Path) -> "EncodeOptions":
        """Fill in all automatic choices for rendering `target` to `output`.

        Args:
            target: the footage to render.
            output: `.mp4`, `.mov`, `.mkv`, `.png`, `.exr`, or a folder (no suffix).

        Raises:
            ConfigError: the file format cannot hold the codec, or a setting does not apply to it.
        """
        suffix = output.suffix.lower()
        if suffix not in _CODECS_BY_SUFFIX:
            known = ", ".join(name for name in _CODECS_BY_SUFFIX if name)
            raise ConfigError(
                f"{output.name}: unsupported format; use {known}, or a folder without a suffix for PNG or OpenEXR"
            )
        possible = _CODECS_BY_SUFFIX[suffix]
        kind = _layout_of(target)
        codec = self.codec
        if codec is None:
            if "exr" in possible and (kind.is_float or len(possible) == 1):
                codec = "exr"
            elif "prores" in possible and suffix == ".mov" and target.codec == "prores":
                codec = "prores"
            else:
                codec = "png" if "png" in possible else "h265" if kind.depth > 8 else "h264"
        if codec not in possible:
            raise ConfigError(
                f"{output.name}: {suffix or 'a folder'} cannot hold {codec}; choose {' or '.join(possible)}"
            )
        if codec == "exr" and not kind.is_float:
            raise ConfigError(
                f"{output.name}: only OpenEXR targets can become OpenEXR; {target.path.name} is {target.codec}, "
                "choose another format"
            )
        return self.with_codec(codec, output)

    def with_codec(self, codec: Codec, output: Path) -> "EncodeOptions":
        """These options with the codec set and its defaults filled in.

        Args:
            codec: the codec.
            output: named in the error.

        Raises:
            ConfigError: a setting does not apply to the codec.
        """
        options = EncodeOptions.parse({**self.model_dump(), "codec": codec}, output.name)
        if codec not in _DEFAULT_CRF:
            return options
        crf = _DEFAULT_CRF[codec] if self.crf is None else self.crf
        return options.model_copy(update={"crf": crf, "encoder_preset": self.encoder_preset or _DEFAULT_PRESET[codec]})


@dataclass(frozen=True)
class Encoding:
    """Resolved encoder parameters."""

    encoder: str  # FFmpeg's name
    pixel_format: str
    settings: dict[str, str]
    color: Color
    upright: bool  # rotate before encoding, for formats without rotation metadata
    notes: tuple[str, ...]  # differences from the target


def encoding_for(target: Footage, options: EncodeOptions) -> Encoding:
    """Encoder, settings and pixel format for a target; the format is the target's own if the codec supports it.

    Args:
        target: the footage to render.
        options: with a codec (see `EncodeOptions.resolved`).

    Raises:
        ConfigError: a setting does not apply to the codec.
    """
    kind = _layout_of(target)
    codec = options.codec or ("h265" if kind.depth > 8 else "h264")
    options = options.with_codec(codec, target.path)
    if codec == "exr":
        return Encoding("exr", kind.name, {}, target.color, upright=False, notes=())
    notes = []
    if kind.is_float:
        target = replace(target, pixel_format=kind.display_referred, color=Color("rgb", "pc", "bt709", "iec61966-2-1"))
        kind = _layout_of(target)
        notes.append("scene-linear values become sRGB, clipped to [0, 1]; render to a folder to keep OpenEXR")
    if codec == "png":
        return _png(target, kind, notes)
    chosen = _yuv_format(target, kind, codec)
    color = target.color
    if kind.family == "rgb":
        color = replace(color, matrix="bt709", range="tv", assumed=False)
        color = replace(color, primaries=_known(color.primaries, "bt709"))
        color = replace(color, transfer=_known(color.transfer, "iec61966-2-1"))
    planar = {"nv12": "yuv420p", "p010le": "yuv420p10le"}.get(kind.name, kind.name.replace("yuvj", "yuv"))
    if chosen != planar:
        notes.append(f"pixel format {kind.name} of the target becomes {chosen}")
        if kind.alpha and "yuva" not in chosen:
            notes.append("the alpha channel is dropped; ProRes and PNG keep it")
    if codec == "prores":
        if color.range == "pc":
            color = replace(color, range="tv")  # ProRes has no full-range flag; all readers assume tv
            notes.append("full-range samples become limited range, which ProRes requires")
        profile = "4444" if "444" in chosen else "hq"
        settings = {"profile": profile, "vendor": "apl0"}
        return Encoding("prores_ks", chosen, settings, color, upright=False, notes=tuple(notes))
    settings = {"crf": str(options.crf), "preset": str(options.encoder_preset)}
    if "420" in chosen:
        settings["chroma_sample_location"] = target.siting if kind.family == "yuv" else "left"
    if codec == "h265":
        settings["x265-params"] = "log-level=error"
    else:
        # x264's macroblock tree reads uninitialised memory (build 165): one encode in twenty differed. A resumed merge
        # must give the same file as an uninterrupted one.
        settings["mbtree"] = "0"
    encoder = {"h264": "libx264", "h265": "libx265"}[codec]
    return Encoding(encoder, chosen, settings, color, upright=False, notes=tuple(notes))


def _layout_of(target: Footage) -> Layout:
    kind = layout(target.pixel_format)
    assert kind is not None, target.pixel_format
    return kind


def _known(tag: str, otherwise: str) -> str:
    return otherwise if tag == "unknown" else tag


def _png(target: Footage, kind: Layout, notes: list[str]) -> Encoding:
    deep = kind.depth > 8
    if kind.family == "gray":
        chosen = ("ya16be" if deep else "ya8") if kind.alpha else ("gray16be" if deep else "gray")
    elif kind.alpha:
        chosen = "rgba64be" if deep else "rgba"
    else:
        chosen = "rgb48be" if deep else "rgb24"
    is_same = kind.family != "yuv" and kind.depth in (8, 16)
    if not is_same:
        notes.append(f"pixel format {kind.name} of the target becomes {chosen}")
    color = replace(target.color, matrix="rgb", range="pc", assumed=False)
    return Encoding("png", chosen, {"compression_level": "3"}, color, upright=True, notes=tuple(notes))


def _yuv_format(target: Footage, kind: Layout, codec: Codec) -> str:
    """The encoder format nearest to the target's: same chroma grid if possible, same or next greater depth."""
    depths = {"h264": (8, 10), "h265": (8, 10, 12), "prores": (10,)}[codec]
    depth = next((depth for depth in depths if depth >= kind.depth), depths[-1])
    if codec == "prores":
        grid = "444" if kind.family == "rgb" or (kind.family == "yuv" and kind.chroma in ((0, 0), (0, 1))) else "422"
        return ("yuva444p10le" if kind.alpha else "yuv444p10le") if grid == "444" or kind.alpha else "yuv422p10le"
    grids = {(1, 1): "420", (2, 2): "420", (1, 0): "422", (2, 0): "422", (0, 0): "444", (0, 1): "444"}
    grid = grids[kind.chroma] if kind.family == "yuv" else "420"
    odd_width, odd_height = target.display.columns % 2, target.display.rows % 2
    if (odd_width and grid != "444") or (odd_height and grid == "420"):
        grid = "444"
    return f"yuv{grid}p{'' if depth == 8 else f'{depth}le'}"
