"""SSIM, PSNR and MS-SSIM inside a mask, against scikit-image and hand-computed values."""

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

from visagist.evaluation.fidelity import MIN_MS_SSIM_SIDE, masked_ms_ssim, masked_psnr, masked_ssim

SIDE = 96


def pictures(count: int, side: int = SIDE) -> NDArray[np.float32]:
    """`(count, side, side, 3)` smooth noise in [0, 1]."""
    generator = np.random.default_rng(side)
    noise = [cv2.GaussianBlur(generator.normal(size=(side, side, 3)), (0, 0), 2) for _ in range(count)]
    return np.clip(0.5 + 1.5 * np.stack(noise), 0, 1).astype(np.float32)


def disc(count: int, side: int = SIDE, x: float = 0.5) -> NDArray[np.uint8]:
    across, down = np.mgrid[:side, :side] / side
    return np.repeat((((down - x) ** 2 + (across - 0.5) ** 2 < 0.09) * 255).astype(np.uint8)[None], count, 0)


def noised(truths: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    noise = np.random.default_rng(1).normal(0, sigma, truths.shape)
    return np.clip(truths + noise, 0, 1).astype(np.float32)


def test_ssim_matches_scikit_images_map_inside_the_mask() -> None:
    truths, masks = pictures(3), disc(3)
    drawn = np.stack([noised(truths, 0.02)[0], cv2.GaussianBlur(truths[1], (0, 0), 2), truths[2] * 0.8])
    wanted = []
    for picture, truth, mask in zip(drawn, truths, masks, strict=True):
        _, values = structural_similarity(
            picture,
            truth,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1.0,
            channel_axis=2,
            full=True,
        )
        wanted.append(values[mask > 127].mean())
    np.testing.assert_allclose(masked_ssim(drawn, truths, masks), wanted, atol=2e-4)


@pytest.mark.parametrize("x", [0.0, 0.98])
def test_ssim_at_the_border_matches_the_map_of_the_whole_picture(x: float) -> None:
    truths, mask = pictures(1), disc(1, x=x)
    drawn = noised(truths, 0.05)
    whole = [torch.from_numpy(p).permute(0, 3, 1, 2) for p in (drawn, truths)]
    _, values = structural_similarity_index_measure(*whole, data_range=1.0, return_full_image=True)
    wanted = values.permute(0, 2, 3, 1).numpy()[mask > 127].mean()
    np.testing.assert_allclose(masked_ssim(drawn, truths, mask), [wanted], atol=1e-6)


def test_psnr_matches_scikit_image_inside_the_mask() -> None:
    truths, masks = pictures(2), disc(2)
    drawn = noised(truths, 0.05)
    inside = masks[0] > 127
    wanted = [peak_signal_noise_ratio(t[inside], d[inside], data_range=1.0) for d, t in zip(drawn, truths, strict=True)]
    np.testing.assert_allclose(masked_psnr(drawn, truths, masks), wanted, atol=1e-3)


def test_ten_codes_of_difference_are_28_db() -> None:
    truths = np.full((1, 32, 32, 3), 100, np.uint8)
    assert masked_psnr(truths + np.uint8(10), truths, disc(1, 32))[0] == pytest.approx(20 * np.log10(25.5), abs=1e-3)


def test_equal_pictures_have_1_and_infinity() -> None:
    truths = pictures(2, MIN_MS_SSIM_SIDE)
    bytes_ = (truths * 255).astype(np.uint8)
    for x in (truths, bytes_):
        np.testing.assert_array_equal(masked_ssim(x, x, disc(2, MIN_MS_SSIM_SIDE)), 1)
        np.testing.assert_array_equal(masked_psnr(x, x, disc(2, MIN_MS_SSIM_SIDE)), np.inf)
        np.testing.assert_allclose(masked_ms_ssim(x, x, disc(2, MIN_MS_SSIM_SIDE)), 1, atol=1e-6)


def test_uint8_and_float_pictures_give_the_same_values() -> None:
    truths = (pictures(1) * 255).astype(np.uint8)
    drawn = (noised(pictures(1), 0.05) * 255).astype(np.uint8)
    plain = [x.astype(np.float32) / 255 for x in (drawn, truths)]
    assert masked_ssim(drawn, truths, disc(1)) == pytest.approx(masked_ssim(*plain, disc(1)), abs=1e-6)
    assert masked_psnr(drawn, truths, disc(1)) == pytest.approx(masked_psnr(*plain, disc(1)), abs=1e-4)


def test_pixels_outside_the_mask_do_not_count() -> None:
    truths, masks = pictures(1, 192), disc(1, 192)
    far = cv2.dilate(masks[0], np.ones((13, 13), np.uint8)) == 0
    drawn = noised(truths, 0.03)
    spoilt = drawn.copy()
    spoilt[0, far] = 0
    for measure in (masked_ssim, masked_psnr, masked_ms_ssim):
        np.testing.assert_array_equal(measure(spoilt, truths, masks), measure(drawn, truths, masks))


def test_an_empty_mask_gives_nan() -> None:
    truths, masks = pictures(2, MIN_MS_SSIM_SIDE), disc(2, MIN_MS_SSIM_SIDE)
    masks[0] = 100  # below half
    for measure in (masked_ssim, masked_psnr, masked_ms_ssim):
        np.testing.assert_array_equal(np.isnan(measure(truths, truths, masks)), [True, False])


@pytest.mark.parametrize("measure", [masked_ssim, masked_psnr, masked_ms_ssim])
def test_more_noise_lowers_all_values(measure: object) -> None:
    assert callable(measure)
    truths, masks = pictures(1, 192), disc(1, 192)
    drawn = [truths[0], noised(truths, 0.02)[0], noised(truths, 0.05)[0], noised(truths, 0.15)[0]]
    values = [measure(picture[None], truths, masks)[0] for picture in drawn]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == 4


def test_ms_ssim_needs_176_px() -> None:
    assert np.isfinite(
        masked_ms_ssim(pictures(1, MIN_MS_SSIM_SIDE), pictures(1, MIN_MS_SSIM_SIDE), disc(1, MIN_MS_SSIM_SIDE))
    ).all()
    small = pictures(1, MIN_MS_SSIM_SIDE - 1)
    with pytest.raises(ValueError, match="larger than 160"):
        masked_ms_ssim(small, small, disc(1, MIN_MS_SSIM_SIDE - 1))
