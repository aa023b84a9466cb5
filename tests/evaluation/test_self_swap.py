"""Self-swaps: comparison with the original, and refusal of different people."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.evaluation.constructed import FRAMES, real_data

from visagist.core.device import select_device
from visagist.core.errors import EvaluationError
from visagist.demo import SOURCE, TARGET
from visagist.evaluation.embedder import embed_independent
from visagist.evaluation.evaluation_data import EvaluationData, FaceObservations, Source
from visagist.evaluation.self_swap import check_same_person, compare_self, seen_in_training
from visagist.faces import describe, embed
from visagist.media import frame_from_rgb, read_picture
from visagist.models import create
from visagist.models.bundle import NetworkRecord, Origin, TrainedNetwork

Embeddings = tuple[NDArray[np.float32], NDArray[np.float32]]  # (N, 128) dlib's, (N, 128) SFace's


def data_of(source: Embeddings, target: Embeddings) -> EvaluationData:
    """Data with embeddings only."""
    count, samples = len(target[0]), len(source[0])
    pictures, masks = np.zeros((count, 8, 8, 3), np.uint8), np.zeros((count, 8, 8), np.uint8)
    numbers = np.zeros(count, np.float32)
    appearance = FaceObservations(
        name="target",
        crops=pictures,
        landmarks=np.zeros((count, 478, 3), np.float32),
        scores=numbers,
        poses=np.zeros((count, 3), np.float32),
        blendshapes=np.zeros((count, 52), np.float32),
        independent=target[0],
        sface=target[1],
        outside=np.full(count, np.inf),
    )
    faces = Source(
        crops=np.zeros((samples, 8, 8, 3), np.uint8),
        hulls=np.zeros((samples, 8, 8), np.uint8),
        landmarks=np.zeros((samples, 478, 3), np.float32),
        poses=np.zeros((samples, 3), np.float32),
        independent=source[0],
        sface=source[1],
    )
    return EvaluationData(
        frames=np.arange(count),
        times=np.arange(count) / 25,
        follows=np.arange(count) > 0,
        matrices=np.repeat(np.eye(2, 3)[None], count, 0),
        masks=masks,
        hulls=masks,
        is_swapped=np.ones(count, bool),
        target=appearance,
        evaluated=appearance,
        source=faces,
        impostors=np.zeros((0, 128), np.float32),
    )


def embeddings(clip: Path) -> Embeddings:
    """Embeddings of the only face in the first frame, four times, the minimum for a source."""
    frame = frame_from_rgb(read_picture(clip))
    (face,) = describe(frame)
    found = embed_independent(frame, face.landmarks), embed(frame, face.landmarks)
    return np.repeat(found[0][None], 4, 0), np.repeat(found[1][None], 4, 0)


@pytest.fixture(scope="module")
def clips() -> list[Embeddings]:
    """Two clips of one speaker and one of another."""
    return [embeddings(clip) for clip in (*sorted(SOURCE.glob("*.mpg"))[:2], TARGET)]


def test_another_clip_of_the_same_speaker_is_accepted(clips: list[Embeddings]) -> None:
    check_same_person(data_of(clips[0], clips[1]))


def test_another_speaker_is_refused(clips: list[Embeddings]) -> None:
    with pytest.raises(EvaluationError, match=r"0\.\d\d\d by dlib.*0\.\d\d by SFace"):
        check_same_person(data_of(clips[0], clips[2]))


@pytest.mark.parametrize("stranger", [0, 1])
def test_one_network_is_enough_to_refuse(clips: list[Embeddings], stranger: int) -> None:
    mixed = (clips[2][0], clips[1][1]) if stranger == 0 else (clips[1][0], clips[2][1])
    with pytest.raises(EvaluationError, match="different people"):
        check_same_person(data_of(clips[0], mixed))


def test_footage_without_any_face_is_refused(clips: list[Embeddings]) -> None:
    some = tuple(np.concatenate([rows, np.full((3, 128), np.nan, np.float32)]) for rows in clips[1])
    check_same_person(data_of(clips[0], (some[0], some[1])))
    none = np.full((4, 128), np.nan, np.float32)
    with pytest.raises(EvaluationError):
        check_same_person(data_of(clips[0], (none, none)))


def test_only_swapped_frames_are_compared_with_the_original() -> None:
    data = real_data()
    codes = np.full_like(data.target.crops, 100)
    original = replace(data, target=replace(data.target, crops=codes))
    brighter = codes.copy()
    brighter[3] += 10
    worse = original.with_evaluated(replace(original.target, crops=brighter))
    assert {name: figure.value for name, figure in compare_self(worse).items()} == {"ssim": 1, "psnr": 100}
    only = compare_self(replace(worse, is_swapped=np.arange(FRAMES) == 3))
    assert only["psnr"].count == only["ssim"].count == 1
    assert only["psnr"].value == pytest.approx(20 * np.log10(25.5), abs=1e-3)


def test_a_target_used_in_training_is_recognised() -> None:
    settings = {"size": 32, "encoder": [8, 16, 16], "latent": 16, "shared": 8, "decoder": [16, 16, 8, 8]}
    people = ("source", "target")
    origins = {
        "source": Origin(crops=8, footage=("a" * 64, "b" * 64)),
        "target": Origin(crops=8, footage=("c" * 64,)),
    }
    record = NetworkRecord(
        architecture="quick", config=settings, coverage="full", size=32, identities=people, origins=origins, iteration=1
    )
    run = TrainedNetwork(
        path=Path("run"),
        record=record,
        weights_sha256="",
        network=create("quick", people, **settings),
        compute=select_device("cpu"),
    )
    assert seen_in_training(run, "b" * 64)
    assert seen_in_training(run, "c" * 64)
    assert not seen_in_training(run, "d" * 64)
    assert not seen_in_training(
        replace(run, record=record.model_copy(update={"origins": {"source": origins["source"]}})), "c" * 64
    )
