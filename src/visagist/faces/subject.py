"""Whose face is meant.

- `choose_identity`: by a reference picture, by number, or the only person there is
- `check_reference`: refuses an unusable reference picture before any long work
- `contact_sheet`: a picture of everybody who is there; `is_sheet`: whether a file is one
"""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from visagist.core.errors import NoFaceError, OutputError, SeveralError
from visagist.core.files import atomic
from visagist.core.types import StrPath
from visagist.faces.analyze import describe
from visagist.faces.clusters import SAME
from visagist.faces.table import Face, FaceTable, faces_embedding
from visagist.media import frame_from_rgb, read_picture

PASSING = 0.05  # a person with less than this part of the frames of the one seen most is not asked about
SHEET = "people.png"
NOTE = ("Software", "visagist: a sheet of people")  # by which it is known again
THUMBNAIL, COLUMNS, CAPTION = 96, 6, 20  # px, pictures of a person, px


def choose_identity(
    tables: FaceTable | Sequence[FaceTable], reference: Path | None, identity: int | None, folder: Path
) -> int:
    """The identity that is meant.

    Args:
        tables: what the footage shows. Of several tables the identities must have been clustered together.
        reference: a picture of the person; the largest face in it counts.
        identity: the number itself; goes before `reference`.
        folder: where `people.png` is written if several people are there and none was chosen.

    Raises:
        NoFaceError: no face is there, the reference shows none, or nobody looks like it.
        SeveralError: several people are there and none was chosen.
    """
    people: dict[int, list[Face]] = {}
    for table in [tables] if isinstance(tables, FaceTable) else tables:
        for number, faces in table.identities().items():
            people.setdefault(number, []).extend(faces)
    if not people:
        raise NoFaceError("no face was found in the footage; give footage that shows one larger than 24 px")
    if identity is not None:
        if identity not in people:
            raise NoFaceError(f"no identity {identity} in the footage (available: {_listed(people)})")
        return identity
    if reference is not None:
        return _most_alike(people, reference)
    most = max(len(faces) for faces in people.values())
    asked = {number: faces for number, faces in sorted(people.items()) if len(faces) >= PASSING * most}
    if len(asked) == 1:
        return next(iter(asked))
    sheet = folder / SHEET
    contact_sheet(asked, sheet)
    raise SeveralError(
        f"the footage shows {len(asked)} people: {_listed(asked)}; see {sheet} and choose one by its number, or by a "
        "reference picture"
    )


def contact_sheet(people: dict[int, list[Face]], path: Path) -> None:
    """Write a PNG with a row of pictures for each identity, headed by number and count of frames.

    Raises:
        OutputError: it cannot be written, or another picture of that name is there.
    """
    if path.exists() and not is_sheet(path):
        raise OutputError(f"{path}: would be overwritten by a sheet of the people who are there; move it away")
    row = THUMBNAIL + CAPTION
    sheet = Image.new("RGB", (THUMBNAIL * COLUMNS, row * len(people)), "white")
    draw = ImageDraw.Draw(sheet)
    for y, (number, faces) in enumerate(people.items()):
        draw.text((4, y * row + 4), f"identity {number}: {len(faces)} frames", fill="black")
        shown = sorted((face for face in faces if face.thumbnail), key=lambda face: -face.weight)[:COLUMNS]
        for x, face in enumerate(shown):
            with Image.open(io.BytesIO(face.thumbnail or b"")) as picture:
                sheet.paste(picture, (x * THUMBNAIL, y * row + CAPTION))
    note = PngInfo()
    note.add_text(*NOTE)
    with atomic(path) as temporary:
        sheet.save(temporary, pnginfo=note)


def is_sheet(path: Path) -> bool:
    """Whether a file is a contact sheet that was written here, and may go again."""
    try:
        with Image.open(path) as picture:
            return picture.info.get(NOTE[0]) == NOTE[1]
    except OSError:
        return False


def check_reference(reference: StrPath | None, identity: int | None) -> None:
    """Refuse a reference picture that cannot be used; nothing where there is none, or where `identity` goes before it.

    Raises:
        FootageError: it is not a picture.
        NoFaceError: it shows no face.
    """
    if reference is not None and identity is None:
        reference_embedding(Path(reference))


def reference_embedding(reference: Path) -> NDArray[np.float32]:
    """The embedding `(128,)` of the largest face in a reference picture.

    Raises:
        FootageError: it is not a picture.
        NoFaceError: it shows no face.
    """
    shown = describe(frame_from_rgb(read_picture(reference)))
    if not shown:
        raise NoFaceError(f"{reference}: no face in the reference picture; give one that shows the person clearly")
    embedding = max(shown, key=lambda face: face.width).embedding
    assert embedding is not None  # `describe` embeds every face
    return embedding


def _most_alike(people: dict[int, list[Face]], reference: Path) -> int:
    wanted = reference_embedding(reference)
    likeness = {number: _likeness(faces, wanted) for number, faces in people.items()}
    best = max(likeness, key=lambda number: likeness[number])
    if likeness[best] < SAME:
        raise NoFaceError(
            f"nobody in the footage resembles the person in {reference} (similarity {likeness[best]:.2f} at most, "
            f"{SAME} is needed); it shows {_listed(people)}"
        )
    return best


def _likeness(faces: list[Face], wanted: NDArray[np.float32]) -> float:
    mean = faces_embedding(faces)
    return -1.0 if mean is None else float(mean @ wanted)


def _listed(people: dict[int, list[Face]]) -> str:
    return ", ".join(f"identity {number} ({len(faces)} frames)" for number, faces in sorted(people.items()))
