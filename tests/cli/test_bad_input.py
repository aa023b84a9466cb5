"""Bad input ends in one clear line that names the file, and exit code 1."""

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import tomli_w

from tests.cli.conftest import Ended, Swap, command, visagist
from visagist.core.tensors import load_notes, load_tensors, save_tensors
from visagist.demo import SOURCE_CONSENT, TARGET, TARGET_CONSENT
from visagist.media import write_picture

CONSENTS = ("--source-consent", SOURCE_CONSENT, "--target-consent", TARGET_CONSENT)


def assert_refused(ended: Ended, *words: str) -> None:
    assert ended.code == 1, ended.err
    last = ended.err.strip().splitlines()[-1]
    assert last.startswith("visagist: "), ended.err
    assert "Traceback" not in ended.err
    for word in words:
        assert word in last, last


def write_video(path: Path, frames: int = 20) -> None:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for i in range(frames):
            picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 40 + 5 * i, np.uint8), format="rgb24")
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))


def missing(folder: Path) -> Path:
    return folder / "missing.mp4"


def empty(folder: Path) -> Path:
    path = folder / "empty.mp4"
    path.touch()
    return path


def text(folder: Path) -> Path:
    path = folder / "text.mp4"
    path.write_text("this is no video\n" * 100)
    return path


def cut_before_index(folder: Path) -> Path:
    whole, path = folder / "whole.mp4", folder / "cut.mp4"
    write_video(whole)  # its index (moov) lies at the end
    path.write_bytes(whole.read_bytes()[:-900])
    return path


def sound_only(folder: Path) -> Path:
    path = folder / "sound.m4a"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("make", [missing, empty, text, cut_before_index, sound_only])
def test_unusable_footage(make, tmp_path: Path) -> None:
    path = make(tmp_path)
    assert_refused(visagist("extract", path, "-o", tmp_path / "faces"), path.name)
    assert_refused(visagist("swap", path, TARGET, "-o", tmp_path / "o.mp4", *CONSENTS), path.name)
    assert_refused(visagist("swap", TARGET, path, "-o", tmp_path / "o.mp4", *CONSENTS), path.name)


def test_footage_without_a_face(tmp_path: Path) -> None:
    path = tmp_path / "grey.mp4"
    write_video(path)
    assert_refused(visagist("extract", path, "-o", tmp_path / "faces"), "grey.mp4", "face")


