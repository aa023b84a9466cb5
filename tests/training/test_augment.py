"""Variation of faces: geometry against OpenCV, draws by their statistics."""

import cv2
import numpy as np
import pytest
import torch

from visagist.training.augment import (
    Augmentation,
    Draws,
    Palette,
    random_colors,
    random_similarity,
    random_warp,
    vary,
)

NONE = Augmentation(rotate=0, scale=0, shift=0, warp=0, color=0, palette=0)
GREY = Palette(torch.full((3,), 0.5), torch.full((3,), 0.2))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draws(augmentation: Augmentation, count: int, size: int, seed: int = 0) -> Draws:
    g = generator(seed)
    similarity = random_similarity(count, augmentation, g)
    warp = random_warp(count, size, augmentation.warp, g)
    return Draws(similarity, warp, *random_colors(GREY, GREY, count, augmentation, g))


def test_without_variation_both_are_the_centre_of_the_crop() -> None:
    planes = torch.rand(2, 5, 40, 40, generator=generator())
    seen, truth = vary(planes, draws(NONE, 2, 32), 1.25)
    torch.testing.assert_close(truth, planes[..., 4:36, 4:36])
    torch.testing.assert_close(seen, planes[:, :3, 4:36, 4:36])


def test_similarity_is_what_opencv_makes_of_it() -> None:
    planes = torch.nn.functional.interpolate(torch.rand(1, 5, 8, 8, generator=generator()), size=40, mode="bicubic")
    augmentation = Augmentation(rotate=20, scale=0.1, shift=0.05, warp=0)
    d = draws(augmentation, 1, 40)
    _, truth = vary(planes, d, 1.0)
    pixels = np.array([[20, 0, 19.5], [0, 20, 19.5], [0, 0, 1]])  # [-1, 1] to pixel centres
    matrix = pixels @ np.vstack([d.similarity[0].numpy(), [0, 0, 1]]) @ np.linalg.inv(pixels)
    picture = planes[0, :3].permute(1, 2, 0).numpy()
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    reference = cv2.warpAffine(picture, matrix[:2], (40, 40), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    np.testing.assert_allclose(truth[0, :3].permute(1, 2, 0).numpy(), reference, atol=0.02)


def test_warp_of_x_and_y_are_independent() -> None:
    """Drawn as one map and its transpose, x and y would be symmetric by accident."""
    warp = random_warp(400, 16, 0.03, generator())
    x, y = warp[..., 0], warp[..., 1]

    def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
        return torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1].item()

    assert abs(correlation(x, y)) < 0.05
    assert abs(correlation(x, y.transpose(1, 2))) < 0.05
    assert abs(correlation(x[:-1], x[1:])) < 0.05


def test_warp_has_the_stated_deviation_at_its_control_points_and_is_smooth() -> None:
    warp = random_warp(500, 33, 0.03, generator())
    assert warp[:, ::32, ::32].std().item() == pytest.approx(0.06, rel=0.05)  # the side is 2 long
    assert (warp[:, 1:] - warp[:, :-1]).abs().max() < 0.06


def test_warp_changes_what_is_seen_and_not_what_is_drawn() -> None:
    planes = torch.rand(2, 5, 40, 40, generator=generator())
    seen, truth = vary(planes, draws(NONE.model_copy(update={"warp": 0.05}), 2, 32), 1.25)
    torch.testing.assert_close(truth, planes[..., 4:36, 4:36])
    assert (seen - truth[:, :3]).abs().mean() > 0.05


def test_colors_change_what_is_seen_and_not_what_is_drawn() -> None:
    planes = torch.rand(8, 5, 40, 40, generator=generator())
    seen, truth = vary(planes, draws(NONE.model_copy(update={"color": 0.2}), 8, 32), 1.25)
    torch.testing.assert_close(truth, planes[..., 4:36, 4:36])
    assert (seen - truth[:, :3]).abs().mean() > 0.02
    assert seen.min() >= 0
    assert seen.max() <= 1


def test_a_full_palette_gives_the_other_persons_colors() -> None:
    own = Palette(torch.tensor([0.3, 0.4, 0.5]), torch.tensor([0.1, 0.1, 0.1]))
    other = Palette(torch.tensor([0.6, 0.5, 0.4]), torch.tensor([0.2, 0.1, 0.05]))
    augmentation = NONE.model_copy(update={"palette": 1.0})
    gain, offset = random_colors(own, other, 2000, augmentation, generator())
    furthest = (gain[:, 0] - 1).flatten().argmax()
    torch.testing.assert_close(gain[furthest].flatten(), torch.tensor([2.0, 1.0, 0.5]), atol=0.01, rtol=0)
    moved = own.mean * gain[furthest].flatten() + offset[furthest].flatten()
    torch.testing.assert_close(moved, other.mean, atol=0.01, rtol=0)


def test_faces_are_mirrored_only_when_asked() -> None:
    plain = random_similarity(200, Augmentation(), generator())
    mirrored = random_similarity(200, Augmentation(flip=True), generator())
    assert (torch.linalg.det(plain[:, :, :2]) > 0).all()
    assert 60 < (torch.linalg.det(mirrored[:, :, :2]) < 0).sum() < 140


def test_draws_stay_within_the_settings() -> None:
    augmentation = Augmentation(rotate=10, scale=0.1, shift=0.05)
    similarity = random_similarity(1000, augmentation, generator())
    scale = torch.linalg.det(similarity[:, :, :2]).sqrt()
    angle = torch.rad2deg(torch.atan2(similarity[:, 1, 0], similarity[:, 0, 0]))
    assert angle.abs().max() <= 10.001
    assert angle.abs().max() > 9
    assert scale.max() <= 1.1001
    assert scale.min() >= 1 / 1.1001
    assert similarity[:, :, 2].abs().max() <= 0.1001  # the side is 2 long


def test_same_seed_same_draws() -> None:
    first, second, other = (draws(Augmentation(), 3, 16, seed) for seed in (5, 5, 6))
    assert torch.equal(first.warp, second.warp)
    assert torch.equal(first.similarity, second.similarity)
    assert torch.equal(first.gain, second.gain)
    assert not torch.equal(first.warp, other.warp)
