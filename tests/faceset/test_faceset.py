"""Extracting facesets and reading them from disk."""

import base64
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import visagist
from visagist.core.errors import FacesetError, NoFaceError, OutputError, SeveralError
from visagist.core.events import Event, Progress, silent
from visagist.core.settings import read_toml
from visagist.faces import FaceTable, compose, crop_matrix, hull_mask, transform
from visagist.faceset import Faceset, Record, filter_faces, read_crop, read_record, write_crop
from visagist.jobs.extract import LOCK, ExtractOptions, extract, extract_faceset
from visagist.masks import face_classes, visible_face
from visagist.media import Reader, write_picture

DEMO = Path(visagist.__file__).parent / "demo" / "footage"
TARGET = DEMO / "target" / "sbia1a.mpg"
SOURCE = DEMO / "source" / "s1_bbaf2n.mpg"


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> Faceset:
    return extract(TARGET, tmp_path_factory.mktemp("extracted") / "target")


@pytest.fixture
def faceset(extracted: Faceset, tmp_path: Path) -> Path:
    """A copy that a test may modify."""
    shutil.copytree(extracted, tmp_path / "faceset")
    return tmp_path / "faceset"


def crops(folder: Path) -> list[Path]:
    return sorted(folder.glob("[!.]*_*_*.jpg"))


def test_a_clip_becomes_a_faceset(extracted: Faceset) -> None:
    folder, summary = extracted.path, extracted.summary
    assert summary is not None
    assert (summary.frames, summary.faces, summary.others) == (75, 75, 0)
    assert summary.crops + sum(summary.left_out.values()) == 75
    assert summary.crops == len(crops(folder)) > 60
    saved = read_toml(folder / "extract.toml")
    assert (
        ExtractOptions.parse({k: v for k, v in saved.items() if k not in ("footage", "output")}, "") == ExtractOptions()
    )
    assert Faceset.open(extracted) == extracted
    assert len(extracted.footage_hashes) == 1
    assert [r.frame for r in extracted.records] == sorted(r.frame for r in extracted.records)
    table = FaceTable.load(folder / "tables" / "sbia1a.mpg.parquet")
    assert float(extracted.centroid() @ table.identity_embedding(0)) > 0.99


def test_crops_have_native_size_and_records_that_map_to_the_frame(extracted: Faceset) -> None:
    folder, faceset = extracted.path, extracted
    record, pixels = read_crop(faceset.files[20])
    assert pixels.shape == (record.size, record.size, 3)
    assert record.size % 2 == 0
    assert np.sqrt(np.linalg.det(np.array(record.matrix)[:, :2])) == pytest.approx(1, abs=0.01)
    with Image.open(faceset.files[20]) as image:
        assert image.layer[1][1:3] == (1, 1)  # 4:4:4
    face = FaceTable.load(folder / "tables" / "sbia1a.mpg.parquet").faces_of(record.frame)[0]
    matrix = np.array(record.matrix)
    assert np.allclose(transform(matrix, face.landmarks[:, :2]), np.array(record.landmarks)[:, :2], atol=0.01)
    assert record.seconds == face.time
    with Reader(TARGET, first=record.frame, last=record.frame) as reader:
        frame = next(iter(reader))
    # training on the crop and merging into the frame show the same pixels
    direct = frame.warp(crop_matrix(face.alignment, "full", 128), (128, 128))
    images, hulls, features, _ = faceset.load("full", 128, 1.0)
    assert 0.05 < (features > 127).mean() < 0.25 * (hulls > 127).mean() + 0.05
    assert np.abs(images[20] / 255 - direct).mean() < 0.012
    expected = hull_mask(transform(crop_matrix(face.alignment, "full", 128), face.landmarks[:, :2]), 128)
    assert (hulls[20] <= expected.astype(int) + 1).all()
    # without the fringe and the wall beside the cheeks, and nothing else
    assert 0.85 < hulls[20].sum() / expected.sum() < 0.98
    classes = face_classes(frame, face.alignment)
    seen = visible_face(classes, face.alignment, crop_matrix(face.alignment, "full", 128), 128)
    assert np.abs(hulls[20] / 255 - expected / 255 * seen).mean() < 0.005


