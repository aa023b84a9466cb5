"""What kills and faulty disks leave behind: it is found out, and made again or skipped."""

import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from visagist.core.errors import OutputError
from visagist.core.events import silent
from visagist.core.files import atomic, is_temporary, scratch_folder, sweep, write_atomic
from visagist.demo import TARGET
from visagist.faces import FaceTable, analyze
from visagist.jobs.chunks import ChunkRenderer
from visagist.jobs.output_paths import read_report, report_path
from visagist.jobs.workspace_locks import locked_folder
from visagist.media import EncodeOptions, Reader, probe
from visagist.merging import MergeOptions
from visagist.training.run import EVENTS, logged_validations


@pytest.fixture
def renderer(tmp_path: Path) -> ChunkRenderer:
    """Renders the bundled target without a face, so that no network is needed."""
    footage = probe(TARGET)
    folder = tmp_path / "chunks"
    folder.mkdir()
    encoding = EncodeOptions().resolved(footage, tmp_path / "out.mp4")
    return ChunkRenderer(footage, lambda _: "no face", None, MergeOptions(), encoding, folder, seek=True)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("spoil", [truncated, flipped, Path.unlink, lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("suffix", [".nut", ".json"])
def test_a_spoilt_chunk_or_note_is_rendered_again(
    suffix: str, spoil: Callable[[Path], object], renderer: ChunkRenderer
) -> None:
    (chunk,) = renderer.render(0, 5, silent).files
    whole = chunk.read_bytes()
    spoil(chunk.with_suffix(suffix))
    assert renderer.render(0, 5, silent).files == [chunk]
    assert chunk.read_bytes() == whole
    assert renderer.render(0, 5, silent).untouched[5].frame == 5


def test_a_chunk_of_other_frames_is_rendered_again(renderer: ChunkRenderer) -> None:
    """Its note states its length, and an excerpt must not pass for the whole."""
    renderer.render(0, 2, silent)
    (chunk,) = renderer.render(0, 5, silent).files
    with Reader(chunk) as frames:
        assert len(list(frames)) == 6


def test_chunks_are_private(tmp_path: Path) -> None:
    folder = tmp_path / "merge" / "0123456789abcdef"
    folder.mkdir(parents=True, mode=0o755)
    with locked_folder(folder, tmp_path / "out.mp4"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_unfinished_parts_of_a_face_table_are_no_parts(tmp_path: Path) -> None:
    clip, table = tmp_path / "clip.mpg", tmp_path / "tables" / "clip.parquet"
    shutil.copy(TARGET, clip)
    parts = table.with_name(".clip.parts")
    parts.mkdir(parents=True)
    (parts / ".000000125.0a1b2c3d.part.parquet").write_bytes(b"PAR1 torn")
    (parts / "000000125.parquet").write_bytes(b"PAR1 spoilt by the disk")
    analyze(probe(clip), table)
    assert FaceTable.load(table).frames == 75
    assert not parts.exists()


def test_sweeping_spares_finished_files(tmp_path: Path) -> None:
    """And those of the user that merely resemble unfinished ones."""
    keep = [tmp_path / name for name in ("a.png", ".hidden.part", "x.0a1b2c3d.part.png", ".a.0a1b2c3d.part.png.bak")]
    for path in keep:
        path.write_bytes(b"")
    with pytest.raises(OutputError), atomic(tmp_path / "b.png") as temporary:
        temporary.write_bytes(b"half")
        left = temporary.with_name(temporary.name)
        shutil.copy(temporary, tmp_path / ".c.0a1b2c3d.part.png")
        raise OSError(28, "No space left on device")
    assert not left.exists()
    assert is_temporary(tmp_path / ".c.0a1b2c3d.part.png")
    sweep(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(keep)


@pytest.mark.parametrize(
    "text", ["", "[]", "5", "{", '{"files": 3}', '{"untouched": [1]}', "[" * 100_000, '{"frames": NaN}']
)
def test_a_report_that_is_none_is_as_good_as_absent(text: str, tmp_path: Path) -> None:
    write_atomic(report_path(tmp_path / "out.mp4"), text)
    assert read_report(tmp_path / "out.mp4").files == {}


def test_event_logs_are_read_as_far_as_they_are_valid(tmp_path: Path) -> None:
    good = b'{"event": "metric", "step": "validation", "iteration": %d, "values": {"ssim_source": 0.5}}\n'
    bad = [b"\xff\xfe\n", b"5\n", b"null\n", b'{"event": "metric", "iteration": 7}\n', b"[" * 5000 + b"\n", b'{"event"']
    (tmp_path / EVENTS).write_bytes((good % 10) + b"".join(bad[:-1]) + (good % 20) + bad[-1])
    assert list(logged_validations(tmp_path, 100)) == [10, 20]


WRITER = """
import sys, time
from pathlib import Path
from visagist.core.files import atomic, scratch_folder
with scratch_folder(Path(sys.argv[1]), "work") as folder, atomic(Path(sys.argv[1]) / "a.json") as temporary:
    temporary.write_bytes(b"half")
    (folder / "x").write_bytes(b"private")
    print("ready", flush=True)
    time.sleep(60)
"""


SAVER = """
import os, signal, sys
from pathlib import Path
import safetensors.torch
from visagist.core.tensors import save_tensors

def killed(tensors, file, notes):
    Path(file).with_name(".tmpAbCdEf").write_bytes(b"half")  # what safetensors writes before it renames
    os.kill(os.getpid(), signal.SIGKILL)

safetensors.torch.save_file = killed
save_tensors(Path(sys.argv[1]), {}, {})
"""


def test_what_safetensors_had_begun_to_write_is_deleted(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", SAVER, str(tmp_path / "00000004.safetensors")], check=False)
    assert list(tmp_path.rglob(".tmp*"))
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_next_writer_deletes_what_a_killed_one_left_but_nothing_of_a_living_one(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        left = sorted(path.name for path in tmp_path.iterdir())
        assert len(left) == 2
        assert stat.S_IMODE((tmp_path / left[1]).stat().st_mode) == 0o700
        write_atomic(tmp_path / "a.json", "whole")
        write_atomic(tmp_path / "b.json", "whole")
        with scratch_folder(tmp_path, "work"):
            assert {path.name for path in tmp_path.iterdir()} > {*left, "a.json", "b.json"}
        writer.kill()
    write_atomic(tmp_path / "b.json", "whole")
    assert {path.name for path in tmp_path.iterdir()} == {*left, "a.json", "b.json"}
    write_atomic(tmp_path / "a.json", "whole")
    with scratch_folder(tmp_path, "work"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"a.json", "b.json"}
