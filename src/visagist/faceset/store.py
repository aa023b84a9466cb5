"""Facesets on disk.

`index.parquet` in the folder caches the records and is updated when crops change.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from visagist.core.errors import FacesetError, OutputError, ReadError
from visagist.core.files import atomic
from visagist.core.read import read_table
from visagist.core.types import StrPath
from visagist.faces import (
    Coverage,
    crop_matrix,
    embed,
    feature_mask,
    hull_mask,
    mean_embedding,
    transform,
    transform_landmarks,
)
from visagist.faces.identity import embedding_weight
from visagist.faces.subject import SHEET_NAME
from visagist.faceset.extraction import Extraction, ExtractSummary
from visagist.faceset.record import SUFFIXES, VERSION, Record, read_crop, read_record
from visagist.media import frame_from_rgb
from visagist.zoo.sessions import replacements

INDEX = "index.parquet"
INDEX_SCHEMA = pa.schema(
    [("file", pa.string()), ("changed", pa.int64()), ("bytes", pa.int64()), ("record", pa.string())]
)
LOAD_THREADS = 2
CENTROID_CROPS = 32  # crops to embed for a centroid if no record has an embedding


@dataclass(frozen=True)
class Faceset:
    """The crops of one subject, ordered by footage, frame and track.

    Attributes:
        path: the folder.
        files: the crop files.
        records: the record of each crop.
        summary: statistics of the extraction; None if unfinished, or if the crops were copied from elsewhere.
    """

    path: Path
    files: tuple[Path, ...]
    records: tuple[Record, ...]
    summary: ExtractSummary | None = None

    @classmethod
    def open(cls, path: StrPath, written: Mapping[str, Record] | None = None) -> Self:
        """Open a faceset and update its index for added, removed and changed crops.

        Args:
            path: the folder.
            written: records of newly written crops by file name, to avoid reading them again.

        Raises:
            FacesetError: the folder is missing or has no crops, or a crop is damaged or has no record.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise FacesetError(f"{folder}: no such folder; create a faceset with `visagist extract`")
        pictures = (p for p in folder.iterdir() if p.suffix in SUFFIXES)
        paths = sorted(p for p in pictures if not p.name.startswith(".") and p.name != SHEET_NAME)
        if not paths:
            raise FacesetError(
                f"{folder}: no crops (.jpg, .png) in this folder; create a faceset with `visagist extract`"
            )
        stamps = {path.name: (path.stat().st_mtime_ns, path.stat().st_size) for path in paths}
        known = _read_index(folder / INDEX)
        records: dict[str, Record] = {}
        for path in paths:
            entry = known.get(path.name)
            if entry is not None and entry[:2] == stamps[path.name] and (found := _cached(entry[2], path)) is not None:
                records[path.name] = found
            else:
                records[path.name] = (written or {}).get(path.name) or read_record(path)
        if {name: entry[:2] for name, entry in known.items()} != stamps:
            _write_index(folder / INDEX, stamps, records)
        order = sorted(paths, key=lambda p: _place(records[p.name]))
        extraction = _extraction(folder)
        return cls(
            folder,
            tuple(order),
            tuple(records[path.name] for path in order),
            None if extraction is None else extraction.summary,
        )

    def __fspath__(self) -> str:
        return str(self.path)

    def __len__(self) -> int:
        return len(self.files)

    def as_text(self) -> str:
        """Folder and statistics in one line."""
        return f"{self.path}: {len(self)} crops" if self.summary is None else f"{self.path}: {self.summary.as_text()}"

    def as_json(self) -> dict[str, Any]:
        """Folder and statistics as JSON values."""
        statistics = {"crops": len(self)} if self.summary is None else asdict(self.summary)
        return {"faceset": str(self.path), **statistics}

    @property
    def footage_hashes(self) -> tuple[str, ...]:
        """Sorted SHA-256 hashes of the source footage."""
        return tuple(sorted({record.footage_sha256 for record in self.records}))

    def centroid(self) -> NDArray[np.float32]:
        """The subject's unit-length mean embedding `(128,)` by the embedded SFace model, weighted by quality.

        Computed from the records, or from a sample of the pictures if no record has an embedding or the user has
        replaced the model.

        Raises:
            FacesetError: a sampled crop is damaged.
        """
        vectors = [(record, np.array(record.embedding)) for record in self.records if record.embedding]
        if not vectors or "sface" in replacements():
            step = max(1, len(self) // CENTROID_CROPS)
            sample = [read_crop(path) for path in self.files[::step]]
            vectors = [(r, embed(frame_from_rgb(pixels), np.array(r.landmarks), packaged=True)) for r, pixels in sample]
        weights = [embedding_weight(np.array(r.pose), r.score, r.width, r.sharpness) for r, _ in vectors]
        return mean_embedding(np.stack([vector for _, vector in vectors]), np.array(weights))

    def load(
        self, coverage: Coverage, size: int, margin: float
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]:
        """Load all crops at a given coverage, in the order of `records`.

        Args:
            coverage: how much of the head `size` px show.
            size: side in px, without margin.
            margin: factor by which to enlarge the pictures about their centre, for augmentation.

        Returns:
            `(N, S, S, 3)` uint8 RGB, `(N, S, S)` uint8 masks of the face and `(N, S, S)` uint8 masks of eyes and mouth
            (255 inside), with S = `round(size * margin)`, and `(N, 478, 3)` landmarks in units of S from the top left.

        Raises:
            FacesetError: a crop is damaged.
        """
        side = round(size * margin)
        images = np.empty((len(self), side, side, 3), np.uint8)
        hulls, features = (np.empty((len(self), side, side), np.uint8) for _ in range(2))
        points = np.empty((len(self), 478, 3), np.float32)

        def fill(i: int) -> None:
            record, pixels = read_crop(self.files[i])
            matrix = crop_matrix(np.array(record.alignment), coverage, side, side / size)
            warped = frame_from_rgb(pixels).warp(matrix, (side, side))
            images[i] = (warped * 255 + 0.5).astype(np.uint8)
            landmarks = np.array(record.landmarks)
            outline = transform(matrix, landmarks[:, :2])
            hulls[i], features[i] = hull_mask(outline, side), feature_mask(outline, side)
            if (seen := record.face_mask(matrix, side, self.files[i])) is not None:
                hulls[i] = (hulls[i] * seen + 0.5).astype(np.uint8)
            points[i] = transform_landmarks(matrix, landmarks)

        _in_parallel(fill, len(self))
        points[..., :2] += 0.5  # pixel centres are at integers
        points /= side
        return images, hulls, features, points


def is_alone(faceset: Faceset) -> bool | None:
    """Whether the source footage shows only the subject, so that its hash identifies them.

    Returns:
        None if unknown, because the extraction is unfinished or some crops come from other footage.
    """
    extraction = _extraction(faceset.path)
    if extraction is None or extraction.summary is None:
        return None
    if not set(extraction.key.get("footage", ())).issuperset(faceset.footage_hashes):
        return None
    return extraction.summary.others == 0


def _cached(text: str, path: Path) -> Record | None:
    try:
        return Record.from_json(text, path)
    except FacesetError:
        return None  # the index is damaged, not the crop


def _extraction(folder: Path) -> Extraction | None:
    try:
        return Extraction.load(folder)
    except FacesetError:
        return None  # the crops are usable without it


def _place(record: Record) -> tuple[str, int, int]:
    return record.footage_sha256, record.frame, record.track


def _in_parallel(work: Callable[[int], None], count: int) -> None:
    with ThreadPoolExecutor(LOAD_THREADS) as pool:
        for _ in pool.map(work, range(count)):
            pass


def _read_index(path: Path) -> dict[str, tuple[int, int, str]]:
    """Modification time, size and record by file name; empty without an index of this version."""
    try:
        table = read_table(path)
    except ReadError:
        return {}  # only a cache
    metadata: dict[bytes, Any] = table.schema.metadata or {}
    if metadata.get(b"version") != str(VERSION).encode() or not table.schema.equals(INDEX_SCHEMA):
        return {}
    if any(column.null_count for column in table.columns):
        return {}
    return {row["file"]: (row["changed"], row["bytes"], row["record"]) for row in table.to_pylist()}


def _write_index(path: Path, stamps: dict[str, tuple[int, int]], records: dict[str, Record]) -> None:
    columns = {
        "file": list(stamps),
        "changed": [changed for changed, _ in stamps.values()],
        "bytes": [size for _, size in stamps.values()],
        "record": [records[name].to_json() for name in stamps],
    }
    table = pa.table(columns, schema=INDEX_SCHEMA).replace_schema_metadata({"version": str(VERSION)})
    try:
        with atomic(path) as temporary, temporary.open("wb") as file:
            pq.write_table(table, file, compression="zstd", write_page_checksum=True)
    except OutputError:
        return  # on a read-only disk, do without the cache
