"""Faces driven by landmarks."""

import torch

from visagist.training.augment.drive import drive, move

POINTS = torch.tensor([[[0.3, 0.35], [0.7, 0.35], [0.5, 0.5], [0.35, 0.7], [0.65, 0.7]]])  # eyes, nose, mouth


def dots(points: torch.Tensor, side: int = 80) -> torch.Tensor:
    """`(B, 1, S, S)` with a soft dot of radius S / 25 at each point."""
    line = (torch.arange(side) + 0.5) / side
    places = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)  # (S, S, 2)
    distances = (places[None, None] - points[:, :, None, None]).square().sum(-1)
    return torch.exp(-distances / 0.0016).amax(1, keepdim=True)


def test_moving_takes_what_is_at_the_landmarks_to_their_new_places() -> None:
    to = POINTS + torch.tensor([[0.05, -0.04], [-0.03, 0.02], [0.0, 0.06], [0.02, 0.0], [-0.04, -0.03]])
    moved = move(dots(POINTS), POINTS, to)
    assert (moved - dots(to)).abs().max() < 0.15
    assert (dots(POINTS) - dots(to)).abs().max() > 0.5
    assert torch.equal(move(dots(POINTS), POINTS, POINTS).round(decimals=4), dots(POINTS).round(decimals=4))


def test_a_driven_face_has_its_own_features_in_the_colours_of_the_texture() -> None:
    eyes = (dots(POINTS[:, :2]) > 0.3).float()
    planes = torch.cat(
        [0.8 - 0.6 * eyes.expand(-1, 3, -1, -1), torch.ones_like(eyes), eyes], 1
    )  # dark eyes, light skin
    shifted = POINTS + torch.tensor([0.06, 0.03])
    texture = torch.full((1, 3, 80, 80), 0.4)
    texture[:, 0] = 0.3 + 0.3 * dots(shifted[:, 2:3])[:, 0]  # a red nose
    driven = drive(planes, POINTS, texture, shifted, POINTS)
    nose, eye, cheek = (driven[0, :, round(80 * y), round(80 * x)] for x, y in ((0.5, 0.5), (0.3, 0.35), (0.8, 0.55)))
    assert nose[0] > 0.55  # moved from where the texture has it
    torch.testing.assert_close(cheek, torch.tensor([0.3, 0.4, 0.4]), atol=0.02, rtol=0)
    assert (eye < cheek - 0.2).all()  # still an eye, but in a darker face
