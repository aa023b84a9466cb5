"""A folder of one subject's crops.

`index.parquet` in the folder is a cache of the crops' records, rebuilt for crops that changed.
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

from visagist.core.errors import FacesetError, OutputError
from visagist.core.files import atomic
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
from visagist.faces.subject import SHEET
from visagist.faceset.extraction import Extraction, ExtractSummary
from visagist.faceset.record import SUFFIXES, VERSION, Record, read_crop, read_record
from visagist.media import frame_from_rgb

INDEX = "index.parquet"
WORKERS = 2
SAMPLE = 32  # crops embedded for a centroid where no record has an embedding


@dataclass(frozen=True)
class Faceset:
    """One subject's crops, by footage, frame and track.

    Attributes:
        path: the folder.
        files: the crops.
        records: the record of each crop.
        summary: statistics of the extraction that made them; None if it has not finished, or they come from elsewhere.
    """

    path: Path
    files: tuple[Path, ...]
    records: tuple[Record, ...]
    summary: ExtractSummary | None = None

    @classmethod
    def open(cls, path: StrPath, written: Mapping[str, Record] | None = None) -> Self:
        """Open a faceset; its index is updated for crops that were added, removed or changed.

        Args:
            path: the folder.
            written: records of crops that were just written, by file name; these are not read again.

        Raises:
            FacesetError: the folder is missing or has no crops, or a crop is damaged or has no record.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise FacesetError(f"{folder}: no such folder; make a faceset with `visagist extract`")
        pictures = (p for p in folder.iterdir() if p.suffix in SUFFIXES)
        paths = sorted(p for p in pictures if not p.name.startswith(".") and p.name != SHEET)
        if not paths:
            raise FacesetError(f"{folder}: no crops (.jpg, .png) in it; make a faceset with `visagist extract`")
        stamps = {path.name: (path.stat().st_mtime_ns, path.stat().st_size) for path in paths}
        known = _read_index(folder / INDEX)
        records: dict[str, Record] = {}
        for path in paths:
            entry = known.get(path.name)
            if entry is not None and entry[:2] == stamps[path.name]:
                records[path.name] = Record.from_json(entry[2], path)
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
        """One line: the folder and its statistics."""
        return f"{self.path}: {len(self)} crops" if self.summary is None else f"{self.path}: {self.summary.as_text()}"

    def as_json(self) -> dict[str, Any]:
        """The folder and its statistics as plain values."""
        statistics = {"crops": len(self)} if self.summary is None else asdict(self.summary)
        return {"faceset": str(self.path), **statistics}

    @property
    def footage_hashes(self) -> tuple[str, ...]:
        """SHA-256 of the footage that the crops come from, sorted."""
        return tuple(sorted({record.footage_sha256 for record in self.records}))

    def centroid(self) -> NDArray[np.float32]:
        """The subject's mean embedding `(128,)`, unit length, weighed by the quality of the crops.

        From the records; where no crop left has an embedding, from a sample of the pictures.

        Raises:
            FacesetError: a crop of the sample is damaged.
        """
        vectors = [(record, np.array(record.embedding)) for record in self.records if record.embedding]
        if not vectors:
            step = max(1, len(self) // SAMPLE)
            sample = [read_crop(path) for path in self.files[::step]]
            vectors = [(r, embed(frame_from_rgb(pixels), np.array(r.landmarks))) for r, pixels in sample]
        weights = [embedding_weight(np.array(r.pose), r.score, r.width, r.sharpness) for r, _ in vectors]
        return mean_embedding(np.stack([vector for _, vector in vectors]), np.array(weights))

    def load(
        self, coverage: Coverage, size: int, margin: float
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]:
        """All crops at one coverage, in the order of `records`.

        Args:
            coverage: the square of face space that `size` px show.
            size: px.
            margin: how many times as large the pictures are, about the square's centre; room to shift and scale.

        Returns:
            `(N, S, S, 3)` uint8 RGB, `(N, S, S)` uint8 hulls and `(N, S, S)` uint8 eyes and mouths (255 within), with
            S = `size * margin`, rounded; and `(N, 478, 3)` landmarks in picture widths from the top left corner.

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
            points[i] = transform_landmarks(matrix, landmarks)

        _in_parallel(fill, len(self))
        points[..., :2] += 0.5  # pixel centres are at integers
        points /= side
        return images, hulls, features, points


def is_alone(faceset: Faceset) -> bool | None:
    """Whether the footage of the crops shows their subject and nobody else, so that its hash identifies the subject.

    Returns:
        None if unknown: the extraction has not finished, or some crops come from footage that it did not read.
    """
    extraction = _extraction(faceset.path)
    if extraction is None or extraction.summary is None:
        return None
    if not set(extraction.key.get("footage", ())).issuperset(faceset.footage_hashes):
        return None
    return extraction.summary.others == 0


def _extraction(folder: Path) -> Extraction | None:
    try:
        return Extraction.load(folder)
    except FacesetError:
        return None  # the crops can be used without it


def _place(record: Record) -> tuple[str, int, int]:
    return record.footage_sha256, record.frame, record.track


def _in_parallel(work: Callable[[int], None], count: int) -> None:
    with ThreadPoolExecutor(WORKERS) as pool:
        for _ in pool.map(work, range(count)):
            pass


def _read_index(path: Path) -> dict[str, tuple[int, int, str]]:
    """Change time, size and record by file name; nothing where there is no index of this version."""
    try:
        table = pq.read_table(path, memory_map=False)
    except (OSError, pa.ArrowInvalid):
        return {}  # a cache: made again
    metadata: dict[bytes, Any] = table.schema.metadata or {}
    if metadata.get(b"version") != str(VERSION).encode():
        return {}
    rows = table.to_pylist()
    return {row["file"]: (row["changed"], row["bytes"], row["record"]) for row in rows}


def _write_index(path: Path, stamps: dict[str, tuple[int, int]], records: dict[str, Record]) -> None:
    columns = {
        "file": list(stamps),
        "changed": [changed for changed, _ in stamps.values()],
        "bytes": [size for _, size in stamps.values()],
        "record": [records[name].to_json() for name in stamps],
    }
    table = pa.table(columns).replace_schema_metadata({"version": str(VERSION)})
    try:
        with atomic(path) as temporary:
            pq.write_table(table, temporary, compression="zstd")
    except OutputError:
        return  # a faceset on a read-only disk is used without its cache
