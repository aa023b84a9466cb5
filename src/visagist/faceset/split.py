"""The validation split: which crops are never trained on."""

import numpy as np
from numpy.typing import NDArray

LEFT = 2  # identities that are trained on at least, if whole ones are held out
UNKNOWN = -1  # in place of the number of an identity


def validation_count(crops: int, part: float) -> int:
    """How many crops, the last of a faceset, are held out.

    >>> validation_count(100, 0.06), validation_count(8, 0.06)
    (6, 1)
    """
    return max(1, round(part * crops))


def hold_out_identities(who: NDArray[np.int64], part: float) -> tuple[NDArray[np.int64], int]:
    """The order of the crops of many identities, those held out for validation last.

    Held out are whole identities, as many as the part of them is, rounded: they show how well a network draws faces
    that it has never seen. They are identities with about as many crops as most have. If the part is less than half an
    identity, it is the end of each identity's crops instead.

    Args:
        who: `(N,)` the identity of each crop, -1 if unknown: these are never held out.
        part: above 0, below 0.5.

    Returns:
        `(N,)` indices of crops, those held out last, else in order; and the number of those, 1 or more.

    >>> order, held_out = hold_out_identities(np.array([0, 0, 0, 1, 1, 1, 2, 2]), 0.3)
    >>> order.tolist(), held_out
    ([3, 4, 5, 6, 7, 0, 1, 2], 3)
    >>> hold_out_identities(np.array([0, 0, 0, 1, 1, 1, 2, 2]), 0.1)[0].tolist()
    [0, 1, 3, 4, 6, 2, 5, 7]
    """
    people, crops = np.unique(who[who != UNKNOWN], return_counts=True)
    unseen = min(round(part * len(people)), len(people) - LEFT)
    if unseen < 1 and crops.max() == 1:  # of whom nothing would be left
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
