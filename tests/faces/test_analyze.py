"""Face tables: tracks, cuts, identities and resuming."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from visagist.core.errors import FootageError, NoFaceError, SeveralError
from visagist.core.events import Event, Progress
from visagist.core.files import sha256
from visagist.faces import AnalyzeOptions, FaceTable, analyze, choose_identity, cluster, describe
from visagist.faces.analyze import PART_FRAMES
from visagist.media import write_picture

from .conftest import SHARED, SOURCES, TARGET, frames_of, pixels_of

Clip = Callable[[str, Sequence[np.ndarray]], Path]


def same(a: FaceTable, b: FaceTable) -> bool:
    """Whether two tables are numerically identical."""
    names = ("frame", "time", "track", "identity", "score", "sharpness", "thumbnail")
    arrays = ("box", "landmarks", "pose", "blendshapes", "alignment", "embedding")
    return (
        len(a) == len(b)
        and all(getattr(x, n) == getattr(y, n) for x, y in zip(a, b, strict=True) for n in names)
        and all(np.array_equal(getattr(x, n), getattr(y, n)) for x, y in zip(a, b, strict=True) for n in arrays)
    )


def test_one_speaker_is_one_track(target_table: FaceTable, tmp_path: Path) -> None:
    assert target_table.frames == len(target_table) == 75
    assert target_table.footage_sha256 == sha256(TARGET)
    assert target_table.lost in (0, None)
    assert [face.frame for face in target_table] == list(range(75))
    assert set(target_table.tracks()) == set(target_table.identities()) == {0}
    assert [face.time for face in target_table] == [frame.time for frame in frames_of(TARGET)]
    assert isinstance(target_table.faces_of(3)[0].time, Fraction)
    assert target_table.faces_of(75) == []
    embedded = [face.frame for face in target_table if face.embedding is not None]
    assert embedded == list(range(0, 75, 5))  # five per second at 25 frames per second
    target_table.save(tmp_path / "copy.parquet")
    assert same(FaceTable.load(tmp_path / "copy.parquet"), target_table)


def test_two_people_side_by_side_are_two_tracks_and_identities(two_people: Path, tmp_path: Path) -> None:
    table = analyze(two_people, tmp_path / "two.parquet")
    assert len(table.tracks()) == len(table.identities()) == 2
    assert all(len(table.faces_of(i)) == 2 for i in range(30))
    for faces in table.tracks().values():
        left = {bool(face.box[2] < 360) for face in faces}
        assert len(left) == 1  # tracks are never swapped

    with pytest.raises(SeveralError, match="2 people"):
        choose_identity(table, None, None, tmp_path)
    assert (tmp_path / "people.png").stat().st_size > 5000
    write_picture(tmp_path / "reference.png", frames_of(TARGET, 70)[70].rgb())
    target = choose_identity(table, tmp_path / "reference.png", None, tmp_path)
    assert all(face.box[0] > 360 for face in table.identities()[target])
    assert choose_identity(table, None, 1, tmp_path) == 1
    with pytest.raises(NoFaceError, match="no identity 7"):
        choose_identity(table, None, 7, tmp_path)


def test_a_cut_ends_the_track_even_if_the_faces_coincide(make_clip: Clip, tmp_path: Path) -> None:
    cut = make_clip("cut.mp4", pixels_of(SOURCES[0], 19) + pixels_of(TARGET, 19))
    table = analyze(cut, tmp_path / "cut.parquet")
    assert len(table) == 40
    for faces in table.tracks().values():
        assert len({face.frame < 20 for face in faces}) == 1
    assert len(table.identities()) == 2
    # smoothing does not cross the cut
    alone = analyze(make_clip("alone.mp4", pixels_of(SOURCES[0], 19)), tmp_path / "alone.parquet")
    last, expected = table.faces_of(19)[0], alone.faces_of(19)[0]
    assert np.allclose(last.alignment @ [180, 140, 1], expected.alignment @ [180, 140, 1], atol=0.02)


def test_a_returning_face_is_one_identity_with_two_tracks(make_clip: Clip, tmp_path: Path) -> None:
    pictures = pixels_of(TARGET, 29)
    empty = [np.full_like(pictures[0], 90) for _ in range(10)]
    table = analyze(make_clip("gap.mp4", [*pictures[:15], *empty, *pictures[15:]]), tmp_path / "gap.parquet")
    assert [len(faces) for faces in table.tracks().values()] == [15, 15]
    assert all(table.faces_of(i) == [] for i in range(15, 25))
    assert set(table.identities()) == {0}


def test_a_rolled_face_is_followed(make_clip: Clip, tmp_path: Path) -> None:
    lying = [np.ascontiguousarray(np.rot90(picture)) for picture in pixels_of(TARGET, 9)]
    table = analyze(make_clip("lying.mp4", lying), tmp_path / "lying.parquet")
    assert len(table) == 10
    assert all(abs(abs(face.pose[2]) - 90) < 10 for face in table)


def test_identities_are_consistent_across_tables(target_table: FaceTable, two_people: Path, tmp_path: Path) -> None:
    other = analyze(two_people, tmp_path / "two.parquet")
    labels = cluster([other, target_table])
    assert labels[1][0] == 0  # the target, with the most frames
    right = next(track for track, faces in other.tracks().items() if faces[0].box[0] > 360)
    assert labels[0][right] == 0
    assert sorted(labels[0].values()) == [0, 1]


def test_a_finished_table_is_reused_unless_options_change(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    clip = SOURCES[1]
    first = analyze(clip, path)
    stamp = path.stat().st_mtime_ns
    assert same(analyze(clip, path), first)
    assert path.stat().st_mtime_ns == stamp
    assert len(analyze(clip, path, options=AnalyzeOptions(min_size=200))) == 0
    assert path.stat().st_mtime_ns != stamp
    path.write_bytes(b"PAR1 torn")
    with pytest.raises(FootageError, match="not a Parquet table"):
        FaceTable.load(path)


def test_a_killed_analysis_resumes_with_an_identical_table(make_clip: Clip, tmp_path: Path) -> None:
    pictures = [picture for clip in SOURCES[:2] for picture in pixels_of(clip)] + pixels_of(TARGET, 19)
    clip = make_clip("long.mp4", pictures)
    unbroken = analyze(clip, tmp_path / "unbroken.parquet")
    path = tmp_path / "killed.parquet"
    code = f"from visagist import analyze; analyze({str(clip)!r}, {str(path)!r})"
    process = subprocess.Popen([sys.executable, "-c", code])
    parts = tmp_path / ".killed.parts"
    limit = time.monotonic() + 60
    while not list(parts.glob("[0-9]*.parquet")) and time.monotonic() < limit:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not path.exists(), "it was killed too late for this test"
    events: list[Event] = []
    again = analyze(clip, path, on_event=events.append)
    assert min(event.done for event in events if isinstance(event, Progress)) > PART_FRAMES
    assert same(again, unbroken)
    assert not parts.exists()


@pytest.mark.parametrize("name", ["noface_bottles_640x360.mp4", "noface_titlecard_960x540.mp4"])
def test_footage_without_faces_yields_none(name: str) -> None:
    if not (SHARED / name).is_file():
        pytest.skip("no ../shared footage here")
    pictures = frames_of(SHARED / name, 94)
    assert [face for frame in pictures[::10] for face in describe(frame)] == []
