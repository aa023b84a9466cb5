"""`visagist swap`: one command from footage to a signed render, whatever happens on the way."""

import json
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.cli.conftest import Swap, killed_when, swap_arguments, visagist
from visagist.demo import SOURCE_CONSENT, TARGET, TARGET_CONSENT
from visagist.media import Reader


def times(path: Path) -> list[Fraction]:
    with Reader(path) as frames:
        return [frame.time for frame in frames]


def pictures(path: Path) -> list[np.ndarray]:
    with Reader(path) as frames:
        return [np.concatenate([plane.ravel() for plane in frame.planes]) for frame in frames]


def test_every_frame_is_there_at_its_time_with_sound(swapped: Swap) -> None:
    rendered, original = times(swapped.output), times(TARGET)
    assert [time - rendered[0] for time in rendered] == [time - original[0] for time in original]
    with av.open(str(swapped.output)) as container:
        (audio,) = container.streams.audio
        samples = sum(frame.samples for frame in container.decode(audio))
        assert audio.codec_context.name == "aac"
        assert abs(samples / audio.rate - 75 / 25) < 0.15


def test_the_face_changes_and_the_background_hardly(swapped: Swap) -> None:
    with Reader(swapped.output) as new, Reader(TARGET) as old:
        difference = np.mean([np.abs(a.rgb() - b.rgb()) for a, b in zip(new, old, strict=True)], axis=(0, 3))
    height, width = difference.shape
    face = difference[height // 2 - 20 : height // 2 + 40, width // 2 - 25 : width // 2 + 25]
    border = np.concatenate([difference[:, :40].ravel(), difference[:, -40:].ravel(), difference[:30].ravel()])
    assert face.mean() > 5 * border.mean()
    assert border.mean() < 0.01  # the encoder's own noise


def test_render_is_signed_and_names_nobody(swapped: Swap) -> None:
    ended = visagist("verify", swapped.output, "--json")
    found = json.loads(ended.out)
    assert (ended.code, found["verdict"]) == (0, "made by visagist, signer known")
    assert found["synthetic"]
    assert found["parent"]
    assert len(found["consents"]) == 2
    data = swapped.output.read_bytes()
    for word in (b"sbia1a", b"s1_bbaf2n", b"out.mp4", str(swapped.output.parent).encode()):
        assert word not in data


def test_run_again_it_redoes_nothing(swapped: Swap) -> None:
    before = {path: path.stat().st_mtime_ns for path in swapped.output.parent.rglob("*") if path.is_file()}
    ended = visagist(*swapped.arguments)
    assert ended.code == 0, ended.err
    after = {path: path.stat().st_mtime_ns for path in swapped.output.parent.rglob("*") if path.is_file()}
    changed = {path.name for path in after if before.get(path) != after[path]}
    assert changed <= {"visagist.toml", "events.jsonl"}
    assert set(before) == set(after)


STEPS = {
    "extract the source": lambda event: event["event"] == "progress" and event["done"] >= 40,
    "train": lambda event: event["event"] == "progress" and event["step"] == "train" and event["done"] >= 6,
    "merge": lambda event: event["event"] == "progress" and event["step"] == "merge",
    "sign": lambda event: event["event"] == "note" and event["step"] == "merge",
}


def test_killed_in_every_step_the_same_command_ends_the_same(swapped: Swap, source: Path, tmp_path: Path) -> None:
    arguments = swap_arguments(source, tmp_path / "out.mp4")
    for step, moment in STEPS.items():
        assert killed_when(moment, *arguments), f"was never in step: {step}"
    ended = visagist(*arguments)
    assert ended.code == 0, ended.err
    weights = ("run", "weights.safetensors")
    unbroken, broken = swapped.workspace.joinpath(*weights), (tmp_path / "out.mp4.workspace").joinpath(*weights)
    assert unbroken.read_bytes() == broken.read_bytes()
    for a, b in zip(pictures(swapped.output), pictures(tmp_path / "out.mp4"), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not list(tmp_path.rglob("*.part*"))


def test_the_saved_configuration_repeats_the_merge(swapped: Swap, tmp_path: Path) -> None:
    saved = swapped.output.with_name("out.mp4.toml")
    again = tmp_path / "again.mp4"
    ended = visagist("merge", "--config", saved, "-o", again)
    assert ended.code == 0, ended.err
    for a, b in zip(pictures(swapped.output), pictures(again), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_run_serves_another_target_and_an_excerpt(swapped: Swap, tmp_path: Path) -> None:
    output = tmp_path / "excerpt.mov"
    consents = ("--source-consent", SOURCE_CONSENT, "--target-consent", TARGET_CONSENT)
    run = swapped.workspace / "run"
    matte = tmp_path / "matte"
    ended = visagist(
        "merge", TARGET, "--run", run, "-o", output, *consents, "--frames", "10-19", "--matte", matte, "--color", "none"
    )
    assert ended.code == 0, ended.err
    assert len(times(output)) == 10
    assert len(list(matte.glob("*.png"))) == 10


def test_preview_shows_before_after_and_mask(swapped: Swap, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    consents = ("--source-consent", SOURCE_CONSENT, "--target-consent", TARGET_CONSENT)
    ended = visagist("merge", TARGET, "--run", swapped.workspace / "run", "-o", sheet, *consents, "--preview", "5,40")
    assert ended.code == 0, ended.err
    assert visagist("verify", sheet).code == 0


def test_no_consent_no_render(source: Path, tmp_path: Path) -> None:
    ended = visagist("swap", source, TARGET, "-o", tmp_path / "out.mp4", "--source-consent", SOURCE_CONSENT)
    assert ended.code == 1
    assert "--target-consent" in ended.err
    assert "consent new" in ended.err
    assert not list(tmp_path.iterdir())


def test_consent_of_another_person_is_refused(source: Path, tmp_path: Path) -> None:
    ended = visagist(
        "swap", source, TARGET, "-o", tmp_path / "out.mp4",
        "--source-consent", TARGET_CONSENT, "--target-consent", TARGET_CONSENT,
    )  # fmt: skip
    assert ended.code == 1
    assert "--source-consent" in ended.err
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize("suffix", [".mov", ".mkv"])
def test_other_containers_are_signed_too(swapped: Swap, tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"out{suffix}"
    saved = swapped.output.with_name("out.mp4.toml")
    ended = visagist("merge", "--config", saved, "-o", output, "--frames", "0-9")
    assert ended.code == 0, ended.err
    assert visagist("verify", output).code == 0
    shutil.copy(output, tmp_path / f"lonely{suffix}")
    assert visagist("verify", tmp_path / f"lonely{suffix}").code == (0 if suffix == ".mov" else 1)


def test_png_sequence_is_signed_frame_by_frame(swapped: Swap, tmp_path: Path) -> None:
    output = tmp_path / "frames"
    consents = ("--source-consent", SOURCE_CONSENT, "--target-consent", TARGET_CONSENT)
    run = swapped.workspace / "run"
    ended = visagist("merge", TARGET, "--run", run, "-o", output, *consents, "--frames", "0-4")
    assert ended.code == 0, ended.err
    assert len(list(output.glob("*.png"))) == 5
    ended = visagist("verify", output, "--json")
    assert json.loads(ended.out)["files"] == 5


def test_saved_configurations_repeat_extract_and_train(swapped: Swap, tmp_path: Path) -> None:
    faces, run = tmp_path / "faces", tmp_path / "run"
    assert visagist("extract", TARGET, "-o", faces, "--min-change", "0.01").code == 0
    again = visagist("extract", "--config", faces / "extract.toml", "-o", tmp_path / "faces2")
    assert again.code == 0, again.err
    assert len(list(faces.glob("*.jpg"))) == len(list((tmp_path / "faces2").glob("*.jpg"))) < 75
    saved = swapped.workspace / "run" / "train.toml"
    ended = visagist("train", "--config", saved, "-o", run)
    assert ended.code == 0, ended.err
    weights = swapped.workspace / "run" / "weights.safetensors"
    assert (run / "weights.safetensors").read_bytes() == weights.read_bytes()
