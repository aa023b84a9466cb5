"""Checks of the output paths of a render."""

from pathlib import Path

import pytest

from visagist.core.errors import OutputError
from visagist.jobs.output_paths import (
    check_output,
    clear_earlier_render,
    is_intact,
    report_path,
    stamps,
    unfinished_folder,
)


def fill(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(name.encode())
    return folder


def test_a_missing_output_is_identified_by_its_path(tmp_path: Path) -> None:
    run, workspace = fill(tmp_path / "run", "run.toml"), tmp_path / "workspace"
    (tmp_path / "same").symlink_to(run)
    for output in (tmp_path / "same" / "new.mp4", run / "deep" / "deeper" / "new.mkv", tmp_path / "x" / ".." / "run"):
        with pytest.raises(OutputError, match="choose another --output"):
            check_output(output, None, workspace, [run])
    with pytest.raises(OutputError, match=r"out\.mp4: would overwrite .*out\.mp4\.json by out\.mp4\.json beside it"):
        check_output(tmp_path / "out.mp4", None, workspace, [tmp_path / "out.mp4.json"])
    check_output(tmp_path / "out.mp4", tmp_path / "matte", workspace, [run])
    check_output(tmp_path / "frames", None, tmp_path / "frames.workspace", [run / "run.toml"])


def test_other_files_than_pictures_may_be_beside_them(tmp_path: Path) -> None:
    frames = fill(tmp_path / "frames", "notes.txt", ".hidden.png", "sound.wav")
    check_output(frames, None, tmp_path / "workspace", [])
    fill(frames, "frame.exr")
    with pytest.raises(OutputError, match=r"a picture .*\(frame\.exr\)"):
        check_output(frames, None, tmp_path / "workspace", [])
    with pytest.raises(OutputError, match=r"frame\.exr.*choose another --matte"):
        check_output(tmp_path / "out.mp4", frames, tmp_path / "workspace", [])
    report_path(frames).write_text('["of another program"]')
    with pytest.raises(OutputError, match=r"frame\.exr"):
        check_output(frames, None, tmp_path / "workspace", [])


def test_files_and_folders_are_not_interchangeable(tmp_path: Path) -> None:
    fill(tmp_path, "frames")
    fill(tmp_path / "out.mp4")
    for output in ("frames", "out.mp4"):
        with pytest.raises(OutputError, match=rf"{output}: is a "):
            check_output(tmp_path / output, None, tmp_path / "workspace", [])


def test_pictures_added_during_a_merge_are_kept(tmp_path: Path) -> None:
    frames, workspace = tmp_path / "frames", tmp_path / "workspace"
    chunks = fill(unfinished_folder(workspace, frames) / "key")
    check_output(frames, None, workspace, [])
    fill(frames, "mine.png")
    with pytest.raises(OutputError, match=r"mine\.png"):
        clear_earlier_render(frames, None, chunks, {frames: ["000000.png"]})
    assert (frames / "mine.png").read_bytes() == b"mine.png"
    (frames / "mine.png").unlink()
    clear_earlier_render(frames, None, chunks, {frames: ["000000.png"]})
    fill(frames, "000000.png", ".000001.0badcafe.part.png")  # killed here
    check_output(frames, None, workspace, [])
    clear_earlier_render(frames, None, chunks, {frames: ["000005.png"]})
    assert not list(frames.iterdir())
    fill(frames, "000000.png")
    with pytest.raises(OutputError):  # another workspace knows nothing of it
        check_output(frames, None, tmp_path / "another", [])


def test_unrelated_files_are_never_replaced(tmp_path: Path) -> None:
    output, workspace = tmp_path / "out.mp4", tmp_path / "workspace"
    chunks = fill(unfinished_folder(workspace, output) / "key")
    check_output(output, None, workspace, [])
    fill(tmp_path, "out.mp4")
    with pytest.raises(OutputError, match=r"out\.mp4: already exists.*move it away"):
        check_output(output, None, workspace, [])
    with pytest.raises(OutputError, match="already exists"):
        clear_earlier_render(output, None, chunks, {})
    output.unlink()
    clear_earlier_render(output, None, chunks, {})
    fill(tmp_path, "out.mp4")  # killed here
    check_output(output, None, workspace, [])


def test_files_are_intact_only_if_all_are_unchanged(tmp_path: Path) -> None:
    folder = fill(tmp_path / "folder", "a", "b", "more")
    known = stamps([folder / "a", folder / "b", folder / "missing"])
    assert set(known) == {"a", "b"}
    assert is_intact(folder, known)
    assert not is_intact(folder, {})
    (folder / "b").write_bytes(b"changed")
    assert not is_intact(folder, known)
    (folder / "b").unlink()
    assert not is_intact(folder, known)


def test_torn_credentials_of_a_killed_merge_are_deleted(tmp_path: Path) -> None:
    """They have the name of the file beside the render, not that of the render."""
    torn = [tmp_path / ".out.0a1b2c3d.part.mkv", tmp_path / ".out.mkv.0a1b2c3d.part.c2pa"]
    other = tmp_path / ".other.mkv.0a1b2c3d.part.c2pa"
    for path in (*torn, other):
        path.write_bytes(b"torn")
    output, chunks = tmp_path / "out.mkv", tmp_path / "workspace" / "merge" / "a" / "b"
    chunks.mkdir(parents=True)
    clear_earlier_render(output, None, chunks, {})
    assert not any(path.exists() for path in torn)
    assert other.exists()
