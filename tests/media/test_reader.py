"""Reader and probe: every frame with its exact time and index, and unreadable files."""

import threading
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.media.conftest import Maker, pattern
from visagist.core.errors import FootageError, InterlacedError
from visagist.core.events import Event, Warned
from visagist.media import Frame, Reader, find_footage, probe, read_picture, write_picture

DEMO = Path(__file__).parents[2] / "src/visagist/demo/footage/target/sbia1a.mpg"
SHARED = Path(__file__).parents[3] / "shared/footage"


def all_frames(path: Path, **options: object) -> list[Frame]:
    with Reader(path, **options) as reader:  # type: ignore[arg-type]
        return list(reader)


def picture_number(frame: Frame) -> tuple[int, ...]:
    return tuple(int(plane.astype(np.int64).sum()) for plane in frame.planes)


def test_demo_footage_yields_every_frame_and_time() -> None:
    footage = probe(DEMO)
    assert (footage.width, footage.height, footage.kind, footage.frames) == (360, 288, "video", None)
    assert [track.codec for track in footage.audio] == ["mp2"]
    assert footage.color.assumed
    assert footage.siting == "center"  # MPEG-1
    assert [frame.time for frame in all_frames(DEMO)] == [Fraction(number, 25) for number in range(75)]


def test_variable_frame_rate_keeps_its_times(make_video: Maker) -> None:
    ticks = [0, 100, 350, 351, 900, 2000, 2003]
    path = make_video("vfr.mp4", times=ticks, clock=Fraction(1, 30000))
    frames = all_frames(path)
    assert [frame.time for frame in frames] == [Fraction(tick, 30000) for tick in ticks]
    assert [frame.index for frame in frames] == list(range(7))
    assert probe(path).frames == 7


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
@pytest.mark.parametrize("options", [{"g": "12"}, {"g": "20", "bf": "3", "flags": "-cgop"}, {"bf": "0", "g": "7"}])
def test_seeking_yields_the_same_frames_as_decoding_from_the_start(
    make_video: Maker, suffix: str, options: dict[str, str]
) -> None:
    path = make_video(f"long.{suffix}", count=100, options=options)
    whole = all_frames(path)
    assert len(whole) == 100
    for first in (1, 31, 48, 60, 77, 99):
        for seek in (True, False):
            part = all_frames(path, first=first, last=first + 5, seek=seek)
            wanted = whole[first : first + 6]
            assert [f.index for f in part] == [f.index for f in wanted]
            assert [f.time for f in part] == [f.time for f in wanted]
            assert [picture_number(f) for f in part] == [picture_number(f) for f in wanted]
    assert all_frames(path, first=100) == []


