"""Folders of photos, as distinct from image sequences."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.media.conftest import Maker, pattern
from visagist.core.errors import FootageError
from visagist.core.events import Event, Note
from visagist.media import Reader, find_footage, note_reading, probe, probe_shot, read_picture, write_picture


def photo(path: Path, size: tuple[int, int] = (48, 32), *, turn: int = 1, camera: str | None = None) -> Path:
    """Write a JPEG with an EXIF orientation and camera name."""
    exif = Image.Exif()
    exif[0x0112] = turn
    if camera is not None:
        exif[0x0110] = camera
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pattern(*size)).save(path, exif=exif, quality=98, subsampling=0)
    return path


def test_photos_of_different_sizes_with_a_missing_number_are_one_footage(tmp_path: Path) -> None:
    """Such a folder was once rejected as an incomplete sequence."""
    photo(tmp_path / "IMG_0001.jpg", (48, 32), turn=6)
    photo(tmp_path / "IMG_0002.jpg", (64, 40))
    photo(tmp_path / "IMG_0004.jpg", (40, 64), turn=3)
    (footage,) = find_footage(tmp_path)
    assert (footage.kind, footage.frames) == ("photos", 3)
    with Reader(footage) as reader:
        frames = list(reader)
    assert [(frame.index, frame.width, frame.height) for frame in frames] == [(0, 32, 48), (1, 64, 40), (2, 40, 64)]
    upright = [np.rot90(pattern(48, 32), -1), pattern(64, 40), np.rot90(pattern(40, 64), 2)]
    for frame, wanted in zip(frames, upright, strict=True):
        assert np.abs(frame.rgb() - wanted / 255).mean() < 0.01


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        ({"size": (64, 32)}, "differs in size"),
        ({"turn": 3}, "differs in size or orientation"),
        ({"camera": "Pixel 9"}, "taken by a camera (Pixel 9)"),
    ],
)
def test_consecutively_numbered_photos_are_recognised(tmp_path: Path, second: dict[str, object], reason: str) -> None:
    photo(tmp_path / "a1.jpg")
    photo(tmp_path / "a2.jpg", **second)  # type: ignore[arg-type]
    footage = probe(tmp_path)
    assert footage.kind == "photos"
    assert reason in str(footage.reason)
    said: list[Event] = []
    note_reading([footage], "extract", said.append)
    (note,) = said
    assert isinstance(note, Note)
    assert reason in note.message
    with pytest.raises(FootageError, match=r"holds photos .*\(a\d\.jpg .*pattern"):
        probe_shot(tmp_path)
    assert probe_shot(tmp_path / "a%d.jpg").kind == "sequence"  # a pattern always means a sequence


def test_numbers_far_apart_are_photos_and_checked_quickly(tmp_path: Path) -> None:
    for number in (1, 20240131235959, 99999999999999999999):
        photo(tmp_path / f"IMG_{number}.jpg")
    assert probe(tmp_path).kind == "photos"


def test_a_plate_sequence_with_a_gap_is_an_error(tmp_path: Path) -> None:
    for number in (1, 2, 4):
        (tmp_path / f"plate.{number:04d}.dpx").write_bytes(b"SDPX")
    with pytest.raises(FootageError, match="lacks 3"):
        find_footage(tmp_path)


def test_videos_beside_photos(tmp_path: Path, make_video: Maker) -> None:
    make_video("clip.mp4")
    photo(tmp_path / "x.jpg")
    photo(tmp_path / "y.jpg", (40, 40))
    assert [footage.kind for footage in find_footage(tmp_path)] == ["video", "photos"]
    with pytest.raises(FootageError, match="pass a file"):
        probe(tmp_path)


def test_a_damaged_photo_is_named(tmp_path: Path) -> None:
    photo(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_bytes(b"not a picture")
    with pytest.raises(FootageError, match=r"b\.jpg"), Reader(tmp_path) as reader:
        list(reader)


@pytest.mark.parametrize("bits", [8, 10])
def test_heic_is_read_with_its_depth(tmp_path: Path, bits: int) -> None:
    import pillow_heif

    picture = pattern(64, 48)
    path = tmp_path / "IMG_0001.HEIC"
    if bits == 8:
        pillow_heif.from_pillow(Image.fromarray(picture)).save(path, quality=-1, chroma=444)
    else:
        words = (picture.astype(np.uint16) * 257).tobytes()
        pillow_heif.from_bytes("RGB;16", (64, 48), words).save(path, quality=-1, chroma=444)
    write_picture(tmp_path / "IMG_0002.jpg", pattern(32, 24))
    footage = probe(tmp_path)
    assert (footage.kind, footage.frames) == ("photos", 2)
    with Reader(footage, last=0) as reader:
        (frame,) = reader
    assert frame.format == ("rgb24" if bits == 8 else "rgb48le")
    assert np.abs(frame.rgb() - picture / 255).mean() < 0.01
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(FootageError, match="IMG_0001"):
        probe(path)


def test_heic_is_rotated_once(tmp_path: Path) -> None:
    """libheif rotates the picture, so the EXIF orientation that phones also write must be ignored."""
    import pillow_heif

    path, exif = tmp_path / "phone.heic", Image.Exif()
    exif[0x0112] = 6
    picture = pattern(64, 48)
    pillow_heif.encode("RGB", (64, 48), picture.tobytes(), path, exif=exif.tobytes(), quality=-1, chroma=444)
    assert np.abs(read_picture(path) - np.rot90(picture, -1) / 255).mean() < 0.01


def test_heic_without_the_extra_raises_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "a.heic"
    path.write_bytes(b"heic")
    program = "import sys; sys.modules['pillow_heif'] = None; from visagist.cli import main; sys.exit(main())"
    arguments = ["extract", str(path), "-o", str(tmp_path / "faces")]
    ended = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "visagist[heic]" in ended.stderr
    assert "a.heic" in ended.stderr
