"""Background at the edge of the face is removed from the mask."""

import numpy as np

from visagist.merging.strays import without_strays

SKIN, BLUE, BEARD = (0.75, 0.6, 0.5), (0.1, 0.5, 0.8), (0.25, 0.18, 0.15)


def face(**patches: tuple[slice, slice, tuple[float, float, float]]) -> np.ndarray:
    """`(128, 128, 3)` of skin, with patches of other colours."""
    made = np.full((128, 128, 3), SKIN, np.float32)
    for rows, columns, color in patches.values():
        made[rows, columns] = color
    return made


def disc() -> np.ndarray:
    y, x = np.mgrid[:128, :128]
    return (np.hypot(x - 64, y - 64) < 50).astype(np.float32)


def test_background_beside_the_cheek_is_removed() -> None:
    outline = disc()
    predicted = face(background=(slice(0, 128), slice(106, 128), BLUE))  # 8 px of it inside the outline
    mask = without_strays(outline, predicted, face(), outline, eyes=50.0)
    assert mask[75:90, 110].max() < 0.1
    assert np.abs(mask - outline)[75:90, :100].max() < 0.05, "the rest stays"
    assert (mask <= outline).all()


def test_the_mask_above_the_eyes_is_unchanged() -> None:
    outline = disc()
    predicted = face(hair=(slice(0, 128), slice(106, 128), BEARD))
    mask = without_strays(outline, predicted, face(), outline, eyes=64.0)
    assert np.array_equal(mask[:60], outline[:60])


def test_a_beard_is_kept_up_to_the_edge() -> None:
    outline = disc()
    predicted = face(beard=(slice(80, 128), slice(0, 128), BEARD))
    mask = without_strays(outline, predicted, face(), outline, eyes=45.0)
    assert mask[95:110, 40:88][outline[95:110, 40:88] > 0].min() > 0.9


def test_background_that_the_frame_has_too_is_kept() -> None:
    outline = disc()
    both = face(background=(slice(0, 128), slice(106, 128), BLUE))
    assert without_strays(outline, both, both, outline, eyes=50.0)[75:83, 110].min() > 0.9