def test_loading_with_a_margin_keeps_the_square_centred(extracted: Faceset) -> None:
    faceset = extracted
    plain, *_ = faceset.load("mid", 64, 1.0)
    wide, hulls, *_ = faceset.load("mid", 64, 1.25)
    assert wide.shape == (len(faceset), 80, 80, 3)
    assert hulls.shape == (len(faceset), 80, 80)
    assert wide.dtype == hulls.dtype == np.uint8
    assert np.abs(wide[:, 8:72, 8:72].astype(int) - plain).mean() < 1


def test_landmarks_match_the_loaded_pictures(faceset: Path) -> None:
    """The crops are of version 1, which had no masks; their hulls are whole."""
    for path in crops(faceset):
        record, pixels = read_crop(path)
        write_crop(path, pixels, record.model_copy(update={"version": 1, "mask": None}))
    found = Faceset.open(faceset)
    _, hulls, _, landmarks = found.load("full", 64, 1.25)
    assert landmarks.shape == (len(found), 478, 3)
    for hull, points in zip(hulls[::20], landmarks[::20], strict=True):
        assert np.abs(hull_mask(points[:, :2] * 80 - 0.5, 80).astype(int) - hull).mean() < 1


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_record_round_trip(extracted: Faceset, tmp_path: Path, suffix: str) -> None:
    record, pixels = read_crop(crops(extracted.path)[0])
    path = tmp_path / f"crop{suffix}"
    write_crop(path, pixels, record)
    again, same = read_crop(path)
    assert again == record == read_record(path)
    assert np.abs(same.astype(int) - pixels).mean() < (1.0 if suffix == ".jpg" else 1e-9)
    assert len(record.to_json()) < 64_000


def test_the_index_is_only_a_cache(faceset: Path) -> None:
    before = Faceset.open(faceset)
    gone, copied = crops(faceset)[0], crops(faceset)[5]
    gone.unlink()
    copied.rename(faceset / "zzz favourite.jpg")
    after = Faceset.open(faceset)
    assert len(after) == len(before) - 1
    assert {p.name for p in after.files} >= {"zzz favourite.jpg"}
    assert [r.frame for r in after.records] == sorted(r.frame for r in after.records)
    (faceset / "index.parquet").write_bytes(b"nonsense")
    assert Faceset.open(faceset).records == after.records
    (faceset / "index.parquet").unlink()
    assert Faceset.open(faceset).records == after.records


