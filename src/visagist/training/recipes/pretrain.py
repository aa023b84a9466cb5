"""Training on many people at once, for runs of two to begin with.

- `pretrain`: a folder of many people to a run
- `facesets_in`: the facesets in a folder, at any depth
- `load_pool`: everybody's crops as one
- `told_apart`: who is who in a faceset of many people
- `arranged`: which crops are held out: whole people, where there are enough

What a face is takes a network longest to learn, and is the same for everybody. A network that knows it from many people
needs only to learn two more (`TrainOptions.start`). Both of its identities are trained on everybody: each is as good a
beginning for whomever it will be.
"""

import os
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from visagist.core.errors import ConfigError, FacesetError
from visagist.core.events import Events, Note, silent
from visagist.core.settings import save_call
from visagist.faces import Coverage, mean_embedding
from visagist.faces.clusters import SAME
from visagist.faces.identity import embedding_weight
from visagist.faces.subject import SHEET
from visagist.faceset import Faceset, Record
from visagist.faceset.record import SUFFIXES
from visagist.training.budget import STEP, network_size
from visagist.training.config import TrainOptions
from visagist.training.data.crops import Crops, crops_of, held_out_count
from visagist.training.preview import own_seal
from visagist.training.train import TrainSummary, go, prepare, resolved, tell_memory, together

CALL = "pretrain.toml"  # in the run: the resolved call
LEFT = 2  # people that are trained on at least, where whole ones are held out
UNKNOWN = -1  # in place of a person's number: nobody can tell


def pretrain(folder: Path, run: Path, options: TrainOptions, events: Events) -> TrainSummary:
    """Train a network on many people, for `train` to begin with (`TrainOptions.start`).

    Args:
        folder: facesets, one a person, at any depth; or a single faceset of many people.
        run: folder of the run, outside of `folder`. One that is there goes on, as in `train`.
        options: settings; what begins with this run needs the same model, its settings and coverage.
        events: told progress, figures, warnings.

    Raises:
        FacesetError: there is no faceset, the facesets are not apart, a crop is damaged, or there is one person only.
        ConfigError: an unknown model, setting or device; a loss that looks at the swap; or the run would
            lie among the facesets.
        RunError, CollapseError, OutputError, KeyboardInterrupt: as in `train`.
    """
    for name in ("identity", "face_style", "background_style", "true_face"):
        if getattr(options.losses, name):
            raise ConfigError(
                f"{name} needs a swap of one person for another, and both people of a pretraining are everybody; leave "
                f"--losses.{name.replace('_', '-')} at 0, and give it in the training that begins with this run"
            )
    if run.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(f"{run}: lies in {folder}, where its previews would be taken for crops; put it elsewhere")
    with together(run) as world:
        events = events if world.leads else silent

        @cache
        def crops() -> int:
            return sum(len(Faceset.open(each)) for each in facesets_in(folder))

        options = resolved(options, run, ("source", "target"), crops, events)
        tell_memory(options, run, ("source", "target"), crops, events)
        pool = load_pool(folder, options.coverage, network_size(options), options.margin, options.held_out)
        people = {"source": pool.crops, "target": pool.crops}
        loop = prepare(people, run, options, events, own_seal() if world.leads else None)
        if world.leads:
            save_call(run / CALL, {"folder": folder, "output": run, **loop.options.model_dump()})
            events(Note(STEP, pool.as_text()))
        return go(loop)


@dataclass(frozen=True)
class Pool:
    """Crops of many people as one.

    Attributes:
        crops: of everybody, the held-out ones last.
        strangers: how many people are held out as a whole; 0: the end of everybody's crops is.
    """

    crops: Crops
    strangers: int

    def as_text(self) -> str:
        """A line for people."""
        who = f"those of {self.strangers} of the people" if self.strangers else "the last of each person's"
        everything, held = len(self.crops.images), self.crops.held_out
        return f"{everything} crops of {self.crops.people} people; held out are {held}, {who}"


