"""A folder of ordinary photos as footage, on the real command line."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import CLIPS, visagist
from visagist import Faceset
from visagist.core.files import sha256
from visagist.demo import SOURCE, SOURCE_CONSENT, TARGET
from visagist.faces import FaceTable, align
from visagist.media import Reader
from visagist.provenance import load_consent


def save(path: Path, rgb: np.ndarray, *, turn: int = 1, height: int = 288) -> None:
    """Save an upright picture as a JPEG with the EXIF orientation `turn` (1, 3, 6 or 8)."""
    image = Image.fromarray(np.rint(np.rot90(rgb, {1: 0, 3: 2, 6: 1, 8: -1}[turn]) * 255).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = turn
    image.resize((round(height * image.width / image.height), height)).save(path, exif=exif, quality=95)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four photos of the source's speaker, the first two identical, and two of the target's."""
    folder = tmp_path_factory.mktemp("phone") / "photos"
    folder.mkdir()
    shots = [(SOURCE / CLIPS[0], 10), (SOURCE / CLIPS[0], 11), (SOURCE / CLIPS[1], 30), (SOURCE / CLIPS[1], 60)]
    shots += [(TARGET, 20), (TARGET, 50)]
    turns, heights = (6, 1, 8, 3, 1, 6), (360, 288, 400, 300, 288, 500)
    for number, (clip, index), turn, height in zip((1, 2, 4, 5, 6, 9), shots, turns, heights, strict=True):
        with Reader(clip, first=index, last=index) as reader:
            save(folder / f"IMG_{number:04d}.jpg", next(iter(reader)).rgb(), turn=turn, height=height)
    return folder


def test_a_folder_of_photos_is_extracted(photos: Path, tmp_path: Path) -> None:
    """It was once refused: "the image sequence IMG_0001.jpg … lacks 3; add them or renumber"."""
    faces = tmp_path / "faces"
    ended = visagist("extract", photos, "-o", faces)
    assert ended.code == 1
    assert "2 people" in ended.err  # clustered over the photos, each of which shows one face
    assert "6 separate photos (IMG_0001.jpg … lacks 3, 7, 8)" in ended.err

    ended = visagist("extract", photos, "-o", faces, "--identity", "0")
    assert ended.code == 0, ended.err
    assert len(list(faces.glob("*.jpg"))) == 4
    table = FaceTable.load(faces / "tables" / "photos.parquet")
    assert table.frames == 6
    assert len({face.track for face in table}) == 6
    for face in table:
        assert abs(face.pose[2]) < 20  # upright
        assert np.allclose(face.alignment, align(face.landmarks))  # nothing is smoothed from photo to photo

    found = Faceset.open(faces)
    hashes = [sha256(file) for file in sorted(photos.iterdir())]
    assert set(found.footage_hashes) == set(hashes[:4])

    # Each photo is covered by its own hash, whether the folder was named or the photos.
    new = ("consent", "new", "--name", "x", "--adult", "--basis", "self", "--statement", "a", "--scope", "b")
    for name, given in {"folder": [photos], "files": sorted(photos.iterdir())}.items():
        footage = [argument for file in given for argument in ("--footage", file)]
        made = visagist(*new, tmp_path / f"{name}.toml", *footage)
        assert made.code == 0, made.err
        assert load_consent(tmp_path / f"{name}.toml").footage_sha256 == tuple(hashes)


def test_photos_are_refused_as_a_target(photos: Path, tmp_path: Path) -> None:
    consents = ("--source-consent", SOURCE_CONSENT, "--target-consent", SOURCE_CONSENT)
    commands = [
        ("merge", photos, "-o", tmp_path / "out", *consents, "--allow-no-face"),
        ("swap", SOURCE / CLIPS[0], photos, "-o", tmp_path / "out", *consents),
    ]
    for command in commands:
        ended = visagist(*command)
        assert ended.code == 1
        assert f"{photos}: holds photos rather than a shot (IMG_0001.jpg … lacks 3, 7, 8)" in ended.err
        assert "shot_%04d.png" in ended.err
    assert not list(tmp_path.iterdir())


def test_an_interrupted_extraction_of_photos_continues(photos: Path, tmp_path: Path) -> None:
    """A photo that is added later is other footage, as a changed video is."""
    folder, faces = tmp_path / "photos", tmp_path / "faces"
    shutil.copytree(photos, folder)
    assert visagist("extract", folder, "-o", faces, "--identity", "0").code == 0
    (folder / "IMG_0009.jpg").unlink()
    ended = visagist("extract", folder, "-o", faces, "--identity", "0")
    assert ended.code == 1
    assert "other footage" in ended.err