def test_unwritable_output(tmp_path: Path, source: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    output = tmp_path / "file" / "out.mp4"
    assert_refused(visagist("swap", source, TARGET, "-o", output, *CONSENTS), "file")
    assert_refused(visagist("extract", source, "-o", tmp_path / "file" / "faces"), "file")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of half a megabyte, which is soon full."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("cannot mount a small tmpfs here (needs Linux and root)")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_full_disk_while_extracting(small_disk: Path, source: Path) -> None:
    assert_refused(visagist("extract", source, "-o", small_disk / "faces"), "small")


def test_full_disk_while_merging(small_disk: Path, swapped: Swap) -> None:
    output = small_disk / "out.mp4"
    saved = swapped.output.with_name("out.mp4.toml")
    assert_refused(visagist("merge", "--config", saved, "-o", output, "--crf", "1"), "small")
    assert not output.exists()
    assert not list(small_disk.rglob("joined*"))


def test_faceset_with_a_corrupt_image(swapped: Swap, tmp_path: Path) -> None:
    faces = tmp_path / "faces"
    shutil.copytree(swapped.workspace / "source", faces)
    crop = sorted(faces.glob("*.jpg"))[3]
    crop.write_bytes(crop.read_bytes()[:500])
    assert_refused(visagist("train", faces, swapped.workspace / "target", "-o", tmp_path / "run"), crop.name)


def test_run_of_another_version(swapped: Swap, tmp_path: Path) -> None:
    weights = tmp_path / "run" / "weights.safetensors"
    made = swapped.workspace / "run" / weights.name
    save_tensors(weights, load_tensors(made), {**load_notes(made), "record_format": 99})
    ended = visagist("merge", TARGET, "--run", weights.parent, "-o", tmp_path / "o.mp4", *CONSENTS)
    assert_refused(ended, weights.name, "99")


def test_consent_record_with_a_missing_field(swapped: Swap, tmp_path: Path) -> None:
    record = tmp_path / "record.toml"
    values = {name: value for name, value in tomllib.loads(SOURCE_CONSENT.read_text()).items() if name != "scope"}
    record.write_text(tomli_w.dumps(values))
    run = swapped.workspace / "run"
    ended = visagist("merge", TARGET, "--run", run, "-o", tmp_path / "o.mp4", "--source-consent", record,
                     "--target-consent", TARGET_CONSENT)  # fmt: skip
    assert_refused(ended, "record.toml", "scope")


def test_consent_record_of_another_person(swapped: Swap, tmp_path: Path) -> None:
    run = swapped.workspace / "run"
    ended = visagist("merge", TARGET, "--run", run, "-o", tmp_path / "o.mp4", "--source-consent", SOURCE_CONSENT,
                     "--target-consent", SOURCE_CONSENT)  # fmt: skip
    assert_refused(ended, "--target-consent")
    assert not (tmp_path / "o.mp4").exists()


@pytest.fixture
def forty(tmp_path: Path) -> Path:
    """A target that states its 40 frames, in a separate folder."""
    path = tmp_path / "footage" / "forty.mp4"
    path.parent.mkdir()
    write_video(path, 40)
    return path


@pytest.mark.parametrize(
    ("options", "words"),
    [(("--frames", "0-999"), ("forty.mp4", "0 to 39", "0-999")), (("--device", "cuda:99"), ("cuda:99", "doctor"))],
)
def test_a_swap_that_would_fail_is_refused_before_the_work(
    options: tuple[str, ...], words: tuple[str, ...], forty: Path, source: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out" / "o.mp4"
    assert_refused(visagist("swap", source, forty, "-o", output, *CONSENTS, *options), *words)
    assert not output.parent.exists()


@pytest.mark.parametrize("output", ["one.png", "frame_%04d.png"])
def test_several_frames_need_a_folder(output: str, forty: Path, source: Path, tmp_path: Path) -> None:
    ended = visagist("swap", source, forty, "-o", tmp_path / "out" / output, *CONSENTS)
    assert_refused(ended, output, "forty.mp4", "give a folder")
    assert not (tmp_path / "out").exists()


def test_a_signer_that_cannot_sign_is_found_before_the_work(
    forty: Path, source: Path, swapped: Swap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.toml").write_text("[signer]\nkey = 'gone.pem'\ncertificate = 'gone.pem'\n")
    monkeypatch.setenv("VISAGIST_CONFIG_DIR", str(tmp_path))
    output = tmp_path / "out" / "o.mp4"
    assert_refused(visagist("swap", source, forty, "-o", output, *CONSENTS), "gone.pem")
    assert not output.parent.exists()
    ended = visagist("merge", "--config", swapped.output.with_name("out.mp4.toml"), "-o", output)
    assert_refused(ended, "gone.pem")
    assert not [path for path in output.parent.rglob("*") if path.is_file()]


def test_a_merge_of_frames_beyond_the_footage_is_refused_before_the_work(
    swapped: Swap, forty: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out" / "o.mp4"
    ended = visagist("merge", forty, "--run", swapped.workspace / "run", "-o", output, *CONSENTS, "--frames", "30-40")
    assert_refused(ended, "forty.mp4", "0 to 39", "30-40")
    assert not output.parent.exists()


def test_a_merge_with_the_record_of_another_source_is_refused_before_the_work(swapped: Swap, tmp_path: Path) -> None:
    output = tmp_path / "out" / "o.mp4"
    ended = visagist("merge", TARGET, "--run", swapped.workspace / "run", "-o", output, "--source-consent",
                     TARGET_CONSENT, "--target-consent", TARGET_CONSENT)  # fmt: skip
    assert_refused(ended, "--source-consent")
    assert not output.parent.exists()


@pytest.fixture
def without_a_face(tmp_path: Path) -> Path:
    write_picture(tmp_path / "grey.png", np.full((200, 300, 3), 0.5, np.float32))
    return tmp_path / "grey.png"


def test_immediate_refusals_leave_nothing_behind(without_a_face: Path, source: Path, tmp_path: Path) -> None:
    """Unusable reference pictures were once detected only after all frames had been analysed."""
    grey, clip = without_a_face, TARGET
    before = sorted(tmp_path.rglob("*"))
    swap = ("swap", source, clip, "-o", tmp_path / "a" / "o.mp4", *CONSENTS)
    merge = ("merge", clip, "-o", tmp_path / "a" / "o.mp4")
    evaluate = ("evaluate", clip, "--target", clip, "--workspace", tmp_path / "a", "--source")
    for call, word in (
        (("train", "b", "c", "-o", tmp_path / "a" / "run"), "b"),
        (("pretrain", "b", "-o", tmp_path / "a" / "run"), "b"),
        (("rewind", tmp_path / "a", 5), "a"),
        (("extract", source, "-o", tmp_path / "a", "--reference", "gone.png"), "gone.png"),
        (("extract", source, "-o", tmp_path / "a", "--reference", grey), "grey.png"),
        ((*swap, "--reference", grey), "grey.png"),
        ((*swap, "--target-reference", grey), "grey.png"),
        ((*swap, "--start", "gone"), "gone"),
        ((*merge, "--run", "gone", *CONSENTS), "gone"),
        ((*merge, "--run", "gone", "--source-consent", "gone.toml", *CONSENTS[2:]), "gone.toml"),
        ((*evaluate, source, "--run", "gone"), "gone"),
        ((*evaluate, "gone"), "gone"),
        ((*evaluate, source, "--reference", grey), "grey.png"),
    ):
        assert_refused(visagist(*call), word)
        assert sorted(tmp_path.rglob("*")) == before, call


def test_a_closed_pipe_is_a_failure(source: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        command("extract", source, "-o", tmp_path / "faces", "--json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
    assert process.wait() == 1
    assert b"Traceback" not in said
    assert b"Exception ignored" not in said
