"""Properties of all registered losses; new files in `losses/` are tested automatically."""

from dataclasses import replace

import pytest
import torch

from tests.training.losses.conftest import chosen, face_prediction, swap_prediction
from visagist.training.losses import LOSSES, FacePrediction, Loss, SwapPrediction
from visagist.training.losses.embedder import embedder


@pytest.fixture(params=LOSSES.names)
def loss(request: pytest.FixtureRequest) -> Loss:
    return LOSSES[request.param]


@pytest.fixture
def prediction(loss: Loss) -> FacePrediction | SwapPrediction:
    return swap_prediction() if loss.of_swap else face_prediction()


def perfect(prediction: FacePrediction | SwapPrediction) -> FacePrediction | SwapPrediction:
    """A prediction with zero loss; for a swap, a face that already shows the identity."""
    if isinstance(prediction, FacePrediction):
        return replace(prediction, rgb=prediction.truth, mask=prediction.hull)
    one = chosen(prediction, [0])
    centroid = embedder(one.coverage, one.rgb.shape[-1], one.rgb.device)(one.target)[0]
    return replace(one, rgb=one.target, before=one.target, centroid=centroid)


def test_each_face_has_a_value_that_does_not_depend_on_the_others(
    loss: Loss, prediction: FacePrediction | SwapPrediction
) -> None:
    found = loss(prediction)
    assert found.shape == (3,)
    assert found.isfinite().all()
    assert (found > 0).all()
    torch.testing.assert_close(loss(chosen(prediction, [2, 0])), found[[2, 0]], rtol=1e-4, atol=1e-6)


def test_a_perfect_prediction_costs_nothing(loss: Loss, prediction: FacePrediction | SwapPrediction) -> None:
    assert loss(perfect(prediction)).abs().max().item() < 1e-5


def test_the_gradient_of_a_face_reaches_its_prediction_alone(
    loss: Loss, prediction: FacePrediction | SwapPrediction
) -> None:
    """A step against the gradient lowers the loss of that face."""
    names = ("rgb", "mask") if isinstance(prediction, FacePrediction) else ("rgb",)
    leaves = {name: getattr(prediction, name).clone().requires_grad_() for name in names}
    before = loss(replace(prediction, **leaves))
    gradients = torch.autograd.grad(before[1], list(leaves.values()), materialize_grads=True)
    for gradient in gradients:
        assert gradient.isfinite().all()
        assert not gradient[[0, 2]].any()
    length = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    assert length > 0
    moved = {
        name: leaf.detach() - 0.01 * gradient / length
        for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True)
    }
    assert loss(replace(prediction, **moved))[1] < before[1]


@pytest.mark.parametrize("name", [name for name in LOSSES.names if not LOSSES[name].of_swap])
def test_pixels_without_weight_do_not_count(name: str) -> None:
    faces = face_prediction()
    faces.weights[..., 14:, :] = 0
    rgb = faces.rgb.clone()
    rgb[..., 30:, :] = 0  # further away than the widest window
    torch.testing.assert_close(LOSSES[name](replace(faces, rgb=rgb)), LOSSES[name](faces))
