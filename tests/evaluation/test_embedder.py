"""dlib's embedding: its input, and the similarity of people."""

from itertools import combinations, product

import numpy as np
import pytest
from numpy.typing import NDArray

from visagist import demo
from visagist.core.errors import GeometryError
from visagist.evaluation.embedder import (
    LIPS,
    SIDE,
    chip_matrix,
    embed_independent,
    is_same_person,
    mean_direction,
)
from visagist.faces import describe, mean_mesh, transform, transform_landmarks
from visagist.faces.identity import LEFT_EYE, RIGHT_EYE
from visagist.media import Reader, frame_from_rgb, probe

CLIPS = {"s1": sorted(demo.SOURCE.glob("*.mpg"))[:3], "sbia1a": [demo.TARGET]}


@pytest.fixture(scope="module")
def embeddings() -> dict[str, list[NDArray[np.float32]]]:
    """Three frames of each of the two bundled speakers."""
    found: dict[str, list[NDArray[np.float32]]] = {}
    for person, clips in CLIPS.items():
        for clip in clips:
            with Reader(probe(clip)) as reader:
                frames = [frame for frame in reader if frame.index in (10, 35, 60)][: 3 // len(clips)]
            for frame in frames:
                (face,) = describe(frame)
                found.setdefault(person, []).append(embed_independent(frame, face.landmarks))
    return found


def test_faces_of_one_person_are_most_similar(
    embeddings: dict[str, list[NDArray[np.float32]]],
) -> None:
    same = [a @ b for rows in embeddings.values() for a, b in combinations(rows, 2)]
    other = [a @ b for a, b in product(*embeddings.values())]
    assert min(same) > 0.96 > 0.9 > max(other)
    assert all(np.linalg.norm(row) == pytest.approx(1, abs=1e-5) for rows in embeddings.values() for row in rows)
    means = {person: mean_direction(np.stack(rows)) for person, rows in embeddings.items()}
    assert not is_same_person(means["s1"], means["sbia1a"])
    assert is_same_person(means["s1"], mean_direction(np.stack(embeddings["s1"][1:])))


def test_a_face_on_its_side_is_the_same_face() -> None:
    with Reader(probe(demo.TARGET)) as reader:
        frame = next(iter(reader))
    (face,) = describe(frame)
    turned = frame_from_rgb(np.rot90(frame.rgb()).copy())  # counter-clockwise: (x, y) goes to (y, width - 1 - x)
    matrix = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, frame.width - 1]])
    landmarks = transform_landmarks(matrix, face.landmarks)
    assert embed_independent(turned, landmarks) @ embed_independent(frame, face.landmarks) > 0.99


def test_the_chip_places_eyes_and_mouth_as_documented() -> None:
    turn = np.array([[30.0, 40.0, 500.0], [-40.0, 30.0, 200.0]])
    landmarks = transform(turn, mean_mesh()[:, :2].astype(np.float64))
    placed = transform(chip_matrix(landmarks), landmarks)
    right, left, mouth = (placed[list(points)].mean(0) for points in (RIGHT_EYE, LEFT_EYE, LIPS))
    assert right[1] == pytest.approx(left[1])
    assert right[0] < left[0]
    assert (right + left + mouth) / 3 + 0.5 == pytest.approx([0.5 * SIDE, 0.43 * SIDE])
    assert np.mean([np.linalg.norm(right - mouth), np.linalg.norm(left - mouth)]) == pytest.approx(0.45 * SIDE)


def test_coinciding_landmarks_are_refused() -> None:
    with pytest.raises(GeometryError, match="no face to embed"):
        chip_matrix(np.full((478, 3), 7.0))


def test_unknown_embeddings_match_no_one() -> None:
    unknown = mean_direction(np.full((3, 128), np.nan, np.float32))
    assert np.isnan(unknown).all()
    assert not is_same_person(unknown, unknown)
