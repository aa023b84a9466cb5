"""`visagist merge --preview`: a signed sheet of a few frames."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.classifier import classifier_of
from tests.cli.conftest import CLIPS, Swap, first_frames, visagist, write_frames
from visagist.demo import SOURCE, SOURCE_CONSENT, TARGET, TARGET_CONSENT
from visagist.faces import FaceTable, crop_matrix, picture_embeddings
from visagist.jobs.preview import SIDE
from visagist.media import Reader, frame_from_rgb, read_picture, write_picture
from visagist.zoo.sessions import cached_session


def tiles(sheet: Path) -> np.ndarray:
    """`(rows, 3, SIDE, SIDE, 3)`: before, after and mask of each frame, in [0, 1]."""
    return read_picture(sheet).reshape(-1, SIDE, 3, SIDE, 3).swapaxes(1, 2)


def test_preview_shows_before_after_and_mask(swapped: Swap, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    consents = ("--source-consent", SOURCE_CONSENT, "--target-consent", TARGET_CONSENT)
    preview = ("merge", TARGET, "--run", swapped.workspace / "run", "-o", sheet, *consents, "--preview")
    assert visagist(*preview, "5").code == 0
    ended = visagist(*preview, "5,40")  # in the place of the first one
    assert ended.code == 0, ended.err
    assert visagist("verify", sheet).code == 0
    for before, after, mask in tiles(sheet):
        assert np.abs(after - before)[mask > 0.5].mean() > 0.02
        beside = cv2.dilate(mask, np.ones((5, 5))) == 0  # the sheet's resampling of sharp edges reaches two pixels
        np.testing.assert_allclose(after[beside], before[beside], atol=1.5 / 255)


def test_a_preview_killed_after_its_picture_is_repeated(
    swapped: Swap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sheet = tmp_path / "sheet.png"
    consents = ("--source-consent", SOURCE_CONSENT, "--target-consent", TARGET_CONSENT)
    preview = ("merge", TARGET, "--run", swapped.workspace / "run", "-o", sheet, *consents, "--preview", "5")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("visagist.jobs.preview.save_call", die)
        assert visagist(*preview).code == 130
    assert sheet.exists()
    ended = visagist(*preview)
    assert ended.code == 0, ended.err
    assert visagist("verify", sheet).code == 0


@pytest.mark.parametrize("is_told", [True, False])
def test_the_performer_among_two_people_is_shown(
    is_told: bool, swapped: Swap, two_people: Path, performer: Path, performer_record: Path, tmp_path: Path
) -> None:
    sheet = tmp_path / "sheet.png"
    choice = ("--target-reference", performer) if is_told else ()  # else the one whom the run was trained on
    ended = visagist(
        "merge", two_people, "--run", swapped.workspace / "run", "-o", sheet, "--source-consent", SOURCE_CONSENT,
        "--target-consent", performer_record, "--preview", "5,15", *choice,
    )  # fmt: skip
    assert ended.code == 0, ended.err
    (wanted,) = picture_embeddings(performer)
    for number, (before, _, mask) in enumerate(tiles(sheet)):
        write_picture(tmp_path / f"{number}.png", before)
        (shown,) = picture_embeddings(tmp_path / f"{number}.png")
        assert shown @ wanted > 0.6
        assert mask.max() > 0.5


def test_a_frame_of_another_person_stays_unchanged(swapped: Swap, performer_record: Path, tmp_path: Path) -> None:
    footage, sheet = tmp_path / "dialogue.mp4", tmp_path / "sheet.png"
    write_frames(footage, first_frames(SOURCE / CLIPS[0], 10) + first_frames(TARGET, 10))
    ended = visagist(
        "merge", footage, "--run", swapped.workspace / "run", "-o", sheet, "--source-consent", SOURCE_CONSENT,
        "--target-consent", performer_record, "--preview", "5,15",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    other, performer = tiles(sheet)
    assert other[2].max() == 0
    np.testing.assert_array_equal(other[0], other[1])
    assert performer[2].max() > 0.5


def test_each_frame_is_judged_as_a_still(
    swapped: Swap, performer_record: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One bright frame, which a classifier of brightness refuses, must not be outvoted by dark ones."""
    footage, frames = tmp_path / "flash.mp4", first_frames(TARGET, 9)
    write_frames(footage, [*(0.4 * frame for frame in frames[:8]), np.clip(0.4 + frames[8], 0, 1)])
    config = tmp_path / "config"
    config.mkdir()
    model = classifier_of(config / "brightness.onnx", 1.2)
    (config / "config.toml").write_text(f"[weights]\nsafeguard = '{model.as_posix()}'\n")
    monkeypatch.setenv("VISAGIST_CONFIG_DIR", str(config))
    cached_session.cache_clear()
    sheet = tmp_path / "sheet.png"
    ended = visagist(
        "merge", footage, "--run", swapped.workspace / "run", "-o", sheet, "--source-consent", SOURCE_CONSENT,
        "--target-consent", performer_record, "--preview", "2,8",
    )  # fmt: skip
    cached_session.cache_clear()
    assert ended.code == 1
    assert "frame 8: seems to show intimate imagery" in ended.err
    assert not sheet.exists()


