"""ChunkWriter and join: renders keep the target's timing, geometry, colour, depth, audio, chapters and timecode."""

import hashlib
import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.media.conftest import Maker, pattern
from visagist.core.errors import ConfigError, OutputError
from visagist.media import ChunkWriter, EncodeOptions, Footage, Frame, JoinSummary, Reader, join, probe, write_picture
from visagist.media.timecode import moved_timecode

DEMO = Path(__file__).parents[2] / "src/visagist/demo/footage/target/sbia1a.mpg"


def render(
    target: Footage, output: Path, chunk: int = 5, frames: tuple[int, int] | None = None, **options: object
) -> JoinSummary:
    """Render the unchanged target to `output` in chunks of `chunk` frames."""
    chosen = EncodeOptions(**options).resolved(target, output)  # type: ignore[arg-type]
    first, last = frames or (0, None)
    chunks: list[Path] = []
    with Reader(target, first=first, last=last) as reader:
        waiting: list[Frame] = []
        for frame in [*reader, None]:
            if frame is None or len(waiting) == chunk:
                if waiting:
                    chunks.append(output.with_name(f"{output.name}.{len(chunks):04d}.nut"))
                    with ChunkWriter(chunks[-1], target, chosen) as writer:
                        for each in waiting:
                            writer.write(each)
                waiting = []
            if frame is not None:
                waiting.append(frame)
    return join(chunks, output, target, chosen, frames=frames)


def all_frames(path: Path | Footage) -> list[Frame]:
    with Reader(path) as reader:
        return list(reader)


def times(path: Path | Footage) -> list[Fraction]:
    return [frame.time for frame in all_frames(path)]


def decoding_times(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        return [packet.dts for packet in container.demux(video=0) if packet.dts is not None]


def sound_packets(path: Path) -> list[tuple[float, str]]:
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(audio=0) if packet.size]
        return [(float(p.pts * p.time_base), hashlib.sha256(bytes(p)).hexdigest()) for p in packets]


VFR = [0, 512, 700, 1536, 2048, 2300, 4000, 4001, 5000, 6100, 6200, 9000, 9512]


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_times_match_the_target_across_chunks_with_b_frames(make_video: Maker, suffix: str, codec: str) -> None:
    clock = Fraction(1, 1000) if suffix == "mkv" else Fraction(1, 12800)
    target = probe(make_video(f"target.{suffix}", times=VFR, clock=clock))
    output = target.path.with_name(f"out.{suffix}")
    summary = render(target, output, codec=codec, encoder_preset="medium")
    assert summary.frames == len(VFR)
    assert summary.notes == ()
    assert times(output) == [tick * clock for tick in VFR]
    decoding = decoding_times(output)
    assert decoding == sorted(set(decoding))
    made = probe(output)
    assert made.codec == {"h264": "h264", "h265": "hevc"}[codec]
    if suffix != "mkv":
        with av.open(str(output)) as container:  # the only H.265 tag that Apple's players accept
            assert container.streams.video[0].codec_context.codec_tag == {"h264": "avc1", "h265": "hvc1"}[codec]
    assert (made.display, made.pixel_format) == (target.display, target.pixel_format)
    if suffix != "mkv":
        assert made.frames == len(VFR)
        assert made.duration == Fraction(9512 + 512, 12800)  # the last frame is as long as the one before
        assert bytes(output.read_bytes()).index(b"moov") < output.read_bytes().index(b"mdat")


def test_matroska_rounding_is_noted(make_video: Maker) -> None:
    target = probe(make_video("target.mp4", times=[tick for tick in VFR if tick != 4001]))
    summary = render(target, target.path.with_name("out.mkv"))
    assert any("millisecond" in note for note in summary.notes)
    rounded = times(target.path.with_name("out.mkv"))
    assert max(abs(a - b) for a, b in zip(rounded, times(target), strict=True)) <= Fraction(1, 1999)


def test_a_late_start_is_kept_and_a_start_far_from_zero_is_reset(make_video: Maker) -> None:
    late = probe(make_video("late.mp4", times=[5000, 5512, 6024]))
    render(late, late.path.with_name("out.mp4"))
    assert times(late.path.with_name("out.mp4")) == times(late) == [Fraction(t, 12800) for t in (5000, 5512, 6024)]
    far = probe(make_video("far.ts", times=[900_000, 903_600, 907_200], clock=Fraction(1, 90000)))
    assert far.start > 1
    summary = render(far, far.path.with_name("far.mp4"))
    assert any("zero" in note for note in summary.notes)
    assert times(far.path.with_name("far.mp4")) == [Fraction(number, 25) for number in range(3)]


