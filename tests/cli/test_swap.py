"""`visagist swap`: from footage to a signed render, despite interruptions."""

import json
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.cli.conftest import (
    Swap,
    first_frames,
    killed_when,
    swap_arguments,
    visagist,
    write_frames,
    write_speaker_record,
)
from visagist import new_consent
from visagist.demo import SOURCE_CONSENT, TARGET, TARGET_CONSENT
from visagist.media import Reader, write_picture


def times(path: Path) -> list[Fraction]:
    with Reader(path) as frames:
        return [frame.time for frame in frames]


def pictures(path: Path) -> list[np.ndarray]:
    with Reader(path) as frames:
        return [np.concatenate([plane.ravel() for plane in frame.planes]) for frame in frames]


def test_all_frames_keep_their_time_and_the_sound_is_kept(swapped: Swap) -> None:
    rendered, original = times(swapped.output), times(TARGET)
    assert [time - rendered[0] for time in rendered] == [time - original[0] for time in original]
    with av.open(str(swapped.output)) as container:
        (audio,) = container.streams.audio
        samples = sum(frame.samples for frame in container.decode(audio))
        assert audio.codec_context.name == "aac"
        assert abs(samples / audio.rate - 75 / 25) < 0.15


def test_the_face_changes_but_hardly_the_background(swapped: Swap) -> None:
    with Reader(swapped.output) as new, Reader(TARGET) as old:
        difference = np.mean([np.abs(a.rgb() - b.rgb()) for a, b in zip(new, old, strict=True)], axis=(0, 3))
    height, width = difference.shape
    face = difference[height // 2 - 20 : height // 2 + 40, width // 2 - 25 : width // 2 + 25]
    border = np.concatenate([difference[:, :40].ravel(), difference[:, -40:].ravel(), difference[:30].ravel()])
    assert face.mean() > 5 * border.mean()
    assert border.mean() < 0.01  # noise of the encoder


def test_the_render_is_signed_without_names(swapped: Swap) -> None:
    ended = visagist("verify", swapped.output, "--json")
    found = json.loads(ended.out)
    assert (ended.code, found["verdict"]) == (0, "made by visagist, signer known")
    assert found["synthetic"]
    assert found["parent"]
    assert len(found["consents"]) == 2
    data = swapped.output.read_bytes()
    for word in (b"sbia1a", b"s1_bbaf2n", b"out.mp4", str(swapped.output.parent).encode()):
        assert word not in data


def test_a_repeated_swap_returns_at_once(swapped: Swap) -> None:
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


def test_a_swap_killed_in_every_step_gives_the_same_result(swapped: Swap, source: Path, tmp_path: Path) -> None:
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


def is_in_the_second_chunk(event: dict[str, object]) -> bool:
    return event["event"] == "progress" and event["step"] == "merge" and int(str(event["done"])) >= 30


def test_a_killed_merge_keeps_its_finished_chunks(swapped: Swap, tmp_path: Path) -> None:
    clip = first_frames(TARGET, 75)
    target, record = tmp_path / "long.mp4", tmp_path / "long.toml"
    write_frames(target, [*clip, *clip[::-1]])
    new_consent(
        record, name="speaker", adult=True, basis="research-corpus", statement="a test", scope="test",
        footage=[target],
    )  # fmt: skip
    run = swapped.workspace / "run"
    consents = ("--source-consent", SOURCE_CONSENT, "--target-consent", record)

    def arguments(output: str) -> tuple[str | Path, ...]:
        place = ("--workspace", tmp_path / "work", "--frames", "104-143")  # chunks end at multiples of 128
        return ("merge", target, "--run", run, "-o", tmp_path / output, *consents, *place)

    assert visagist(*arguments("unbroken.mp4")).code == 0
    assert killed_when(is_in_the_second_chunk, *arguments("broken.mp4"))
    assert len(list((tmp_path / "work").rglob("chunk-*.nut"))) == 1
    ended = visagist(*arguments("broken.mp4"), "--json")
    assert ended.code == 0, ended.err
    events = [json.loads(line) for line in ended.out.splitlines() if line.startswith("{")]
    done = [event["done"] for event in events if event.get("event") == "progress" and event["step"] == "merge"]
    assert min(done) == 24  # frames of the first chunk
    for a, b in zip(pictures(tmp_path / "unbroken.mp4"), pictures(tmp_path / "broken.mp4"), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_saved_configuration_repeats_the_merge(swapped: Swap, tmp_path: Path) -> None:
    saved = swapped.output.with_name("out.mp4.toml")
    again = tmp_path / "again.mp4"
    ended = visagist("merge", "--config", saved, "-o", again)
    assert ended.code == 0, ended.err
    for a, b in zip(pictures(swapped.output), pictures(again), strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_evaluation_with_the_run_repeats_the_merge(
    swapped: Swap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("visagist.evaluation.metric.RESAMPLES", 40)  # intervals are tested elsewhere
    output, run = tmp_path / "excerpt.mp4", swapped.workspace / "run"
    saved = swapped.output.with_name("out.mp4.toml")
    assert visagist("merge", "--config", saved, "-o", output, "--frames", "10-21").code == 0
    arguments = ("--target", TARGET, "--source", swapped.workspace / "source", "--run", run, "--json")
    found = json.loads(visagist("evaluate", output, *arguments).out.splitlines()[-1])
    assert found["planes_changed_outside"] == 0
    assert found["coverage"]["swapped_frames"] == 12
    assert set(found["reconstruction"]) == {"source", "target"}
    assert found["is_mask_known"]
    assert found["provenance"]["verdict"] == "made by visagist, signer known"

    plain = tmp_path / "plain.mp4"  # the same pictures, unsigned
    write_frames(plain, first_frames(output, 8))
    found = json.loads(visagist("evaluate", plain, *arguments, "--offset", "0.4").out.splitlines()[-1])
    assert found["planes_changed_outside"] is None
    assert any("no credentials" in note for note in found["notes"])
    assert set(found["reconstruction"]) == {"source", "target"}


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


def test_a_render_needs_consent_records(source: Path, tmp_path: Path) -> None:
    ended = visagist("swap", source, TARGET, "-o", tmp_path / "out.mp4", "--source-consent", SOURCE_CONSENT)
    assert ended.code == 2
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
def test_every_container_is_signed(swapped: Swap, tmp_path: Path, suffix: str) -> None:
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


def test_a_deleted_render_is_rendered_again(swapped: Swap, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    arguments = ("merge", "--config", swapped.output.with_name("out.mp4.toml"), "-o", output, "--frames", "0-4")
    assert visagist(*arguments).code == 0
    output.write_bytes(b"mine")
    ended = visagist(*arguments)
    assert ended.code == 1
    assert f"{output}: already exists, and no earlier merge wrote it in this form; move it away" in ended.err
    assert output.read_bytes() == b"mine"
    output.unlink()
    output.with_name("out.mp4.json").write_text("{")
    assert visagist(*arguments).code == 0
    assert visagist("verify", output).code == 0


def test_an_image_sequence_is_a_target(swapped: Swap, tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    with Reader(TARGET, last=5) as reader:
        for frame in reader:
            write_picture(frames / f"shot_{frame.index:04d}.png", frame.rgb())
    record = write_speaker_record(tmp_path / "target.toml", "--picture", frames / "shot_0000.png")
    consents = ("--source-consent", SOURCE_CONSENT, "--target-consent", record)
    run = swapped.workspace / "run"
    ended = visagist("merge", frames / "shot_%04d.png", "--run", run, "-o", tmp_path / "out.mp4", *consents)
    assert ended.code == 0, ended.err
    assert len(times(tmp_path / "out.mp4")) == 6


def test_only_the_chosen_person_changes(
    swapped: Swap, two_people: Path, performer: Path, performer_record: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.mp4"
    by_hash = write_speaker_record(tmp_path / "by_hash.toml", "--footage", two_people)
    merge = ("merge", two_people, "--run", swapped.workspace / "run", "-o", output, "--source-consent", SOURCE_CONSENT)
    several = visagist(*merge, "--target-consent", performer_record)
    assert several.code == 1
    assert "2 people" in several.err
    assert "--target-identity" in several.err
    assert (tmp_path / "out.mp4.workspace" / "people.png").exists()
    # The hash of footage with two people does not say who of them agreed.
    assert visagist(*merge, "--target-consent", by_hash, "--target-reference", performer).code == 1
    ended = visagist(*merge, "--target-consent", performer_record, "--target-reference", performer)
    assert ended.code == 0, ended.err
    with Reader(output) as new, Reader(two_people) as old:
        difference = np.mean([np.abs(a.rgb() - b.rgb()) for a, b in zip(new, old, strict=True)], axis=(0, 3))
    assert difference[:, :360].max() < 0.06
    assert difference[80:230, 460:620].mean() > 4 * difference[:, :360].mean()


def test_a_target_without_a_face_is_copied_if_allowed(swapped: Swap, tmp_path: Path) -> None:
    path, output, record = tmp_path / "grey.mp4", tmp_path / "out.mp4", tmp_path / "record.toml"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for _ in range(10):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((64, 96, 3), 90, np.uint8), format="rgb24")))
        out.mux(stream.encode(None))
    visagist("consent", "new", record, "--name", "nobody", "--adult", "--basis", "synthetic", "--statement", "a test",
             "--scope", "test", "--footage", path)  # fmt: skip
    merge = ("merge", path, "-o", output, "--source-consent", SOURCE_CONSENT, "--target-consent", record)
    refused = visagist(*merge, "--run", swapped.workspace / "run")
    assert refused.code == 1
    assert "--allow-no-face" in refused.err
    assert visagist(*merge, "--allow-no-face").code == 0
    found = json.loads(visagist("verify", output, "--json").out)
    assert found["ok"]
    assert not found["synthetic"]
