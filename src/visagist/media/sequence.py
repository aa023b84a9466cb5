"""Telling image sequences from photos."""

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from visagist.core.errors import FootageError
from visagist.media.picture_decoders import HEIC_SUFFIXES

IMAGE_SUFFIXES = HEIC_SUFFIXES | {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".dpx", ".exr"}
_SEQUENCE_SUFFIXES = frozenset((".dpx", ".exr"))  # post-production formats, never photos
_EXIF_MAKE, _EXIF_MODEL, _EXIF_ORIENTATION = 0x010F, 0x0110, 0x0112


class Pictures(NamedTuple):
    """The pictures of a folder."""

    sequences: list[tuple[Path, ...]]  # each in numerical order
    photos: tuple[Path, ...]  # all others, sorted by name
    reason: str | None  # why numbered pictures count as photos; None if none do


def is_pattern(path: Path) -> bool:
    """Whether the file name contains a printf-style counter.

    >>> is_pattern(Path("shot_%04d.png")), is_pattern(Path("100%.png"))
    (True, False)
    """
    return re.search(r"%0?\d*d", path.name) is not None


def pattern_files(path: Path) -> tuple[Path, ...]:
    """The image sequence matching a pattern such as `shot_%04d.png`, in numerical order.

    Raises:
        FootageError: there is none, it has gaps, or the folder cannot be read.
    """
    before, after = (re.escape(part) for part in re.split(r"%0?\d*d", path.name, maxsplit=1))
    groups = _numbered(file for file in _entries(path.parent) if re.fullmatch(f"{before}\\d+{after}", file.name))
    if len(groups) != 1 or len(groups[0]) < 2:
        raise FootageError(f"{path}: {len(groups)} image sequences match; check the folder and the pattern")
    if missing := _missing(groups[0]):
        raise FootageError(
            f"{path.parent}: the image sequence {path.name} lacks {missing}; add these frames or renumber"
        )
    return tuple(file for _, file in groups[0])


def group_pictures(folder: Path) -> Pictures:
    """Group the pictures of a folder into image sequences and photos.

    Pictures form a sequence if their names differ only in the last number, no number is missing, all have the same
    size and orientation, and none has a camera in its EXIF data. HEIC pictures are always photos. DPX and EXR pictures
    whose names differ only in the last number are always a sequence.

    Raises:
        FootageError: a DPX or EXR sequence has gaps, or the folder cannot be read.
    """
    files = [file for file in _entries(folder) if file.suffix.lower() in IMAGE_SUFFIXES]
    sequences, reason = [], None
    for numbered in _numbered(files):
        if len(numbered) < 2:
            continue
        names = tuple(file for _, file in numbered)
        suffix, missing = names[0].suffix.lower(), _missing(numbered)
        if suffix in _SEQUENCE_SUFFIXES:
            if missing:
                raise FootageError(
                    f"{folder}: the image sequence {names[0].name} … lacks {missing}; add these frames or renumber"
                )
        elif objection := f"{names[0].name} … lacks {missing}" if missing else _photo_evidence(names):
            reason = reason or objection
            continue
        sequences.append(names)
    in_sequences = {file for names in sequences for file in names}
    return Pictures(sequences, tuple(file for file in files if file not in in_sequences), reason)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(file for file in folder.iterdir() if not file.name.startswith(".") and file.is_file())
    except OSError as error:
        raise FootageError(f"{folder}: cannot be read ({error.strerror}); check the name") from error


def _numbered(files: Iterable[Path]) -> list[list[tuple[int, Path]]]:
    """Numbered pictures, grouped by name without the last number."""
    groups: dict[tuple[str, str], list[tuple[int, Path]]] = defaultdict(list)
    for file in files:
        match = re.fullmatch(r"(.*?)(\d+)(\D*)", file.stem)
        if match and file.suffix.lower() in IMAGE_SUFFIXES:
            groups[match[1], match[3] + file.suffix.lower()].append((int(match[2]), file))
    return [sorted(members) for members in groups.values()]


def _missing(numbered: list[tuple[int, Path]]) -> str:
    """The first missing numbers, empty if there are none."""
    present = {number for number, _ in numbered}
    missing: list[int] = []
    for number in range(numbered[0][0], numbered[-1][0]):  # may span billions, as with dates and serial numbers
        if number not in present:
            missing.append(number)
            if len(missing) > 5:
                break
    return ", ".join(map(str, missing[:5])) + (" …" if len(missing) > 5 else "")


def _photo_evidence(files: tuple[Path, ...]) -> str | None:
    """Why consecutively numbered pictures are photos; None if they form a sequence."""
    if files[0].suffix.lower() in HEIC_SUFFIXES:
        return f"{files[0].name} is HEIC"
    first: tuple[int, int, int] | None = None
    for file in files:
        header = _read_header(file)
        if header is None:
            continue  # damaged or unknown to Pillow; reported on reading
        shape, camera = header
        if camera:
            return f"{file.name} was taken by a camera ({camera})"
        first = first or shape
        if shape != first:
            return f"{file.name} differs in size or orientation from {files[0].name}"
    return None


def _read_header(file: Path) -> tuple[tuple[int, int, int], str | None] | None:
    """Stored width, height and EXIF orientation, and the camera; None if Pillow cannot read the file."""
    try:
        with Image.open(file) as picture:
            exif = picture.getexif()
            # Not in TIFF, where these tags are part of the format and written by film scanners.
            camera = None if picture.format == "TIFF" else exif.get(_EXIF_MODEL) or exif.get(_EXIF_MAKE)
            return (*picture.size, exif.get(_EXIF_ORIENTATION, 1)), camera and str(camera).strip("\0 ")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