@pytest.mark.parametrize(
    ("pixel_format", "codec", "expected", "lossless"),
    [
        ("yuv420p", "libx264", "h264", "yuv420p"),
        ("yuv444p", "libx264", "h264", "yuv444p"),
        ("yuv420p10le", "libx265", "hevc", "yuv420p10le"),
        ("yuv422p10le", "prores_ks", "prores", "yuv422p10le"),
    ],
)
def test_depth_and_pixel_format_follow_the_target(
    make_video: Maker, pixel_format: str, codec: str, expected: str, lossless: str
) -> None:
    quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    target = probe(make_video("target.mov", codec=codec, pixel_format=pixel_format, options=quiet, count=4))
    summary = render(target, target.path.with_name("out.mov"))
    made = probe(summary.path)
    assert (made.codec, made.pixel_format, summary.notes) == (expected, lossless, ())
    before, after = all_frames(target)[2], all_frames(made)[2]
    depth = before.layout.depth
    for a, b in zip(before.planes, after.planes, strict=True):
        assert np.abs(a.astype(int) - b).mean() < 2 * 2 ** (depth - 8)


def test_lossless_h264_preserves_all_decoded_samples(make_video: Maker) -> None:
    target = probe(make_video("target.mp4", count=4))
    summary = render(target, target.path.with_name("out.mp4"), crf=0)
    for before, after in zip(all_frames(target), all_frames(summary.path), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(before.planes, after.planes, strict=True))


def test_losses_of_the_codec_are_noted(make_video: Maker) -> None:
    target = probe(make_video("target.mov", codec="prores_ks", pixel_format="yuva444p10le", count=2))
    summary = render(target, target.path.with_name("out.mp4"))
    assert any("alpha" in note for note in summary.notes)
    odd = probe(make_video("odd.mkv", codec="ffv1", size=(51, 37), count=2))
    summary = render(odd, odd.path.with_name("odd.mp4"))
    assert any("yuv444p" in note for note in summary.notes)
    assert probe(summary.path).display == odd.display


def test_colour_tags_aspect_and_rotation_are_kept(make_video: Maker) -> None:
    def tagged(stream: av.VideoStream) -> None:
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = 9, 9, 14, 2
        context.sample_aspect_ratio = Fraction(4, 3)
        stream.set_display_rotation(90)

    target = probe(make_video("target.mov", change=tagged))
    assert (target.color.matrix, target.color.range, target.color.transfer) == ("bt2020nc", "pc", "bt2020-10")
    assert target.rotation in (90, 270)
    for suffix in ("mp4", "mov", "mkv"):
        made = probe(render(target, target.path.with_name(f"out.{suffix}")).path)
        assert made.color == target.color
        assert made.display == target.display
    plain = probe(make_video("plain.mp4"))
    assert probe(render(plain, plain.path.with_name("out2.mp4")).path).color == plain.color


@pytest.mark.parametrize(
    ("sound", "source", "suffix", "copied"),
    [
        ("aac", "mp4", "mp4", True),
        ("ac3", "mov", "mp4", True),
        ("pcm_s16le", "mov", "mov", True),
        ("pcm_s16le", "mov", "mkv", True),
        ("pcm_s16le", "mov", "mp4", False),
        ("mp2", "mkv", "mkv", True),
        ("mp2", "mkv", "mp4", False),
    ],
)
def test_audio_is_copied_if_players_support_it(
    make_video: Maker, sound: str, source: str, suffix: str, copied: bool
) -> None:
    clock = Fraction(1, 1000) if source == "mkv" else Fraction(1, 12800)
    target = probe(make_video(f"target.{source}", count=25, sound=sound, clock=clock))
    summary = render(target, target.path.with_name(f"out.{suffix}"), chunk=10)
    before, after = sound_packets(target.path), sound_packets(summary.path)
    if copied:
        if sound != "pcm_s16le":  # demuxers split PCM into packets differently
            assert [digest for _, digest in after] == [digest for _, digest in before]
            assert max(abs(a - b) for (a, _), (b, _) in zip(after, before, strict=True)) < 0.0011
        assert samples(summary.path) == samples(target.path)
        assert summary.notes == ()
    else:
        assert probe(summary.path).audio[0].codec == "aac"
        assert any("AAC" in note for note in summary.notes)
        assert abs(loud(summary.path) - loud(target.path)) < 0.03


def samples(path: Path) -> str:
    """Hash of all decoded audio samples."""
    digest = hashlib.sha256()
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            digest.update(frame.to_ndarray().tobytes() if frame.format.is_packed else frame.to_ndarray().T.tobytes())
    return digest.hexdigest()


def loud(path: Path) -> float:
    """Seconds of audio in the file."""
    with av.open(str(path)) as container:
        return sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0) if frame.pts >= 0)


def test_demo_footage_becomes_an_mp4_with_audio_for_browsers(tmp_path: Path) -> None:
    target = probe(DEMO)
    summary = render(target, tmp_path / "out.mp4", chunk=30)
    made = probe(summary.path)
    assert [track.codec for track in made.audio] == ["aac"]
    assert times(summary.path) == times(target)