def test_invalid_files_are_named_with_a_remedy(faceset: Path) -> None:
    torn = crops(faceset)[3]
    whole = torn.read_bytes()
    torn.write_bytes(whole[: len(whole) // 2])  # the record is intact, the pixels are not
    with pytest.raises(FacesetError, match=f"{torn.name}.*delete it"):
        Faceset.open(faceset).load("full", 64, 1.0)
    torn.write_bytes(b"not a picture at all")
    with pytest.raises(FacesetError, match=f"{torn.name}.*delete it"):
        Faceset.open(faceset)
    write_picture(torn.with_suffix(".png"), np.zeros((8, 8, 3), np.float32))
    torn.unlink()
    with pytest.raises(FacesetError, match="no visagist record"):
        Faceset.open(faceset)
    with pytest.raises(FacesetError, match="no such folder"):
        Faceset.open(faceset / "nowhere")


def test_a_record_with_another_version_or_a_missing_field_is_rejected(faceset: Path) -> None:
    path = crops(faceset)[0]
    values = json.loads(read_record(path).to_json())
    with pytest.raises(FacesetError, match="version 99"):
        Record.from_json(json.dumps({**values, "version": 99}), path)
    del values["landmarks"]
    with pytest.raises(FacesetError, match="landmarks"):
        Record.from_json(json.dumps(values), path)


def test_a_damaged_mask_is_named(faceset: Path) -> None:
    path = crops(faceset)[0]
    record, pixels = read_crop(path)
    large = io.BytesIO()
    Image.new("RGB", (1024, 1024)).save(large, "PNG")
    for mask in ("AAAA", "not base64", "iVBORw0KGgo=", base64.b64encode(large.getvalue()).decode()):
        write_crop(path, pixels, record.model_copy(update={"mask": mask}))
        with pytest.raises(FacesetError, match=f"{path.name}.*mask.*extract to another folder"):
            Faceset.open(faceset).load("full", 64, 1.0)


def test_repeating_an_extraction_does_nothing_and_a_different_one_is_rejected(faceset: Path) -> None:
    stamps = {path: path.stat().st_mtime_ns for path in crops(faceset)}
    assert len(extract(TARGET, faceset)) == len(stamps)
    assert {path: path.stat().st_mtime_ns for path in crops(faceset)} == stamps
    with pytest.raises(FacesetError, match="other footage"):
        extract(SOURCE, faceset)
    with pytest.raises(FacesetError, match="other options"):
        extract(TARGET, faceset, options=ExtractOptions(min_size=50))


def test_a_sequence_at_a_different_rate_is_a_different_faceset(tmp_path: Path) -> None:
    """Tables once kept the times, and thus the smoothing, of the rate that was used first."""
    plates, tables = tmp_path / "plates", tmp_path / "tables"
    with Reader(TARGET, last=3) as reader:
        for frame in reader:
            write_picture(plates / f"shot_{frame.index:04d}.png", frame.rgb())
    for rate in (Fraction(25), Fraction(24000, 1001)):
        folder = tmp_path / f"faces-{rate.denominator}"
        extract_faceset(plates, folder, ExtractOptions(rate=rate, min_change=0), silent, tables)
        wanted = [number / rate for number in range(4)]
        assert [face.time for face in FaceTable.load(tables / "plates.parquet")] == wanted
        assert [record.seconds for record in Faceset.open(folder).records] == wanted
    with pytest.raises(FacesetError, match="other options"):
        extract_faceset(plates, folder, ExtractOptions(min_change=0), silent, tables)


def test_the_rate_does_not_affect_videos(faceset: Path) -> None:
    assert extract(TARGET, faceset, options=ExtractOptions(rate=Fraction(24))) == extract(TARGET, faceset)


def test_a_killed_extraction_resumes_with_identical_crops(extracted: Faceset, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    shutil.copytree(extracted.path / "tables", folder / "tables")  # so that the kill hits the second pass
    code = (
        f"from visagist import extract; from pathlib import Path; extract(Path({str(TARGET)!r}), Path({str(folder)!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    limit = time.monotonic() + 60
    while len(crops(folder)) < 5 and time.monotonic() < limit:
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    stamps = {path: path.stat().st_mtime_ns for path in crops(folder)}
    assert 5 <= len(stamps) < len(extracted), "it was killed too late for this test"
    events: list[Event] = []
    resumed = extract(TARGET, folder, on_event=events.append)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert resumed.summary == extracted.summary
    assert [path.name for path in folder.glob(".*")] == [LOCK]  # no partial files are left
    assert min(e.done for e in events if isinstance(e, Progress) and e.step == "extract") >= 5
    assert {p.name: p.read_bytes() for p in crops(folder)} == {p.name: p.read_bytes() for p in crops(extracted.path)}


def test_several_people_are_listed_and_one_can_be_chosen(tmp_path: Path) -> None:
    clips = [SOURCE, TARGET]
    tables = tmp_path / "tables"
    with pytest.raises(SeveralError, match="2 people"):
        extract_faceset(clips, tmp_path / "faceset", ExtractOptions(), silent, tables)
    with Image.open(tmp_path / "faceset" / "people.png") as sheet:
        assert sheet.size[1] > 200
    assert not crops(tmp_path / "faceset")
    with Reader(TARGET, last=0) as reader:
        write_picture(tmp_path / "reference.png", next(iter(reader)).rgb())
    options = ExtractOptions(reference=tmp_path / "reference.png")
    faceset = extract_faceset(clips, tmp_path / "faceset", options, silent, tables)
    summary = faceset.summary
    assert summary is not None
    assert (summary.faces, summary.others, summary.frames) == (75, 75, 150)
    (digest,) = faceset.footage_hashes
    assert digest == FaceTable.load(tables / "sbia1a.mpg.parquet").footage_sha256
    assert not (tmp_path / "faceset" / "people.png").exists()


def test_blurred_tiny_occluded_and_duplicate_faces_are_dropped(extracted: Faceset) -> None:
    faces = list(FaceTable.load(extracted.path / "tables" / "sbia1a.mpg.parquet"))[:20]
    loose = {"min_size": 0.0, "min_score": -99.0, "min_sharpness": 0.0, "min_change": 0.0}
    assert filter_faces(faces, **loose) == (faces, {"tiny": 0, "occluded": 0, "blurred": 0, "duplicate": 0})
    assert filter_faces(faces, **{**loose, "min_size": 500.0})[1]["tiny"] == 20
    assert filter_faces(faces, **{**loose, "min_score": 50.0})[1]["occluded"] == 20
    assert filter_faces(faces, **{**loose, "min_sharpness": 0.9})[1]["blurred"] == 20
    kept, left_out = filter_faces([faces[0], *faces[:5]], **{**loose, "min_change": 1e-6})
    assert left_out["duplicate"] == 1
    assert len(kept) == 5


def test_missing_faces_and_unwritable_folders_are_errors(tmp_path: Path) -> None:
    write_picture(tmp_path / "gray.png", np.full((200, 300, 3), 0.5, np.float32))
    with pytest.raises(NoFaceError):
        extract(tmp_path / "gray.png", tmp_path / "faceset")
    with pytest.raises(FacesetError, match="tiny"):
        extract(TARGET, tmp_path / "small", options=ExtractOptions(min_size=400))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="file"):
        extract(TARGET, tmp_path / "file" / "faceset")


def test_a_still_picture_is_footage(tmp_path: Path) -> None:
    with Reader(TARGET, last=0) as reader:
        write_picture(tmp_path / "still.png", next(iter(reader)).rgb())
    faceset = extract(tmp_path / "still.png", tmp_path / "faceset", options=ExtractOptions(format="png"))
    assert [file.suffix for file in faceset.files] == [".png"]
    assert faceset.centroid().shape == (128,)


@pytest.fixture(scope="module")
def close_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The target's face enlarged 12 times, with grain that 512 px of `full` can just resolve."""
    with Reader(TARGET, last=0) as reader:
        picture = next(iter(reader)).rgb()
    large = cv2.resize(picture[40:240, 90:270], None, fx=12, fy=12, interpolation=cv2.INTER_CUBIC)
    grain = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 1, large.shape[:2]), (0, 0), 3.0)
    path = tmp_path_factory.mktemp("close_up") / "close_up.png"
    write_picture(path, np.clip(large + grain[..., None], 0, 1).astype(np.float32))
    return path


def test_a_512_px_network_gets_the_full_resolution_of_a_close_up(close_up: Path, tmp_path: Path) -> None:
    """Crops were once capped at 1024 px, which left 457 px for `full`."""
    difference: dict[int, float] = {}
    with Reader(close_up) as reader:
        frame = next(iter(reader))
    for cap in (1024, 2048):
        options = ExtractOptions(max_crop_size=cap, format="png", min_sharpness=0)
        faceset = extract(close_up, tmp_path / str(cap), options=options)
        (record,) = faceset.records
        assert record.size == cap
        alignment = compose(np.array(record.alignment), np.array(record.matrix))  # frame px to face space
        truth = frame.warp(crop_matrix(alignment, "full", 512), (512, 512)) * 255
        (images, *_) = faceset.load("full", 512, 1.0)
        difference[cap] = float(np.std(images[0] - truth))
    assert difference[2048] < 0.6 * difference[1024]


def test_a_picture_too_large_for_a_crop_is_rejected_before_decoding(tmp_path: Path) -> None:
    """Decompression bombs once took gigabytes, or ended in a traceback beyond Pillow's own limit."""
    for side in (6000, 16000):
        Image.new("L", (side, side)).save(tmp_path / "bomb.png")
        with pytest.raises(FacesetError, match=r"bomb\.png"):
            read_crop(tmp_path / "bomb.png")