def load_pool(folder: Path, coverage: Coverage, size: int, margin: float, part: float) -> Pool:
    """Everybody's crops for a network of `size` px faces, `margin` times as large.

    Args:
        folder: of `pretrain`.
        part: of the people, or else of each person's crops, that is held out.

    Raises:
        FacesetError: as in `pretrain`.
    """
    facesets = [Faceset.open(each) for each in facesets_in(folder)]
    records = [record for faceset in facesets for record in faceset.records]
    files = [path for faceset in facesets for path in faceset.files]
    if len(facesets) == 1:
        who = told_apart(records)
    else:
        who = np.repeat(np.arange(len(facesets)), [len(faceset) for faceset in facesets])
    people = int(who.max()) + 1
    if people < 2:
        raise FacesetError(
            f"{folder}: one faceset, in which no two people can be told apart; a pretraining takes facesets of several "
            f"people, each in a folder of its own, such as {folder / 'NAME'}"
        )
    order, held_out = arranged(who, part)
    # As one faceset of everybody, so that each crop is read into its place and no array is held twice.
    together = Faceset(folder, tuple(files[i] for i in order), tuple(records[i] for i in order))
    # No centroid: the mean of many people's embeddings is nobody's.
    crops = replace(crops_of(together, coverage, size, margin), is_alone=False, people=people, held_out=held_out)
    trained_on = set(who[order[:-held_out]].tolist())
    return Pool(crops, len(set(who.tolist()) - trained_on))


def facesets_in(folder: Path) -> list[Path]:
    """All folders with crops in a folder, itself included, by name; links are followed, hidden folders are not.

    Raises:
        FacesetError: there is none, one lies in another, or a folder cannot be read.
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


def told_apart(records: list[Record]) -> NDArray[np.int64]:
    """Who is who in a faceset of many people, by embeddings.

    Every track goes to the person that it is most like, or to a new one where nobody is alike enough; tracks with most
    crops come first, since their mean says most. Unlike `faces.cluster` it does not compare all with all, so that tens
    of thousands of stills are told apart in seconds.

    Returns:
        `(N,)` numbers of people from 0 on; -1 for tracks of which no crop has an embedding.
    """
    tracks: dict[tuple[str, int], list[int]] = {}
    for i, record in enumerate(records):
        tracks.setdefault((record.footage_sha256, record.track), []).append(i)
    who = np.full(len(records), UNKNOWN, np.int64)
    sums = np.empty((len(tracks), 128))  # of each person's embeddings, weighed
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


def arranged(who: NDArray[np.int64], part: float) -> tuple[NDArray[np.int64], int]:
    """The order in which crops of many people stand in a pool, and how many of the last are held out.

    Held out are as many whole people as the part of them is, rounded; figures of these say how well the network draws
    whom it has never seen. They are people with about as many crops as most have, neither the largest facesets nor the
    smallest. Where the part is less than half a person, it is the end of each person's crops in place of that.

    Args:
        who: `(N,)` the person of each crop, -1 where nobody can tell: these are never held out.
        part: above 0, below 0.5.

    Returns:
        `(N,)` indices of crops, the held-out ones last, else as they were; and the number of those, 1 or more.

    >>> order, held_out = arranged(np.array([0, 0, 0, 1, 1, 1, 2, 2]), 0.3)
    >>> order.tolist(), held_out
    ([3, 4, 5, 6, 7, 0, 1, 2], 3)
    >>> arranged(np.array([0, 0, 0, 1, 1, 1, 2, 2]), 0.1)[0].tolist()
    [0, 1, 3, 4, 6, 2, 5, 7]
    """
    people, crops = np.unique(who[who != UNKNOWN], return_counts=True)
    strangers = min(round(part * len(people)), len(people) - LEFT)
    if strangers < 1 and crops.max() == 1:  # of whom nothing would be left
        strangers = 1
    if strangers >= 1:
        by_size = people[np.argsort(crops, kind="stable")]
        middle = ((np.arange(strangers) + 0.5) * len(people) / strangers).astype(np.int64)
        held = np.isin(who, by_size[middle])
    else:
        held = np.zeros(len(who), np.bool_)
        for person, count in zip(people, crops, strict=True):
            if count > 1:
                held[np.flatnonzero(who == person)[-held_out_count(count, part) :]] = True
    return np.argsort(held, kind="stable"), int(held.sum())
