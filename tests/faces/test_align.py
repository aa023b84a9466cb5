"""Face space, compared with independent references."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.transform import SimilarityTransform

from visagist.core.errors import GeometryError
from visagist.faces import (
    COVERAGES,
    FaceTable,
    align,
    compose,
    crop_matrix,
    crop_side,
    hull_mask,
    invert,
    mean_mesh,
    similarity,
    transform,
)


@given(st.integers(2, 40), st.integers(0, 2**32 - 1))
def test_similarity_matches_scikit_image(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    source, target = rng.normal(size=(count, 2)), rng.normal(size=(count, 2))
    expected = SimilarityTransform.from_estimate(source, target)
    assert np.allclose(similarity(source, target), expected.params[:2], atol=1e-6)


def test_coincident_points_are_rejected() -> None:
    with pytest.raises(GeometryError, match="5 points"):
        similarity(np.ones((5, 2)), np.random.default_rng(0).normal(size=(5, 2)))


@given(st.floats(-180, 180), st.floats(5, 400), st.floats(-500, 2000), st.floats(-500, 2000))
def test_alignment_recovers_the_similarity_applied_to_a_face(degrees: float, scale: float, x: float, y: float) -> None:
    c, s = scale * np.cos(np.radians(degrees)), scale * np.sin(np.radians(degrees))
    placed = np.array([[c, -s, x], [s, c, y]])
    landmarks = transform(placed, mean_mesh()[:, :2].astype(np.float64))
    assert np.allclose(compose(align(landmarks), placed), np.eye(2, 3), atol=1e-5)


def test_mean_face_is_symmetric_with_unit_interpupillary_distance() -> None:
    mesh = mean_mesh()
    assert np.allclose(mesh[[33, 61, 234], 0], -mesh[[263, 291, 454], 0], atol=1e-4)
    assert np.allclose(mesh[[468, 473], :2], [[-0.5, 0], [0.5, 0]], atol=1e-4)
    assert not mesh.flags.writeable


def test_coverages_show_the_parts_they_are_named_after() -> None:
    mesh = mean_mesh()[:, :2]
    brows, lip, chin, top = mesh[[70, 300, 105, 334]], mesh[17], mesh[152], mesh[10]
    inside = {}
    for name, square in COVERAGES.items():
        half = square.side / 2
        low, high = np.array([-half, square.y - half]), np.array([half, square.y + half])
        inside[name] = {
            "brows": bool(((brows > low) & (brows < high)).all()),
            "lip": bool((lip < high).all()),
            "chin": bool((chin < high).all()),
            "rim": bool((top > low).all()),
        }
    assert inside["mouth"] == {"brows": False, "lip": True, "chin": True, "rim": False}
    assert inside["half"] == {"brows": True, "lip": True, "chin": False, "rim": False}
    assert inside["mid"] == {"brows": True, "lip": True, "chin": False, "rim": False}
    assert all(inside["full"].values())
    assert all(inside["whole"].values())
    assert all(inside["head"].values())
    assert [COVERAGES[n].side for n in ("half", "mid", "full", "whole", "head")] == sorted(
        COVERAGES[n].side for n in ("half", "mid", "full", "whole", "head")
    )


@pytest.mark.parametrize("size", [64, 128])
def test_crops_of_different_sizes_show_the_same_square(size: int) -> None:
    alignment = np.array([[0.02, 0.003, -3.0], [-0.003, 0.02, -2.0]])
    small, large = crop_matrix(alignment, "full", size), crop_matrix(alignment, "full", 2 * size)
    edges = np.array([[-0.5, -0.5], [size - 0.5, size - 0.5]])  # pixel edges, not centres
    assert np.allclose(transform(large, transform(invert(small), edges)), [[-0.5] * 2, [2 * size - 0.5] * 2])
    native = crop_matrix(alignment, "full", round(crop_side(alignment, "full")))
    assert np.isclose(np.sqrt(np.linalg.det(native[:, :2])), 1, atol=0.02)


def test_hull_covers_the_face_and_not_the_ears(target_table: FaceTable) -> None:
    face = target_table.faces_of(30)[0]
    matrix = crop_matrix(face.alignment, "full", 128)
    landmarks = transform(matrix, face.landmarks[:, :2])
    hull = hull_mask(landmarks, 128)
    assert hull.shape == (128, 128)
    assert hull.dtype == np.uint8
    assert set(np.unique(hull)) >= {0, 255}
    for point in landmarks[[33, 263, 1, 61, 291, 17, 105, 334, 151]].astype(int):
        assert hull[point[1], point[0]] == 255
    assert hull[:, :6].max() == 0
    assert hull[:, -6:].max() == 0
    assert cv2.connectedComponents((hull > 0).astype(np.uint8))[0] == 2
