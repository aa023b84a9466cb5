"""The copy-paste and the jittered target, on constructed data and on real footage."""

from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import lil_matrix
from scipy.sparse.linalg import spsolve

from visagist.demo import SOURCE, TARGET
from visagist.evaluation.baselines import CopyPaste, choose_views, jittered, membrane, paste, triangles, warp_map
from visagist.evaluation.evaluation_data import Source
from visagist.faces import Face, crop_matrix, describe, embed, find_landmarks, hull_mask, mean_mesh, transform_landmarks
from visagist.media import frame_from_rgb, read_picture

SIDE = 160

Seen = tuple[NDArray[np.uint8], NDArray[np.float32], Face]


def in_crop() -> NDArray[np.float64]:
    """The mean face `(478, 2)` in a crop of `SIDE` px at whole coverage."""
    matrix = crop_matrix(np.eye(2, 3), "whole", SIDE)
    return mean_mesh()[:, :2].astype(np.float64) @ matrix[:, :2].T + matrix[:, 2]


def inside(erode: int = 0) -> NDArray[np.bool_]:
    hull = hull_mask(in_crop(), SIDE, 0.3)
    return cv2.erode(hull, np.ones((2 * erode + 1, 2 * erode + 1), np.uint8)) > 127


def texture(seed: int) -> NDArray[np.uint8]:
    """A smooth coloured picture with detail."""
    noise = np.random.default_rng(seed).normal(size=(SIDE, SIDE, 3))
    coarse, fine = (cv2.GaussianBlur(noise, (0, 0), sigma) for sigma in (12, 2))
    return np.clip(128 + 250 * coarse + 60 * fine, 20, 235).astype(np.uint8)


def seen(picture: NDArray[np.float32]) -> Seen:
    """Crop at whole coverage of the only face in a picture, the landmarks in it, and the face."""
    frame = frame_from_rgb(picture)
    (face,) = describe(frame)
    matrix = crop_matrix(face.alignment, "whole", SIDE)
    crop = (frame.warp(matrix, (SIDE, SIDE)) * 255 + 0.5).astype(np.uint8)
    return crop, transform_landmarks(matrix, face.landmarks), face


@pytest.fixture(scope="module")
def target() -> Seen:
    return seen(read_picture(TARGET))


@pytest.fixture(scope="module")
def source() -> Seen:
    return seen(read_picture(sorted(SOURCE.glob("*.mpg"))[0]))


def faces_of_source(poses: list[tuple[float, float]], mouths: list[float]) -> Source:
    """Faces with given yaw, pitch and mouth opening (relative to the distance of the pupils)."""
    landmarks = np.repeat(mean_mesh()[None], len(poses), 0).copy()
    landmarks[:, 14, 1] = landmarks[:, 13, 1] + np.array(mouths)
    count = len(poses)
    angles = np.column_stack([np.array(poses), np.zeros(count)]).astype(np.float32)
    no_embeddings = np.zeros((count, 128), np.float32)
    hulls = np.zeros((count, 8, 8), np.uint8)
    return Source(np.zeros((count, 8, 8, 3), np.uint8), hulls, landmarks, angles, no_embeddings, no_embeddings)


def test_triangles_tile_the_mean_face() -> None:
    found = triangles()
    assert set(found.ravel()) == set(range(468 + 36))
    edges = np.sort(np.concatenate([found[:, [0, 1]], found[:, [1, 2]], found[:, [2, 0]]]), 1)
    _, counts = np.unique(edges, axis=0, return_counts=True)
    assert set(counts) == {1, 2}  # an edge lies between two triangles, or at the rim
    assert (counts == 1).sum() <= 36


@pytest.mark.parametrize("even", [0.5, 2.0])
def test_an_affine_warp_is_exact_at_every_pixel(even: float) -> None:
    linear, shift = np.array([[1.1, 0.12], [-0.08, 0.93]]), np.array([-7.3, 11.6])
    points = in_crop()
    found = warp_map(points, points @ linear.T + shift, (SIDE, SIDE), even)
    y, x = np.mgrid[:SIDE, :SIDE]
    wanted = np.stack([x, y], -1) @ linear.T + shift
    np.testing.assert_allclose(found[12:-12, 12:-12], wanted[12:-12, 12:-12], atol=0.02)  # smoothed at the borders


