"""Crop files with their record inside: in the comment of a JPEG or an iTXt chunk of a PNG.

Crops are self-contained, so that they can be moved, copied and deleted by hand.
"""

from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from annotated_types import Len as Length
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin
from pydantic import Field, FiniteFloat, ValidationError

from visagist.core.errors import ConfigError, FacesetError, ReadError
from visagist.core.files import atomic
from visagist.core.read import check_regular, parse_json
from visagist.core.settings import Settings
from visagist.faces import Face, compose, invert, transform_landmarks
from visagist.masks import unpack, visible_face
from visagist.masks.stored import MAX_TEXT

VERSION = 2
READABLE = (1, VERSION)  # version 1 had no masks
PNG_KEY = "visagist"
SUFFIXES = (".jpg", ".png")
JPEG_QUALITY = 95
MAX_PIXELS = 4096 * 4096  # larger pictures are not decoded, since they cannot be crops
MAX_RECORD_BYTES = 65_000  # a JPEG comment holds 65,533
REMEDY = "delete it, or extract to another folder"


Matrix = Annotated[list[Annotated[list[FiniteFloat], Length(3, 3)]], Length(2, 2)]


class Record(Settings):
    """Metadata of a crop. Lengths are in crop px; footage is identified only by its hash."""

    version: int = VERSION
    footage_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    frame: int = Field(ge=0, lt=2**31)
    time: str = Field(pattern=r"^-?\d{1,18}(/[1-9]\d{0,17})?$")  # seconds, as a fraction
    track: int = Field(ge=-1, lt=2**31)
    size: int = Field(ge=2, le=4096)  # side of the crop, px
    matrix: Matrix  # frame px to crop px
    alignment: Matrix  # crop px to face space
    landmarks: Annotated[list[Annotated[list[FiniteFloat], Length(3, 3)]], Length(478, 478)]
    pose: Annotated[list[FiniteFloat], Length(3, 3)]  # yaw, pitch, roll, degrees
    score: FiniteFloat
    sharpness: FiniteFloat
    width: FiniteFloat  # of the face in the frame, px
    blendshapes: Annotated[list[FiniteFloat], Length(52, 52)]
    embedding: Annotated[list[FiniteFloat], Length(128, 128)] | None = None
    mask: str | None = Field(default=None, max_length=MAX_TEXT)  # see `masks.pack`

    @classmethod
    def of(
        cls, face: Face, footage_sha256: str, matrix: NDArray[np.float64], size: int, mask: str | None = None
    ) -> Self:
        """Make the record of a crop, given its `(2, 3)` matrix from frame px to crop px."""
        alignment = compose(face.alignment, invert(matrix))
        return cls(
            footage_sha256=footage_sha256,
            frame=face.frame,
            time=str(face.time),
            track=face.track,
            size=size,
            matrix=_rounded(matrix, 8),
            alignment=_rounded(alignment, 8),
            landmarks=_rounded(transform_landmarks(matrix, face.landmarks), 2),
            pose=_rounded(face.pose, 2),
            score=round(face.score, 3),
            sharpness=round(face.sharpness, 4),
            width=round(face.width, 2),
            blendshapes=_rounded(face.blendshapes, 4),
            embedding=None if face.embedding is None else _rounded(face.embedding, 5),
            mask=mask,
        )

    @property
    def seconds(self) -> Fraction:
        """Presentation time in the footage."""
        return Fraction(self.time)

    def face_mask(self, matrix: NDArray[np.float64], side: int, where: Path) -> NDArray[np.float32] | None:
        """The probability of seeing the face in another crop; None if the record has no mask.

        Args:
            matrix: `(2, 3)` px of this crop to px of the other.
            side: of the other, px.
            where: named in errors.

        Raises:
            FacesetError: the mask is damaged.
        """
        if self.mask is None:
            return None
        try:
            classes = unpack(self.mask)
        except ValueError as error:
            raise FacesetError(f"{where}: its record is damaged ({error}); {REMEDY}") from error
        return visible_face(classes, np.array(self.alignment), matrix, side)

    def to_json(self) -> str:
        """The record as one line of JSON."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str | bytes, where: Path) -> Self:
        """Parse the output of `to_json`; `where` is named in the error.

        Raises:
            FacesetError: it is not a record, or has another version.
        """
        try:
            record = cls.model_validate_json(text)
        except ValidationError as error:
            raise cls._fault(text, where) from error
        if record.version not in READABLE:
            raise cls._fault(text, where)
        for name, matrix in (("matrix", record.matrix), ("alignment", record.alignment)):
            if abs(np.linalg.det(np.array(matrix)[:, :2])) < 1e-12:
                raise FacesetError(f"{where}: the {name} in its record cannot be inverted; {REMEDY}")
        return record

    @classmethod
    def _fault(cls, text: str | bytes, where: Path) -> FacesetError:
        """The error for text that is not a record of this version."""
        try:
            values = parse_json(text, where)
        except ReadError as error:
            return FacesetError(f"{error}: its record is damaged; {REMEDY}")
        version = values.get("version") if isinstance(values, dict) else None
        if version not in READABLE:
            return FacesetError(
                f"{where}: record version {version}, this version of visagist reads {VERSION}; extract again"
            )
        try:
            cls.parse(values, where)
        except ConfigError as error:
            return FacesetError(f"{error}; {REMEDY}")
        return FacesetError(f"{where}: its record is damaged; {REMEDY}")


def write_crop(path: Path, pixels: NDArray[np.uint8], record: Record) -> None:
    """Write a crop with its record, atomically.

    Args:
        path: file name ending in `.jpg` or `.png`.
        pixels: `(size, size, 3)` uint8 RGB.
        record: the crop's record.

    Raises:
        OutputError: the file cannot be written.
        FacesetError: the record is too large.
    """
    text = record.to_json()
    if len(text) > MAX_RECORD_BYTES:
        raise FacesetError(
            f"{path}: a record of {len(text)} bytes does not fit into a picture (at most {MAX_RECORD_BYTES})"
        )
    image = Image.fromarray(pixels)
    with atomic(path, is_batch=True) as temporary:
        if path.suffix == ".png":
            info = PngImagePlugin.PngInfo()
            info.add_itxt(PNG_KEY, text)
            image.save(temporary, pnginfo=info, compress_level=3)
        else:
            image.save(temporary, quality=JPEG_QUALITY, subsampling=0, comment=text.encode())


def read_record(path: Path) -> Record:
    """Read the record of a crop without decoding the pixels.

    Raises:
        FacesetError: the file is not a picture, or has no record.
    """
    return _read(path, pixels=False)[0]


def read_crop(path: Path) -> tuple[Record, NDArray[np.uint8]]:
    """Read the record and pixels of a crop, `(size, size, 3)` uint8 RGB.

    Raises:
        FacesetError: the file is damaged, is not a picture, or has no record.
    """
    record, pixels = _read(path, pixels=True)
    assert pixels is not None
    if pixels.shape != (record.size, record.size, 3):
        shape = f"{pixels.shape[1]}x{pixels.shape[0]}"
        raise FacesetError(
            f"{path}: {shape} px, but its record states {record.size}; crops must not be resized, {REMEDY}"
        )
    return record, pixels


def _read(path: Path, *, pixels: bool) -> tuple[Record, NDArray[np.uint8] | None]:
    try:
        check_regular(path)
        with Image.open(path) as image:  # only reads the header
            if image.width * image.height > MAX_PIXELS:
                raise FacesetError(f"{path}: {image.width}x{image.height} px, too large for a crop; {REMEDY}")
            if isinstance(image, PngImagePlugin.PngImageFile):
                text = image.text.get(PNG_KEY)  # our PNGs have it before the pixels
            else:
                text = image.info.get("comment")
            decoded = np.asarray(image.convert("RGB")) if pixels else None
    except ReadError as error:
        raise FacesetError(f"{error}; {REMEDY}") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise FacesetError(f"{path}: damaged, or not a picture ({type(error).__name__}); {REMEDY}") from error
    if text is None:
        raise FacesetError(
            f"{path}: no visagist record inside; facesets may contain only crops made by extract; {REMEDY}"
        )
    return Record.from_json(text, path), decoded


def _rounded(array: NDArray[Any], digits: int) -> Any:
    return np.round(np.asarray(array, np.float64), digits).tolist()
