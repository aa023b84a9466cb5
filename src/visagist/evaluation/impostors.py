"""Other people, to tell a likeness from the likeness that any two people have.

- `strangers_to`: the mean directions of people who are neither the source nor the target's performer
- `read_strangers`: all that travel with the package

`impostors.json` holds dlib embeddings of five speakers of the GRID corpus (Cooke, Barker, Cunningham, Shao 2006, CC BY
4.0), several of each, by the name of the clip that shows them; `tools/strangers.py` made it. Nobody's name is known
or sought. Five people filmed in one studio are few: they give the level of strangers, not its spread.
"""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from visagist.evaluation.embedder import is_same_person, mean_direction
from visagist.evaluation.evaluation_data import Appearance, Source
from visagist.zoo.sessions import replacements

FILE = Path(__file__).with_name("impostors.json")


@functools.cache
def read_strangers() -> Mapping[str, NDArray[np.float32]]:
    """Embeddings `(n, 128)` of each person, unit length, in the order of the file."""
    people = json.loads(FILE.read_text("utf-8"))["people"]
    rows = {name: np.array([view["embedding"] for view in views], np.float32) for name, views in people.items()}
    return MappingProxyType({name: row / np.linalg.norm(row, axis=1, keepdims=True) for name, row in rows.items()})


def strangers_to(source: Source, target: Appearance) -> NDArray[np.float32]:
    """The mean directions `(K, 128)` of people who are neither the source nor the performer of `target`.

    Whoever may be one of them is left out (see `is_same_person`). Nobody is left where the user's own model stands
    in for dlib's: what the package carries means nothing to it.
    """
    if "dlib" in replacements():
        return np.empty((0, 128), np.float32)
    known = [source.centroid(source.independent), mean_direction(target.independent)]
    people = [mean_direction(embeddings) for embeddings in read_strangers().values()]
    others = [person for person in people if not any(is_same_person(person, one) for one in known)]
    return np.array(others, np.float32).reshape(-1, 128)