def test_an_excerpt_starts_at_zero_with_its_part_of_the_audio(make_video: Maker) -> None:
    target = probe(make_video("target.mp4", count=50, sound="aac", chapters=True))
    summary = render(target, target.path.with_name("out.mp4"), frames=(10, 29))
    assert times(summary.path) == [Fraction(number, 25) for number in range(20)]
    before, after = sound_packets(target.path), sound_packets(summary.path)
    kept = [(time - 0.4, digest) for time, digest in before if 0.4 - 1024 / 44100 < time < 1.2]
    assert [digest for _, digest in after] == [digest for _, digest in kept]
    assert max(abs(a - b) for (a, _), (b, _) in zip(after, kept, strict=True)) < 0.001


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_chapters_and_timecode_are_kept(make_video: Maker, suffix: str) -> None:
    def coded(stream: av.VideoStream) -> None:
        stream.metadata["timecode"] = "10:00:00:00"

    target = probe(make_video("target.mov", chapters=True, change=coded))
    assert target.timecode == "10:00:00:00"
    assert [chapter.title for chapter in target.chapters] == ["one", "two"]
    made = probe(render(target, target.path.with_name(f"out.{suffix}")).path)
    assert made.timecode == "10:00:00:00"
    assert [(c.title, c.start, c.end) for c in made.chapters] == [(c.title, c.start, c.end) for c in target.chapters]
    part = probe(render(target, target.path.with_name(f"part.{suffix}"), frames=(3, 9)).path)
    assert part.timecode == "10:00:00:03"
    assert part.chapters[0].start == 0


def test_dropped_subtitles_are_noted(make_video: Maker) -> None:
    # A constructed target, because PyAV crashes when remuxing subtitles.
    target = replace(probe(make_video("target.mkv")), others=("subtitle",))
    summary = render(target, target.path.with_name("out.mp4"))
    assert "1 subtitle track(s) of the target are dropped" in summary.notes


@pytest.mark.parametrize(
    ("code", "frames", "rate", "moved"),
    [
        ("00:00:00:00", 25 * 3600 * 24 + 1, Fraction(25), "00:00:00:01"),
        ("00:09:59;29", 1, Fraction(30000, 1001), "00:10:00;00"),  # every tenth minute drops nothing
        ("00:00:00;00", 107_892, Fraction(30000, 1001), "01:00:00;00"),
        ("00:00:59;59", 1, Fraction(60000, 1001), "00:01:00;04"),
        ("01:02:03:04", 0, Fraction(13), None),
        ("tomorrow", 1, Fraction(25), None),
    ],
)
def test_timecode_follows_smpte(code: str, frames: int, rate: Fraction, moved: str | None) -> None:
    assert moved_timecode(code, frames, rate) == moved


def test_png_sequences_keep_picture_and_depth(make_video: Maker, tmp_path: Path) -> None:
    target = probe(make_video("target.mov", count=7))
    summary = render(target, tmp_path / "out", chunk=3)
    assert [file.name for file in summary.files] == [f"{number:06d}.png" for number in range(7)]
    made = probe(tmp_path / "out")
    assert (made.kind, made.pixel_format) == ("sequence", "rgb24")
    for before, after in zip(all_frames(target), all_frames(made), strict=True):
        assert np.abs(before.rgb() - after.rgb()).max() < 0.51 / 255
    deep = probe(make_video("deep.mov", codec="prores_ks", pixel_format="yuv422p10le", count=2))
    render(deep, tmp_path / "deep")
    made = probe(tmp_path / "deep")
    assert (made.pixel_format, made.frames) == ("rgb48le", 2)
    assert np.abs(all_frames(deep)[1].rgb() - all_frames(made)[1].rgb()).max() < 1e-4


def test_losses_of_pictures_are_noted(make_video: Maker, tmp_path: Path) -> None:
    def timecode(stream: av.VideoStream) -> None:
        stream.metadata["timecode"] = "01:00:00:00"

    target = probe(make_video("target.mov", count=3, chapters=True, change=timecode))
    notes = render(target, tmp_path / "out").notes
    for words in ("2 chapter(s) dropped", "the timecode 01:00:00:00 is dropped"):
        assert any(words in note for note in notes), notes


