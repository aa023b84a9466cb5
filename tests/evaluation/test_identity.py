"""Identity on constructed embeddings with known cosines."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from visagist.evaluation.evaluation_data import EvaluationData, FaceObservations, Source
from visagist.evaluation.metric import evaluate_metric
from visagist.evaluation.metrics.identity import (
    FAMILY,
    identity,
    identity_calibrated,
    identity_sface,
    identity_sface_share,
    identity_share,
)

AXES = np.eye(128)
SOURCE = AXES[0]


def likeness(*cosines: float) -> NDArray[np.float32]:
    """Embeddings with these cosines to the source."""
    rows = [c * SOURCE + np.sqrt(1 - c**2) * AXES[1 + i] for i, c in enumerate(cosines)]
    return np.array(rows, np.float32).reshape(-1, 128)


def appearance(name: str, independent: NDArray[np.float32]) -> FaceObservations:
    pixels, count = np.zeros((1, 1, 1, 3), np.uint8), len(independent)
    unknown = {"landmarks": (478, 3), "scores": (), "poses": (3,), "blendshapes": (52,), "outside": ()}
    rows = {key: np.full((count, *shape), np.nan, np.float32) for key, shape in unknown.items()}
    return FaceObservations(name, pixels, independent=independent, sface=independent, **rows)


def made(evaluated: NDArray[np.float32], target: NDArray[np.float32], impostors: NDArray[np.float32]) -> EvaluationData:
    """Data with a source of six equal faces and two held-out ones at 0.97 and 0.99."""
    real = np.vstack([np.repeat(SOURCE[None], 6, axis=0), likeness(0.97, 0.99)]).astype(np.float32)
    pixels = np.zeros((8, 1, 1), np.uint8)
    source = Source(pixels, pixels, np.zeros((8, 478, 3)), np.zeros((8, 3)), real, real)
    count, masks = len(evaluated), np.zeros((len(evaluated), 1, 1), np.uint8)
    return EvaluationData(
        frames=np.arange(count), times=np.arange(count) / 25, follows=np.arange(count) > 0,
        matrices=np.zeros((count, 2, 3)), masks=masks, hulls=masks, is_swapped=np.ones(count, bool),
        target=appearance("target", target), evaluated=appearance("render", evaluated), source=source,
        impostors=impostors,
    )  # fmt: skip


@pytest.fixture
def data() -> EvaluationData:
    """Impostors at 0.80, 0.84, 0.90 and the performer at 0.82: their median is 0.83; real faces have 0.98."""
    return made(likeness(0.83, 0.905, 0.98), likeness(0.81, 0.82, 0.83), likeness(0.80, 0.84, 0.90))


def test_cosine_and_share(data: EvaluationData) -> None:
    assert identity(data) == pytest.approx([0.83, 0.905, 0.98], abs=1e-6)
    assert identity_share(data) == pytest.approx(np.array([0.83, 0.905, 0.98]) / 0.98, abs=1e-6)
    assert identity_sface(data) == pytest.approx(identity(data))
    assert identity_sface_share(data) == pytest.approx(identity_share(data))


def test_calibrated_identity_ranges_from_impostors_to_the_source(data: EvaluationData) -> None:
    assert identity_calibrated(data) == pytest.approx([0, 0.5, 1], abs=1e-5)


def test_calibration_does_not_flatter_the_unswapped_target(data: EvaluationData) -> None:
    unswapped = data.with_evaluated(data.target)
    assert identity_share(unswapped).min() > 0.82
    assert np.abs(identity_calibrated(unswapped)).max() < 0.15


def test_a_performer_who_is_the_source_is_not_an_impostor(data: EvaluationData) -> None:
    itself = replace(data, target=appearance("target", likeness(0.97, 0.98, 0.99)))
    assert identity_calibrated(itself) == pytest.approx((np.array([0.83, 0.905, 0.98]) - 0.84) / 0.14, abs=1e-5)


def test_without_impostors_there_is_no_scale(data: EvaluationData) -> None:
    nothing = np.empty((0, 128), np.float32)
    alone = replace(data, target=appearance("target", likeness(0.97, 0.98, 0.99)), impostors=nothing)
    assert np.isnan(identity_calibrated(alone)).all()
    assert np.isfinite(identity_calibrated(replace(data, impostors=nothing))).all()


def test_people_who_are_too_similar_give_no_scale(data: EvaluationData) -> None:
    similar = replace(data, impostors=likeness(0.97, 0.97, 0.97))
    assert np.isnan(identity_calibrated(similar)).all()


def test_faces_that_were_not_found_do_not_count(data: EvaluationData) -> None:
    evaluated = data.evaluated.independent.copy()
    evaluated[1] = np.nan
    gap = data.with_evaluated(appearance("render", evaluated))
    for metric in FAMILY:
        values = metric.measure(gap)
        assert np.isfinite(values).tolist() == [True, False, True], metric.name
        assert evaluate_metric(metric, gap)[0].count == 2
    unseen = replace(data, target=appearance("target", np.full((3, 128), np.nan, np.float32)))
    assert np.isfinite(identity_calibrated(unseen)).all()
