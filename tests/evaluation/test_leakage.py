"""Leakage on constructed embeddings with known cosines."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from visagist.evaluation.evaluation_data import EvaluationData, FaceObservations, Source
from visagist.evaluation.metric import evaluate_metric
from visagist.evaluation.metrics.leakage import FAMILY, leakage, retrieval

AXES = np.eye(128)
OWN, OTHER = 0.96, 0.84  # cosine of the performer's frames to one another, and to other people's faces
COUNT = 40


def person(axis: int) -> NDArray[np.float32]:
    """A person with the cosine `OTHER` to every frame of the target."""
    share = OTHER / np.sqrt(OWN)
    return (share * AXES[0] + np.sqrt(1 - share**2) * AXES[axis]).astype(np.float32)


def appearance(name: str, independent: NDArray[np.float32]) -> FaceObservations:
    pixels, count = np.zeros((1, 1, 1, 3), np.uint8), len(independent)
    unknown = {"landmarks": (478, 3), "scores": (), "poses": (3,), "blendshapes": (52,), "outside": ()}
    rows = {key: np.full((count, *shape), np.nan, np.float32) for key, shape in unknown.items()}
    return FaceObservations(name, pixels, independent=independent, sface=independent, **rows)


@pytest.fixture
def data() -> EvaluationData:
    """The unswapped target, 40 frames at four per second."""
    frames = np.sqrt(OWN) * AXES[0] + np.sqrt(1 - OWN) * AXES[10 : 10 + COUNT]
    target = appearance("target", frames.astype(np.float32))
    pixels, masks = np.zeros((8, 1, 1), np.uint8), np.zeros((COUNT, 1, 1), np.uint8)
    real = np.repeat(person(1)[None], 8, axis=0)
    source = Source(pixels, pixels, np.zeros((8, 478, 3)), np.zeros((8, 3)), real, real)
    return EvaluationData(
        frames=np.arange(COUNT), times=np.arange(COUNT) / 4, follows=np.arange(COUNT) > 0,
        matrices=np.zeros((COUNT, 2, 3)), masks=masks, hulls=masks, is_swapped=np.ones(COUNT, bool),
        target=target, evaluated=target, source=source, impostors=np.stack([person(2), person(3)]),
    )  # fmt: skip


def with_likeness(data: EvaluationData, cosine: float) -> EvaluationData:
    """`data` with evaluated faces of this cosine to the target's face in the same frame."""
    faces = cosine * data.target.independent + np.sqrt(1 - cosine**2) * AXES[100]
    return data.with_evaluated(appearance("render", faces.astype(np.float32)))


@pytest.mark.parametrize(("cosine", "expected"), [(OTHER, 0.0), ((OTHER + OWN) / 2, 0.5), (OWN, 1.0)])
def test_leakage_ranges_from_impostor_to_performer(data: EvaluationData, cosine: float, expected: float) -> None:
    assert leakage(with_likeness(data, cosine)) == pytest.approx(expected, abs=1e-4)


def test_the_unswapped_target_leaks_completely(data: EvaluationData) -> None:
    assert leakage(data) == pytest.approx((1 - OTHER) / (OWN - OTHER), abs=1e-4)
    assert (retrieval(data) == 0).all()


def test_a_perfect_swap_leaks_nothing(data: EvaluationData) -> None:
    swapped = data.with_evaluated(appearance("render", np.repeat(data.source.independent[:1], COUNT, axis=0)))
    assert leakage(swapped) == pytest.approx(0, abs=1e-4)
    assert (retrieval(swapped) == 1).all()


def test_one_poor_frame_of_the_target_affects_only_itself(data: EvaluationData) -> None:
    target = data.target.independent.copy()
    target[7] = person(5)
    half = with_likeness(data, 0.9)
    spoilt = leakage(replace(half, target=appearance("target", target)))
    assert np.delete(spoilt, 7) == pytest.approx(0.5, abs=1e-4)
    assert np.isfinite(spoilt[7])
    assert abs(spoilt[7]) < 10


def test_a_very_short_clip_is_measured(data: EvaluationData) -> None:
    assert leakage(replace(with_likeness(data, 0.9), times=data.times / 100)) == pytest.approx(0.5, abs=1e-4)


def test_the_same_source_and_performer_give_nan(data: EvaluationData) -> None:
    real = np.repeat(AXES[:1], 8, axis=0).astype(np.float32)
    itself = replace(data, source=replace(data.source, independent=real))
    assert np.isnan(leakage(itself)).all()
    assert np.isnan(retrieval(itself)).all()  # otherwise the unswapped target would count as the source


def test_retrieval_is_the_share_of_frames(data: EvaluationData) -> None:
    faces = data.target.independent.copy()
    faces[:30] = data.source.independent[0]
    faces[39] = np.nan
    mixed = data.with_evaluated(appearance("render", faces))
    figure, _ = evaluate_metric(FAMILY[1], mixed)
    assert figure.value == pytest.approx(30 / 39)
    assert figure.count == 39
    assert np.isnan(leakage(mixed)[39])
    faces[:10] = data.impostors[1]  # another person is not the source either
    assert evaluate_metric(FAMILY[1], data.with_evaluated(appearance("render", faces)))[0].value == pytest.approx(
        20 / 39
    )


def test_without_impostors_the_source_is_the_only_reference(data: EvaluationData) -> None:
    alone = replace(with_likeness(data, 0.9), impostors=np.empty((0, 128), np.float32))
    assert leakage(alone) == pytest.approx(0.5, abs=1e-4)


def test_a_performer_who_was_never_found_has_no_leakage(data: EvaluationData) -> None:
    unseen = replace(with_likeness(data, 0.9), target=appearance("target", np.full((COUNT, 128), np.nan, np.float32)))
    assert np.isnan(leakage(unseen)).all()
    assert np.isnan(retrieval(unseen)).all()
