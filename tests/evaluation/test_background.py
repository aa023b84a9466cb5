"""Outside the face: PSNR, changed planes before encoding, and the detection of changed faces."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.evaluation.constructed import blurred, crop_of, evaluating, real_data, target_frames

from visagist.core.errors import EvaluationError
from visagist.demo import TARGET
from visagist.evaluation.metric import evaluate_metric
from visagist.evaluation.metrics.background import OUTSIDE_PSNR, is_changed, outside_psnr, planes_changed_outside
from visagist.media import ChunkWriter, Color, Display, EncodeOptions, Frame, Reader, Region, frame_from_rgb, probe
from visagist.media.layout import layout
from visagist.merging.composite import composite
from visagist.merging.pipeline import Merged

COLOR = Color("bt709", "tv", "bt709", "bt709")


def encoded(frames: list[Frame], path: Path, crf: int) -> list[Frame]:
    with ChunkWriter(path, probe(TARGET), EncodeOptions(codec="h264", crf=crf, encoder_preset="veryfast")) as writer:
        for frame in frames:
            writer.write(frame)
    with Reader(path) as reader:
        return list(reader)


def changed(frames: list[Frame]) -> list[bool]:
    data = real_data()
    crops = [crop_of(frame, matrix) for frame, matrix in zip(frames, data.matrices, strict=True)]
    return [is_changed(*crop) for crop in zip(data.target.crops, crops, data.hulls, strict=True)]


@pytest.mark.parametrize("crf", [16, 30, 36])
def test_reencoding_is_not_a_change(crf: int, tmp_path: Path) -> None:
    frames = encoded(list(target_frames()[0]), tmp_path / "again.nut", crf)
    assert not any(changed(frames))


@pytest.mark.parametrize("crf", [16, 30])
def test_another_face_is_a_change_at_every_encoding(crf: int, tmp_path: Path) -> None:
    """The source's face inside the mask, as in a swap without colour transfer."""
    data = real_data()
    frames, _ = target_frames()
    swapped = [
        composite(frame, face.astype(np.float32) / 255, mask.astype(np.float32) / 255, matrix)[0]
        for frame, face, mask, matrix in zip(
            frames, np.resize(data.source.crops, data.target.crops.shape), data.masks, data.matrices, strict=True
        )
    ]
    assert all(changed(encoded(swapped, tmp_path / "swap.nut", crf)))


def test_small_changes_count_without_encoder_noise() -> None:
    data = real_data()
    softer = evaluating(data, blurred(data.target.crops, 1)).evaluated.crops
    assert all(is_changed(*crop) for crop in zip(data.target.crops, softer, data.hulls, strict=True))
    same = data.target.crops
    assert not any(is_changed(*crop) for crop in zip(same, same, data.hulls, strict=True))


def test_a_regraded_picture_is_not_a_changed_face() -> None:
    data = real_data()
    graded = np.clip(data.target.crops * 1.06 + 3, 0, 255).astype(np.uint8)
    assert not any(is_changed(*crop) for crop in zip(data.target.crops, graded, data.hulls, strict=True))


def test_a_replaced_head_is_a_changed_face() -> None:
    """Other tools replace hair and ears too, so the area around the face does not measure the encoder alone."""
    data = real_data()
    wide = np.stack([cv2.dilate(hull, np.ones((25, 25), np.uint8)) for hull in data.hulls])
    other = np.resize(data.source.crops, data.target.crops.shape)
    head = evaluating(data, other, wide).evaluated.crops
    assert all(is_changed(*crop) for crop in zip(data.target.crops, head, data.hulls, strict=True))


def test_psnr_outside_matches_known_noise() -> None:
    frames, landmarks = target_frames()
    target = frames[0].rgb()
    bright = np.clip(target, 0, 0.97)
    shifted = bright + np.float32(0.02)
    found = outside_psnr(frame_from_rgb(bright), frame_from_rgb(shifted), landmarks[0])
    assert found == pytest.approx(-20 * np.log10(0.02), abs=0.05)


def test_changes_of_the_face_do_not_count_outside() -> None:
    frames, landmarks = target_frames()
    data = real_data()
    white = np.ones((data.size, data.size, 3), np.float32)
    swapped, _, _ = composite(frames[0], white, data.masks[0].astype(np.float32) / 255, data.matrices[0])
    assert outside_psnr(frames[0], swapped, landmarks[0]) == np.inf
    assert outside_psnr(frames[0], swapped, landmarks[0] + 60) < 30


def test_a_coarser_encoding_has_less_psnr(tmp_path: Path) -> None:
    frames, landmarks = target_frames()
    found = []
    for crf in (12, 24, 36):
        again = encoded(list(frames), tmp_path / f"{crf}.nut", crf)
        found.append(np.median([outside_psnr(*one) for one in zip(frames, again, landmarks, strict=True)]))
    assert 50 > found[0] > found[1] > found[2] > 25


