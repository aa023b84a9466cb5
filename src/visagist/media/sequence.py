"""Numbered pictures as footage.

- `is_pattern`: whether a name holds a counter
- `sequences_in`: the image sequences of a folder, or the one that a pattern names
"""

import re
from collections import defaultdict
from pathlib import Path

from visagist.core.errors import FootageError

IMAGE_SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".dpx", ".exr"))


def is_pattern(path: Path) -> bool:
    """Whether the name holds a counter as printf writes it.

    >>> is_pattern(Path("shot_%04d.png")), is_pattern(Path("100%.png"))
    (True, False)
    """
    return re.search(r"%0?\d*d", path.name) is not None


def sequences_in(path: Path) -> list[tuple[Path, ...]]:
    """The image sequences of a folder, or the one of a pattern, each in the order of its numbers.

    Pictures belong together when their names differ in the last number only and at least half of the numbers from
    first to last are there; others are stills.

    Raises:
        FootageError: a sequence has gaps, or the folder cannot be read.
    """
    folder = path.parent if is_pattern(path) else path
    if is_pattern(path):
        before, after = (re.escape(part) for part in re.split(r"%0?\d*d", path.name, maxsplit=1))
        wanted = re.compile(f"{before}\\d+{after}")
    else:
        wanted = re.compile(r"[^.].*")
    groups: dict[tuple[str, str], list[tuple[int, Path]]] = defaultdict(list)
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise FootageError(f"{folder}: cannot be read ({error.strerror}); check the name") from error
    for file in entries:
        match = re.fullmatch(r"(.*?)(\d+)(\D*)", file.stem)
        if match and file.suffix.lower() in IMAGE_SUFFIXES and wanted.fullmatch(file.name) and file.is_file():
            groups[match[1], match[3] + file.suffix.lower()].append((int(match[2]), file))
    found = []
    for members in groups.values():
        members.sort()
        numbers = [number for number, _ in members]
        span = numbers[-1] - numbers[0] + 1
        if len(members) < 2 or len(members) * 2 < span:
            continue
        if missing := sorted(set(range(numbers[0], numbers[-1] + 1)) - set(numbers)):
            some = ", ".join(map(str, missing[:5])) + (" …" if len(missing) > 5 else "")
            name = members[0][1].name
            raise FootageError(f"{folder}: the image sequence {name} … lacks {some}; add them or renumber")
        found.append(tuple(file for _, file in members))
    return found
