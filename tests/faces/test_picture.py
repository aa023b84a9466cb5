"""Faces of single pictures: detection, landmarks, pose and identity at any roll and size."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.measure import blur_effect

from visagist.core.errors import NoFaceError
from visagist.faces import (
    BLENDSHAPE_NAMES,
    FaceTable,
    choose_identity,
    describe,
    detect_faces,
    head_pose,
    head_rotation,
    mean_mesh,
    person_mask,
    picture_embeddings,
    sharpness,
)
from visagist.media import Frame, frame_from_rgb, write_picture

from .conftest import SHARED, SOURCES, frames_of


def rotated(rgb: np.ndarray, degrees: float) -> np.ndarray:
    height, width = rgb.shape[:2]
    side = int(np.hypot(height, width))
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    matrix[:, 2] += (side - width) / 2, (side - height) / 2
    return cv2.warpAffine(rgb, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)


@pytest.mark.parametrize("roll", [0, 45, 90, 135, 180, 225, 270, 315])
def test_a_face_is_found_and_recognised_at_any_roll(target_frame: Frame, roll: int) -> None:
    (upright,) = describe(target_frame)
    (face,) = describe(frame_from_rgb(rotated(target_frame.rgb(), -roll)))
    assert upright.embedding is not None
    assert face.embedding is not None
    assert float(face.embedding @ upright.embedding) > 0.9
    assert abs((face.pose[2] - upright.pose[2] - roll + 180) % 360 - 180) < 4


@pytest.mark.parametrize("scale", [0.25, 0.5, 4.0, 8.0])
def test_small_and_very_large_faces_are_found(target_frame: Frame, scale: float) -> None:
    """At scale 8 the face is 800 of 1152 px wide, too large for YuNet at a single scale."""
    rgb = target_frame.rgb()[:, 100:244]
    resized = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    (face,) = describe(frame_from_rgb(np.clip(resized, 0, 1)))
    assert face.width == pytest.approx(103 * scale, rel=0.1)


def test_faces_below_the_minimum_size_are_dropped(target_frame: Frame) -> None:
    thumbnail, _ = target_frame.thumbnail(640)
    assert len(detect_faces(thumbnail, threshold=0.6, min_size=60)) == 1
    assert detect_faces(thumbnail, threshold=0.6, min_size=250) == []


def test_a_picture_without_a_face_has_none(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).random((300, 400, 3), np.float32)
    write_picture(tmp_path / "noise.png", noise)
    assert picture_embeddings(tmp_path / "noise.png") == []


@pytest.mark.parametrize("angles", [(0, 0, 0), (30, 0, 0), (-45, 10, 5), (0, -25, 0), (0, 20, 90), (15, 15, -170)])
def test_pose_of_a_rotated_mean_face(angles: tuple[float, float, float]) -> None:
    turned = 80 * mean_mesh() @ head_rotation(*angles).T.astype(np.float32) + [300, 200, 0]
    assert np.allclose(head_pose(turned.astype(np.float32)), angles, atol=0.05)


def test_signs_of_the_pose(target_frame: Frame) -> None:
    """Positive yaw moves the nose tip to the right, positive pitch up."""

    def nose(*angles: float) -> np.ndarray:
        mesh = mean_mesh() @ head_rotation(*angles).T
        return mesh[1, :2] - mesh[[33, 263], :2].mean(0)

    assert nose(30, 0, 0)[0] > 0.2
    assert nose(0, 20, 0)[1] < nose(0, 0, 0)[1]
    mirrored = frame_from_rgb(np.ascontiguousarray(target_frame.rgb()[:, ::-1]))
    (face,), (mirror,) = describe(target_frame), describe(mirrored)
    assert np.allclose(face.pose * [-1, 1, -1], mirror.pose, atol=2.5)


def test_blendshapes_of_an_open_mouth(target_table: FaceTable) -> None:
    faces = list(target_table)
    gap = [np.linalg.norm(f.landmarks[13] - f.landmarks[14]) for f in faces]
    jaw = [f.blendshapes[BLENDSHAPE_NAMES.index("jawOpen")] for f in faces]
    assert len(BLENDSHAPE_NAMES) == 52
    assert np.corrcoef(gap, jaw)[0, 1] > 0.7
    assert all((f.blendshapes >= -0.01).all() and (f.blendshapes <= 1.01).all() for f in faces)


def test_embeddings_distinguish_two_people(target_table: FaceTable, tmp_path: Path) -> None:
    frame = frames_of(SOURCES[0], 0)[0]
    write_picture(tmp_path / "source.png", frame.rgb())
    (other,) = picture_embeddings(tmp_path / "source.png")
    mine = [f.embedding for f in target_table if f.embedding is not None]
    centroid = target_table.identity_embedding(0)
    assert np.isclose(np.linalg.norm(centroid), 1, atol=1e-5)
    assert min(float(e @ centroid) for e in mine) > 0.8
    assert float(other @ centroid) < 0.35
    with pytest.raises(NoFaceError, match=r"source\.png"):
        choose_identity(target_table, tmp_path / "source.png", None, tmp_path)


@pytest.mark.parametrize("deviation", [1.0, 2.0, 4.0])
def test_sharpness_is_one_minus_scikit_images_blur_effect(target_frame: Frame, deviation: float) -> None:
    crop = cv2.GaussianBlur(target_frame.rgb()[90:230, 110:250], (0, 0), deviation)
    luma = (crop @ np.array([0.2126, 0.7152, 0.0722])).astype(np.float32)
    assert sharpness(crop) == pytest.approx(1 - blur_effect(luma), abs=0.03)


def test_sharpness_falls_with_blur(target_frame: Frame) -> None:
    rgb = target_frame.rgb()
    values = [describe(frame_from_rgb(cv2.GaussianBlur(rgb, (0, 0), s)))[0].sharpness for s in (0.3, 1, 2, 3, 4)]
    assert values == sorted(values, reverse=True)
    assert values[0] > 0.5 > 0.4 > values[3]


def test_person_mask_contains_the_face_but_not_the_background(target_frame: Frame) -> None:
    mask = person_mask(target_frame.rgb())
    (face,) = describe(target_frame)
    x, y = face.landmarks[1, :2].astype(int)
    assert mask.shape == (288, 360)
    assert mask[y, x] > 0.9
    assert mask[:60, :60].max() < 0.1


def test_faces_with_both_eyes_visible_are_found_in_a_photograph_of_four() -> None:
    """The other two are in full profile, where the mesh does not recognise a face."""
    picture = SHARED / "stills" / "pexels_3184416_group4.jpg"
    if not picture.is_file():
        pytest.skip("no ../shared footage here")
    found = picture_embeddings(picture)
    assert len(found) == 2
    assert float(found[0] @ found[1]) < 0.4