def test_a_curved_warp_is_accurate_to_a_fraction_of_a_pixel() -> None:
    def bent(points: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = points[..., 0], points[..., 1]
        return np.stack([x + 4 * np.sin(y / 25), y + 3 * np.cos(x / 30)], -1)

    points = in_crop()
    found = warp_map(points, bent(points), (SIDE, SIDE), 1.0)
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    error = np.linalg.norm(found - bent(np.stack([x, y], -1)), axis=-1)[inside()]
    assert error.mean() < 0.1
    assert error.max() < 0.6  # on the bare cheeks triangles are large


def test_a_hidden_cheek_does_not_cover_the_nose() -> None:
    points = in_crop()
    turned = points.copy()
    turned[:, 0] += 0.9 * -mean_mesh()[:, 2] * SIDE / 3.926  # of a turned head: near points move to the right
    found = warp_map(turned, points, (SIDE, SIDE), 0.5)
    x, y = np.round(turned[4]).astype(int)  # tip of the nose
    np.testing.assert_allclose(found[y, x], points[4], atol=2.0)


def test_membrane_solves_laplaces_equation() -> None:
    generator = np.random.default_rng(0)
    values = cv2.GaussianBlur(generator.normal(size=(30, 40, 2)), (0, 0), 4).astype(np.float32)
    values /= np.abs(values).max()
    y, x = np.mgrid[:30, :40]
    hole = ((x - 19) / 14) ** 2 + ((y - 15) / 10) ** 2 < 1
    numbers = {(int(i), int(j)): n for n, (i, j) in enumerate(np.argwhere(hole))}
    matrix, right = lil_matrix((len(numbers), len(numbers))), np.zeros((len(numbers), 2))
    for (i, j), n in numbers.items():
        matrix[n, n] = 4
        for near in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
            if near in numbers:
                matrix[n, numbers[near]] = -1
            else:
                right[n] += values[near]
    found = membrane(values, hole)
    np.testing.assert_allclose(found[hole], spsolve(matrix.tocsr(), right), atol=0.02)
    np.testing.assert_array_equal(found[~hole], values[~hole])


@pytest.mark.parametrize("part", [np.s_[:, :], np.s_[:20, :], np.s_[10:, 5:]])
def test_membrane_may_touch_the_border(part: tuple[slice, slice]) -> None:
    hole = np.zeros((40, 50), bool)
    hole[part] = True
    values = np.full((40, 50, 3), 7, np.float32)
    found = membrane(values, hole)
    np.testing.assert_allclose(found, 0 if hole.all() else 7, atol=0.01)


def test_a_face_pasted_onto_itself_hardly_changes(source: Seen) -> None:
    crop, landmarks, _ = source
    assert np.abs(paste(crop, landmarks, crop, landmarks).astype(int) - crop).max() <= 1


def test_a_darker_copy_pasted_onto_its_original_hardly_changes_it(source: Seen) -> None:
    crop, landmarks, _ = source
    found = paste(crop, landmarks, (crop * 0.7).astype(np.uint8), landmarks)
    assert np.abs(found.astype(int) - crop).mean() < 1
    assert np.abs(found.astype(int) - crop).max() < 12


def test_a_moved_and_scaled_face_is_pasted_in_place() -> None:
    crop, points = texture(0), in_crop()
    matrix = np.array([[0.95, 0.05, 6.0], [-0.05, 0.95, 9.0]])
    moved = cv2.warpAffine(crop, matrix, (SIDE, SIDE), flags=cv2.INTER_CUBIC)
    found = paste(crop, points, moved, points @ matrix[:, :2].T + matrix[:, 2])
    assert np.abs(found.astype(int) - crop)[inside(4)].mean() < 1.5  # sampled twice


def test_pixels_change_only_inside_the_hull() -> None:
    crop, face, points = texture(1), texture(2), in_crop()
    found = paste(crop, points, face, points)
    np.testing.assert_array_equal(found[~(hull_mask(points, SIDE, 0.3) > 0)], crop[~(hull_mask(points, SIDE, 0.3) > 0)])
    core = inside(12)

    def likeness(other: NDArray[np.uint8]) -> float:
        detail = [(p - cv2.GaussianBlur(p, (0, 0), 6))[core] for p in (found.astype(float), other.astype(float))]
        return float(np.corrcoef(detail[0].ravel(), detail[1].ravel())[0, 1])

    assert likeness(face) > 0.95
    assert abs(likeness(crop)) < 0.2


@pytest.mark.parametrize("shift", [(70, 0), (0, -90), (-60, 60)])
def test_the_visible_part_of_a_cut_off_face_is_pasted(shift: tuple[int, int]) -> None:
    crop, face, points = texture(3), texture(4), in_crop()
    found = paste(crop, points + np.array(shift), face, points)
    assert (found != crop).any()
    outside = ~(hull_mask(points + np.array(shift), SIDE, 0.3) > 0)
    np.testing.assert_array_equal(found[outside], crop[outside])


def test_a_face_outside_the_crop_changes_nothing() -> None:
    crop, points = texture(5), in_crop()
    np.testing.assert_array_equal(paste(crop, points + 500, texture(6), points), crop)


def test_a_pasted_face_has_the_sources_identity_and_the_targets_pose(source: Seen, target: Seen) -> None:
    crop, landmarks, _ = target
    found = frame_from_rgb(paste(crop, landmarks, source[0], source[1]))
    box = np.concatenate([landmarks[:, :2].min(0), landmarks[:, :2].max(0)])
    mesh = find_landmarks(found, box, 0.0)
    assert mesh.score > 5
    eyes = np.linalg.norm(landmarks[33, :2] - landmarks[263, :2])
    error = np.linalg.norm(mesh.landmarks[:, :2] - landmarks[:, :2], axis=1)[:468].mean() / eyes
    assert error < 0.06
    pasted = embed(found, mesh.landmarks)
    theirs, ours = (embed(frame_from_rgb(picture), points) for picture, points, _ in (source, target))
    assert pasted @ theirs > 0.6
    assert pasted @ theirs > pasted @ ours + 0.05  # it keeps the target's landmarks, which also carry identity


def test_the_nearest_view_in_pose_and_mouth_is_chosen() -> None:
    source = faces_of_source([(0, 0), (20, 0), (0, -15), (0, 0)], [0, 0, 0, 0.4])
    wanted = faces_of_source([(18, 1), (1, -14), (1, 1), (1, 1)], [0, 0, 0.02, 0.38])
    views = choose_views(wanted.landmarks, wanted.poses, np.zeros(4, bool), source)
    np.testing.assert_array_equal(views, [1, 2, 0, 3])


def test_views_change_only_for_long_or_at_cuts() -> None:
    source = faces_of_source([(0, 0), (10, 0)], [0, 0])
    yaw = np.array([4.0, 6.0] * 5 + [10.0] * 10)  # wavering about the middle, then clearly the other one
    wanted = faces_of_source([(angle, 0) for angle in yaw], [0] * 20)
    follows = np.array([False] + [True] * 19)
    views = choose_views(wanted.landmarks, wanted.poses, follows, source)
    assert (np.diff(views) != 0).sum() <= 1
    assert views[-1] == 1
    cut = choose_views(wanted.landmarks, wanted.poses, np.zeros(20, bool), source)
    np.testing.assert_array_equal(cut, yaw > 5)


def test_pasting_is_independent_of_the_order(source: Seen, target: Seen) -> None:
    crop, landmarks, face = source
    hull = hull_mask(landmarks, SIDE)
    no_embeddings = np.zeros((2, 128), np.float32)
    both = [np.stack([a, b]) for a, b in ((crop, crop[:, ::-1]), (hull, hull), (landmarks, landmarks))]
    faces = Source(*both, np.stack([face.pose, face.pose + 30]), no_embeddings, no_embeddings)
    row = [replace(target[2], frame=frame, time=Fraction(frame, 25), track=0) for frame in (3, 4, 9)]
    paster = CopyPaste.plan(faces, row)
    assert paster.views.keys() == {3, 4, 9}
    first = {frame: paster.paste(frame, *target[:2]) for frame in (3, 4, 9)}
    for frame in (9, 4, 3):
        np.testing.assert_array_equal(paster.paste(frame, *target[:2]), first[frame])


def test_jitter_is_small_varies_by_frame_and_is_reproducible() -> None:
    crop = texture(7)
    backs = np.stack([jittered(crop, frame)[1] for frame in range(200)])
    middle = (SIDE - 1) / 2
    moved = backs[:, :, :2] @ [middle, middle] + backs[:, :, 2] - middle
    scale = np.sqrt(np.linalg.det(backs[:, :, :2]))
    turned = np.degrees(np.arctan2(backs[:, 1, 0], backs[:, 0, 0]))
    for values, limit in ((moved, 0.5), (scale - 1, 0.01), (turned, 0.5)):
        assert limit * 0.9 < np.abs(values).max() <= limit + 1e-9
        assert abs(values.mean()) < limit / 5
    again = jittered(crop, 5)
    np.testing.assert_array_equal(again[0], jittered(crop, 5)[0])
    np.testing.assert_array_equal(again[1], backs[5])
    assert (again[0] != jittered(crop, 6)[0]).any()


def test_the_matrix_of_a_jitter_inverts_it() -> None:
    crop = cv2.GaussianBlur(texture(8), (0, 0), 2)
    for frame in range(4):
        moved, back = jittered(crop, frame)
        returned = cv2.warpAffine(moved, back, (SIDE, SIDE), flags=cv2.INTER_CUBIC)
        away, near = (np.abs(p.astype(int) - crop)[8:-8, 8:-8] for p in (moved, returned))
        assert near.mean() < 1.0  # the noise
        assert near.mean() < away.mean()


def test_the_noise_of_a_jitter_has_a_deviation_of_one_code() -> None:
    flat = np.full((SIDE, SIDE, 3), 128, np.uint8)
    moved, _ = jittered(flat, 0)
    assert moved.astype(float).std() == pytest.approx(np.sqrt(1 + 1 / 12), rel=0.02)  # and rounding
