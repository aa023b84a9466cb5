"""Choosing the person to work on, by number, by reference picture, or because there is only one."""

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
from visagist.faces.clusters import SAME_PERSON_SIMILARITY
from visagist.faces.table import Face, FaceTable, faces_embedding
from visagist.media import frame_from_rgb, read_picture

MIN_PRESENCE = 0.05  # minimum frame count of the people listed, relative to the one seen most
SHEET_NAME = "people.png"
SHEET_TAG = ("Software", "visagist: a sheet of people")  # PNG text that identifies our own sheets
THUMBNAIL, COLUMNS, CAPTION = 96, 6, 20  # px, pictures per person, px


def choose_identity(
    tables: FaceTable | Sequence[FaceTable], reference: Path | None, identity: int | None, folder: Path
) -> int:
    """Determine the identity to work on.

    Args:
        tables: faces of the footage. Several tables must have been clustered together.
        reference: a picture of the person, whose largest face counts.
        identity: the number, which takes precedence over `reference`.
        folder: where to write `people.png` if there are several people and none was chosen.

    Raises:
        NoFaceError: there is no face, the reference shows none, or no identity matches.
        SeveralError: there are several people and none was chosen.
    """
    people: dict[int, list[Face]] = {}
    for table in [tables] if isinstance(tables, FaceTable) else tables:
        for number, faces in table.identities().items():
            people.setdefault(number, []).extend(faces)
    if not people:
        raise NoFaceError("no face found in the footage; use footage with a face larger than 24 px")
    if identity is not None:
        if identity not in people:
            raise NoFaceError(f"no identity {identity} in the footage (available: {_listed(people)})")
        return identity
    if reference is not None:
        return _most_similar(people, reference)
    most = max(len(faces) for faces in people.values())
    offered = {number: faces for number, faces in sorted(people.items()) if len(faces) >= MIN_PRESENCE * most}
    if len(offered) == 1:
        return next(iter(offered))
    sheet = folder / SHEET_NAME
    write_contact_sheet(offered, sheet)
    raise SeveralError(
        f"the footage shows {len(offered)} people: {_listed(offered)}; see {sheet} and choose one by number or "
        "reference picture"
    )


def write_contact_sheet(people: dict[int, list[Face]], path: Path) -> None:
    """Write a PNG with a row of pictures for each identity, captioned with number and frame count.

    Raises:
        OutputError: it cannot be written, or would overwrite another picture.
    """
    if path.exists() and not is_contact_sheet(path):
        raise OutputError(f"{path}: would be overwritten by a contact sheet of the people in the footage; move it away")
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
    note.add_text(*SHEET_TAG)
    with atomic(path) as temporary:
        sheet.save(temporary, pnginfo=note)


def is_contact_sheet(path: Path) -> bool:
    """Whether a file is a contact sheet that visagist wrote and may delete."""
    try:
        with Image.open(path) as picture:
            return picture.info.get(SHEET_TAG[0]) == SHEET_TAG[1]
    except OSError:
        return False


def check_reference(reference: StrPath | None, identity: int | None) -> None:
    """Check that a reference picture is usable, before any long work; skipped if `identity` takes precedence.

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
        raise NoFaceError(f"{reference}: no face found in the reference picture; use one that shows the person clearly")
    embedding = max(shown, key=lambda face: face.width).embedding
    assert embedding is not None  # `describe` embeds every face
    return embedding


def _most_similar(people: dict[int, list[Face]], reference: Path) -> int:
    wanted = reference_embedding(reference)
    similarity = {number: _similarity(faces, wanted) for number, faces in people.items()}
    best = max(similarity, key=lambda number: similarity[number])
    if similarity[best] < SAME_PERSON_SIMILARITY:
        raise NoFaceError(
            f"no person in the footage resembles the one in {reference} (highest similarity {similarity[best]:.2f}, "
            f"required {SAME_PERSON_SIMILARITY}); the footage shows {_listed(people)}"
        )
    return best


def _similarity(faces: list[Face], wanted: NDArray[np.float32]) -> float:
    mean = faces_embedding(faces)
    return -1.0 if mean is None else float(mean @ wanted)


def _listed(people: dict[int, list[Face]]) -> str:
    return ", ".join(f"identity {number} ({len(faces)} frames)" for number, faces in sorted(people.items()))
