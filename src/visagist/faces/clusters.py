"""Clustering of tracks into identities by their embeddings."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from visagist.faces.table import Face, FaceTable, faces_embedding

SAME_PERSON_SIMILARITY = 0.40  # minimum between mean embeddings of one person (SFace recommends 0.363)
SAME_TRACK_SIMILARITY = 0.4  # minimum between successive clear views of a track
CLEAR_VIEW_WEIGHT = 0.3


@dataclass
class _Group:
    tracks: list[tuple[int, int]]  # (table, track)
    total: NDArray[np.float64]  # (128,) sum of embeddings times weights
    weight: float
    frames: int

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean embedding, unit length."""
        return self.total / max(float(np.linalg.norm(self.total)), 1e-9)


def cluster(tables: Sequence[FaceTable]) -> list[dict[int, int]]:
    """Group tracks into identities by agglomerative clustering of weighted mean embeddings.

    Tracks that share a frame are never grouped.

    Args:
        tables: tables of one or more pieces of footage.

    Returns:
        For each table, identity by track. Identities are consistent across tables and numbered from 0 by decreasing
        frame count; tracks without an embedding get -1.
    """
    groups: list[_Group] = []
    seen: dict[tuple[int, int], list[int]] = {}  # groups by table and frame
    labels: list[dict[int, int]] = [dict.fromkeys(table.tracks(), -1) for table in tables]
    for number, table in enumerate(tables):
        for track, faces in table.tracks().items():
            mean = faces_embedding(faces)
            if mean is None:
                continue
            weight = sum(face.weight for face in faces if face.embedding is not None)
            for face in faces:
                seen.setdefault((number, face.frame), []).append(len(groups))
            groups.append(_Group([(number, track)], mean.astype(np.float64) * weight, weight, len(faces)))
    are_apart = np.zeros((len(groups), len(groups)), np.bool_)
    for together in seen.values():
        are_apart[np.ix_(together, together)] = True
    groups = _merged(groups, are_apart)
    groups.sort(key=lambda group: (-group.frames, group.tracks[0]))
    for identity, group in enumerate(groups):
        for table, track in group.tracks:
            labels[table][track] = identity
    return labels


def _merged(groups: list[_Group], are_apart: NDArray[np.bool_]) -> list[_Group]:
    """Merge the two most similar groups until none is similar enough; `are_apart` `(N, N)` is overwritten."""
    if not groups:
        return groups
    groups, is_left = list(groups), np.ones(len(groups), np.bool_)
    means = np.stack([group.mean for group in groups])
    similarity = np.where(np.tri(len(groups), dtype=np.bool_) | are_apart, -np.inf, means @ means.T)  # above diagonal
    while True:
        i, j = divmod(int(similarity.argmax()), len(groups))
        if similarity[i, j] < SAME_PERSON_SIMILARITY:
            return [group for group, is_kept in zip(groups, is_left, strict=True) if is_kept]
        a, b = groups[i], groups[j]
        groups[i] = _Group(a.tracks + b.tracks, a.total + b.total, a.weight + b.weight, a.frames + b.frames)
        is_left[j] = False
        are_apart[i] |= are_apart[j]
        are_apart[:, i] = are_apart[i]
        means[i] = groups[i].mean
        row = np.where(is_left & ~are_apart[i], means @ means[i], -np.inf)
        similarity[i, i + 1 :], similarity[:i, i] = row[i + 1 :], row[:i]
        similarity[j] = similarity[:, j] = -np.inf


def split_changed(faces: Sequence[Face]) -> list[Face]:
    """Split tracks where the person changes, as after a shot cut that was not detected.

    The split is at the largest jump of the landmarks between two clear views that differ.
    """
    result: list[Face] = []
    following = max((face.track for face in faces), default=-1) + 1
    tracks: dict[int, list[Face]] = {}
    for face in faces:
        tracks.setdefault(face.track, []).append(face)
    for track in tracks.values():
        clear = [i for i, face in enumerate(track) if face.embedding is not None and face.weight >= CLEAR_VIEW_WEIGHT]
        starts: list[int] = []
        for i, j in pairwise(clear):
            a, b = track[i].embedding, track[j].embedding
            if a is not None and b is not None and float(a @ b) < SAME_TRACK_SIMILARITY:
                moved = [
                    float(np.abs(track[k].landmarks[:, :2] - track[k - 1].landmarks[:, :2]).mean())
                    for k in range(i + 1, j + 1)
                ]
                starts.append(i + 1 + int(np.argmax(moved)))
        number = track[0].track
        for i, face in enumerate(track):
            if i in starts:
                number, following = following, following + 1
            result.append(replace(face, track=number))
    return result
