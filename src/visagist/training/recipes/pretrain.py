"""Pretraining on many subjects, for later runs to start from.

Both identities are trained on all subjects, so either is a good start for any face.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from visagist.core.errors import FacesetError
from visagist.faces import Coverage, mean_embedding
from visagist.faces.clusters import SAME
from visagist.faces.identity import embedding_weight
from visagist.faces.subject import SHEET
from visagist.faceset import Faceset, Record
from visagist.faceset.record import SUFFIXES
from visagist.faceset.split import UNKNOWN, hold_out_identities
from visagist.training.data import Crops, crops_of


def load_pool(folder: Path, coverage: Coverage, size: int, margin: float, part: float) -> tuple[Crops, str]:
    """The crops of all subjects, `margin` times as large as the network's `size` px faces.

    Args:
        folder: contains the facesets, at any depth.
        part: fraction of the subjects, or else of each subject's crops, held out for validation.

    Returns:
        The crops, those held out last, and a sentence that describes them.

    Raises:
        FacesetError: there is no faceset or only one subject, facesets are nested, or a crop is damaged.
    """
    facesets = [Faceset.open(each) for each in facesets_in(folder)]
    records = [record for faceset in facesets for record in faceset.records]
    files = [path for faceset in facesets for path in faceset.files]
    if len(facesets) == 1:
        who = cluster_identities(records)
    else:
        who = np.repeat(np.arange(len(facesets)), [len(faceset) for faceset in facesets])
    people = int(who.max()) + 1
    if people < 2:
        raise FacesetError(
            f"{folder}: one faceset, in which no two people can be told apart; a pretraining takes facesets of several "
            f"people, each in a folder of its own, such as {folder / 'NAME'}"
        )
    order, held_out = hold_out_identities(who, part)
    # As one faceset of everybody, so that each crop is read into its place and no array is held twice.
    together = Faceset(folder, tuple(files[i] for i in order), tuple(records[i] for i in order))
    # No centroid: the mean of many people's embeddings is nobody's.
    crops = replace(crops_of(together, coverage, size, margin), is_alone=False, people=people, validation=held_out)
    unseen = len(set(who.tolist()) - set(who[order[:-held_out]].tolist()))
    which = f"those of {unseen} of the people" if unseen else "the last of each person's"
    return crops, f"{len(crops.images)} crops of {people} people; held out for validation are {held_out}, {which}"


def facesets_in(folder: Path) -> list[Path]:
    """Folders with crops in a folder, including itself, by name; follows links, skips hidden folders.

    Raises:
        FacesetError: there is none, they are nested, or a folder cannot be read.
    """

    def refuse(error: OSError) -> NoReturn:
        raise FacesetError(f"{error.filename}: cannot be read ({error.strerror})") from error

    if not folder.is_dir():
        raise FacesetError(f"{folder}: no such folder; make one with a faceset for each person by `visagist extract`")
    found: list[Path] = []
    seen: set[Path] = set()
    for here, below, files in os.walk(folder, onerror=refuse, followlinks=True):
        real = Path(here).resolve()
        if real in seen:  # by another link
            below.clear()
            continue
        seen.add(real)
        below[:] = sorted(name for name in below if not name.startswith("."))
        pictures = (Path(name) for name in files if not name.startswith(".") and name != SHEET)
        if any(picture.suffix in SUFFIXES for picture in pictures):
            found.append(Path(here))
    if not found:
        raise FacesetError(
            f"{folder}: no faceset in it, at any depth; make one for each person with "
            f"`visagist extract FOOTAGE -o {folder / 'NAME'}`"
        )
    for inner in found:
        for outer in set(found).intersection(inner.parents):
            raise FacesetError(
                f"{outer}: holds crops and another faceset, {inner.relative_to(outer)}, so that nobody can tell "
                "whether these are one person or two; put each person's crops into a folder of their own"
            )
    return found


def cluster_identities(records: list[Record]) -> NDArray[np.int64]:
    """Cluster the crops of one faceset by identity.

    Every track joins the identity with the most similar mean embedding, or starts a new one; the longest tracks come
    first, since their means are the most reliable. Unlike `faces.cluster` it does not compare all pairs, so tens of
    thousands of stills take seconds.

    Returns:
        `(N,)` identity numbers from 0; -1 for tracks without any embedding.
    """
    tracks: dict[tuple[str, int], list[int]] = {}
    for i, record in enumerate(records):
        tracks.setdefault((record.footage_sha256, record.track), []).append(i)
    who = np.full(len(records), UNKNOWN, np.int64)
    sums = np.empty((len(tracks), 128))  # weighted embeddings of each identity
    people = 0
    for members in sorted(tracks.values(), key=len, reverse=True):
        known = [(records[i], np.array(records[i].embedding)) for i in members if records[i].embedding]
        if not known:
            continue
        weights = np.array([embedding_weight(np.array(r.pose), r.score, r.width, r.sharpness) for r, _ in known])
        mean = mean_embedding(np.stack([vector for _, vector in known]), weights)
        alike = sums[:people] @ mean / np.linalg.norm(sums[:people], axis=1)
        best = int(alike.argmax()) if people and alike.max() >= SAME else people
        if best == people:
            sums[people], people = 0, people + 1
        sums[best] += mean * weights.sum()
        who[members] = best
    return who
