"""The validation split: crops held out of training."""

import numpy as np
from numpy.typing import NDArray

MIN_TRAINED_IDENTITIES = 2  # if whole identities are held out
UNKNOWN = -1  # number of unknown identities


def validation_count(crops: int, part: float) -> int:
    """Number of crops held out from the end of a faceset.

    >>> validation_count(100, 0.06), validation_count(8, 0.06)
    (6, 1)
    """
    return max(1, round(part * crops))


def hold_out_identities(who: NDArray[np.int64], part: float) -> tuple[NDArray[np.int64], int]:
    """Split the crops of many identities into training and validation.

    Whole identities are held out, to measure reconstruction of unseen faces. Those with a typical number of crops are
    chosen. If `part` is less than half an identity, the last crops of each identity are held out instead.

    Args:
        who: `(N,)` identity of each crop; -1 for unknown ones, which are never held out.
        part: fraction to hold out, in (0, 0.5).

    Returns:
        `(N,)` crop indices with held-out ones last and otherwise in order, and the number held out, at least 1.

    >>> order, held_out = hold_out_identities(np.array([0, 0, 0, 1, 1, 1, 2, 2]), 0.3)
    >>> order.tolist(), held_out
    ([3, 4, 5, 6, 7, 0, 1, 2], 3)
    >>> hold_out_identities(np.array([0, 0, 0, 1, 1, 1, 2, 2]), 0.1)[0].tolist()
    [0, 1, 3, 4, 6, 2, 5, 7]
    """
    people, crops = np.unique(who[who != UNKNOWN], return_counts=True)
    unseen = min(round(part * len(people)), len(people) - MIN_TRAINED_IDENTITIES)
    if unseen < 1 and crops.max() == 1:  # an identity of one crop cannot be split
        unseen = 1
    if unseen >= 1:
        by_size = people[np.argsort(crops, kind="stable")]
        middle = ((np.arange(unseen) + 0.5) * len(people) / unseen).astype(np.int64)
        held = np.isin(who, by_size[middle])
    else:
        held = np.zeros(len(who), np.bool_)
        for person, count in zip(people, crops, strict=True):
            if count > 1:
                held[np.flatnonzero(who == person)[-validation_count(count, part) :]] = True
    return np.argsort(held, kind="stable"), int(held.sum())
