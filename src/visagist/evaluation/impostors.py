"""Embeddings of unrelated people ("impostors" in biometrics), by which identity metrics are calibrated.

`impostors.json` holds dlib embeddings of five speakers of the GRID corpus (Cooke, Barker, Cunningham, Shao 2006, CC BY
4.0), written by `tools/impostors.py`. Five people filmed in one studio give the level of similarity, not its spread.
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from visagist.core.read import read_json
from visagist.evaluation.embedder import is_same_person, mean_direction
from visagist.evaluation.evaluation_data import FaceObservations, Source
from visagist.zoo.sessions import replacements

FILE = Path(__file__).with_name("impostors.json")


@functools.cache
def read_impostors() -> Mapping[str, NDArray[np.float32]]:
    """Embeddings `(n, 128)`, unit length, by the name of the person's clip."""
    people = read_json(FILE)["people"]
    rows = {name: np.array([view["embedding"] for view in views], np.float32) for name, views in people.items()}
    return MappingProxyType({name: row / np.linalg.norm(row, axis=1, keepdims=True) for name, row in rows.items()})


def impostors_for(source: Source, target: FaceObservations) -> NDArray[np.float32]:
    """Mean directions `(K, 128)` of people who are neither the source nor the performer in `target`.

    Empty if the user replaced dlib's model, because the stored embeddings are not comparable then.
    """
    if "dlib" in replacements():
        return np.empty((0, 128), np.float32)
    known = [source.centroid(source.independent), mean_direction(target.independent)]
    people = [mean_direction(embeddings) for embeddings in read_impostors().values()]
    others = [person for person in people if not any(is_same_person(person, one) for one in known)]
    return np.array(others, np.float32).reshape(-1, 128)
