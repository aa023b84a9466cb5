"""A folder of one subject's crops.

- `Faceset`: opened from a folder; records, centroid, pictures for training
- `index.parquet`: the records once more, a cache that is rebuilt where the folder changed by hand
"""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from visagist.core.errors import FacesetError, OutputError
from visagist.core.files import atomic
from visagist.faces import Coverage, crop_matrix, embed, feature_mask, hull_mask, mean_embedding, transform
from visagist.faces.identity import embedding_weight
from visagist.faces.subject import SHEET
from visagist.faceset.record import SUFFIXES, VERSION, Record, read_crop, read_record
from visagist.media import frame_from_rgb

INDEX = "index.parquet"
STATE = "extract.json"  # what the faceset is made from, and when it is finished
WORKERS = 2
SAMPLE = 32  # crops embedded for a centroid where no record has an embedding


@dataclass(frozen=True)
class Faceset:
    """Crops by footage, then frame, then track; footage in the order of its hashes."""

    folder: Path
    files: tuple[Path, ...]
    records: tuple[Record, ...]

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open a faceset; the index is rebuilt for crops that came, went or changed.

        Raises:
            FacesetError: the folder is missing or empty, or a crop is damaged or has no record.
        """
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
                records[path.name] = read_record(path)
        if {name: entry[:2] for name, entry in known.items()} != stamps:
            _write_index(folder / INDEX, stamps, records)
        order = sorted(paths, key=lambda p: _place(records[p.name]))
        return cls(folder, tuple(order), tuple(records[path.name] for path in order))

    def __len__(self) -> int:
        return len(self.files)

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

    def load(self, coverage: Coverage, size: int, margin: float) -> tuple[NDArray[np.uint8], ...]:
        """All crops at one coverage, in the order of `records`.

        Args:
            coverage: the square of face space that `size` px show.
            size: px.
            margin: how many times as large the pictures are, about the square's centre; room to shift and scale.

        Returns:
            `(N, S, S, 3)` uint8 RGB, `(N, S, S)` uint8 hulls and `(N, S, S)` uint8 eyes and mouths (255 within), with
            S = `size * margin`, rounded.

        Raises:
            FacesetError: a crop is damaged.
        """
        side = round(size * margin)
        images = np.empty((len(self), side, side, 3), np.uint8)
        hulls, features = (np.empty((len(self), side, side), np.uint8) for _ in range(2))

        def fill(i: int) -> None:
            record, pixels = read_crop(self.files[i])
            matrix = crop_matrix(np.array(record.alignment), coverage, side, side / size)
            warped = frame_from_rgb(pixels).warp(matrix, (side, side))
            images[i] = (warped * 255 + 0.5).astype(np.uint8)
            landmarks = transform(matrix, np.array(record.landmarks)[:, :2])
            hulls[i], features[i] = hull_mask(landmarks, side), feature_mask(landmarks, side)

        _in_parallel(fill, len(self))
        return images, hulls, features


def is_alone(faceset: Faceset) -> bool | None:
    """Whether the footage of a faceset's crops shows its subject and nobody else, so that its hash tells who it is.

    Returns:
        None where nobody knows: the extraction has not ended, or crops were brought here by hand whose footage this
        folder's `extract.json` says nothing of.
    """
    try:
        state = json.loads((faceset.folder / STATE).read_text())
        looked_at, summary = set(state["key"]["footage"]), state["summary"]
        if summary is None or not looked_at.issuperset(faceset.footage_hashes):
            return None
        return summary["others"] == 0
    except (OSError, ValueError, KeyError, TypeError):
        return None


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