def test_a_face_that_fills_the_picture_gives_nan() -> None:
    frames, landmarks = target_frames()
    middle = landmarks[0].mean(0)
    assert np.isnan(outside_psnr(frames[0], frames[0], middle + 30 * (landmarks[0] - middle)))


def test_frames_of_different_sizes_are_refused() -> None:
    frames, landmarks = target_frames()
    with pytest.raises(EvaluationError, match="180x144 against 360x288"):
        outside_psnr(frames[0], frame_from_rgb(np.zeros((144, 180, 3), np.uint8)), landmarks[0])


def test_equal_frames_have_100_db_and_unknown_ones_nan() -> None:
    data = real_data()
    outside = np.full(12, 41.0)
    outside[:3], outside[3] = np.inf, np.nan
    figure, curve = evaluate_metric(OUTSIDE_PSNR, data.with_evaluated(replace(data.evaluated, outside=outside)))
    assert (figure.value, figure.count) == (41, 11)
    np.testing.assert_array_equal(curve[:3], 100)


def noisy_frame(name: str, display: Display) -> Frame:
    kind = layout(name)
    assert kind is not None
    random = np.random.default_rng(3)
    planes = []
    for number, channels in enumerate(kind.channels):
        columns, rows = kind.plane_size(number, display.columns, display.rows)
        low, high = (v << (kind.depth - 8) for v in ((60, 180) if number == 0 else (118, 138)))
        shape = (rows, columns) if channels == 1 else (rows, columns, channels)
        planes.append((random.integers(low, high, shape) << kind.shift).astype(kind.dtype))
    return Frame(0, Fraction(0), name, tuple(planes), COLOR, display)


def merged_disc(frame: Frame) -> Merged:
    mask = np.zeros((64, 64), np.float32)
    cv2.circle(mask, (32, 32), 20, 1.0, -1)
    mask = cv2.GaussianBlur(mask, (9, 9), 2)
    matrix = cv2.getRotationMatrix2D((frame.width / 2, frame.height / 2), 20, 1.1)
    matrix[:, 2] += 32 - np.array([frame.width, frame.height]) / 2
    new, weight, region = composite(frame, np.full((64, 64, 3), 0.9, np.float32), mask, matrix)
    return Merged(new, frame, None, weight, region)


TURNED, ANAMORPHIC, ODD = Display(160, 120, turn=(0, -1, 1, 0)), Display(160, 120, Fraction(16, 11)), Display(161, 119)


@pytest.mark.parametrize("display", [Display(160, 120), TURNED, ANAMORPHIC, ODD], ids=["plain", "turned", "sar", "odd"])
@pytest.mark.parametrize("name", ["yuv420p", "yuv422p10le", "yuv444p", "nv12", "p010le", "gbrp", "rgb24", "yuva420p"])
def test_a_merge_changes_nothing_outside_its_mask(name: str, display: Display) -> None:
    merged = merged_disc(noisy_frame(name, display))
    assert planes_changed_outside(merged) == 0
    nothing = replace(merged, weight=np.zeros_like(merged.weight))
    assert planes_changed_outside(nothing) > 20  # the same change, with a mask that does not cover it


@pytest.mark.parametrize("plane", [0, 1])
@pytest.mark.parametrize(("name", "shift"), [("yuv420p", 0), ("p010le", 6)])
def test_one_sample_outside_is_found(name: str, shift: int, plane: int) -> None:
    merged = merged_disc(noisy_frame(name, Display(160, 120)))
    planes = [samples.copy() for samples in merged.frame.planes]
    planes[plane][2, 3] -= 3 << shift
    assert planes_changed_outside(replace(merged, frame=replace(merged.frame, planes=tuple(planes)))) == 3


def test_a_chroma_cell_with_one_masked_sample_is_inside() -> None:
    frame = noisy_frame("yuv420p", Display(16, 16))
    planes = [samples.copy() for samples in frame.planes]
    planes[1][2, 3] += 9
    moved = replace(frame, planes=tuple(planes))
    weight = np.zeros((4, 4), np.float32)
    weight[1, 2] = 0.1  # luma (7, 5): within the cell (3, 2)
    assert planes_changed_outside(Merged(moved, frame, None, weight, Region(5, 4, 9, 8))) == 0
    assert planes_changed_outside(Merged(moved, frame, None, weight, Region(3, 4, 7, 8))) == 9


def test_an_untouched_frame_is_unchanged() -> None:
    frame = noisy_frame("yuv420p", Display(16, 16))
    assert planes_changed_outside(Merged(frame, frame, "no face", np.zeros((0, 0), np.float32), None)) == 0