def test_with_a_workspace_the_preview_matches_the_merge(
    swapped: Swap, two_people: Path, performer: Path, performer_record: Path, tmp_path: Path
) -> None:
    workspace, sheet = tmp_path / "workspace", tmp_path / "sheet.png"
    consents = ("--source-consent", SOURCE_CONSENT, "--target-consent", performer_record)
    merge = ("merge", two_people, "--run", swapped.workspace / "run", *consents)
    numbered = visagist(*merge, "-o", sheet, "--preview", "5", "--target-identity", "0")
    assert numbered.code == 1
    assert "--workspace" in numbered.err  # the people have not been counted yet
    frames = tmp_path / "frames"
    rendered = visagist(*merge, "-o", frames, "--workspace", workspace, "--frames", "5-6",
                        "--target-reference", performer)  # fmt: skip
    assert rendered.code == 0, rendered.err

    preview = (*merge, "-o", sheet, "--preview", "5,6", "--workspace", workspace)
    several = visagist(*preview)
    assert several.code == 1
    assert "2 people" in several.err
    codes = {number: visagist(*preview, "--target-identity", str(number)).code for number in (0, 1)}
    assert sorted(codes.values()) == [0, 1]  # the other one did not agree
    (number,) = (number for number, code in codes.items() if code == 0)
    table = FaceTable.load(workspace / "tables" / "two.mp4.parquet")
    assert visagist(*preview, "--target-identity", str(number)).code == 0
    for index, (_, after, mask), file in zip((5, 6), tiles(sheet), sorted(frames.glob("*.png")), strict=True):
        (face,) = (face for face in table.faces_of(index) if face.identity == number)
        render = frame_from_rgb(read_picture(file)).warp(crop_matrix(face.alignment, "head", SIDE), (SIDE, SIDE))
        assert np.abs(after - render)[mask > 0].mean() < 0.003


def test_options_without_effect_on_a_preview_are_named(swapped: Swap, tmp_path: Path) -> None:
    sheet, matte = tmp_path / "sheet.png", tmp_path / "matte"
    consents = ("--source-consent", SOURCE_CONSENT, "--target-consent", TARGET_CONSENT)
    merge = ("merge", TARGET, "--run", swapped.workspace / "run", "-o", sheet, *consents, "--preview", "5", "--json")
    ended = visagist(*merge, "--matte", matte, "--frames", "0-9", "--crf", "20")
    assert ended.code == 0, ended.err
    events = [json.loads(line) for line in ended.out.splitlines()]
    notes = [event["message"] for event in events if event["event"] == "note"]
    assert [note for note in notes if "--frames, --matte, --crf" in note]
    assert not matte.exists()


def test_frames_beyond_the_footage_are_refused(swapped: Swap, tmp_path: Path) -> None:
    with Reader(TARGET) as reader:
        count = sum(1 for _ in reader)
    consents = ("--source-consent", SOURCE_CONSENT, "--target-consent", TARGET_CONSENT)
    ended = visagist("merge", TARGET, "--run", swapped.workspace / "run", "-o", tmp_path / "sheet.png", *consents,
                     "--preview", f"{count - 1}-{count}")  # fmt: skip
    assert ended.code == 1
    assert f"no frame {count}" in ended.err