@pytest.mark.parametrize(("degrees", "size"), [(90, (48, 64)), (180, (64, 48)), (270, (48, 64))])
def test_rotation_is_honoured(make_video: Maker, degrees: int, size: tuple[int, int]) -> None:
    upright = all_frames(make_video("upright.mp4", options={"crf": "1"}))[0].rgb()
    path = make_video("turned.mp4", options={"crf": "1"}, change=lambda s: s.set_display_rotation(-degrees))
    footage = probe(path)
    assert (footage.width, footage.height) == size
    seen = all_frames(path)[0].rgb()
    assert np.abs(np.rot90(upright, -(footage.rotation // 90)) - seen).max() < 0.02
    assert footage.rotation == degrees


def test_pixel_aspect_is_honoured(make_video: Maker) -> None:
    def wide(stream: av.VideoStream) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(16, 11)

    footage = probe(make_video("wide.mp4", size=(64, 48), change=wide))
    assert (footage.width, footage.height, footage.aspect) == (93, 48, Fraction(16, 11))


@pytest.mark.parametrize(("pixel_format", "codec"), [("yuv420p10le", "libx265"), ("yuv422p10le", "prores_ks")])
def test_deep_footage_keeps_its_depth(make_video: Maker, pixel_format: str, codec: str) -> None:
    quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    frames = all_frames(make_video("deep.mov", codec=codec, pixel_format=pixel_format, options=quiet))
    assert frames[0].format == pixel_format
    assert frames[0].planes[0].dtype == np.uint16
    assert len(np.unique(frames[0].planes[0])) > 256


def test_formats_that_are_not_native_are_converted_with_a_note(make_video: Maker) -> None:
    path = make_video("packed.nut", codec="rawvideo", pixel_format="yuyv422")
    footage = probe(path)
    assert (footage.pixel_format, footage.converted_from) == ("yuv422p", "yuyv422")
    events: list[Event] = []
    frames = all_frames(path, on_event=events.append)
    assert len(frames) == 12
    assert any("yuyv422" in getattr(event, "message", "") for event in events)
    assert np.abs(frames[3].rgb() - pattern(64, 48, 3) / 255).mean() < 0.02


def interlaced(make_video: Maker) -> Path:
    def fields(stream: av.VideoStream) -> None:
        stream.codec_context.flags |= av.codec.context.Flags.interlaced_dct

    return make_video("fields.mkv", options={"x264-params": "tff=1"}, change=fields)


def test_interlaced_footage_is_rejected_or_deinterlaced(make_video: Maker) -> None:
    path = interlaced(make_video)
    assert probe(path).interlaced
    with pytest.raises(InterlacedError, match="deinterlac"):
        Reader(path)
    frames = all_frames(path, deinterlace=True)
    assert [frame.time for frame in frames] == [Fraction(number, 25) for number in range(12)]


def test_partly_interlaced_footage_is_rejected_at_that_frame_or_deinterlaced(make_video: Maker) -> None:
    def fields(stream: av.VideoStream) -> None:
        stream.codec_context.flags |= av.codec.context.Flags.interlaced_dct

    parts = [make_video("plain.m2v", codec="mpeg2video", clock=Fraction(1, 25))]
    parts.append(make_video("fields.m2v", codec="mpeg2video", clock=Fraction(1, 25), change=fields))
    path = parts[0].with_name("mixed.m2v")
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert not probe(path).interlaced
    with pytest.raises(InterlacedError, match="--deinterlace"):
        all_frames(path)
    plain, mixed = all_frames(parts[0]), all_frames(path, deinterlace=True)
    assert len(mixed) == 23  # FFmpeg itself loses the frame before the seam
    for before, after in zip(plain[:-1], mixed, strict=False):  # progressive frames pass through unchanged
        np.testing.assert_array_equal(before.planes[0], after.planes[0])


def test_a_playlist_is_rejected(make_video: Maker) -> None:
    path = make_video("video.mp4").with_name("list.ffconcat")
    path.write_text("ffconcat version 1.0\nfile video.mp4\n")
    with pytest.raises(FootageError, match=r"list\.ffconcat: is a playlist"):
        probe(path)


@pytest.mark.parametrize("name", ["take1:2.mp4", "50%done.mp4", "shot%02d.mp4"])
def test_unusual_file_names_are_accepted(make_video: Maker, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video("video.mp4").rename(make_video("video.mp4").with_name(name))
    monkeypatch.chdir(path.parent)
    assert len(all_frames(Path(name))) == 12


def test_stale_statistics_tags_do_not_count_as_damage(make_video: Maker) -> None:
    def stale(stream: av.VideoStream) -> None:
        stream.metadata["NUMBER_OF_FRAMES"] = "500"

    path = make_video("cut.mkv", change=stale)
    with av.open(str(path)) as container:
        assert container.streams.video[0].metadata["NUMBER_OF_FRAMES"] == "500"
    with Reader(path) as reader:
        assert len(list(reader)) == 12
    assert not reader.lost


def test_a_truncated_file_yields_its_good_frames_and_counts_the_lost_ones(make_video: Maker) -> None:
    path = make_video("cut.mov", count=60, options={"g": "10", "bf": "0"}, size=(160, 120))
    whole = all_frames(path)
    with (
        av.open(str(path)) as source,
        av.open(str(path.with_name("front.mov")), "w", options={"movflags": "faststart"}) as out,
    ):
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    front = path.with_name("front.mov")
    data = front.read_bytes()
    front.write_bytes(data[: len(data) * 2 // 3])
    events: list[Event] = []
    with Reader(front, on_event=events.append) as reader:
        frames = list(reader)
    assert reader.damaged
    assert 20 < len(frames) < 60
    assert reader.lost == 60 - len(frames)
    assert any(isinstance(event, Warned) and str(reader.lost) in event.message for event in events)
    assert [picture_number(f) for f in frames[:20]] == [picture_number(f) for f in whole[:20]]


def test_a_damaged_section_costs_only_its_frames(make_video: Maker) -> None:
    path = make_video("hole.mp4", count=60, options={"g": "10", "bf": "0"}, size=(160, 120))
    whole = {frame.time: picture_number(frame) for frame in all_frames(path)}
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 600] = np.random.default_rng(0).bytes(600)
    path.write_bytes(data)
    with Reader(path) as reader:
        frames = list(reader)
    assert reader.damaged
    assert reader.lost
    assert len(frames) + reader.lost == 60
    assert len(frames) > 40
    same = sum(whole[frame.time] == picture_number(frame) for frame in frames)
    assert same > 40


def test_damage_is_detected_without_a_stated_total(tmp_path: Path) -> None:
    data = bytearray(DEMO.read_bytes())
    data[150_000:150_400] = bytes(400)
    path = tmp_path / "hole.mpg"
    path.write_bytes(data)
    with Reader(path) as reader:
        frames = list(reader)
    assert 60 < len(frames) < 75
    assert reader.damaged
    assert reader.lost


def test_audio_text_and_empty_files_are_rejected(tmp_path: Path, make_video: Maker) -> None:
    text, empty, sound, short = (tmp_path / name for name in ("text.mp4", "empty.mp4", "sound.wav", "short.mp4"))
    text.write_text("this is not a video\n" * 50)
    empty.touch()
    with av.open(str(sound), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        out.mux(stream.encode(frame))
    video = make_video("video.mp4")
    short.write_bytes(video.read_bytes()[: video.stat().st_size // 2])  # the index is at the end
    cases = {
        text: "cannot open", empty: "empty", sound: "no video stream", short: "truncated before its index",
        tmp_path / "missing.mp4": "no such file", tmp_path: "image sequence",
    }  # fmt: skip
    for path, message in cases.items():
        with pytest.raises(FootageError, match=message) as caught:
            probe(path)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)


def test_leaving_early_or_with_an_error_ends_the_thread(make_video: Maker) -> None:
    path = make_video(count=50)
    before = threading.active_count()
    with Reader(path) as reader:
        next(iter(reader))
    with pytest.raises(KeyboardInterrupt):  # noqa: SIM117 - the interrupt is raised inside the loop
        with Reader(path) as reader:
            for _ in reader:
                raise KeyboardInterrupt
    assert threading.active_count() == before


def test_a_change_of_size_is_an_error_that_names_the_frame(make_video: Maker, tmp_path: Path) -> None:
    small, large = (make_video(f"{size[0]}.h264", size=size) for size in ((64, 48), (96, 64)))
    both = tmp_path / "both.h264"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    with pytest.raises(FootageError, match="at frame 12"):
        all_frames(both)


@pytest.mark.parametrize(("suffix", "depth"), [(".png", 16), (".tif", 16), (".jpg", 8)])
def test_pictures_are_written_and_read_back(tmp_path: Path, suffix: str, depth: int) -> None:
    picture = pattern(50, 40).astype(np.float32) / 255
    picture[:, :, 2] = np.linspace(0, 1, 50)
    path = tmp_path / f"still{suffix}"
    write_picture(path, picture)
    seen = read_picture(path)
    assert np.abs(seen - picture).max() < (1e-5 if depth == 16 else 0.2)
    assert np.abs(seen - picture).mean() < (1e-5 if depth == 16 else 0.02)
    footage = probe(path)
    assert (footage.kind, footage.frames, len(all_frames(path))) == ("still", 1, 1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured_with_reflections(tmp_path: Path, orientation: int) -> None:
    from PIL import Image, ImageOps

    image = Image.fromarray(pattern(48, 32))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "phone.jpg"
    image.save(path, exif=exif, quality=98, subsampling=0)
    with Image.open(path) as stored:
        wanted = np.asarray(ImageOps.exif_transpose(stored)) / 255
    assert np.abs(read_picture(path) - wanted).max() < 0.03


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_numbered_pictures_form_a_sequence(tmp_path: Path, suffix: str) -> None:
    for number in range(98, 103):
        write_picture(tmp_path / f"shot.{number}{suffix}", pattern(32, 24, number))
    footage = probe(tmp_path, rate=Fraction(24))
    assert (footage.kind, footage.frames, footage.rate) == ("sequence", 5, 24)
    frames = all_frames(footage.path / f"shot.%d{suffix}", first=1, last=3)
    assert [frame.index for frame in frames] == [1, 2, 3]
    assert np.abs(frames[0].rgb() - pattern(32, 24, 99) / 255).mean() < 0.03
    with Reader(footage) as reader:
        assert [frame.time for frame in reader] == [Fraction(number, 24) for number in range(5)]
        assert reader.lost == 0
    (tmp_path / f"shot.100{suffix}").unlink()
    with pytest.raises(FootageError, match="lacks 100"):
        probe(tmp_path / f"shot.%d{suffix}")


def test_a_damaged_picture_of_a_sequence_is_named(tmp_path: Path) -> None:
    for number in range(4):
        write_picture(tmp_path / f"{number:04d}.png", pattern(32, 24, number))
    (tmp_path / "0002.png").write_bytes(b"not a picture")
    with pytest.raises(FootageError, match=r"0002\.png"):
        all_frames(tmp_path)


def test_a_folder_holds_videos_sequences_and_photos(tmp_path: Path, make_video: Maker) -> None:
    make_video("b.mp4")
    for number in range(3):
        write_picture(tmp_path / f"a_{number:03d}.png", pattern(32, 24, number))
    write_picture(tmp_path / "portrait.jpg", pattern(32, 24))
    write_picture(tmp_path / "year_1987.jpg", pattern(32, 24))
    (tmp_path / "notes.txt").write_text("words")
    assert [(f.kind, f.frames) for f in find_footage(tmp_path)] == [
        ("sequence", 3),
        ("video", 12),
        ("photos", 2),
    ]
    (tmp_path / "portrait.jpg").unlink()
    assert [(f.kind, f.path.name) for f in find_footage(tmp_path)][2:] == [("still", "year_1987.jpg")]
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(FootageError, match="no footage"):
        find_footage(empty)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared footage beside this checkout")
@pytest.mark.parametrize(
    ("name", "frames"),
    [
        ("appear_noface_then_face_960x540.mov", 169),
        ("noface_titlecard_960x540.mp4", 95),  # 98 in the index, 3 discarded by an edit list
        ("two_faces_real_480x270.gif", 56),
        ("lowres_asl/again.mkv", 77),
    ],
)
def test_no_frame_of_real_footage_is_lost(name: str, frames: int) -> None:
    with Reader(SHARED / name) as reader:
        read = list(reader)
    assert len(read) == frames
    assert not reader.damaged
    assert reader.lost in (0, None)


def test_a_file_named_like_a_pattern_is_read_itself(tmp_path: Path) -> None:
    """FFmpeg would read p000.png and p001.png, while the hash in the consent record is of the file itself."""
    for name, value in (("p000.png", 10), ("p001.png", 60), ("p%03d.png", 200)):
        write_picture(tmp_path / name, np.full((32, 32, 3), value, np.uint8))
    footage = probe(tmp_path / "p%03d.png")
    assert footage.kind == "still"
    with Reader(footage) as frames:
        (frame,) = frames
    assert frame.rgb().mean() * 255 == pytest.approx(200, abs=1)
