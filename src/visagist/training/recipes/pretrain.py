"""Pretraining on many subjects, as initial weights for later runs.

Both identities are trained on all subjects, so either is a good starting point for any face.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from visagist.core.errors import FacesetError
from visagist.faces import Coverage, mean_embedding
from visagist.faces.clusters import SAME_PERSON_SIMILARITY
from visagist.faces.identity import embedding_weight
from visagist.faces.subject import SHEET_NAME
from visagist.faceset import Faceset, Record
from visagist.faceset.record import SUFFIXES
from visagist.faceset.split import UNKNOWN, hold_out_identities
from visagist.training.data import Crops, crops_of


def load_pool(folder: Path, coverage: Coverage, size: int, margin: float, part: float) -> tuple[Crops, str]:
    """Load the crops of all subjects, with a side of `size * margin`.

    `folder` contains the facesets at any depth; `part` is the fraction of the subjects (or, with few, of each subject's
    crops) that is held out for validation. Returns the crops, those held out last, and a description in one line.

    Raises:
        FacesetError: no faceset or only one subject, nested facesets, or a damaged crop.
    """
    facesets = [Faceset.open(each) for each in facesets_in(folder)]
    records = [record for faceset in facesets for record in faceset.records]
    files = [path for faceset in facesets for path in faceset.files]
    if len(facesets) == 1:
        identities = cluster_identities(records)
    else:
        identities = np.repeat(np.arange(len(facesets)), [len(faceset) for faceset in facesets])
    people = int(identities.max()) + 1
    if people < 2:
        raise FacesetError(
            f"{folder}: one faceset in which no two people can be distinguished; a pretraining needs facesets of "
            f"several people, each in its own folder, such as {folder / 'NAME'}"
        )
    order, held_out = hold_out_identities(identities, part)
    # As one faceset, so that each crop is read into its place and no array exists twice.
    pool = Faceset(folder, tuple(files[i] for i in order), tuple(records[i] for i in order))
    # No centroid, since the mean embedding of many people is meaningless.
    crops = replace(crops_of(pool, coverage, size, margin), is_alone=False, people=people, validation=held_out)
    unseen = len(set(identities.tolist()) - set(identities[order[:-held_out]].tolist()))
    which = f"all of {unseen} people" if unseen else "the last of each person"
    return crops, f"{len(crops.images)} crops of {people} people; {held_out} are held out for validation ({which})"


def facesets_in(folder: Path) -> list[Path]:
    """Sorted folders with crops in a folder, including itself; follows links, skips hidden folders.

    Raises:
        FacesetError: no faceset, nested facesets, or a folder that cannot be read.
    """

    def refuse(error: OSError) -> NoReturn:
        raise FacesetError(f"{error.filename}: cannot be read ({error.strerror})") from error

    if not folder.is_dir():
        raise FacesetError(f"{folder}: no such folder; create one with a faceset per person by `visagist extract`")
    found: list[Path] = []
    seen: set[Path] = set()
    for here, below, files in os.walk(folder, onerror=refuse, followlinks=True):
        real = Path(here).resolve()
        if real in seen:  # through another link
            below.clear()
            continue
        seen.add(real)
        below[:] = sorted(name for name in below if not name.startswith("."))
        pictures = (Path(name) for name in files if not name.startswith(".") and name != SHEET_NAME)
        if any(picture.suffix in SUFFIXES for picture in pictures):
            found.append(Path(here))
    if not found:
        raise FacesetError(
            f"{folder}: contains no faceset at any depth; create one per person with "
            f"`visagist extract FOOTAGE -o {folder / 'NAME'}`"
        )
    for inner in found:
        for outer in set(found).intersection(inner.parents):
            raise FacesetError(
                f"{outer}: contains crops and another faceset, {inner.relative_to(outer)}, so it is unclear "
                "whether these are one person or two; put each person's crops into a separate folder"
            )
    return found


def cluster_identities(records: list[Record]) -> NDArray[np.int64]:
    """Cluster the crops of one faceset by identity.

    Each track joins the identity with the most similar mean embedding or starts a new one; the longest tracks come
    first, since their means are the most reliable. Unlike `faces.cluster`, this does not compare all pairs, so tens of
    thousands of stills take seconds.

    Returns:
        `(N,)` identity numbers from 0; -1 for tracks without any embedding.
    """
    tracks: dict[tuple[str, int], list[int]] = {}
    for i, record in enumerate(records):
        tracks.setdefault((record.footage_sha256, record.track), []).append(i)
    identities = np.full(len(records), UNKNOWN, np.int64)
    sums = np.empty((len(tracks), 128))  # weighted embeddings of each identity
    people = 0
    for members in sorted(tracks.values(), key=len, reverse=True):
        known = [(records[i], np.array(records[i].embedding)) for i in members if records[i].embedding]
        if not known:
            continue
        weights = np.array([embedding_weight(np.array(r.pose), r.score, r.width, r.sharpness) for r, _ in known])
        mean = mean_embedding(np.stack([vector for _, vector in known]), weights)
        similarity = sums[:people] @ mean / np.linalg.norm(sums[:people], axis=1)
        best = int(similarity.argmax()) if people and similarity.max() >= SAME_PERSON_SIMILARITY else people
        if best == people:
            sums[people], people = 0, people + 1
        sums[best] += mean * weights.sum()
        identities[members] = best
    return identities
