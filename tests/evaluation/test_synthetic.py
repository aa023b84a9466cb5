"""The synthetic test bench: its renderer on simple meshes and, if the head model is available, its people."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("embreex", reason="embreex is not installed: it has no wheel for this machine")

from benchmarks.synthetic import cases, detectors, model, paint, render
from benchmarks.synthetic.scene import DISTANCE, Placement, encoded, photograph, scene

from benchmarks import truth
from visagist.evaluation import FaceObservations, Figure, all_metrics
from visagist.faces import Mesh, detect_faces, embed, find_best_landmarks
from visagist.media import frame_from_rgb

CAMERA = render.Camera(size=41, focal=100.0)
SQUARE = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
COUNT = 2


def square(half: float, depth: float) -> np.ndarray:
    """A square in front of the camera, with a side of 2 * half."""
    return np.array([[-half, -half, depth], [half, -half, depth], [half, half, depth], [-half, half, depth]])


def covered(surface: render.Surface, camera: render.Camera) -> np.ndarray:
    """Covered fraction of each pixel."""
    pixels = render.average(surface.hit[..., None].astype(np.float32))
    full = np.zeros((camera.size, camera.size), np.float32)
    y, x = surface.origin
    full[y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels.reshape(pixels.shape[:2])
    return full


def test_a_square_covers_the_expected_pixels() -> None:
    # 2.25 cm at 50 cm and 100 px of focal length: 4.5 px about the middle at (20, 20), so pixels 16 to 24.
    surface = render.Tracer(square(2.25, 50), SQUARE).cast(CAMERA)
    expected = np.zeros((41, 41))
    expected[16:25, 16:25] = 1
    np.testing.assert_array_equal(covered(surface, CAMERA), expected)
    np.testing.assert_allclose(surface.depth[surface.hit], 50, rtol=1e-6)
    assert np.isinf(surface.depth[~surface.hit]).all()


def test_pixels_at_an_edge_are_covered_in_part() -> None:
    surface = render.Tracer(square(2.0, 50), SQUARE).cast(CAMERA)  # 4 px: half of the pixels at 16 and at 24
    cover = covered(surface, CAMERA)
    np.testing.assert_array_equal(cover[20, [15, 16, 17, 23, 24, 25]], [0, 0.5, 1, 1, 0.5, 0])
    assert cover[16, 16] == 0.25


def test_depth_of_a_tilted_square() -> None:
    corners = square(4.0, 50)
    corners[:, 2] += 0.5 * corners[:, 0]  # z = 50 + x / 2
    surface = render.Tracer(corners, SQUARE).cast(CAMERA)
    columns = (np.arange(surface.hit.shape[1]) + 0.5) / render.SAMPLES - 0.5 + surface.origin[1]
    slope = (columns - CAMERA.centre) / CAMERA.focal  # x / z along each column's rays
    expected = np.broadcast_to(50 / (1 - slope / 2), surface.hit.shape)
    np.testing.assert_allclose(surface.depth[surface.hit], expected[surface.hit], rtol=1e-5)


def test_the_nearer_of_two_squares_is_visible() -> None:
    corners = np.concatenate([square(4.0, 50), square(1.0, 40)])
    tracer = render.Tracer(corners, np.concatenate([SQUARE, SQUARE + 4]))
    surface = tracer.cast(CAMERA)
    middle = surface.depth[surface.depth.shape[0] // 2, surface.depth.shape[1] // 2]
    assert middle == pytest.approx(40)
    assert surface.depth[surface.hit].max() == pytest.approx(50)
    np.testing.assert_array_equal(tracer.sees(np.array([[0, 0, 50.0], [0, 0, 40], [3, 3, 50]])), [False, True, True])


def test_barycentric_weights_recover_the_position() -> None:
    corners = square(2.25, 50)
    surface = render.Tracer(corners, SQUARE).cast(CAMERA)
    hit = surface.hit
    places = (corners[SQUARE[surface.triangles[hit]]] * surface.weights[hit][..., None]).sum(1)
    rows, columns = np.nonzero(hit)
    samples = np.stack([columns, rows], 1) / render.SAMPLES + (0.5 / render.SAMPLES - 0.5) + surface.origin[::-1]
    np.testing.assert_allclose(render.project(places, CAMERA), samples, atol=1e-4)


def test_projection_and_normals() -> None:
    np.testing.assert_allclose(render.project(np.array([[5, -10, 50.0]]), CAMERA), [[30, 0]])
    np.testing.assert_allclose(np.abs(render.normals(square(1, 50), SQUARE)), np.tile([0, 0, 1], (4, 1)), atol=1e-6)


def test_a_plate_casts_a_shadow() -> None:
    free = render.openness(square(1.0, 50)[::-1], SQUARE)
    np.testing.assert_allclose(free, 1)
    # The second plate, four times as large, stands 1 cm before the first one's lit side.
    both = np.concatenate([square(1.0, 50)[::-1], square(8.0, 51), square(8.0, 49)])
    faced = render.openness(both, np.concatenate([SQUARE, SQUARE + 4, SQUARE + 8]))
    assert faced[:4].max() < 0.5


def test_surfaces_facing_the_lamp_are_brightest() -> None:
    lamp = render.Light(np.array([0, 0, -1.0]), np.ones(3), np.full(3, 0.2), np.full(3, 0.1))
    normal = np.array([[0, 0, -1], [0.8, 0, -0.6], [0, -1, 0], [0, 1, 0]], np.float32)
    colour = render.shade(np.full((4, 3), 0.5, np.float32), np.zeros(4, np.float32), normal, lamp)
    assert (np.diff(colour[:, 0]) < 0).all()
    np.testing.assert_allclose(colour[0], 0.5 * (1 + 0.15))


def test_linear_light_is_encoded_as_srgb() -> None:
    np.testing.assert_allclose(encoded(np.array([0.0, 0.2140411, 1.5], np.float32)), [0, 0.5, 1], atol=1e-5)


def appearance(landmarks: np.ndarray) -> FaceObservations:
    """Observations of a detector that finds landmarks only."""
    count = len(landmarks)
    embeddings = np.zeros((count, 128), np.float32)
    return FaceObservations(
        name="constructed",
        crops=np.zeros((count, 8, 8, 3), np.uint8),
        landmarks=landmarks.astype(np.float32),
        scores=np.full(count, 20, np.float32),
        poses=np.zeros((count, 3), np.float32),
        blendshapes=np.zeros((count, 52), np.float32),
        independent=embeddings,
        sface=embeddings,
        outside=np.full(count, np.inf),
    )


def blank(landmarks: np.ndarray, take: cases.Take) -> cases.Clip:
    """A clip of which only the ground truth matters."""
    count = len(landmarks)
    frames, masks = np.zeros((count, 8, 8, 3), np.uint8), np.zeros((count, 8, 8), np.uint8)
    return cases.Clip(frames, masks, landmarks, np.ones((count, 70), bool), take)


def test_landmark_errors_separate_offset_and_jitter() -> None:
    rng = np.random.default_rng(0)
    mesh = rng.uniform(0, 100, (1, 478, 3)) + np.zeros((30, 1, 1))
    true = mesh[:, list(detectors.CORRESPONDING), :2]
    eyes = float(np.linalg.norm(true[0, 45] - true[0, 36]))
    clip = blank(true, cases.talk(30, 0))
    exact = detectors.landmark_errors(appearance(mesh), clip)
    moved = detectors.landmark_errors(appearance(mesh), replace(clip, landmarks=true + np.array([0.1 * eyes, 0])))
    noise = rng.choice([-0.1 * eyes, 0.1 * eyes], (30, 70, 1)) * np.array([1, 0])
    shaken = detectors.landmark_errors(appearance(mesh), replace(clip, landmarks=true + noise))
    for region in exact:
        assert exact[region].whole == pytest.approx(0, abs=1e-4)
        assert moved[region].wandering == pytest.approx(0, abs=1e-4)
    assert moved["nose"].whole == pytest.approx(10, rel=1e-4)
    assert shaken["mouth"].whole == pytest.approx(10, rel=0.2)  # the eye corners are shaken too
    assert shaken["mouth"].wandering == pytest.approx(10, rel=0.2)


def test_poses_are_compared_along_the_line_of_sight() -> None:
    places = tuple(Placement(yaw, 0, 0, (0.1 * DISTANCE, 0, 0)) for yaw in (-10.0, 0.0, 10.0))
    clip = blank(np.zeros((3, 70, 2)), cases.Take(places, ({},) * 3))
    seen = appearance(np.zeros((3, 478, 3)))
    aside = np.degrees(np.arctan(0.1))  # so much of a head at the right is turned to the right as seen from the camera
    poses = np.array([[2 * (place.yaw + aside) + 1, place.pitch, 0] for place in places], np.float32)
    poses[:, 1:] += [[0, 0], [1, 1], [0, 0]]
    error = detectors.pose_errors(replace(seen, poses=poses), clip)["yaw"]
    assert error.slope == pytest.approx(2, rel=1e-5)
    assert error.wandering == pytest.approx(0, abs=1e-5)
    assert error.offset == pytest.approx(1 + aside, rel=1e-5)


def test_speech_moves_and_is_reproducible() -> None:
    take = cases.talk(100, 7)
    assert take == cases.talk(100, 7)
    assert take != cases.talk(100, 8)
    for name in ("jawOpen", "eyeBlink_L", "mouthSmile_R"):
        curve = np.array([expression[name] for expression in take.expressions])
        assert curve.min() >= 0
        assert curve.max() <= 1
        assert curve.std() > 0.02, name


def test_the_table_names_existing_metrics_and_their_misses() -> None:
    figure = Figure(1.234, 1.0, 2.0, 3.0, 100)
    swaps = list(cases.DEGRADATIONS)
    rows = {metric.name: {swap: truth.Cell(figure, -1) for swap in swaps} for metric in all_metrics()}
    assert truth.undetected(rows) == []
    rows["placement"]["shifted"] = truth.Cell(figure, 0)
    assert truth.undetected(rows) == ["placement does not detect 'shifted'"]
    table = truth.metric_table(rows).splitlines()
    assert len(table) == len(all_metrics()) + 2
    assert {line.count("|") for line in table} == {len(swaps) + 2}
    (line,) = (line for line in table if line.startswith("| placement "))
    assert "| 1.23 ← |" in line
    assert "| **1.23** |" in line


@pytest.fixture(scope="module")
def heads() -> model.HeadModel:
    folder = model.find()
    if folder is None:
        pytest.skip(f"the head model is not here ({model.FOLDER})")
    return model.load(folder)


@pytest.fixture(scope="module")
def bench(heads: model.HeadModel) -> cases.Bench:
    return cases.build(heads, COUNT, size=224, pupils=44, seed=4)


def found(frame: np.ndarray) -> tuple[Mesh, np.ndarray]:
    """The only face of a frame, and its embedding."""
    (face,) = detect_faces(frame, threshold=0.6, min_size=20)
    picture = frame_from_rgb(frame)
    mesh = find_best_landmarks(picture, face)
    return mesh, embed(picture, mesh.landmarks)


def test_the_head_model_is_oriented_along_the_axes(heads: model.HeadModel) -> None:
    marks = heads.neutral[heads.landmarks]
    assert marks[30, 2] > marks[[0, 16], 2].max()  # the nose's tip is nearer than the ears
    assert marks[8, 1] < marks[27, 1]  # the chin is below the nose's root
    assert marks[36, 0] < 0 < marks[45, 0]  # the person's right eye is at the left of the picture
    assert np.isin(heads.landmarks, heads.triangles).all()


def test_eyes_turn_in_the_given_direction(heads: model.HeadModel) -> None:
    shape = model.identity(heads, np.zeros(0))
    rest = shape.moved({})[heads.landmarks[68:]]
    right = shape.moved({"eyeLookOut_L": 0.5, "eyeLookIn_R": 0.5})[heads.landmarks[68:]]
    up = shape.moved({"eyeLookUp_L": 0.5, "eyeLookUp_R": 0.5})[heads.landmarks[68:]]
    assert (right[:, 0] > rest[:, 0] + 0.2).all()
    assert (up[:, 1] > rest[:, 1] + 0.2).all()
    assert np.abs(rest - heads.neutral[heads.landmarks[68:]]).max() < 0.2


def test_a_swap_changes_only_the_face(heads: model.HeadModel) -> None:
    weights = paint.face_weights(heads)
    marks = weights[heads.landmarks]
    assert (marks[27:68] > 0.99).all()  # nose, eyes and mouth
    assert (marks[:17] < 0.2).all()  # the jaw's line
    assert weights[heads.neutral[:, 1] < -9].max() == 0  # neck
    assert weights[heads.neutral[:, 2] < 2][: model.SKIN.stop].min() == 0


def test_degradations_equal_the_target_outside_the_mask(bench: cases.Bench) -> None:
    assert set(bench.swaps) == set(cases.DEGRADATIONS)
    outside = bench.perfect.masks == 0
    assert 0.5 < outside.mean() < 0.95
    for name in set(cases.DEGRADATIONS) - {"frozen", "blob", "wrong person"}:  # these have their chins elsewhere
        np.testing.assert_array_equal(bench.swaps[name][outside], bench.target.frames[outside], err_msg=name)
    inside = bench.perfect.masks == 255
    for name in set(cases.DEGRADATIONS) - {"unswapped"}:
        assert np.abs(bench.swaps[name][inside].astype(int) - bench.target.frames[inside]).mean() > 3, name
    np.testing.assert_array_equal(bench.swaps["perfect"], bench.perfect.frames)
    np.testing.assert_array_equal(bench.swaps["frozen"][0], bench.swaps["perfect"][0])


def test_rendering_is_reproducible(heads: model.HeadModel) -> None:
    canvas = paint.stretch(heads)
    grey = np.full((*canvas.parts.shape, 4), 0.3, np.float32)
    person = paint.Head(model.identity(heads, np.ones(3)), canvas, grey)
    place, room = Placement(10, 5, -3, (1, 0, 2)), scene(96, 20, 1)
    once, again = (photograph(person, {"jawOpen": 0.3}, place, room) for _ in range(2))
    np.testing.assert_array_equal(once.picture, again.picture)
    np.testing.assert_array_equal(once.swapped, again.swapped)
    assert (once.picture != room.background).any()
    np.testing.assert_array_equal(once.landmarks, again.landmarks)


def test_detectors_see_the_synthetic_people(bench: cases.Bench) -> None:
    looks = {
        name: [found(frame) for frame in frames]
        for name, frames in (
            ("target", bench.target.frames),
            ("perfect", bench.swaps["perfect"]),
            ("source", bench.source.frames),
        )
    }
    points = list(detectors.CORRESPONDING)[27:]  # nose, eyes, mouth, irises: the rest is drawn by another rule
    for name, clip in (("target", bench.target), ("perfect", bench.perfect), ("source", bench.source)):
        assert min(mesh.score for mesh, _ in looks[name]) > 12, name
        for (mesh, _), true in zip(looks[name], clip.landmarks, strict=True):
            apart = np.linalg.norm(mesh.landmarks[points, :2] - true[27:], axis=1)
            assert apart.mean() < 0.05 * np.linalg.norm(true[45] - true[36]), name
    source, target, perfect = (np.array([e for _, e in looks[name]]) for name in ("source", "target", "perfect"))
    assert (source @ source.T).min() > 0.6
    assert (target @ target.T).min() > 0.6
    assert (source @ target.T).max() < 0.5
    assert (source @ perfect.T).min() > (source @ target.T).max() + 0.1
