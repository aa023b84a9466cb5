"""OpenEXR plates on the real command line."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.cli.conftest import Swap, visagist, write_speaker_record
from tests.media.exr import read_rgb, write_exr_file
from visagist.demo import SOURCE_CONSENT, TARGET
from visagist.media import Reader, probe

COUNT = 3


@pytest.fixture(scope="module")
def plates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first frames of the target in linear light, with one corner below 0 and another far above 1."""
    folder = tmp_path_factory.mktemp("exr") / "plates"
    with Reader(TARGET, last=COUNT - 1) as reader:
        for frame in reader:
            rgb = frame.rgb()
            linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
            linear[:40, :40], linear[-30:, -30:] = -0.25, 12.5
            write_exr_file(folder / f"plate.{frame.index:04d}.exr", linear.astype(np.float16), owner="us")
    return folder


@pytest.fixture(scope="module")
def record(plates: Path) -> Path:
    return write_speaker_record(plates.parent / "target.toml", "--footage", plates)


def merge(swapped: Swap, plates: Path, record: Path, output: Path, *more: str | Path) -> tuple[str | Path, ...]:
    consents = ("--source-consent", SOURCE_CONSENT, "--target-consent", record)
    return ("merge", plates, "--run", swapped.workspace / "run", "-o", output, *consents, *more)


def test_plates_change_only_in_the_face_and_are_signed(
    swapped: Swap, plates: Path, record: Path, tmp_path: Path
) -> None:
    output, matte = tmp_path / "out", tmp_path / "matte"
    command = merge(swapped, plates, record, output, "--matte", matte)
    ended = visagist(*command)
    assert ended.code == 0, ended.err
    assert f"{COUNT} of {COUNT} frames changed" in ended.out
    for number in range(COUNT):
        name = f"plate.{number:04d}.exr"
        before, after = read_rgb(plates / name), read_rgb(output / name)
        assert after.dtype == np.float16
        mask = cv2.imread(str(matte / f"{number:08d}.png"), cv2.IMREAD_UNCHANGED)
        is_same = (before.view(np.uint16) == after.view(np.uint16)).all(axis=2)
        assert is_same[mask == 0].all()
        assert is_same[mask > 0].mean() < 0.1
        assert (after[:40, :40] == -0.25).all()
        assert (after[-30:, -30:] == 12.5).all()
        assert np.isfinite(after.astype(np.float32)).all()
        assert 0 < after[mask > mask.max() * 0.9].mean() < 1

    verified = visagist("verify", output, "--json")
    assert verified.code == 0, verified.out
    found = json.loads(verified.out)
    assert (found["files"], found["synthetic"]) == (COUNT, True)

    # A repeated merge does nothing; a missing sidecar is written again, and that of a removed frame is deleted.
    assert "already finished" in visagist(*command).err
    (output / "plate.0001.exr.c2pa").unlink()
    assert visagist("verify", output).code == 1
    assert visagist(*command).code == 0
    assert visagist("verify", output).code == 0
    assert visagist(*merge(swapped, plates, record, output, "--frames", "0-0")).code == 0
    assert sorted(file.name for file in output.iterdir()) == ["plate.0000.exr", "plate.0000.exr.c2pa"]


def test_exr_crops_match_those_of_the_video(plates: Path, tmp_path: Path) -> None:
    """Linear values were once read as display-referred, so that crops were too dark."""
    assert visagist("extract", plates, "-o", tmp_path / "exr", "--min-change", "0", "--format", "png").code == 0
    assert visagist("extract", TARGET, "-o", tmp_path / "video", "--min-change", "0", "--format", "png").code == 0
    crop = cv2.imread(str(next((tmp_path / "exr").glob("*_0000001_*.png"))))
    wanted = cv2.imread(str(next((tmp_path / "video").glob("*_0000001_*.png"))))
    assert crop.shape == wanted.shape
    face = (slice(80, 240), slice(80, 240))
    assert np.abs(crop[face].astype(int) - wanted[face]).mean() < 2


def test_a_single_frame_a_video_and_a_preview(swapped: Swap, plates: Path, record: Path, tmp_path: Path) -> None:
    film = tmp_path / "out.mov"
    ended = visagist(*merge(swapped, plates, record, film))
    assert ended.code == 0, ended.err
    assert "scene-linear values become sRGB" in ended.out
    assert probe(film).codec == "hevc"
    one = tmp_path / "one.exr"
    assert visagist(*merge(swapped, plates, record, one, "--frames", "1-1")).code == 0
    assert visagist("verify", one).code == 0
    ended = visagist(
        *merge(swapped, plates, record, tmp_path / "sheet.png", "--preview", "0", "--workspace", f"{film}.workspace")
    )
    assert ended.code == 0, ended.err
    ended = visagist(*merge(swapped, TARGET, record, tmp_path / "video.exr", "--frames", "0-0"))
    assert ended.code == 1
    assert "only OpenEXR targets can become OpenEXR" in ended.err