def test_an_image_sequence_keeps_its_samples_and_file_names(tmp_path: Path) -> None:
    source = tmp_path / "shot"
    for number in range(5):
        write_picture(source / f"take_{number + 20:04d}.tif", pattern(32, 24, number).astype(np.float32) / 255)
    target = probe(source)
    assert target.pixel_format == "rgb48le"
    summary = render(target, tmp_path / "out", chunk=2)
    assert summary.notes == ()
    assert [file.name for file in summary.files] == [f"take_{number + 20:04d}.png" for number in range(5)]
    for before, after in zip(all_frames(target), all_frames(tmp_path / "out"), strict=True):
        assert np.array_equal(before.planes[0], after.planes[0])
    film = render(target, tmp_path / "film.mp4")
    assert any("rgb48le" in note for note in film.notes)
    for before, after in zip(all_frames(target), all_frames(film.path), strict=True):
        assert np.abs(before.rgb() - after.rgb()).mean() < 0.02
    with pytest.raises(OutputError, match="one picture"):
        render(target, tmp_path / "single.png")


def test_a_chunk_exists_only_when_complete(make_video: Maker, tmp_path: Path) -> None:
    target = probe(make_video())
    frames = all_frames(target)
    threads = threading.active_count()
    path = tmp_path / "chunks" / "0000.nut"
    with pytest.raises(KeyboardInterrupt):  # noqa: SIM117 - the interrupt is raised inside the block
        with ChunkWriter(path, target, EncodeOptions(codec="h264")) as writer:
            writer.write(frames[0])
            raise KeyboardInterrupt
    assert list(path.parent.iterdir()) == []
    with ChunkWriter(path, target, EncodeOptions(codec="h264")) as writer:
        for frame in frames:
            writer.write(frame)
    assert [file.name for file in path.parent.iterdir()] == ["0000.nut"]
    assert threading.active_count() == threads


def test_a_time_off_the_targets_time_base_is_rejected(make_video: Maker, tmp_path: Path) -> None:
    target = probe(make_video())
    frame = all_frames(target)[0]
    odd = Frame(0, Fraction(1, 7), frame.format, frame.planes, frame.color, frame.display)
    with (
        pytest.raises(OutputError, match="time base"),
        ChunkWriter(tmp_path / "0.nut", target, EncodeOptions()) as writer,
    ):
        writer.write(odd)


def test_chunks_with_different_encodings_are_not_joined(make_video: Maker, tmp_path: Path) -> None:
    target = probe(make_video())
    frames = all_frames(target)
    chunks = [tmp_path / "0.nut", tmp_path / "1.nut"]
    for path, preset, part in zip(chunks, ("ultrafast", "slow"), (frames[:6], frames[6:]), strict=True):
        with ChunkWriter(path, target, EncodeOptions(codec="h264", encoder_preset=preset)) as writer:
            for frame in part:
                writer.write(frame)
    with pytest.raises(OutputError, match="encoded differently"):
        join(chunks, tmp_path / "out.mp4", target, EncodeOptions(codec="h264"))
    chunks[1].write_bytes(b"torn")
    with pytest.raises(OutputError, match=r"1\.nut"):
        join(chunks, tmp_path / "out.mp4", target, EncodeOptions(codec="h264"))


def test_unwritable_paths_raise_output_error(make_video: Maker, tmp_path: Path) -> None:
    target = probe(make_video())
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with (
        pytest.raises(OutputError, match="cannot be written"),
        ChunkWriter(blocked / "0.nut", target, EncodeOptions(codec="h264")),
    ):
        pass
    with pytest.raises(OutputError, match="cannot be written"):
        render(target, tmp_path / "missing" / ".." / "file" / "out.mp4")


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A 64 KB file system."""
    place = tmp_path / "tiny"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_raises_output_error(make_video: Maker, tmp_path: Path, tiny_disk: Path) -> None:
    target = probe(make_video(count=60, size=(320, 240)))
    with pytest.raises(OutputError, match=r"[Nn]o space left"):
        render(target, tiny_disk / "out", chunk=60)
    assert list(tiny_disk.iterdir()) == []
    chunk = tmp_path / "0.nut"
    with Reader(target) as reader, ChunkWriter(chunk, target, EncodeOptions(codec="h264", crf=4)) as writer:
        for frame in reader:
            writer.write(frame)
    with pytest.raises(OutputError, match=r"[Nn]o space left"):
        join([chunk], tiny_disk / "out.mp4", target, EncodeOptions(codec="h264", crf=4))


@pytest.mark.parametrize(
    ("output", "options", "message"),
    [
        ("out.avi", {}, r"\.mp4"),
        ("out.mp4", {"codec": "prores"}, "cannot hold prores"),
        ("out", {"codec": "h264"}, "cannot hold h264"),
        ("out.mp4", {"crf": 99}, "crf.*51.*99"),
        ("out.mp4", {"encoder_preset": "warp"}, "encoder_preset.*ultrafast.*warp"),
        ("out.png", {"crf": 3}, "crf.*png"),
    ],
)
def test_invalid_options_raise_config_error(make_video: Maker, output: str, options: dict, message: str) -> None:
    target = probe(make_video(count=2))
    with pytest.raises(ConfigError, match=message):
        EncodeOptions.parse(options, "options").resolved(target, Path(output))
