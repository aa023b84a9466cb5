"""The validation split."""

import numpy as np
import pytest

from visagist.faceset.split import UNKNOWN, hold_out_identities


@pytest.mark.parametrize(
    ("crops", "part", "held"),
    [
        ((5,) * 20, 0.06, {0: 0, 10: 5}),  # one identity of twenty
        ((1, 2, 3, 4, 5, 6), 0.34, {1: 2, 4: 5}),  # two of six, neither the smallest nor the largest
        ((10, 20, 30), 0.1, {0: 1, 1: 2, 2: 3}),  # less than half an identity: the last crops of each
        ((9, 9), 0.49, {0: 4, 1: 4}),  # at least two identities are trained
        ((1, 12), 0.1, {0: 0, 1: 1}),
        ((1,) * 8, 0.06, {4: 1}),  # single crops cannot be split
    ],
)
def test_identities_with_a_typical_number_of_crops_are_held_out(
    crops: tuple[int, ...], part: float, held: dict[int, int]
) -> None:
    who = np.repeat(np.arange(len(crops)), crops)
    order, count = hold_out_identities(who, part)
    assert sorted(order.tolist()) == list(range(len(who)))
    last = who[order[-count:]]
    assert {identity: int((last == identity).sum()) for identity in held} == held
    assert count == sum(held.values())


def test_crops_of_unknown_identity_are_never_held_out() -> None:
    who = np.array([UNKNOWN, 0, 0, UNKNOWN, 1, 1, 2, 2, UNKNOWN])
    order, count = hold_out_identities(who, 0.4)
    assert UNKNOWN not in who[order[-count:]]
