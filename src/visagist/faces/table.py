"""All faces of footage, stored in one Parquet file.

The schema metadata hold version, footage_sha256, frames, width, height and options as JSON under `visagist`.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError

from visagist.core.errors import FootageError, NoFaceError, ReadError
from visagist.core.files import atomic
from visagist.core.read import parse_json, read_table
from visagist.core.settings import first_error
from visagist.faces.identity import embedding_weight, mean_embedding

VERSION = 1
METADATA = b"visagist"


@dataclass(frozen=True, eq=False)
class Face:
    """One face in one frame; lengths in frame px."""

    frame: int
    time: Fraction  # s
    track: int
    identity: int  # -1: unknown
    box: NDArray[np.float32]  # (4,) x0 y0 x1 y1 around the landmarks
    landmarks: NDArray[np.float32]  # (478, 3)
    score: float  # mesh score: below 0 may not be a face, below 5 may be partly hidden
    pose: NDArray[np.float32]  # (3,) yaw, pitch, roll in degrees; see `pose`
    blendshapes: NDArray[np.float32]  # (52,) 0..1
    embedding: NDArray[np.float32] | None  # (128,) unit length, about five per second
    sharpness: float  # 0..1, measured with the face scaled to 85 px from temple to temple; see `identity`
    alignment: NDArray[np.float64]  # (2, 3) frame px to face space, smoothed along the track
    thumbnail: bytes | None = None  # JPEG, 96 x 96 px, for faces with an embedding

    @property
    def width(self) -> float:
        """Width of the box, px."""
        return float(self.box[2] - self.box[0])

    @property
    def weight(self) -> float:
        """Reliability of the embedding, in (0, 1]."""
        return embedding_weight(self.pose, self.score, self.width, self.sharpness)


_SIZES = {"box": 4, "landmarks": 478 * 3, "pose": 3, "blendshapes": 52, "alignment": 6}
SCHEMA = pa.schema(
    [
        ("frame", pa.int32()),
        ("time_numerator", pa.int64()),
        ("time_denominator", pa.int64()),
        ("track", pa.int32()),
        ("identity", pa.int32()),
        ("score", pa.float32()),
        ("sharpness", pa.float32()),
        ("box", pa.list_(pa.float32(), 4)),
        ("pose", pa.list_(pa.float32(), 3)),
        ("blendshapes", pa.list_(pa.float32(), 52)),
        ("alignment", pa.list_(pa.float64(), 6)),
        ("landmarks", pa.list_(pa.float32(), 478 * 3)),
        ("embedding", pa.list_(pa.float32(), 128)),
        ("thumbnail", pa.binary()),
    ]
)


def write_faces(path: Path, faces: Sequence[Face], metadata: dict[str, Any]) -> None:
    """Write faces and metadata as Parquet, atomically.

    Raises:
        OutputError: the file cannot be written.
    """
    columns: dict[str, Any] = {
        "frame": [face.frame for face in faces],
        "time_numerator": [face.time.numerator for face in faces],
        "time_denominator": [face.time.denominator for face in faces],
        "track": [face.track for face in faces],
        "identity": [face.identity for face in faces],
        "score": [face.score for face in faces],
        "sharpness": [face.sharpness for face in faces],
        "thumbnail": [face.thumbnail for face in faces],
        "embedding": [None if face.embedding is None else face.embedding.tolist() for face in faces],
    }
    arrays = {name: pa.array(values, SCHEMA.field(name).type) for name, values in columns.items()}
    for name, size in _SIZES.items():
        kind = SCHEMA.field(name).type.value_type
        flat = np.concatenate([np.asarray(getattr(face, name)).ravel() for face in faces] or [np.zeros(0)])
        arrays[name] = pa.FixedSizeListArray.from_arrays(pa.array(flat.astype(kind.to_pandas_dtype())), size)
    schema = SCHEMA.with_metadata({METADATA: json.dumps({"version": VERSION, **metadata})})
    table = pa.table([arrays[name] for name in SCHEMA.names], schema=schema)
    with atomic(path) as temporary, temporary.open("wb") as file:
        pq.write_table(table, file, compression="zstd", write_page_checksum=True)


def read_faces(path: Path) -> tuple[list[Face], dict[str, Any]]:
    """Read the faces and metadata of a Parquet file.

    Raises:
        FootageError: it is not a face table, or has another version.
    """
    try:
        table = read_table(path)
        metadata = parse_json((table.schema.metadata or {}).get(METADATA, b"null"), path)
    except ReadError as error:
        raise FootageError(f"{error}; delete it and analyze again") from error
    if not isinstance(metadata, dict) or metadata.get("version") != VERSION or table.schema.names != SCHEMA.names:
        found = metadata.get("version") if isinstance(metadata, dict) else None
        raise FootageError(
            f"{path}: face table version {found}, this version of visagist reads {VERSION}; delete it and analyze again"
        )
    if fault := _fault(table, metadata):
        raise FootageError(f"{path}: a damaged face table ({fault}); delete it and analyze again")
    plain = {name: table[name].to_pylist() for name in SCHEMA.names if name not in _SIZES and name != "embedding"}
    flat = {
        name: table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(len(table), size)
        for name, size in _SIZES.items()
    }
    embeddings = table["embedding"].to_pylist()
    faces = [
        Face(
            frame=plain["frame"][i],
            time=Fraction(plain["time_numerator"][i], plain["time_denominator"][i]),
            track=plain["track"][i],
            identity=plain["identity"][i],
            box=flat["box"][i],
            landmarks=flat["landmarks"][i].reshape(478, 3),
            score=plain["score"][i],
            pose=flat["pose"][i],
            blendshapes=flat["blendshapes"][i],
            embedding=None if embeddings[i] is None else np.array(embeddings[i], np.float32),
            sharpness=plain["sharpness"][i],
            alignment=flat["alignment"][i].reshape(2, 3),
            thumbnail=plain["thumbnail"][i],
        )
        for i in range(len(table))
    ]
    return faces, metadata


class _Metadata(BaseModel):
    """The entries of the metadata that every table needs."""

    frames: int = Field(ge=0)
    footage_sha256: str
    width: int = Field(ge=1)
    height: int = Field(ge=1)
    lost: int | None = None


def _fault(table: pa.Table, metadata: dict[str, Any]) -> str | None:
    """What is wrong with the contents of a table, None if nothing is."""
    try:
        _Metadata.model_validate(metadata)
    except ValidationError as error:
        return ": ".join(filter(None, first_error(error)))
    for field in SCHEMA:
        column = table[field.name]
        if column.type != field.type:
            return f"{field.name} is {column.type}, not {field.type}"
        if column.null_count and field.name not in ("embedding", "thumbnail"):
            return f"{field.name} is missing in some rows"
        values = column.combine_chunks()
        if field.name in (*_SIZES, "embedding"):
            values = values.flatten()
        if pa.types.is_floating(values.type) and not np.isfinite(values.to_numpy(zero_copy_only=False)).all():
            return f"{field.name} is not finite in some rows"
    if len(table) and min(table["time_denominator"].to_pylist()) < 1:
        return "a time has no positive denominator"
    matrices = table["alignment"].combine_chunks().flatten().to_numpy().reshape(-1, 2, 3)
    if (np.abs(np.linalg.det(matrices[:, :, :2])) < 1e-12).any():
        return "an alignment cannot be inverted"
    return None


class FaceTable:
    """All faces of one piece of footage, ordered by frame and track."""

    def __init__(self, faces: Sequence[Face], metadata: dict[str, Any]) -> None:
        """Sort the faces; `metadata` as written by `analyze`."""
        self.faces = tuple(sorted(faces, key=lambda face: (face.frame, face.track)))
        self.frames: int = metadata["frames"]  # number of decoded frames
        self.footage_sha256: str = metadata["footage_sha256"]
        self.width: int = metadata["width"]  # display px
        self.height: int = metadata["height"]
        self.lost: int | None = metadata.get("lost")  # frames that could not be decoded
        self.metadata = metadata
        self._by_frame: dict[int, list[Face]] = {}
        for face in self.faces:
            self._by_frame.setdefault(face.frame, []).append(face)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a table.

        Raises:
            FootageError: the file is missing, is not a face table, or has another version.
        """
        return cls(*read_faces(path))

    def save(self, path: Path) -> None:
        """Write the table atomically.

        Raises:
            OutputError: the file cannot be written.
        """
        write_faces(path, self.faces, self.metadata)

    def __iter__(self) -> Iterator[Face]:
        return iter(self.faces)

    def __len__(self) -> int:
        return len(self.faces)

    def faces_of(self, frame: int) -> list[Face]:
        """The faces of one frame, ordered by track."""
        return list(self._by_frame.get(frame, []))

    def tracks(self) -> dict[int, list[Face]]:
        """Faces by track, in frame order."""
        return _grouped(self.faces, "track")

    def identities(self) -> dict[int, list[Face]]:
        """Faces by identity, in frame order, without unknown ones (-1); identity 0 has the most frames."""
        found = _grouped(self.faces, "identity")
        return {number: found[number] for number in sorted(found) if number >= 0}

    def identity_embedding(self, identity: int) -> NDArray[np.float32]:
        """Mean embedding `(128,)` of an identity, weighted by quality.

        Raises:
            NoFaceError: the table has no such identity.
        """
        mean = faces_embedding([face for face in self.faces if face.identity == identity])
        if mean is None:
            raise NoFaceError(f"no identity {identity} in the footage (available: {sorted(self.identities())})")
        return mean

    def with_identities(self, labels: dict[int, int]) -> Self:
        """A copy of the table with new identities, given by track."""
        faces = [replace(face, identity=labels.get(face.track, -1)) for face in self.faces]
        return type(self)(faces, self.metadata)


def faces_embedding(faces: Sequence[Face]) -> NDArray[np.float32] | None:
    """Mean embedding `(128,)` of faces, weighted by quality; None if no face has an embedding."""
    known = [(face.embedding, face.weight) for face in faces if face.embedding is not None]
    if not known:
        return None
    return mean_embedding(np.stack([vector for vector, _ in known]), np.array([weight for _, weight in known]))


def _grouped(faces: Sequence[Face], name: str) -> dict[int, list[Face]]:
    groups: dict[int, list[Face]] = {}
    for face in faces:
        groups.setdefault(getattr(face, name), []).append(face)
    return groups
